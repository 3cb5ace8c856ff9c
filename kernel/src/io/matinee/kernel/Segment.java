package io.matinee.kernel;

import java.util.Arrays;

/** One segment while it is folded and after; {@code last}, {@code at} and {@code state} are those of its newest event. */
public final class Segment {
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
    public final long[] sums = new long[Measure.COUNT];
    long attemptAt = NEVER;
    boolean attemptSeen;
    long excludedMs;
    boolean played;
    boolean stallCounted;
    int playKbps = -1;
    long pausedAt = NEVER;

    public boolean closed() {
        return reason != Reason.OPEN;
    }

    /** End of the segment, or its newest event while it lives. */
    public long provenAt() {
        return closed() ? endAt : at;
    }

    Segment copy() {
        Codec.Out out = new Codec.Out();
        write(out);
        return read(new Codec.In(out.done()));
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
        out.number(endAt);
        last.write(out);
        out.number(at);
        out.number(state.ordinal());
        out.number(reason.ordinal());
        out.number(events);
        out.number(missing);
        out.number(maxPlayheadMs);
        out.string(impressionId);
        out.string(pageId);
        for (long sum : sums) {
            out.number(sum);
        }
        out.number(attemptAt);
        out.flag(attemptSeen);
        out.number(excludedMs);
        out.flag(played);
        out.flag(stallCounted);
        out.number(playKbps);
        out.number(pausedAt);
    }

    static Segment read(Codec.In in) {
        Segment s = new Segment();
        s.number = (int) in.number();
        s.startAt = in.number();
        s.endAt = in.number();
        s.last = Event.read(in);
        s.at = in.number();
        s.state = State.at((int) in.number());
        s.reason = Reason.at((int) in.number());
        s.events = in.number();
        s.missing = in.number();
        s.maxPlayheadMs = in.number();
        s.impressionId = in.string();
        s.pageId = in.string();
        for (int i = 0; i < Measure.COUNT; i++) {
            s.sums[i] = in.number();
        }
        s.attemptAt = in.number();
        s.attemptSeen = in.flag();
        s.excludedMs = in.number();
        s.played = in.flag();
        s.stallCounted = in.flag();
        s.playKbps = (int) in.number();
        s.pausedAt = in.number();
        return s;
    }
}
