package io.matinee.kernel;

import java.util.ArrayList;
import java.util.List;

/** All events of one session at once, in any order: sort, deduplicate, leave late ones out or in, fold, join spans. */
public final class BatchFold {

    /** One revision of a session. Duplicates and late events count in segment 0. */
    public record Folded(List<SpanRow> spans, List<Segment> segments, long clockOffsetMs, long duplicates, long late) {}

    /** Revisions live and final; one object twice if no event is late. */
    public record Both(Folded live, Folded full) {}

    private static final long DAY_MS = 86_400_000;
    private static final long MINUTE_MS = 60_000;

    private BatchFold() {}

    public static Both fold(List<Event> events, Policy policy) {
        if (events.isEmpty()) {
            Folded nothing = new Folded(List.of(), List.of(), 0, 0, 0);
            return new Both(nothing, nothing);
        }
        List<Event> counted = deduplicate(events);
        List<Event> inTime = inTime(counted, policy.latenessMs());
        List<Event> onTime = new ArrayList<>(counted.size());
        for (int i = 0; i < counted.size(); i++) {
            if (inTime.get(i) == counted.get(i)) {
                onTime.add(counted.get(i));
            }
        }
        long late = counted.size() - onTime.size();
        long duplicates = events.size() - counted.size();
        long offset = clockOffset(events);
        Folded full = run(inTime, policy, offset, duplicates, late);
        return new Both(late == 0 ? full : run(onTime, policy, offset, duplicates, late), full);
    }

    /** Whether the session's events reach into {@code [fromMs, untilMs)}, from first to last, by its corrected clock. */
    public static boolean touches(List<Event> events, long fromMs, long untilMs) {
        long first = Long.MAX_VALUE;
        long last = Long.MIN_VALUE;
        for (Event event : events) {
            first = Math.min(first, event.deviceAt);
            last = Math.max(last, event.deviceAt);
        }
        long offset = events.isEmpty() ? 0 : clockOffset(events);
        return !events.isEmpty() && first + offset < untilMs && last + offset >= fromMs;
    }

    /**
     * Whether the session may have begun before the day read first, the one that ends at {@code beganMs}: one of its events
     * was received in that day, and the first received there is not number 0, or is one that had happened before the day
     * (or in its first minute), by the least offset of the session's clock: number 0 sent again.
     */
    public static boolean unbegun(List<Event> events, long beganMs) {
        Event first = null;
        long offset = Long.MAX_VALUE;
        for (Event event : events) {
            if (first == null || event.receivedAt < first.receivedAt || event.receivedAt == first.receivedAt && event.seq < first.seq) {
                first = event;
            }
            offset = Math.min(offset, event.receivedAt - event.postDeviceAt);
        }
        return first != null && first.receivedAt < beganMs
                && (first.seq > 0 || first.deviceAt + offset < beganMs - DAY_MS + MINUTE_MS);
    }

    /** By seq; of equal seq the lowest position in the topic. */
    static List<Event> deduplicate(List<Event> events) {
        List<Event> sorted = new ArrayList<>(events);
        sorted.sort((a, b) -> a.seq != b.seq ? Integer.compare(a.seq, b.seq) : a.beforeInTopic(b) ? -1 : b.beforeInTopic(a) ? 1 : 0);
        List<Event> kept = new ArrayList<>(sorted.size());
        for (Event event : sorted) {
            if (kept.isEmpty() || kept.get(kept.size() - 1).seq != event.seq) {
                kept.add(event);
            }
        }
        return kept;
    }

    /** Late ones are copies, as received with the earliest of those that follow: no silence came before them. */
    private static List<Event> inTime(List<Event> bySeq, long latenessMs) {
        List<Event> found = new ArrayList<>(bySeq);
        long earliest = Long.MAX_VALUE;
        for (int i = found.size() - 1; i >= 0; i--) {
            Event event = found.get(i);
            if (earliest != Long.MAX_VALUE && event.receivedAt > earliest + latenessMs) {
                event = event.copy();
                event.receivedAt = earliest;
                found.set(i, event);
            }
            earliest = Math.min(earliest, event.receivedAt);
        }
        return found;
    }

    static long clockOffset(List<Event> events) {
        Event first = events.get(0);
        for (Event event : events) {
            first = event.beforeInTopic(first) ? event : first;
        }
        return first.receivedAt - first.postDeviceAt;
    }

    private static Folded run(List<Event> bySeq, Policy policy, long offset, long duplicates, long late) {
        Fold fold = new Fold(policy, offset);
        Joiner joiner = new Joiner();
        for (Event event : bySeq) {
            fold.add(event, joiner);
        }
        fold.close(joiner);
        return new Folded(joiner.spans, joiner.segments, offset, duplicates, late);
    }

    /** Joins what the fold gives out into spans. */
    private static final class Joiner implements Fold.Sink {
        private final List<SpanRow> spans = new ArrayList<>();
        private final List<Segment> segments = new ArrayList<>();
        private Segment numbered;
        private int number;
        private long[] moment;

        private void add(Segment s, long start, long end, boolean unobserved, long[] measures) {
            long[] own = measures.clone();
            if (moment != null) {
                Measure.add(own, moment, 1);
                moment = null;
            }
            number = numbered == s ? number + 1 : 0;
            numbered = s;
            spans.add(new SpanRow(s, number, start, end, unobserved, own));
        }

        @Override
        public void moment(Segment s, long[] measures) {
            moment = measures.clone();
        }

        @Override
        public void held(Segment s, long start, long end, boolean unobserved, long[] measures) {
            SpanRow last = spans.isEmpty() ? null : spans.get(spans.size() - 1);
            if (moment == null && start < end && last != null && last.goesOn(s, start, unobserved)) {
                last.endAt = end;
                Measure.add(last.measures, measures, 1);
            } else if (moment != null || start < end) {
                add(s, start, end, unobserved, measures);
            }
        }

        @Override
        public void closed(Segment s, long[] measures) {
            if (s.reason.terminal() || moment != null || !Measure.none(measures)) {
                add(s, s.endAt, s.endAt, false, measures);
            }
            segments.add(s);
        }

        @Override
        public void takenIn(Segment s) {}
    }
}
