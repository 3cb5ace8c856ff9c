package io.matinee.kernel;

import io.matinee.kernel.BatchFold.Both;
import io.matinee.kernel.BatchFold.Folded;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/**
 * Folded sessions as bytes, one after another, so that a batch keeps them while spans and sessions are written: a row of
 * the tables is mostly zeros and repeats its session's texts. Where no event is late one revision stands for both.
 */
public final class FoldedBytes {

    /** One segment of a revision and the state of its last span before the moment that ended it, or null. */
    public record Ended(Segment segment, State lastState) {}

    /** One session as it was written; live and final are one object if they do not differ. */
    public interface Sink {
        void spans(List<SpanRow> live, List<SpanRow> full);

        void sessions(List<Ended> live, Folded liveCounts, List<Ended> full, Folded fullCounts);
    }

    private FoldedBytes() {}

    /** Writes session after session; for one thread. */
    public static final class Writer {
        private final Codec.Out out = new Codec.Out();
        private final Codec.Out spans = new Codec.Out();

        public void add(Both both) {
            boolean one = both.live() == both.full();
            out.flag(one);
            add(both.live());
            if (!one) {
                add(both.full());
            }
        }

        private void add(Folded folded) {
            Map<Segment, Integer> places = new IdentityHashMap<>();
            for (Segment segment : folded.segments()) {
                places.put(segment, places.size());
            }
            State[] last = new State[places.size()];
            List<String[]> dims = new ArrayList<>();
            spans.clear();
            spans.number(folded.spans().size());
            long at = 0;
            for (SpanRow span : folded.spans()) {
                int place = places.get(span.segment);
                last[place] = span.state.terminal() ? last[place] : span.state;
                spans.number(place);
                spans.number(span.number);
                spans.number(span.startAt - at);
                spans.number(span.endAt - span.startAt);
                at = span.startAt;
                spans.number(span.state.ordinal());
                spans.number(span.flags());
                spans.number(span.bitrateKbps);
                texts(dims, span.dims);
                Measure.write(span.measures, spans);
            }
            out.number(folded.clockOffsetMs());
            out.number(folded.duplicates());
            out.number(folded.late());
            out.number(last.length);
            for (int i = 0; i < last.length; i++) {
                folded.segments().get(i).write(out);
                out.number(last[i] == null ? -1 : last[i].ordinal());
            }
            out.block(spans.done());
        }

        /** The place of the texts among those written before; the texts themselves if they are new. */
        private void texts(List<String[]> known, String[] dims) {
            int place = known.size() - 1;
            while (place >= 0 && known.get(place) != dims && !Arrays.equals(known.get(place), dims)) {
                place--;
            }
            if (place < 0) {
                spans.number(known.size());
                known.add(dims);
                for (String text : dims) {
                    spans.string(text);
                }
            } else {
                spans.number(place);
            }
        }

        /** The bytes so far; the writer is empty again. */
        public byte[] done() {
            byte[] bytes = out.done();
            out.clear();
            return bytes;
        }
    }

    /** Every session in the bytes; spans are read if {@code wantSpans}, sessions if not. */
    public static void read(byte[] bytes, boolean wantSpans, Sink sink) {
        Codec.In in = new Codec.In(bytes);
        while (in.more()) {
            boolean one = in.flag();
            Revision live = new Revision(in, wantSpans);
            Revision full = one ? live : new Revision(in, wantSpans);
            if (wantSpans) {
                sink.spans(live.spans, full.spans);
            } else {
                sink.sessions(live.ended, live.counts, full.ended, full.counts);
            }
        }
    }

    private static final class Revision {
        private final Folded counts;
        private final List<Ended> ended = new ArrayList<>();
        private final List<SpanRow> spans = new ArrayList<>();

        Revision(Codec.In in, boolean wantSpans) {
            counts = new Folded(List.of(), List.of(), in.number(), in.number(), in.number());
            long segments = in.number();
            for (long i = 0; i < segments; i++) {
                Segment segment = Segment.read(in);
                int state = (int) in.number();
                ended.add(new Ended(segment, state < 0 ? null : State.at(state)));
            }
            long length = in.number();
            if (wantSpans) {
                spans(in);
            } else {
                in.skip(length);
            }
        }

        private void spans(Codec.In in) {
            List<String[]> dims = new ArrayList<>();
            long count = in.number();
            long at = 0;
            for (long i = 0; i < count; i++) {
                Segment segment = ended.get((int) in.number()).segment();
                int number = (int) in.number();
                long start = at + in.number();
                long end = start + in.number();
                State state = State.at((int) in.number());
                int flags = (int) in.number();
                int kbps = (int) in.number();
                int place = (int) in.number();
                if (place == dims.size()) {
                    String[] texts = new String[Event.DIMENSIONS];
                    for (int d = 0; d < texts.length; d++) {
                        texts[d] = in.string();
                    }
                    dims.add(texts);
                }
                long[] measures = new long[Measure.COUNT];
                Measure.read(measures, in);
                spans.add(new SpanRow(segment, number, start, end, state, flags, kbps, dims.get(place), measures));
                at = start;
            }
        }
    }
}
