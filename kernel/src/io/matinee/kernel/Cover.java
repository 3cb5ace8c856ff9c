package io.matinee.kernel;

import java.util.Arrays;

/** Which parts of a content have been played: disjoint intervals of playheads, start and end in turn, in order. */
final class Cover {
    /** Parts nearer than this are one. */
    static final long JOIN_MS = 1_000;

    private long[] ends = new long[2];
    private int size;

    /** Add an interval that is not empty; returns by how much the length has grown. */
    long add(long start, long end) {
        int first = 0;
        while (first < size && ends[first + 1] < start - JOIN_MS) {
            first += 2;
        }
        int after = first;
        long covered = 0;
        long from = start;
        long to = end;
        while (after < size && ends[after] <= end + JOIN_MS) {
            from = Math.min(from, ends[after]);
            to = Math.max(to, ends[after + 1]);
            covered += ends[after + 1] - ends[after];
            after += 2;
        }
        int grown = size - (after - first) + 2;
        if (grown > ends.length) {
            ends = Arrays.copyOf(ends, grown + 4);
        }
        System.arraycopy(ends, after, ends, first + 2, size - after);
        ends[first] = from;
        ends[first + 1] = to;
        size = grown;
        return to - from - covered;
    }

    Cover copy() {
        Cover other = new Cover();
        other.ends = ends.clone();
        other.size = size;
        return other;
    }

    void write(Codec.Out out) {
        out.number(size);
        for (int i = 0; i < size; i++) {
            out.number(ends[i]);
        }
    }

    static Cover read(Codec.In in) {
        Cover cover = new Cover();
        cover.size = (int) in.number();
        cover.ends = new long[Math.max(cover.size, 2)];
        for (int i = 0; i < cover.size; i++) {
            cover.ends[i] = in.number();
        }
        return cover;
    }
}
