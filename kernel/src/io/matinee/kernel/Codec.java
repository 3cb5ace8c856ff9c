package io.matinee.kernel;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Bytes of fold state: zigzag varints (as Avro writes them) and length-prefixed UTF-8. */
final class Codec {
    /** Texts that a fold has at most, as a rule: those of one event, or of two. */
    static final int FEW = 24;

    private Codec() {}

    static byte[] pack(List<String> texts) {
        Out out = new Out();
        texts.forEach(out::string);
        return out.done();
    }

    static List<String> unpack(byte[] bytes) {
        List<String> texts = new ArrayList<>(FEW);
        for (In in = new In(bytes); in.more(); ) {
            texts.add(in.string());
        }
        return texts;
    }

    static final class Out {
        private byte[] bytes = new byte[512];
        private int size;
        /** Strings are told by their place among these; null if they stand where they are told. */
        private final List<String> texts;

        Out() {
            this(null);
        }

        /** {@code texts} takes the strings, each of them once: see {@link In#In(byte[], List)}. */
        Out(List<String> texts) {
            this.texts = texts;
        }

        private void need(int more) {
            if (size + more > bytes.length) {
                bytes = Arrays.copyOf(bytes, Math.max(bytes.length * 2, size + more));
            }
        }

        void number(long value) {
            need(10);
            long rest = (value << 1) ^ (value >> 63);
            byte[] to = bytes;
            int at = size;
            while ((rest & ~0x7FL) != 0) {
                to[at++] = (byte) (rest | 0x80);
                rest >>>= 7;
            }
            to[at++] = (byte) rest;
            size = at;
        }

        void flag(boolean value) {
            need(1);
            bytes[size++] = (byte) (value ? 1 : 0);
        }

        void raw(byte[] value) {
            need(value.length);
            System.arraycopy(value, 0, bytes, size, value.length);
            size += value.length;
        }

        /** Null is length -1. */
        void string(String value) {
            if (texts != null) {
                number(value == null ? -1 : place(value));
                return;
            }
            if (value == null) {
                number(-1);
                return;
            }
            int start = size;
            number(value.length());
            need(value.length());
            for (int i = 0; i < value.length(); i++) {
                char c = value.charAt(i);
                if (c >= 0x80) {
                    size = start;
                    byte[] utf8 = value.getBytes(StandardCharsets.UTF_8);
                    number(utf8.length);
                    raw(utf8);
                    return;
                }
                bytes[size++] = (byte) c;
            }
        }

        /** They are few, and mostly the very same. */
        private int place(String value) {
            for (int i = 0; i < texts.size(); i++) {
                if (texts.get(i) == value) {
                    return i;
                }
            }
            int known = texts.indexOf(value);
            if (known < 0) {
                known = texts.size();
                texts.add(value);
            }
            return known;
        }

        /** Start again with no bytes. */
        void clear() {
            size = 0;
        }

        /** Bytes with their length before them; null is length -1. */
        void block(byte[] value) {
            if (value == null) {
                number(-1);
            } else {
                number(value.length);
                raw(value);
            }
        }

        byte[] done() {
            return Arrays.copyOf(bytes, size);
        }
    }

    /** Reads what {@link Out} wrote; only ever given such bytes. */
    static final class In {
        private final byte[] bytes;
        private final List<String> texts;
        private int at;

        In(byte[] bytes) {
            this(bytes, null);
        }

        /** {@code texts} are what the strings were given to. */
        In(byte[] bytes, List<String> texts) {
            this.bytes = bytes;
            this.texts = texts;
        }

        long number() {
            long value = 0;
            for (int shift = 0; ; shift += 7) {
                byte b = bytes[at++];
                value |= (b & 0x7FL) << shift;
                if (b >= 0) {
                    return (value >>> 1) ^ -(value & 1);
                }
            }
        }

        boolean flag() {
            return bytes[at++] != 0;
        }

        boolean more() {
            return at < bytes.length;
        }

        int position() {
            return at;
        }

        void skip(long length) {
            at += (int) length;
        }

        String string() {
            if (texts != null) {
                int place = (int) number();
                return place < 0 ? null : texts.get(place);
            }
            int length = (int) number();
            if (length < 0) {
                return null;
            }
            at += length;
            return Texts.of(bytes, at - length, length);
        }
    }
}
