package io.matinee.kernel;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The fold of one session as its events arrive, for revision live: what it has given out so far, added up, is the fold
 * of what it has seen so far, and in the end of the whole set.
 *
 * <p>While numbers come without a gap every event is folded at once. An event after a gap waits {@code gapWaitMs}, then
 * what follows the gap is folded on a copy and shown; the events are kept, so that a missing one that still comes is
 * put in its place and the difference is given out. Once lateness has passed the gap is settled. Decisions are taken on
 * {@code received_at}, from the data; the clock here ({@code arrival}, Kafka's timestamp, and the watermark over it)
 * decides only when something is shown and when it is forgotten.
 */
public final class LiveFold {

    /** Takes the deltas. */
    public interface Out {
        /** Add these (signed) measures, which are not the taker's to keep, to the sums of the key. */
        void minute(MinuteKey key, long[] measures);

        /** The row of a segment, which goes on changing, is now this; duplicates and late events are its own share (0 but in segment 0). */
        void session(Segment segment, long clockOffsetMs, long duplicates, long late);

        /** The segment does not exist after all. */
        void gone(String sessionId, int segment);
    }

    private static final byte VERSION = 7;

    /**
     * A fold's state: what nearly every event changes, and the texts in it, which stay and are most of the bytes. They
     * are null of a fold that rests, which has its texts among the numbers: one key less to keep and to forget.
     */
    public record Bytes(byte[] numbers, byte[] texts) {}

    private record Waiting(Event event, long arrival) {}

    private static final ArrayList<Waiting> NONE = new ArrayList<>(0);

    private final Policy policy;
    private Fold base;
    private long clockOffsetMs;
    private SeqSet seen = new SeqSet();
    /** By seq; {@link #NONE} while there are none, as of nearly all folds. */
    private ArrayList<Waiting> pending = NONE;
    private boolean shown;
    private long showAt;
    /** Base with what is pending, if that is shown and was asked for: not part of the state, as it can be made again. */
    private Fold ahead;
    /** The open segment of base is shown as closed by silence. */
    private boolean silent;
    private long duplicates;
    private long late;
    private long lastArrival;
    private long newestArrival = Long.MIN_VALUE;
    /** For the engine: the timer it has set, or 0. */
    public long timer;

    public LiveFold(Policy policy) {
        this.policy = policy;
    }

    /** One event of the session, in order of arrival; {@code arrival} is the arrival clock. */
    public void event(Event event, long arrival, Out out) {
        if (base == null) {
            clockOffsetMs = event.receivedAt - event.postDeviceAt;
            base = new Fold(policy, clockOffsetMs);
        }
        newestArrival = Math.max(newestArrival, arrival);
        if (!seen.add(event.seq)) {
            duplicates++;
            counted(out);
        } else if (isLate(event)) {
            late++;
            counted(out);
        } else if (pending.isEmpty() && event.seq == base.before + 1 && !silent) {
            lastArrival = arrival;
            addTo(base, event, out);
        } else {
            outOfLine(event, arrival, out);
        }
    }

    private boolean isLate(Event event) {
        if (event.seq < base.before) {
            return true;
        }
        if (pending.isEmpty() || pending.get(pending.size() - 1).event.seq < event.seq) {
            return false;
        }
        long earliest = Long.MAX_VALUE;
        for (Waiting w : pending) {
            if (w.event.seq > event.seq) {
                earliest = Math.min(earliest, w.event.receivedAt);
            }
        }
        return earliest != Long.MAX_VALUE && event.receivedAt > earliest + policy.latenessMs();
    }

    /** The next event in order: what it gives is given out, and the rows that changed in a way worth telling. */
    private void addTo(Fold fold, Event event, Out out) {
        Segment before = fold.current;
        long wasAt = before == null ? 0 : before.at;
        boolean played = before != null && before.played;
        fold.add(event, new Telling(out));
        Segment now = fold.current;
        if (now != before || now.played != played || Fold.minute(now.at) != Fold.minute(wasAt)) {
            row(now, out);
        }
    }

    /** Gives out what a fold gives out: nothing of it has been shown. */
    private final class Telling implements Fold.Sink {
        private final Out out;

        Telling(Out out) {
            this.out = out;
        }

        private void add(long at, Segment s, long[] measures) {
            if (!Measure.none(measures)) {
                out.minute(MinuteKey.of(at, s.last), measures);
            }
        }

        @Override
        public void moment(Segment s, long[] measures) {
            add(s.at, s, measures);
        }

        @Override
        public void held(Segment s, long start, long end, boolean unobserved, long[] measures) {
            add(start, s, measures);
        }

        @Override
        public void closed(Segment s, long[] measures) {
            add(s.endAt, s, measures);
            row(s, out);
        }

        @Override
        public void takenIn(Segment s) {
            row(s, out);
        }
    }

    /** An event that does not simply follow: after a gap, into a gap, or after the close by silence. */
    private void outOfLine(Event event, long arrival, Out out) {
        boolean appended = pending.isEmpty() || pending.get(pending.size() - 1).event.seq < event.seq;
        if (pending.isEmpty()) {
            shown = false;
            showAt = arrival + policy.gapWaitMs();
        } else if (shown && appended) {
            Fold fold = visible();
            addTo(fold, event, out);
            insert(event, arrival);
            ahead = fold;
            return;
        }
        Delta told = shown ? beyondBase(pending.size(), silent) : null;
        insert(event, arrival);
        int inOrder = 0;
        while (inOrder < pending.size() && pending.get(inOrder).event.seq == base.before + 1 + inOrder) {
            inOrder++;
        }
        if (shown || inOrder > 0) {
            Delta old = told == null ? beyondBase(0, silent) : told;
            give(beyondBase(shown ? pending.size() : inOrder, false).minus(old, this, out), out);
            silent = false;
        }
        for (; inOrder > 0; inOrder--) {
            settleFirst();
        }
    }

    private void insert(Event event, long arrival) {
        pending = pending.isEmpty() ? new ArrayList<>(4) : pending;
        int i = pending.size();
        while (i > 0 && pending.get(i - 1).event.seq > event.seq) {
            i--;
        }
        pending.add(i, new Waiting(event, arrival));
        ahead = null;
    }

    /** Fold the first pending event, which has been shown, into base. */
    private void settleFirst() {
        Waiting w = pending.remove(0);
        pending = pending.isEmpty() ? NONE : pending;
        lastArrival = w.arrival;
        base.add(w.event, NOBODY);
        ahead = pending.isEmpty() ? null : ahead;
    }

    /** Everything that arrived up to {@code clock} has been seen: show, settle, close what is due. */
    public void watermark(long clock, Out out) {
        if (base == null) {
            return;
        }
        if (!pending.isEmpty() && !shown && clock >= showAt) {
            Delta old = beyondBase(0, silent);
            shown = true;
            silent = false;
            give(beyondBase(pending.size(), false).minus(old, this, out), out);
        }
        while (!pending.isEmpty() && clock > settledAt()) {
            do {
                settleFirst();
            } while (!pending.isEmpty() && pending.get(0).event.seq == base.before + 1);
        }
        if (isOpen() && clock > lastArrival + policy.silenceMs()) {
            silent = true;
            give(beyondBase(0, true), out);
        }
    }

    /** Whether base has a segment that only silence will close. */
    private boolean isOpen() {
        return pending.isEmpty() && !silent && base != null && base.current != null && !base.current.closed();
    }

    private long settledAt() {
        long earliest = Long.MAX_VALUE;
        for (Waiting w : pending) {
            earliest = Math.min(earliest, w.arrival);
        }
        return Math.max(showAt, earliest + policy.latenessMs());
    }

    /** Whether it has seen no event. */
    public boolean empty() {
        return base == null;
    }

    /** Whether it only waits for stragglers. */
    public boolean rests() {
        return pending.isEmpty() && !isOpen();
    }

    /** When a fold that rests, and has seen an event, may be dropped: a straggler counts as another session then. */
    public long forgottenAt() {
        return newestArrival + Math.max(policy.sessionCapMs(), policy.silenceMs() + 1);
    }

    /** When {@link #watermark} has to be called next. */
    public long nextTimer() {
        if (!pending.isEmpty()) {
            return shown ? settledAt() + 1 : showAt;
        }
        return isOpen() ? lastArrival + policy.silenceMs() + 1 : forgottenAt();
    }

    /** Whether the state may be dropped. */
    public boolean forgotten(long clock) {
        return base == null || (rests() && clock >= forgottenAt());
    }

    /** The counters of segment 0 have changed. */
    private void counted(Out out) {
        Fold fold = visible();
        Segment zero = fold.first != null ? fold.first : fold.current;
        if (zero != null) {
            row(zero, out);
        }
    }

    private void row(Segment s, Out out) {
        out.session(s, clockOffsetMs, s.number == 0 ? duplicates : 0, s.number == 0 ? late : 0);
    }

    private void give(Delta delta, Out out) {
        delta.sums.forEach((key, measures) -> {
            if (!Measure.none(measures)) {
                out.minute(key, measures);
            }
        });
        delta.rows.values().forEach(s -> row(s, out));
    }

    /** The fold as shown: base, with what is pending, or closed by silence. */
    private Fold visible() {
        if (silent) {
            Fold fold = base.copy();
            fold.close(NOBODY);
            return fold;
        }
        if (!shown || pending.isEmpty()) {
            return base;
        }
        if (ahead == null) {
            Fold fold = base.copy();
            pending.forEach(w -> fold.add(w.event, NOBODY));
            ahead = fold;
        }
        return ahead;
    }

    /** What the first {@code n} pending events, or the close by silence, add to base. */
    private Delta beyondBase(int n, boolean close) {
        Fold fold = n == 0 && !close ? base : base.copy();
        Delta delta = new Delta();
        if (fold.current != null) {
            delta.rows.put(fold.current.number, fold.current);
        }
        for (int i = 0; i < n; i++) {
            fold.add(pending.get(i).event, delta);
        }
        if (close) {
            fold.close(delta);
        }
        if (fold.current != null) {
            delta.rows.put(fold.current.number, fold.current);
        }
        if (n > 0 && n == pending.size() && !close) {
            ahead = fold;
        }
        return delta;
    }

    /** Takes what has been given out already. */
    private static final Fold.Sink NOBODY = new Fold.Sink() {
        @Override
        public void moment(Segment s, long[] measures) {}

        @Override
        public void held(Segment s, long start, long end, boolean unobserved, long[] measures) {}

        @Override
        public void closed(Segment s, long[] measures) {}

        @Override
        public void takenIn(Segment s) {}
    };

    /** Collects what a fold gives out: sums by key, rows that are complete. */
    private static final class Delta implements Fold.Sink {
        private final Map<MinuteKey, long[]> sums = new LinkedHashMap<>(4);
        private final Map<Integer, Segment> rows = new LinkedHashMap<>(2);

        private void add(long at, Segment s, long[] measures, int sign) {
            Measure.add(sums.computeIfAbsent(MinuteKey.of(at, s.last), key -> new long[Measure.COUNT]), measures, sign);
        }

        @Override
        public void moment(Segment s, long[] measures) {
            add(s.at, s, measures, 1);
        }

        @Override
        public void held(Segment s, long start, long end, boolean unobserved, long[] measures) {
            add(start, s, measures, 1);
        }

        @Override
        public void closed(Segment s, long[] measures) {
            add(s.endAt, s, measures, 1);
            rows.put(s.number, s);
        }

        @Override
        public void takenIn(Segment s) {
            rows.put(s.number, s);
        }

        /** This instead of {@code old}: signed sums, changed rows; rows that vanish are told at once. */
        Delta minus(Delta old, LiveFold of, Out out) {
            old.sums.forEach((key, measures) ->
                    Measure.add(sums.computeIfAbsent(key, k -> new long[Measure.COUNT]), measures, -1));
            old.rows.forEach((number, was) -> {
                Segment now = rows.get(number);
                if (now == null) {
                    out.gone(was.last.sessionId, number);
                } else if (now.sameRow(was)) {
                    rows.remove(number);
                }
            });
            return this;
        }
    }

    public Bytes toBytes() {
        boolean rests = rests();
        List<String> texts = rests ? null : new ArrayList<>(Codec.FEW);
        Codec.Out out = new Codec.Out(texts);
        out.number(VERSION);
        out.flag(rests);
        out.number(newestArrival);
        out.number(clockOffsetMs);
        base.write(out);
        seen.write(out);
        out.number(pending.size());
        for (Waiting w : pending) {
            w.event.write(out);
            out.number(w.arrival);
        }
        out.flag(shown);
        out.flag(silent);
        out.number(duplicates);
        out.number(late);
        out.number(lastArrival - newestArrival);
        out.number(pending.isEmpty() ? 0 : showAt - newestArrival);
        out.flag(timer != 0);
        if (timer != 0) {
            out.number(timer - newestArrival);
        }
        return new Bytes(out.done(), rests ? null : Codec.pack(texts));
    }

    /** Whether the fold with these numbers rested, so that it has no texts apart. */
    public static boolean rested(byte[] numbers) {
        Codec.In in = new Codec.In(numbers);
        checkVersion(in);
        return in.flag();
    }

    private static void checkVersion(Codec.In in) {
        long version = in.number();
        if (version != VERSION) {
            throw new IllegalStateException("fold state of version " + version + ", this kernel reads " + VERSION
                    + ": start the job without the old savepoint, or with the kernel that wrote it");
        }
    }

    /** Takes back what {@link #toBytes} gave. */
    public static LiveFold fromBytes(Bytes bytes, Policy policy) {
        Codec.In in = new Codec.In(bytes.numbers, bytes.texts == null ? null : Codec.unpack(bytes.texts));
        checkVersion(in);
        in.flag();
        LiveFold fold = new LiveFold(policy);
        fold.newestArrival = in.number();
        fold.clockOffsetMs = in.number();
        fold.base = Fold.read(in, policy, fold.clockOffsetMs);
        fold.seen = SeqSet.read(in);
        for (long n = in.number(); n > 0; n--) {
            Event event = Event.read(in);
            fold.insert(event, in.number());
        }
        fold.shown = in.flag();
        fold.silent = in.flag();
        fold.duplicates = in.number();
        fold.late = in.number();
        fold.lastArrival = in.number() + fold.newestArrival;
        fold.showAt = in.number() + fold.newestArrival;
        fold.timer = in.flag() ? in.number() + fold.newestArrival : 0;
        return fold;
    }
}
