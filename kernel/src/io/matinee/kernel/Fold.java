package io.matinee.kernel;

/**
 * The fold itself: events of one session in the order of seq, one at a time. The law stands in
 * models/playback/spans.py; numbers in comments are its paragraphs.
 *
 * <p>Moments are given out as soon as they are known and durations when the next event proves them, so a stream may add
 * up what comes without waiting; {@link BatchFold} joins them into spans.
 */
public final class Fold {
    static final long MINUTE_MS = 60_000;

    /** Takes what the fold gives out. The segment is the fold's own and goes on changing. */
    interface Sink {
        /** Counts that fall on the newest event's moment. */
        void moment(Segment segment, long[] measures);

        /** [start, end), inside one minute, of the newest event's state; length 0 if the state did not last. */
        void held(Segment segment, long start, long end, boolean unobserved, long[] measures);

        /** The segment's row is complete (or has changed after that); measures fall on its end. */
        void closed(Segment segment, long[] measures);

        /** A closed segment has taken in one more event. */
        void takenIn(Segment segment);
    }

    private final Policy policy;
    private final long clockOffsetMs;
    /** The newest segment; null before the first event. */
    Segment current;
    /** Segment 0, once another one is current. */
    Segment first;
    int before = -1;
    private long at = Segment.NEVER;

    Fold(Policy policy, long clockOffsetMs) {
        this.policy = policy;
        this.clockOffsetMs = clockOffsetMs;
    }

    /** The next event: a higher seq than all before. */
    void add(Event said, Sink sink) {
        Event event = said.kept == 0 || current == null ? said : Kept.resolved(said, current.last);
        at = Math.max(at, event.deviceAt + clockOffsetMs);
        long missing = event.seq - before - 1L;
        before = event.seq;
        if (current != null && !current.closed()) {
            Reason reason = step(event, missing, sink);
            if (reason == Reason.OPEN || reason.terminal()) {
                return;
            }
        }
        if (current != null && takesIn(event)) {
            current.events++;
            current.missing += missing;
            sink.takenIn(current);
            return;
        }
        open(event, missing, sink);
    }

    /** No more events: the open segment, if there is one, ends with its last event. */
    void close(Sink sink) {
        if (current != null && !current.closed()) {
            close(Reason.TIMEOUT, current.at, sink);
        }
    }

    /** The event against an open segment: hold, take or close; returns why it closed. */
    private Reason step(Event event, long missing, Sink sink) {
        boolean held = at - current.at <= policy.holdMs();
        long until = held ? at : current.at;
        Reason reason = closing(event, held);
        if (reason == Reason.PAUSE_LIMIT) {
            until = Math.min(until, current.pausedAt + policy.pauseLimitMs());
        } else if (reason == Reason.LENGTH_CAP) {
            until = Math.min(until, current.startAt + policy.sessionCapMs());
        }
        if (reason == Reason.TIMEOUT) {
            until = current.at;
        } else {
            hold(until, missing > 0, sink);
        }
        if (reason == Reason.OPEN || reason.terminal()) {
            current.missing += missing;
            apply(event, sink);
        }
        if (reason != Reason.OPEN) {
            close(reason, reason.terminal() ? at : until, sink);
        }
        return reason;
    }

    /** 5: the first rule that applies. */
    private Reason closing(Event event, boolean held) {
        if (event.receivedAt - current.last.receivedAt > policy.silenceMs()) {
            return Reason.TIMEOUT;
        }
        if (event.state.terminal()) {
            return Reason.of(event.state);
        }
        if (!event.title().equals(current.last.title())) {
            return Reason.CONTENT_CHANGE;
        }
        if (current.pausedAt != Segment.NEVER && at - current.pausedAt > policy.pauseLimitMs()) {
            return Reason.PAUSE_LIMIT;
        }
        if (!held) {
            return Reason.TIMEOUT;
        }
        return at - current.startAt > policy.sessionCapMs() ? Reason.LENGTH_CAP : Reason.OPEN;
    }

    /** 6: a closed segment keeps what shows no life. */
    private boolean takesIn(Event event) {
        return event.state.terminal() || (current.reason == Reason.PAUSE_LIMIT && event.state == State.PAUSED);
    }

    private void open(Event event, long missing, Sink sink) {
        Segment segment = new Segment();
        segment.number = current == null ? 0 : current.number + 1;
        segment.startAt = at;
        segment.missing = missing;
        if (current != null && current.number == 0) {
            first = current;
        }
        current = segment;
        apply(event, sink);
        if (current.state.terminal()) {
            close(Reason.of(current.state), at, sink);
        }
    }

    /** 3 and 7: the event becomes the newest one. */
    private void apply(Event event, Sink sink) {
        Segment s = current;
        State was = s.state;
        State now = event.state;
        if (!s.played && (now == State.REBUFFERING || now == State.SEEKING)) {
            now = State.STARTING;
        }
        s.last = event;
        s.at = at;
        s.state = now;
        s.events++;
        s.impressionId = s.impressionId == null ? event.impressionId : s.impressionId;
        s.pageId = s.pageId == null ? event.pageId : s.pageId;
        s.maxPlayheadMs = Math.max(s.maxPlayheadMs, event.playheadMs);
        s.pausedAt = now != State.PAUSED ? Segment.NEVER : s.pausedAt == Segment.NEVER ? at : s.pausedAt;
        long[] moment = new long[Measure.COUNT];
        starts(event, moment);
        if (now != State.REBUFFERING || was != State.REBUFFERING) {
            s.stallCounted = false;
        }
        if (!event.ad && !event.background) {
            stallsAndSwitches(event, moment);
        }
        if (!Measure.none(moment)) {
            Measure.add(s.sums, moment, 1);
            sink.moment(s, moment);
        }
    }

    private void starts(Event event, long[] moment) {
        Segment s = current;
        if (s.attemptAt == Segment.NEVER && (s.state == State.STARTING || s.state == State.PLAYING)) {
            s.attemptAt = at;
            s.attemptSeen = s.state == State.STARTING;
            Measure.ATTEMPTS.add(moment, 1);
        }
        if (s.state == State.PLAYING && !event.ad && !s.played) {
            s.played = true;
            Measure.PLAYS.add(moment, 1);
            if (s.attemptSeen && s.missing == 0) {
                Measure.STARTS_MEASURED.add(moment, 1);
                Measure.START_DELAY_MS.add(moment, at - s.attemptAt - s.excludedMs);
            }
        }
    }

    private void stallsAndSwitches(Event event, long[] moment) {
        Segment s = current;
        if (s.state == State.REBUFFERING && !s.stallCounted) {
            s.stallCounted = true;
            Measure.STALLS.add(moment, 1);
        }
        if (s.state == State.PLAYING && event.bitrateKbps >= 0) {
            if (s.playKbps >= 0 && event.bitrateKbps != s.playKbps) {
                (event.bitrateKbps > s.playKbps ? Measure.SWITCHES_UP : Measure.SWITCHES_DOWN).add(moment, 1);
            }
            s.playKbps = event.bitrateKbps;
        }
    }

    /** 4 and 8: the newest event's state holds until then, cut at minute borders. */
    private void hold(long until, boolean unobserved, Sink sink) {
        Segment s = current;
        if (s.attemptAt != Segment.NEVER && !s.played && (s.last.ad || s.state == State.PAUSED)) {
            s.excludedMs += until - s.at;
        }
        long start = s.at;
        do {
            long end = Math.min(until, minute(start) + MINUTE_MS);
            long[] measures = durations(s, end - start);
            Measure.add(s.sums, measures, 1);
            sink.held(s, start, end, unobserved, measures);
            start = end;
        } while (start < until);
    }

    private void close(Reason reason, long endAt, Sink sink) {
        Segment s = current;
        long[] measures = new long[Measure.COUNT];
        if (s.attemptAt != Segment.NEVER) {
            if (reason == Reason.FAILED) {
                (s.played ? Measure.PLAYBACK_FAILURES : Measure.START_FAILURES).add(measures, 1);
            } else if (!s.played) {
                Measure.EXITS_BEFORE_START.add(measures, 1);
            }
        }
        Measure.add(s.sums, measures, 1);
        s.reason = reason;
        s.endAt = endAt;
        sink.closed(s, measures);
    }

    private static long[] durations(Segment s, long ms) {
        long[] m = new long[Measure.COUNT];
        Event event = s.last;
        if (!s.state.alive()) {
            return m;
        }
        Measure.ALIVE_MS.add(m, ms);
        if (s.state == State.PAUSED) {
            Measure.PAUSE_MS.add(m, ms);
        }
        if (event.ad) {
            Measure.AD_MS.add(m, ms);
        }
        if (event.background) {
            Measure.BACKGROUND_MS.add(m, ms);
        }
        Measure watched = switch (s.state) {
            case STARTING -> Measure.STARTING_MS;
            case PLAYING -> Measure.PLAY_MS;
            case REBUFFERING -> Measure.STALL_MS;
            case SEEKING -> Measure.SEEK_MS;
            default -> null;
        };
        if (watched != null && !event.ad && !event.background) {
            watched.add(m, ms);
            Measure.WATCHED_MS.add(m, ms);
            if (s.state == State.PLAYING && event.bitrateKbps >= 0) {
                Measure.BITRATE_KBPS_MS.add(m, event.bitrateKbps * ms);
                Measure.BITRATE_KNOWN_MS.add(m, ms);
            }
        }
        return m;
    }

    static long minute(long at) {
        return Math.floorDiv(at, MINUTE_MS) * MINUTE_MS;
    }

    Fold copy() {
        Fold other = new Fold(policy, clockOffsetMs);
        other.current = current == null ? null : current.copy();
        other.first = first == null ? null : first.copy();
        other.before = before;
        other.at = at;
        return other;
    }

    void write(Codec.Out out) {
        out.number(before);
        out.number(at);
        out.flag(current != null);
        if (current != null) {
            current.write(out);
        }
        out.flag(first != null);
        if (first != null) {
            first.write(out);
        }
    }

    static Fold read(Codec.In in, Policy policy, long clockOffsetMs) {
        Fold fold = new Fold(policy, clockOffsetMs);
        fold.before = (int) in.number();
        fold.at = in.number();
        fold.current = in.flag() ? Segment.read(in) : null;
        fold.first = in.flag() ? Segment.read(in) : null;
        return fold;
    }
}
