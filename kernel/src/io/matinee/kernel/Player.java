package io.matinee.kernel;

/**
 * What the player's own counters of stalls should say now, by the timeline so far; what they say beyond it after a gap
 * happened unseen. The rules stand in models/playback/repair.py.
 */
final class Player {
    private long stalls;
    private long stallMs;
    private boolean known = true;

    private static boolean told(Event event) {
        return event.stallCount >= 0 && event.stallTotalMs >= 0;
    }

    /** A gap that nothing is known of. */
    void forget() {
        known = false;
    }

    /** How many stalls of content began unseen before the event, or with it; 0 if there is no gap or no telling. */
    long lostStalls(Event event, boolean gap, Ads ads) {
        return gap && known && told(event) && ads != Ads.BESIDE ? event.stallCount - stalls : 0;
    }

    /** Whether one stall more, of no length yet, is all that a gap hid: then it begins with the event. */
    boolean begins(Event event, boolean gap, Ads ads) {
        return event.state == State.REBUFFERING && gap && known && ads != Ads.BESIDE && event.stallCount == stalls + 1
                && event.stallTotalMs == stallMs;
    }

    /**
     * Take the event in; adds what a gap right before it adds to its moment. {@code before} and {@code last}
     * are null if nothing was held, {@code state} if another segment takes it.
     */
    void afterGap(Event event, boolean gap, Ads ads, State before, State state, Event last, long heldMs, boolean connection,
            long[] to) {
        boolean stalled = before == State.REBUFFERING;
        boolean began = state == State.REBUFFERING && !stalled;
        long count = stalls + (began ? 1 : 0);
        long ms = stallMs + (stalled ? heldMs : 0);
        boolean repaired = false;
        if (gap) {
            Measure.GAPS.add(to, 1);
            long more = event.stallCount - count;
            boolean whose = more > 0 && state == null && event.state == State.REBUFFERING;
            if (known && told(event) && !whose) {
                repaired = repair(event, ads, began, state, before, last, heldMs, connection, more, event.stallTotalMs - ms, to);
            }
        }
        if (told(event)) {
            boolean lasting = state == State.REBUFFERING && !repaired;
            stalls = lasting ? Math.max(count, event.stallCount) : event.stallCount;
            stallMs = lasting ? Math.max(ms, event.stallTotalMs) : event.stallTotalMs;
            known = true;
        } else {
            stalls = count;
            stallMs = ms;
            known &= !gap;
        }
    }

    /** Returns whether the counters have put the timeline right. */
    private static boolean repair(Event event, Ads ads, boolean began, State state, State before, Event last, long heldMs,
            boolean connection, long more, long moreMs, long[] to) {
        boolean stalled = before == State.REBUFFERING;
        boolean hidden = event.background || ads == Ads.BESIDE || (last != null && last.background);
        if (more == 0 && moreMs == 0) {
            Measure.GAPS_VERIFIED.add(to, (hidden && stalled) || ads.compareTo(Ads.SHOWN) > 0 ? 0 : 1);
            return false;
        }
        boolean plausible = more >= 0 && moreMs >= (stalled ? -heldMs : 0) && moreMs <= (stalled ? 0 : heldMs)
                && (more > 0 || began || stalled || last == null);
        if (!plausible || hidden) {
            return false;
        }
        // It was over before, so what stalls now is not it, nor one that they have counted.
        boolean another = stalled && state == State.REBUFFERING && more == 0;
        Measure.GAPS_VERIFIED.add(to, ads == Ads.NONE && !another ? 1 : 0);
        Measure.REPAIRED_STALLS.add(to, more);
        Measure.STALLS.add(to, more);
        Measure.REPAIRED_STALL_MS.add(to, moreMs);
        Measure.STALL_MS.add(to, moreMs);
        Measure.WATCHED_MS.add(to, moreMs);
        Measure.ALIVE_MS.add(to, moreMs);
        if (connection && stalled) {
            Measure.CIR_STALL_MS.add(to, moreMs);
        }
        if (last != null) {
            // Time that was believed to be in `before` was stalled; or, where a stall was held too long, it was playing.
            Fold.durations(moreMs < 0 ? State.PLAYING : before, last, Math.abs(moreMs), false, to, moreMs < 0 ? 1 : -1);
        }
        return true;
    }

    Player copy() {
        Player other = new Player();
        other.stalls = stalls;
        other.stallMs = stallMs;
        other.known = known;
        return other;
    }

    void write(Codec.Out out) {
        out.number(stalls);
        out.number(stallMs);
        out.flag(known);
    }

    static Player read(Codec.In in) {
        Player player = new Player();
        player.stalls = in.number();
        player.stallMs = in.number();
        player.known = in.flag();
        return player;
    }
}
