package io.matinee.kernel;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Short texts out of bytes, most of them one of a few: a dimension's value comes with every event and with every state.
 * Threads share the slots without a lock: an entry never changes, and one lost to another thread is made again.
 */
final class Texts {
    private static final int LONGEST = 24;
    private static final int BITS = 12;
    private static final Known[] SLOTS = new Known[1 << BITS];
    private static final VarHandle WORD = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final long SPREAD = 0x9E3779B97F4A7C15L;

    private record Known(byte[] utf8, String text) {}

    private Texts() {}

    static String of(byte[] bytes, int at, int length) {
        if (length > LONGEST) {
            return new String(bytes, at, length, StandardCharsets.UTF_8);
        }
        int slot = (int) (hash(bytes, at, length) >>> Long.SIZE - BITS);
        Known known = SLOTS[slot];
        if (known == null || !Arrays.equals(known.utf8, 0, known.utf8.length, bytes, at, at + length)) {
            known = new Known(Arrays.copyOfRange(bytes, at, at + length), new String(bytes, at, length, StandardCharsets.UTF_8));
            SLOTS[slot] = known;
        }
        return known.text;
    }

    /** Eight bytes at a time; the upper bits tell most. */
    private static long hash(byte[] bytes, int at, int length) {
        long hash = length;
        int end = at + length;
        int i = at;
        for (; i <= end - Long.BYTES; i += Long.BYTES) {
            hash = (hash ^ (long) WORD.get(bytes, i)) * SPREAD;
            hash ^= hash >>> 32;
        }
        long rest = 0;
        for (; i < end; i++) {
            rest = rest << 8 | bytes[i] & 0xFF;
        }
        return (hash ^ rest) * SPREAD;
    }
}
