package io.matinee.kernel;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * Message keys of sums: the columns of the key joined by '|', as schemas/topics.py says. A '|' or '\' inside a column
 * has a '\' before it, so that no two keys are one and {@link #split} finds the columns again.
 */
public final class SumKey {
    private final byte[][] words;
    private final int[] columns;

    /** From {@code delivery|$0|$1|$2|*}: words that are the same in every key, and $n for the n-th value. */
    public SumKey(String template) {
        String[] word = template.split("\\|", -1);
        words = new byte[word.length][];
        columns = new int[word.length];
        for (int i = 0; i < word.length; i++) {
            boolean column = word[i].matches("\\$[0-9]+");
            columns[i] = column ? Integer.parseInt(word[i].substring(1)) : -1;
            words[i] = column ? null : utf8(word[i]);
        }
    }

    /** The key over UTF-8 values that {@link #escaped} gave. */
    public byte[] of(byte[][] values) {
        int size = words.length - 1;
        for (int i = 0; i < words.length; i++) {
            size += word(i, values).length;
        }
        byte[] key = new byte[size];
        int at = 0;
        for (int i = 0; i < words.length; i++) {
            byte[] word = word(i, values);
            System.arraycopy(word, 0, key, at, word.length);
            at += word.length;
            if (at < size) {
                key[at++] = '|';
            }
        }
        return key;
    }

    private byte[] word(int i, byte[][] values) {
        return columns[i] < 0 ? words[i] : values[columns[i]];
    }

    /** UTF-8 with '|' and '\' marked; nearly always the same bytes. */
    public static byte[] escaped(byte[] utf8) {
        int marks = 0;
        for (byte b : utf8) {
            marks += b == '|' || b == '\\' ? 1 : 0;
        }
        if (marks == 0) {
            return utf8;
        }
        byte[] found = new byte[utf8.length + marks];
        int at = 0;
        for (byte b : utf8) {
            if (b == '|' || b == '\\') {
                found[at++] = '\\';
            }
            found[at++] = b;
        }
        return found;
    }

    /** The columns of a key. */
    public static List<String> split(byte[] key) {
        List<String> columns = new ArrayList<>();
        ByteArrayOutputStream column = new ByteArrayOutputStream();
        for (int i = 0; i < key.length; i++) {
            if (key[i] == '|') {
                columns.add(column.toString(StandardCharsets.UTF_8));
                column.reset();
            } else {
                i += key[i] == '\\' ? 1 : 0;
                column.write(key[i]);
            }
        }
        columns.add(column.toString(StandardCharsets.UTF_8));
        return columns;
    }

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
