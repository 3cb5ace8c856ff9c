package io.matinee.kernel.flink;

import io.matinee.kernel.Measure;

/** Measures being added up; packed as long as nothing is added, so that a sum of one part is never taken apart. */
public final class Sums {
    private byte[] packed;
    private long[] values;

    void add(byte[] more) {
        if (packed == null && values == null) {
            packed = more;
            return;
        }
        if (values == null) {
            values = new long[Measure.COUNT];
            Measure.add(packed, values);
        }
        Measure.add(more, values);
        packed = null;
    }

    /** Equal sums give equal bytes. */
    byte[] packed() {
        if (packed == null) {
            packed = Measure.pack(values == null ? new long[Measure.COUNT] : values);
        }
        return packed;
    }
}
