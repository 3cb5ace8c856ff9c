package io.matinee.kernel;

import java.util.Arrays;

/**
 * The fold itself: events of one session in the order of seq, one at a time. The law stands in
 * models/playback/spans.py; numbers in comments are its paragraphs.
 *
 * <p>Moments are given out as soon as they are known and durations when the next event proves them, so a stream may add
 * up what comes without waiting; {@link BatchFold} joins them into spans.
 */
public final class Fold {
    static final long MINUTE_MS = 60_000;

    /** Takes what the fold gives out. The segment is the fold's own and goes on changing; so are the measures. */
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
    private Player player = new Player();
    /** Of the event at hand: a stall begins with it, in the segment that it opens. */
    private boolean begins;
    /** Of the event at hand: what is known of ads in the gap before it. */
    private Ads ads;
    /** Of the event at hand: it ends an ad that never began. */
    private boolean endsUnseen;
    /** Of the event at hand: its title has been told, by it or before. */
    private boolean titled;
    /** The newest segment; null before the first event. */
    Segment current;
    /** Segment 0, once another one is current. */
    Segment first;
    int before = -1;
    private long at = Segment.NEVER;
    /** One pair a thread, not a fold: a fold is small then, and these stay in the processor's cache. */
    private static final ThreadLocal<long[][]> SCRATCH = ThreadLocal.withInitial(() -> new long[2][Measure.COUNT]);
    /** What falls on the newest event's moment; handed to the sink, which copies what it keeps. */
    private final long[] moment;
    private final long[] piece;

    /** A fold is its thread's: others of the same thread use the same arrays, one after the other. */
    Fold(Policy policy, long clockOffsetMs) {
        this(policy, clockOffsetMs, SCRATCH.get()[0], SCRATCH.get()[1]);
    }

    private Fold(Policy policy, long clockOffsetMs, long[] moment, long[] piece) {
        this.policy = policy;
        this.clockOffsetMs = clockOffsetMs;
        this.moment = moment;
        this.piece = piece;
    }

    /** The next event: a higher seq than all before. */
    void add(Event said, Sink sink) {
        Event event = current == null ? said : Kept.resolved(said, current.last);
        titled = said.tellsTitle() || (current != null && !current.closed() && !current.untitled);
        ads = Ads.around(said, event, current);
        if (event.ad && current != null && !current.closed()) {
            event = event.withTitleOf(current.last, event != said);
        } else if (event.state.terminal() && current != null && !current.closed() && !current.untitled) {
            event = event.ending(current.last, event != said);
        }
        at = Math.max(at, event.deviceAt + clockOffsetMs);
        long missing = event.seq - before - 1L;
        before = event.seq;
        Arrays.fill(moment, 0);
        boolean accounted = false;
        begins = false;
        endsUnseen = current != null && current.last.silentOfAd() && !said.silentOfAd() && !said.ad && !current.last.ad;
        if (current != null && !current.closed()) {
            Reason reason = step(event, missing, sink);
            if (reason == Reason.OPEN || reason.terminal()) {
                return;
            }
            accounted = reason != Reason.TIMEOUT;
        }
        if (current != null && takesIn(event)) {
            current.events++;
            current.missing += missing;
            if (event.state.terminal()) {
                current.last = current.last.withoutAd();
            }
            if (missing > 0) {
                player.forget();
            }
            sink.takenIn(current);
            return;
        }
        open(event, missing, accounted, sink);
    }

    /** No more events: the open segment, if there is one, ends with its last event. */
    void close(Sink sink) {
        if (current != null && !current.closed()) {
            Arrays.fill(moment, 0);
            close(Reason.TIMEOUT, current.at, sink);
        }
    }

    /** The event against an open segment: hold, take or close; returns why it closed. */
    private Reason step(Event event, long missing, Sink sink) {
        boolean gap = missing > 0;
        boolean held = at - current.at <= policy.holdMs();
        long until = held ? at : current.at;
        Reason reason = closing(event, held);
        if (reason == Reason.PAUSE_LIMIT) {
            until = Math.min(until, current.pausedAt + policy.pauseLimitMs());
        } else if (reason == Reason.LENGTH_CAP) {
            until = Math.min(until, current.startAt + policy.sessionCapMs());
        }
        boolean stays = reason == Reason.OPEN || reason.terminal();
        boolean proved = stays && player.lostStalls(event, gap, ads) > 0;
        State state = stays ? stateOf(event, current.played || proved, current.seekOpen && !proved) : null;
        if (reason == Reason.TIMEOUT) {
            until = current.at;
        } else {
            begins = !stays && player.begins(event, gap, ads);
            hold(until, gap, contentEnd(event, gap), sink);
            boolean unseen = stays && until < at;
            player.afterGap(event, gap, ads, unseen ? null : current.state, begins ? State.REBUFFERING : state,
                    unseen ? null : current.last, unseen ? at - current.at : until - current.at, current.connection, moment);
            if (endsUnseen && Measure.GAPS_VERIFIED.of(current.sums) + Measure.GAPS_VERIFIED.of(moment) > 0) {
                Measure.GAPS_VERIFIED.add(moment, -1);
            }
        }
        if (stays) {
            current.missing += missing;
            apply(event, state, proved, sink);
        }
        if (reason != Reason.OPEN) {
            if (stays) {
                Arrays.fill(moment, 0);
            }
            close(reason, reason.terminal() ? at : until, sink);
        }
        return reason;
    }

    /** 3: the state an event begins. */
    private static State stateOf(Event event, boolean played, boolean seekOpen) {
        State state = event.state;
        if (!played && (state == State.REBUFFERING || state == State.SEEKING)) {
            return State.STARTING;
        }
        return seekOpen && state == State.REBUFFERING ? State.SEEKING : state;
    }

    /** 5: the first rule that applies. */
    private Reason closing(Event event, boolean held) {
        if (event.receivedAt - current.last.receivedAt > policy.silenceMs()) {
            return Reason.TIMEOUT;
        }
        if (event.state.terminal()) {
            return Reason.of(event.state);
        }
        if (!current.untitled && !event.title().equals(current.last.title())) {
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

    private void open(Event event, long missing, boolean accounted, Sink sink) {
        boolean gap = missing > 0;
        boolean proved = begins || (!accounted && event.state == State.REBUFFERING && player.lostStalls(event, gap, ads) > 0);
        State state = stateOf(event, proved, false);
        Arrays.fill(moment, 0);
        if (!accounted) {
            long unseen = current == null ? policy.holdMs() : at - current.at;
            player.afterGap(event, gap, ads, null, state, null, unseen, false, moment);
        }
        Segment segment = new Segment();
        segment.number = current == null ? 0 : current.number + 1;
        segment.startAt = at;
        segment.missing = missing;
        segment.last = event;
        if (current != null) {
            retried(segment, current, event);
            segment.afterEnd = current.reason == Reason.ENDED || current.afterEnd && current.wantedAt == Segment.NEVER;
            if (current.number == 0) {
                first = current;
            }
        }
        current = segment;
        apply(event, state, proved, sink);
        if (current.state.terminal()) {
            Arrays.fill(moment, 0);
            close(Reason.of(current.state), at, sink);
        }
    }

    /** 8: whether the segment is a retry of one that failed. */
    private void retried(Segment segment, Segment failed, Event event) {
        if (failed.reason == Reason.FAILED && !failed.business
                && (failed.untitled || event.ad || event.title().equals(failed.last.title()))
                && at - failed.endAt <= policy.retryMs()) {
            segment.failedAt = failed.endAt;
            segment.failedPlayed = failed.played || failed.failedPlayed;
        }
    }

    /** 3, 7, 8: the event becomes the newest one; {@code moment} holds what the player's counters say of a gap before. */
    private void apply(Event event, State now, boolean proved, Sink sink) {
        Segment s = current;
        State was = s.state;
        Event last = s.last;
        s.last = event;
        s.at = at;
        s.state = now;
        s.events++;
        s.untitled &= event.ad || !titled;
        s.impressionId = s.impressionId == null ? event.impressionId : s.impressionId;
        s.pageId = s.pageId == null ? event.pageId : s.pageId;
        if (event.playheadMs >= 0 && !event.ad) {
            s.maxPlayheadMs = Math.max(s.maxPlayheadMs, event.playheadMs);
            s.positionMs = event.playheadMs;
        }
        if (now == State.PAUSED) {
            s.pausedAt = s.pausedAt == Segment.NEVER ? at : s.pausedAt;
        } else if (!now.terminal()) {
            s.pausedAt = Segment.NEVER;
        }
        if (now == State.FAILED) {
            s.business = (event.errorClass == ErrorCodes.NONE ? last : event).errorClass == ErrorCodes.BUSINESS;
        }
        causes(s, was, last, proved);
        starts(s, proved);
        if (now != State.REBUFFERING || was != State.REBUFFERING) {
            s.stallCounted = false;
        }
        if (!event.ad && !event.background) {
            stallsAndSwitches(s);
        }
        if (!Measure.none(moment)) {
            Measure.add(s.sums, moment, 1);
            sink.moment(s, moment);
        }
    }

    /** When something last happened that may make a player wait: the frame after a seek, resume, rate, ad end. */
    private void causes(Segment s, State was, Event last, boolean proved) {
        Event event = s.last;
        boolean firstFrame = proved || (s.state == State.PLAYING && !event.ad);
        if ((s.seekOpen && firstFrame) || (was == State.PAUSED && s.state != State.PAUSED) || (last.ad && !event.ad)
                || (last.rateMilli != event.rateMilli && last.rateMilli != 0 && event.rateMilli != 0)) {
            s.causedAt = at;
        }
        s.seekOpen = event.state == State.SEEKING || s.seekOpen && !firstFrame;
    }

    private void starts(Segment s, boolean proved) {
        Event event = s.last;
        boolean playing = s.state == State.PLAYING;
        boolean retry = s.failedAt != Segment.NEVER && at - s.failedAt <= policy.retryMs();
        boolean over = over(s, event);
        boolean wanted = proved || ((s.state == State.STARTING || playing) && !over);
        if (wanted && s.wantedAt == Segment.NEVER) {
            s.wantedAt = at;
            s.wantedSeen = s.state == State.STARTING && !proved;
        }
        if (s.wantedAt != Segment.NEVER && !s.attempted && !s.played && !retry) {
            s.attempted = true;
            Measure.ATTEMPTS.add(moment, 1);
        }
        boolean exact = s.attempted && s.wantedSeen && s.missing == 0;
        if (playing && !s.anyFrame) {
            s.anyFrame = true;
            if (exact) {
                Measure.ANY_STARTS_MEASURED.add(moment, 1);
                Measure.ANY_START_DELAY_MS.add(moment, at - s.wantedAt - s.pausedMs);
            }
        }
        if (s.played || !(proved || (playing && !event.ad && !over))) {
            return;
        }
        s.anyFrame = true;
        s.played = true;
        s.playedAt = at;
        if (!s.attempted) {
            (s.failedPlayed ? Measure.PLAYBACK_FAILURES_RECOVERED : Measure.START_FAILURES_RECOVERED).add(moment, 1);
            Measure.PLAYS.add(moment, s.failedPlayed ? 0 : 1);
            return;
        }
        Measure.PLAYS.add(moment, 1);
        if (exact) {
            long delay = at - s.wantedAt - s.excludedMs;
            Measure.STARTS_MEASURED.add(moment, 1);
            Measure.START_DELAY_MS.add(moment, delay);
            Measure.STARTUP_SCORE_MILLI.add(moment, Scores.startup(delay));
            Measure.startBin(delay).add(moment, 1);
        }
    }

    /** 7: after an end and nothing but ads, whether the event is of an ad, or of nothing: it ended one, or goes on after it. */
    private boolean over(Segment s, Event event) {
        return s.afterEnd && s.wantedAt == Segment.NEVER
                && (event.ad || (s.state == State.PLAYING && !titled && Measure.AD_MS.of(s.sums) > 0));
    }

    private void stallsAndSwitches(Segment s) {
        if (s.state == State.REBUFFERING && !s.stallCounted) {
            s.stallCounted = true;
            Measure.STALLS.add(moment, 1);
            s.connection = s.causedAt == Segment.NEVER || at - s.causedAt > policy.causeMs();
            if (s.connection) {
                s.connectionUntil = at;
                Measure.CIR_STALLS.add(moment, 1);
            }
        }
        int kbps = s.last.bitrateKbps;
        // Without a play nothing of content is on screen: what seems to play is behind an ad after the end.
        if (s.state == State.PLAYING && s.played && kbps >= 0) {
            int step = s.playKbps < 0 ? 0 : kbps - s.playKbps;
            s.playKbps = kbps;
            if (step != 0 && at - s.playedAt <= policy.startupMs()) {
                Measure.STARTUP_SWITCHES.add(moment, 1);
                Measure.STARTUP_SWITCH_KBPS.add(moment, Math.abs(step));
            } else if (step != 0) {
                (step > 0 ? Measure.SWITCHES_UP : Measure.SWITCHES_DOWN).add(moment, 1);
                (step > 0 ? Measure.SWITCH_UP_KBPS : Measure.SWITCH_DOWN_KBPS).add(moment, Math.abs(step));
            }
        }
    }

    /** 10: the playhead that content believed to be shown in a gap cannot have passed; without end if nothing tells one. */
    private long contentEnd(Event event, boolean gap) {
        boolean told = event.playheadMs >= 0 && !event.ad && event.title().equals(current.last.title());
        return gap && told && event.playheadMs >= current.positionMs - Cover.JOIN_MS ? event.playheadMs : Long.MAX_VALUE;
    }

    /** 4 and 11: the newest event's state holds until then, cut at minute borders. */
    private void hold(long until, boolean unobserved, long contentEnd, Sink sink) {
        Segment s = current;
        if (s.wantedAt != Segment.NEVER && !s.played && (s.last.ad || s.state == State.PAUSED)) {
            s.excludedMs += until - s.at;
            s.pausedMs += s.state == State.PAUSED ? until - s.at : 0;
        }
        if (s.state == State.REBUFFERING && s.stallCounted && s.connection) {
            s.connectionUntil = until;
        }
        long start = s.at;
        do {
            long end = Math.min(until, minute(start) + MINUTE_MS);
            Arrays.fill(piece, 0);
            durations(s.state, s.last, end - start, s.connection, piece, 1);
            Measure.CONTENT_MS.add(piece, covered(s, end - start, contentEnd));
            Measure.add(s.sums, piece, 1);
            sink.held(s, start, end, unobserved, piece);
            start = end;
        } while (start < until);
    }

    /** 10: move the position on by so long of the newest event's state; returns the new content that was shown. */
    private static long covered(Segment s, long ms, long contentEnd) {
        Event event = s.last;
        long media = ms * event.rateMilli / 1000;
        if (s.state != State.PLAYING || event.ad || media == 0) {
            return 0;
        }
        long start = s.positionMs;
        s.positionMs += media;
        long end = Math.min(s.positionMs, contentEnd);
        return event.background || end <= start ? 0 : s.cover.add(start, end);
    }

    /** End the segment; {@code moment} holds what the player's counters say of a gap at its end. */
    private void close(Reason reason, long endAt, Sink sink) {
        Segment s = current;
        if (reason == Reason.FAILED && (s.attempted || s.played)) {
            (s.played ? Measure.PLAYBACK_FAILURES : Measure.START_FAILURES).add(moment, 1);
            if (s.business) {
                (s.played ? Measure.PLAYBACK_FAILURES_BUSINESS : Measure.START_FAILURES_BUSINESS).add(moment, 1);
            }
        } else if (s.attempted && !s.played) {
            Measure.EXITS_BEFORE_START.add(moment, 1);
            Measure.LONG_WAIT_EXITS.add(moment, endAt - s.wantedAt - s.excludedMs > policy.longWaitMs() ? 1 : 0);
        }
        if ((reason == Reason.QUIT || reason == Reason.TIMEOUT) && s.connectionUntil != Segment.NEVER && s.pausedAt == Segment.NEVER
                && endAt - s.connectionUntil <= policy.exitMs()) {
            Measure.CIR_EXITS.add(moment, 1);
        }
        if (s.played && (s.attempted || !s.failedPlayed)) {
            long stallMs = Measure.STALL_MS.of(s.sums) + Measure.STALL_MS.of(moment);
            Measure.SMOOTHNESS_SCORED.add(moment, 1);
            Measure.SMOOTHNESS_SCORE_MILLI.add(moment, Scores.smoothness(
                    Measure.STALLS.of(s.sums) + Measure.STALLS.of(moment), stallMs,
                    Measure.PLAY_MS.of(s.sums) + Measure.PLAY_MS.of(moment)));
            Measure.stallBin(stallMs).add(moment, 1);
        }
        Measure.add(s.sums, moment, 1);
        s.reason = reason;
        s.endAt = endAt;
        sink.closed(s, moment);
        if (reason.terminal()) {
            s.last = s.last.withoutAd();
        }
    }

    /** What {@code ms} milliseconds of a state add to, times {@code sign}; {@code connection}: a stall would be CIR. */
    static void durations(State state, Event event, long ms, boolean connection, long[] to, int sign) {
        if (!state.alive()) {
            return;
        }
        long amount = sign * ms;
        Measure.ALIVE_MS.add(to, amount);
        if (state == State.PAUSED) {
            Measure.PAUSE_MS.add(to, amount);
        }
        if (event.ad) {
            Measure.AD_MS.add(to, amount);
        }
        if (event.background) {
            Measure.BACKGROUND_MS.add(to, amount);
        }
        Measure watched = switch (state) {
            case STARTING -> Measure.STARTING_MS;
            case PLAYING -> Measure.PLAY_MS;
            case REBUFFERING -> Measure.STALL_MS;
            case SEEKING -> Measure.SEEK_MS;
            default -> null;
        };
        if (watched == null || event.ad || event.background) {
            return;
        }
        watched.add(to, amount);
        Measure.WATCHED_MS.add(to, amount);
        if (state == State.REBUFFERING && connection) {
            Measure.CIR_STALL_MS.add(to, amount);
        }
        if (state == State.PLAYING) {
            long media = sign * (ms * event.rateMilli / 1000);
            Measure.MEDIA_MS.add(to, media);
            if (event.bitrateKbps >= 0) {
                Measure.BITRATE_KBPS_MS.add(to, event.bitrateKbps * media);
                Measure.BITRATE_KNOWN_MS.add(to, media);
            }
        }
    }

    static long minute(long at) {
        return Math.floorDiv(at, MINUTE_MS) * MINUTE_MS;
    }

    Fold copy() {
        Fold other = new Fold(policy, clockOffsetMs, moment, piece);
        other.current = current == null ? null : current.copy();
        other.first = first == null ? null : first.copy();
        other.before = before;
        other.at = at;
        other.player = player.copy();
        return other;
    }

    void write(Codec.Out out) {
        out.number(before);
        out.number(at);
        player.write(out);
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
        fold.player = Player.read(in);
        fold.current = in.flag() ? Segment.read(in) : null;
        fold.first = in.flag() ? Segment.read(in) : null;
        return fold;
    }
}
