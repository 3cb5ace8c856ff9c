package io.matinee.kernel;

import java.util.Arrays;

/**
 * What the fold reads of an event, as bytes: what a batch shuffles and gathers by session. The texts stand together in
 * front, as they mostly are those of the session's event before: then {@link Reader} takes them from there.
 */
public final class EventBytes {
    /** Texts in the order in which they are written: session_id, impression_id, page_id, then {@link Event#DIMENSION_NAMES}. */
    public static final int TEXTS = 3 + Event.DIMENSIONS;

    private EventBytes() {}

    /** Writes event after event; for one thread. */
    public static final class Writer {
        private final Codec.Out texts = new Codec.Out();
        private final Codec.Out out = new Codec.Out();

        /** {@code utf8} are the texts, null where there is none; of {@code e} everything else is taken. */
        public byte[] write(byte[][] utf8, Event e) {
            texts.clear();
            for (byte[] text : utf8) {
                texts.block(text);
            }
            out.clear();
            out.block(texts.done());
            e.writeNumbers(out);
            return out.done();
        }
    }

    /** Reads event after event; for one thread. */
    public static final class Reader {
        private byte[] before = new byte[0];
        private int from;
        private int until;
        private final String[] texts = new String[TEXTS];
        private String[] dims;

        public Event read(byte[] bytes) {
            Codec.In in = new Codec.In(bytes);
            int length = (int) in.number();
            int start = in.position();
            if (until == from || !Arrays.equals(before, from, until, bytes, start, start + length)) {
                for (int i = 0; i < TEXTS; i++) {
                    String text = in.string();
                    texts[i] = text != null && text.equals(texts[i]) ? texts[i] : text;
                }
                dims = Arrays.copyOfRange(texts, 3, TEXTS);
                before = bytes;
                from = start;
                until = start + length;
            } else {
                in.skip(length);
            }
            Event e = new Event();
            e.sessionId = texts[0];
            e.impressionId = texts[1];
            e.pageId = texts[2];
            e.dims = dims;
            e.readNumbers(in);
            return e;
        }
    }
}
