package io.matinee.kernel;

import java.util.Arrays;

/** The sequence numbers seen so far, as ranges: nearly every number goes to the newest one, which lies at hand. */
final class SeqSet {
    private static final int[] NONE = {};
    /** The newest range; none yet if {@code last} is below {@code first}. */
    private int first;
    private int last = -1;
    /** First and last of those before it, in turn, in order. */
    private int[] ends = NONE;
    private int size;

    /** False if it was in already. */
    boolean add(int seq) {
        if (last < first) {
            first = seq;
            last = seq;
        } else if (seq == last + 1) {
            last = seq;
        } else if (seq > last) {
            insert(size, first, last);
            first = seq;
            last = seq;
        } else {
            return seq < first && addBefore(seq);
        }
        return true;
    }

    private boolean addBefore(int seq) {
        int after = after(seq);
        if (after > 0 && ends[after - 1] >= seq) {
            return false;
        }
        boolean below = after > 0 && ends[after - 1] == seq - 1;
        boolean above = (after < size ? ends[after] : first) == seq + 1;
        if (above && after == size) {
            first = below ? ends[after - 2] : seq;
            size -= below ? 2 : 0;
        } else if (below && above) {
            System.arraycopy(ends, after + 1, ends, after - 1, size - after - 1);
            size -= 2;
        } else if (below) {
            ends[after - 1] = seq;
        } else if (above) {
            ends[after] = seq;
        } else {
            insert(after, seq, seq);
        }
        return true;
    }

    /** Where the first range lies that begins after {@code seq}. */
    private int after(int seq) {
        int low = 0;
        int high = size / 2;
        while (low < high) {
            int middle = (low + high) / 2;
            if (ends[2 * middle] > seq) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        return 2 * low;
    }

    private void insert(int at, int from, int to) {
        if (size == ends.length) {
            ends = Arrays.copyOf(ends, size == 0 ? 4 : size * 2);
        }
        System.arraycopy(ends, at, ends, at + 2, size - at);
        ends[at] = from;
        ends[at + 1] = to;
        size += 2;
    }

    void write(Codec.Out out) {
        boolean any = last >= first;
        out.number(size / 2 + (any ? 1 : 0));
        for (int i = 0; i < size; i++) {
            out.number(ends[i]);
        }
        if (any) {
            out.number(first);
            out.number(last);
        }
    }

    static SeqSet read(Codec.In in) {
        SeqSet set = new SeqSet();
        for (long ranges = in.number(); ranges > 0; ranges--) {
            if (set.last >= set.first) {
                set.insert(set.size, set.first, set.last);
            }
            set.first = (int) in.number();
            set.last = (int) in.number();
        }
        return set;
    }
}
