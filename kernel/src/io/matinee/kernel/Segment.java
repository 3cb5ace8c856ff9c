package io.matinee.kernel;

import java.util.Arrays;

/** One segment while it is folded and after; {@code last}, {@code at} and {@code state} are those of its newest event. */
public final class Segment implements Cloneable {
    static final long NEVER = Long.MIN_VALUE;

    public int number;
    public long startAt;
    public long endAt;
    public Event last;
    public long at;
    public State state;
    public Reason reason = Reason.OPEN;
    public long events;
    public long missing;
    public long maxPlayheadMs = -1;
    public String impressionId;
    public String pageId;
    public long[] sums = new long[Measure.COUNT];
    /** The first starting or playing event: the attempt, unless it retries; it counts later then, if at all. */
    long wantedAt = NEVER;
    boolean wantedSeen;
    /** Content ended before it, with nothing but ads between: an ad is of that, no attempt. */
    boolean afterEnd;
    boolean attempted;
    long excludedMs;
    long pausedMs;
    boolean anyFrame;
    boolean played;
    long playedAt = NEVER;
    long failedAt = NEVER;
    boolean failedPlayed;
    boolean business;
    boolean stallCounted;
    /** The stall is, or the last one was, connection-induced. */
    boolean connection;
    long connectionUntil = NEVER;
    boolean seekOpen;
    /** Nothing but ads, and events that do not tell a title, so far. */
    boolean untitled = true;
    long causedAt = NEVER;
    int playKbps = -1;
    /** Since when it is paused; an end while paused keeps it. */
    long pausedAt = NEVER;
    long positionMs;
    Cover cover = new Cover();

    public boolean closed() {
        return reason != Reason.OPEN;
    }

    /** End of the segment, or its newest event while it lives. */
    public long provenAt() {
        return closed() ? endAt : at;
    }

    Segment copy() {
        Segment s = row();
        s.cover = cover.copy();
        return s;
    }

    /** A copy for its row alone, which says nothing of the cover: that may be long and goes on changing with this one. */
    public Segment row() {
        try {
            Segment s = (Segment) clone();
            s.sums = sums.clone();
            return s;
        } catch (CloneNotSupportedException error) {
            throw new AssertionError(error);
        }
    }

    /** Whether the two would give the same session row. */
    boolean sameRow(Segment other) {
        Codec.Out mine = new Codec.Out();
        Codec.Out theirs = new Codec.Out();
        write(mine);
        other.write(theirs);
        return Arrays.equals(mine.done(), theirs.done());
    }

    void write(Codec.Out out) {
        out.number(number);
        out.number(startAt);
        out.number(endAt == 0 ? 0 : endAt - startAt + 1);
        last.write(out);
        out.number(at - startAt);
        out.number(state.ordinal());
        out.number(reason.ordinal());
        out.number(events);
        out.number(missing);
        out.number(maxPlayheadMs);
        out.string(impressionId);
        out.string(pageId);
        Measure.write(sums, out);
        out.number(bit(afterEnd, 10) | bit(attempted, 9) | bit(untitled, 8) | bit(wantedSeen, 7) | bit(anyFrame, 6) | bit(played, 5)
                | bit(failedPlayed, 4) | bit(business, 3) | bit(stallCounted, 2) | bit(connection, 1) | bit(seekOpen, 0));
        time(out, wantedAt);
        time(out, playedAt);
        time(out, failedAt);
        time(out, connectionUntil);
        time(out, causedAt);
        time(out, pausedAt);
        out.number(excludedMs);
        out.number(pausedMs);
        out.number(playKbps);
        out.number(positionMs);
        cover.write(out);
    }

    static Segment read(Codec.In in) {
        Segment s = new Segment();
        s.number = (int) in.number();
        s.startAt = in.number();
        long length = in.number();
        s.endAt = length == 0 ? 0 : s.startAt + length - 1;
        s.last = Event.read(in);
        s.at = in.number() + s.startAt;
        s.state = State.at((int) in.number());
        s.reason = Reason.at((int) in.number());
        s.events = in.number();
        s.missing = in.number();
        s.maxPlayheadMs = in.number();
        s.impressionId = in.string();
        s.pageId = in.string();
        Measure.read(s.sums, in);
        int flags = (int) in.number();
        s.afterEnd = (flags >> 10 & 1) != 0;
        s.attempted = (flags >> 9 & 1) != 0;
        s.untitled = (flags >> 8 & 1) != 0;
        s.wantedSeen = (flags >> 7 & 1) != 0;
        s.anyFrame = (flags >> 6 & 1) != 0;
        s.played = (flags >> 5 & 1) != 0;
        s.failedPlayed = (flags >> 4 & 1) != 0;
        s.business = (flags >> 3 & 1) != 0;
        s.stallCounted = (flags >> 2 & 1) != 0;
        s.connection = (flags >> 1 & 1) != 0;
        s.seekOpen = (flags >> 0 & 1) != 0;
        s.wantedAt = s.time(in);
        s.playedAt = s.time(in);
        s.failedAt = s.time(in);
        s.connectionUntil = s.time(in);
        s.causedAt = s.time(in);
        s.pausedAt = s.time(in);
        s.excludedMs = in.number();
        s.pausedMs = in.number();
        s.playKbps = (int) in.number();
        s.positionMs = in.number();
        s.cover = Cover.read(in);
        return s;
    }

    private static int bit(boolean flag, int place) {
        return flag ? 1 << place : 0;
    }

    /** A time by its distance from the start, which is short; 0 for never. */
    private void time(Codec.Out out, long at) {
        long distance = at - startAt;
        out.number(at == NEVER ? 0 : distance < 0 ? distance : distance + 1);
    }

    private long time(Codec.In in) {
        long distance = in.number();
        return distance == 0 ? NEVER : startAt + (distance < 0 ? distance : distance - 1);
    }
}
