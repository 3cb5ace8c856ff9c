package io.matinee.kernel;

import java.util.Arrays;

/** The sequence numbers seen so far, as ranges: first and last in turn, in order. */
final class SeqSet {
    private int[] ends = new int[2];
    private int size;

    /** False if it was in already. Looks from the end, where nearly every number goes. */
    boolean add(int seq) {
        int after = size;
        while (after > 0 && ends[after - 2] > seq) {
            after -= 2;
        }
        if (after > 0 && ends[after - 1] >= seq) {
            return false;
        }
        boolean below = after > 0 && ends[after - 1] == seq - 1;
        boolean above = after < size && ends[after] == seq + 1;
        if (below && above) {
            System.arraycopy(ends, after + 1, ends, after - 1, size - after - 1);
            size -= 2;
        } else if (below) {
            ends[after - 1] = seq;
        } else if (above) {
            ends[after] = seq;
        } else {
            if (size == ends.length) {
                ends = Arrays.copyOf(ends, size * 2);
            }
            System.arraycopy(ends, after, ends, after + 2, size - after);
            ends[after] = seq;
            ends[after + 1] = seq;
            size += 2;
        }
        return true;
    }

    void write(Codec.Out out) {
        out.number(size / 2);
        for (int i = 0; i < size; i++) {
            out.number(ends[i]);
        }
    }

    static SeqSet read(Codec.In in) {
        SeqSet set = new SeqSet();
        set.size = (int) in.number() * 2;
        set.ends = new int[Math.max(set.size, 2)];
        for (int i = 0; i < set.size; i++) {
            set.ends[i] = (int) in.number();
        }
        return set;
    }
}
