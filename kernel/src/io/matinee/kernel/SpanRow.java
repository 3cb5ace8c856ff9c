package io.matinee.kernel;

import java.util.Arrays;

/** One span of the batch form: intervals of equal state and dimensions joined inside a minute. */
public final class SpanRow {
    public final Segment segment;
    public final int number;
    public final long startAt;
    public long endAt;
    public final State state;
    public final boolean background;
    public final boolean ad;
    public final int bitrateKbps;
    public final boolean unobserved;
    public final String[] dims;
    public final long[] measures;

    SpanRow(Segment segment, int number, long startAt, long endAt, boolean unobserved, long[] measures) {
        Event event = segment.last;
        this.segment = segment;
        this.number = number;
        this.startAt = startAt;
        this.endAt = endAt;
        this.state = segment.state;
        this.background = event.background;
        this.ad = event.ad;
        this.bitrateKbps = event.bitrateKbps;
        this.unobserved = unobserved;
        this.dims = event.dims;
        this.measures = measures;
    }

    SpanRow(Segment segment, int number, long startAt, long endAt, State state, int flags, int bitrateKbps, String[] dims,
            long[] measures) {
        this.segment = segment;
        this.number = number;
        this.startAt = startAt;
        this.endAt = endAt;
        this.state = state;
        this.background = (flags & 1) != 0;
        this.ad = (flags & 2) != 0;
        this.unobserved = (flags & 4) != 0;
        this.bitrateKbps = bitrateKbps;
        this.dims = dims;
        this.measures = measures;
    }

    int flags() {
        return (background ? 1 : 0) | (ad ? 2 : 0) | (unobserved ? 4 : 0);
    }

    public long minuteAt() {
        return Fold.minute(startAt);
    }

    /** Whether the segment's newest state, from {@code start} on, only goes on with this span. */
    boolean goesOn(Segment other, long start, boolean stillUnobserved) {
        Event event = other.last;
        return segment == other && endAt == start && minuteAt() == Fold.minute(start) && state == other.state
                && background == event.background && ad == event.ad && bitrateKbps == event.bitrateKbps
                && unobserved == stillUnobserved && Arrays.equals(dims, event.dims);
    }
}
