package io.matinee.kernel;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Short texts out of bytes, most of them one of a few: a dimension's value comes with every event and with every state.
 * Threads share the slots without a lock: an entry never changes, and one lost to another thread is made again.
 */
final class Texts {
    private static final int LONGEST = 24;
    private static final Known[] SLOTS = new Known[1 << 12];

    private record Known(byte[] utf8, String text) {}

    private Texts() {}

    static String of(byte[] bytes, int at, int length) {
        if (length > LONGEST) {
            return new String(bytes, at, length, StandardCharsets.UTF_8);
        }
        int hash = length;
        for (int i = at; i < at + length; i++) {
            hash = 31 * hash + bytes[i];
        }
        int slot = (hash ^ hash >>> 12) & SLOTS.length - 1;
        Known known = SLOTS[slot];
        if (known == null || !Arrays.equals(known.utf8, 0, known.utf8.length, bytes, at, at + length)) {
            known = new Known(Arrays.copyOfRange(bytes, at, at + length), new String(bytes, at, length, StandardCharsets.UTF_8));
            SLOTS[slot] = known;
        }
        return known.text;
    }
}
