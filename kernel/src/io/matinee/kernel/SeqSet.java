package io.matinee.kernel;

import java.util.Map;
import java.util.TreeMap;

/** The sequence numbers seen so far, as ranges. */
final class SeqSet {
    private final TreeMap<Integer, Integer> ranges = new TreeMap<>();

    /** False if it was in already. */
    boolean add(int seq) {
        Map.Entry<Integer, Integer> below = ranges.floorEntry(seq);
        if (below != null && below.getValue() >= seq) {
            return false;
        }
        int from = below != null && below.getValue() == seq - 1 ? below.getKey() : seq;
        Integer above = ranges.remove(seq + 1);
        ranges.put(from, above == null ? seq : above);
        return true;
    }

    void write(Codec.Out out) {
        out.number(ranges.size());
        ranges.forEach((from, to) -> {
            out.number(from);
            out.number(to);
        });
    }

    static SeqSet read(Codec.In in) {
        SeqSet set = new SeqSet();
        for (long n = in.number(); n > 0; n--) {
            int from = (int) in.number();
            set.ranges.put(from, (int) in.number());
        }
        return set;
    }
}
