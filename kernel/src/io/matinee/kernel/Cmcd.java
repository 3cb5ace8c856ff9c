package io.matinee.kernel;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;

/**
 * One CMCD record (CTA-5004-B) at a time, out of bytes, without objects on the way; models/playback/cmcd.py is the same
 * in Python and says what is a bad value, a bad key and no record at all.
 *
 * <p>{@link #read} validates every member against the type of its key and keeps where the value stands; what a caller
 * needs of it is read afterwards. Of a list of numbers by object type the number that stands for the picture is kept
 * (the sum, for the counters bsa and bsda), of a list of strings the last one.
 */
public final class Cmcd {
    enum Kind { INTEGER, SIGNED, DECIMAL, TOKEN, STRING, TEXT, BOOLEAN, INTEGERS, SUMMED, STRINGS }

    /** A table of keys, by name; the place of a key in it is its slot. */
    public static final class Keys {
        private static final int SIZE = 256;
        private final String[] names;
        private final Kind[] kinds;
        private final int[] longest;
        private final String[][] tokens;
        private final byte[][] spelled;
        private final int[] table = new int[SIZE];

        /** Each word is {@code name:KIND}, {@code name:KIND:longest} or {@code name:TOKEN:a|b|c}; sorted by name. */
        Keys(String words) {
            String[] all = words.trim().split("\\s+");
            names = new String[all.length];
            kinds = new Kind[all.length];
            longest = new int[all.length];
            tokens = new String[all.length][];
            spelled = new byte[all.length][];
            Arrays.sort(all);
            for (int i = 0; i < all.length; i++) {
                String[] part = all[i].split(":");
                names[i] = part[0];
                kinds[i] = Kind.valueOf(part[1]);
                longest[i] = part.length > 2 && kinds[i] != Kind.TOKEN ? Integer.parseInt(part[2]) : Integer.MAX_VALUE;
                tokens[i] = kinds[i] == Kind.TOKEN ? part[2].split("\\|") : null;
                spelled[i] = names[i].getBytes(StandardCharsets.US_ASCII);
                int place = hash(spelled[i], 0, spelled[i].length);
                while (table[place] != 0) {
                    place = (place + 1) % SIZE;
                }
                table[place] = i + 1;
            }
        }

        public int slot(String name) {
            int slot = Arrays.asList(names).indexOf(name);
            if (slot < 0) {
                throw new IllegalArgumentException("no CMCD key " + name);
            }
            return slot;
        }

        private static int hash(byte[] bytes, int from, int to) {
            int hash = 17;
            for (int i = from; i < to; i++) {
                hash = hash * 31 + bytes[i];
            }
            return (hash ^ hash >>> 8) & (SIZE - 1);
        }

        private int find(byte[] bytes, int from, int to) {
            for (int place = hash(bytes, from, to); table[place] != 0; place = (place + 1) % SIZE) {
                byte[] name = spelled[table[place] - 1];
                if (Arrays.equals(name, 0, name.length, bytes, from, to)) {
                    return table[place] - 1;
                }
            }
            return -1;
        }
    }

    private static final String[] OBJECT_TYPES = {"av", "v", null, "a", "o", "m", "i", "c", "tt", "k"};
    private static final int STANDS = 5;
    private static final int UNTYPED = 2;
    private static final String UNREADABLE = "?";
    private static final boolean[] KEY_FIRST = set("*", true);
    private static final boolean[] KEY_NEXT = set("_.*-0123456789", true);
    private static final boolean[] NAME_FIRST = set("*", false);
    private static final boolean[] NAME_NEXT = set("_.*-0123456789", false);
    private static final boolean[] TOKEN_NEXT = set("0123456789!#$%&'*+.^_`|~:/-", true);
    private static final long TOO_MUCH = 1L << 60;

    private static boolean[] set(String characters, boolean capitals) {
        boolean[] found = new boolean[256];
        for (char c : (characters + "abcdefghijklmnopqrstuvwxyz" + (capitals ? "ABCDEFGHIJKLMNOPQRSTUVWXYZ" : "")).toCharArray()) {
            found[c] = true;
        }
        return found;
    }

    private final Keys keys;
    private final int[] from;
    private final int[] to;
    private final int[] listFrom;
    private final long[] number;
    private final int[] stamp;
    private final byte[][] lastBytes;
    private final String[] lastText;
    private int now;
    private byte[] bytes = {};
    private final StringBuilder dropped = new StringBuilder();
    private int droppedCount;
    /** Where the item or parameter just read stands. */
    private int valueFrom;
    private int at;
    /** Set to collect unknown keys, for {@link #canonical}. */
    private TreeMap<String, String> unknown;

    public Cmcd(Keys keys) {
        this.keys = keys;
        int n = keys.names.length;
        from = new int[n];
        to = new int[n];
        listFrom = new int[n];
        number = new long[n];
        stamp = new int[n];
        lastBytes = new byte[n][];
        lastText = new String[n];
    }

    /** Read the record in [start, end); returns null, or why there is none (class frame). */
    public String read(byte[] line, int start, int end) {
        bytes = line;
        now++;
        dropped.setLength(0);
        droppedCount = 0;
        if (!isUtf8(line, start, end)) {
            return "not UTF-8";
        }
        while (start < end && isBlank(line[start], true)) {
            start++;
        }
        while (start < end && isBlank(line[end - 1], true)) {
            end--;
        }
        if (start == end) {
            return "the line is empty";
        }
        while (true) {
            int stop = memberEnd(start, end);
            if (stop < 0) {
                return "a string is not closed";
            }
            member(start, stop);
            if (stop == end) {
                return null;
            }
            start = stop + 1;
        }
    }

    private static boolean isBlank(byte b, boolean alsoReturn) {
        return b == ' ' || b == '\t' || alsoReturn && b == '\r';
    }

    /** The next comma outside strings, or the end; -1 if a string is not closed. */
    private int memberEnd(int start, int end) {
        for (int i = start; i < end; i++) {
            byte b = bytes[i];
            if (b == ',') {
                return i;
            }
            if (b == '"') {
                for (i++; i < end && bytes[i] != '"'; i++) {
                    if (bytes[i] == '\\') {
                        i++;
                    }
                }
                if (i >= end) {
                    return -1;
                }
            }
        }
        return end;
    }

    private void member(int start, int end) {
        while (start < end && isBlank(bytes[start], false)) {
            start++;
        }
        while (start < end && isBlank(bytes[end - 1], false)) {
            end--;
        }
        int i = start;
        if (i < end && KEY_FIRST[bytes[i] & 0xFF]) {
            i++;
            while (i < end && KEY_NEXT[bytes[i] & 0xFF]) {
                i++;
            }
        }
        if (i == start || i < end && bytes[i] != '=') {
            drop(UNREADABLE);
            return;
        }
        int slot = keys.find(bytes, start, i);
        if (slot < 0) {
            if (unknown != null) {
                unknown.put(slice(start, i), slice(i, end));
            }
        } else if (value(slot, i < end ? i + 1 : -1, end)) {
            stamp[slot] = now;
        } else {
            drop(keys.names[slot]);
        }
    }

    void drop(String name) {
        if (droppedCount++ < CmcdMessage.DROPPED) {
            dropped.append(droppedCount == 1 ? "" : ",").append(name);
        }
    }

    /** Takes the value in [start, end) if it is of the slot's type; start is -1 if there is no equals sign. */
    private boolean value(int slot, int start, int end) {
        long oldNumber = number[slot];
        int oldFrom = from[slot];
        int oldTo = to[slot];
        boolean good = tryValue(slot, start, end);
        if (!good) {
            number[slot] = oldNumber;
            from[slot] = oldFrom;
            to[slot] = oldTo;
        }
        return good;
    }

    private boolean tryValue(int slot, int start, int end) {
        Kind kind = keys.kinds[slot];
        if (kind == Kind.BOOLEAN) {
            return flag(slot, start, end);
        }
        if (start < 0 || start == end) {
            return false;
        }
        at = start;
        boolean good = switch (kind) {
            case INTEGER -> integer(slot, end, false);
            case SIGNED -> integer(slot, end, true);
            case DECIMAL -> bytes[start] != '-' && numeric(end) && keepThousandths(slot, start, end);
            case TOKEN -> token(slot, start, end);
            case STRING -> string(end) && short_(slot, start, end);
            case TEXT -> (bytes[start] == '"' ? string(end) : tokenText(end)) && short_(slot, start, end);
            case INTEGERS, SUMMED -> list(slot, end, kind, null);
            default -> list(slot, end, Kind.STRINGS, null);
        };
        if (!good || at != end) {
            return false;
        }
        listFrom[slot] = start;
        if (kind != Kind.STRINGS) {
            from[slot] = start;
            to[slot] = end;
        }
        return true;
    }

    private boolean flag(int slot, int start, int end) {
        if (start >= 0 && (end - start != 2 || bytes[start] != '?' || bytes[start + 1] != '0' && bytes[start + 1] != '1')) {
            return false;
        }
        number[slot] = start < 0 || bytes[start + 1] == '1' ? 1 : 0;
        return true;
    }

    /** Reads digits at {@code at}; -1 if there is none or more than {@code most}. */
    private long digits(int end, int most) {
        int start = at;
        long n = 0;
        while (at < end && bytes[at] >= '0' && bytes[at] <= '9') {
            if (at - start == most) {
                return -1;
            }
            n = n * 10 + bytes[at++] - '0';
        }
        return at == start ? -1 : n;
    }

    private boolean integer(int slot, int end, boolean signed) {
        boolean negative = signed && bytes[at] == '-';
        at += negative ? 1 : 0;
        long n = digits(end, 15);
        number[slot] = negative ? -n : n;
        return n >= 0;
    }

    private long thousandths;
    private boolean whole;

    /** An integer or a decimal at {@code at}, with a sign; leaves {@link #thousandths} or, if whole, the integer. */
    private boolean numeric(int end) {
        boolean negative = at < end && bytes[at] == '-';
        at += negative ? 1 : 0;
        int start = at;
        long n = digits(end, 15);
        if (n < 0) {
            return false;
        }
        whole = at >= end || bytes[at] != '.';
        if (!whole) {
            if (at - start > 12) {
                return false;
            }
            int point = at++;
            long fraction = digits(end, 3);
            if (fraction < 0) {
                return false;
            }
            for (int i = at - point; i < 4; i++) {
                fraction *= 10;
            }
            n = n * 1000 + fraction;
        }
        thousandths = negative ? -n : n;
        return true;
    }

    /** A decimal key takes integers of 12 digits too. */
    private boolean keepThousandths(int slot, int start, int end) {
        if (whole && end - start > 12) {
            return false;
        }
        number[slot] = whole ? thousandths * 1000 : thousandths;
        return true;
    }

    private boolean token(int slot, int start, int end) {
        String[] allowed = keys.tokens[slot];
        for (int i = 0; i < allowed.length; i++) {
            if (same(allowed[i], start, end)) {
                number[slot] = i;
                at = end;
                return true;
            }
        }
        return false;
    }

    private boolean same(String ascii, int start, int end) {
        if (ascii.length() != end - start) {
            return false;
        }
        for (int i = 0; i < ascii.length(); i++) {
            if (bytes[start + i] != ascii.charAt(i)) {
                return false;
            }
        }
        return true;
    }

    private boolean tokenText(int end) {
        if (at >= end || bytes[at] < 0 || !Character.isLetter(bytes[at]) && bytes[at] != '*') {
            return false;
        }
        while (at < end && TOKEN_NEXT[bytes[at] & 0xFF]) {
            at++;
        }
        return true;
    }

    /** A quoted string at {@code at}. */
    private boolean string(int end) {
        if (at >= end || bytes[at] != '"') {
            return false;
        }
        for (int i = at + 1; i < end; i++) {
            byte b = bytes[i];
            if (b == '"') {
                at = i + 1;
                return true;
            }
            if (b == '\\') {
                i++;
                if (i >= end || bytes[i] != '"' && bytes[i] != '\\') {
                    return false;
                }
            } else if (b >= 0 && b < ' ' || b == 0x7F) {
                return false;
            }
        }
        return false;
    }

    /** Whether the text is not longer than its key allows, in characters. */
    private boolean short_(int slot, int start, int end) {
        if (end - start <= keys.longest[slot]) {
            return true;
        }
        boolean quoted = bytes[start] == '"';
        int characters = 0;
        for (int i = quoted ? start + 1 : start; i < (quoted ? at - 1 : at); i++) {
            if (quoted && bytes[i] == '\\') {
                i++;
            }
            characters += (bytes[i] & 0xC0) != 0x80 ? 1 : 0;
        }
        return characters <= keys.longest[slot];
    }

    /** Told of each item and parameter of a list, when somebody wants to know. */
    private interface Listener {
        void item(int start, int end);

        /** start is -1 for a parameter without a value. */
        void param(int nameStart, int nameEnd, int start, int end);
    }

    /** An inner list; keeps the number that stands for it, or where its last string is. */
    private boolean list(int slot, int end, Kind kind, Listener listener) {
        if (bytes[at] != '(') {
            return false;
        }
        at++;
        int rank = OBJECT_TYPES.length;
        long best = -1;
        int lastFrom = -1;
        int lastTo = -1;
        skipSpaces(end);
        while (at < end && bytes[at] != ')') {
            int start = at;
            long n = 0;
            if (kind == Kind.STRINGS ? !string(end) : (n = digits(end, 15)) < 0) {
                return false;
            }
            lastFrom = start;
            lastTo = at;
            if (listener != null) {
                listener.item(start, at);
            }
            int type = params(end, listener);
            if (type < 0 || at >= end || bytes[at] != ' ' && bytes[at] != ')') {
                return false;
            }
            if (kind == Kind.SUMMED) {
                best = Math.min(TOO_MUCH, Math.max(best, 0) + n);
            } else if (type < STANDS && type < rank) {
                rank = type;
                best = n;
            }
            skipSpaces(end);
        }
        if (at >= end) {
            return false;
        }
        at++;
        if (kind == Kind.STRINGS) {
            from[slot] = lastFrom;
            to[slot] = lastTo;
        } else {
            number[slot] = best;
        }
        return true;
    }

    private void skipSpaces(int end) {
        while (at < end && bytes[at] == ' ') {
            at++;
        }
    }

    /** Parameters at {@code at}; the place in OBJECT_TYPES of the first that is one, -1 if they cannot be read. */
    private int params(int end, Listener listener) {
        int type = UNTYPED;
        while (at < end && bytes[at] == ';') {
            at++;
            skipSpaces(end);
            int start = at;
            if (at >= end || !NAME_FIRST[bytes[at] & 0xFF]) {
                return -1;
            }
            while (at < end && NAME_NEXT[bytes[at] & 0xFF]) {
                at++;
            }
            int stop = at;
            boolean isTrue = true;
            valueFrom = -1;
            if (at < end && bytes[at] == '=') {
                valueFrom = ++at;
                if (!bare(end)) {
                    return -1;
                }
                isTrue = bytes[valueFrom] == '?' && bytes[valueFrom + 1] == '1';
            }
            if (listener != null) {
                listener.param(start, stop, valueFrom, at);
            }
            if (isTrue && type == UNTYPED) {
                type = objectType(start, stop);
            }
        }
        return type;
    }

    private int objectType(int start, int end) {
        for (int i = 0; i < OBJECT_TYPES.length; i++) {
            if (i != UNTYPED && same(OBJECT_TYPES[i], start, end)) {
                return i;
            }
        }
        return UNTYPED;
    }

    private boolean bare(int end) {
        if (at >= end) {
            return false;
        }
        byte b = bytes[at];
        if (b == '"') {
            return string(end);
        }
        if (b == '?') {
            at += 2;
            return at <= end && (bytes[at - 1] == '0' || bytes[at - 1] == '1');
        }
        return b == '-' || b >= '0' && b <= '9' ? numeric(end) : tokenText(end);
    }

    // -- what was read -----------------------------------------------------------------------------------------------

    public boolean has(int slot) {
        return stamp[slot] == now;
    }

    /** The number of a slot that is there; thousandths of a decimal; 0 or 1 of a flag; -1 for a list without one. */
    public long number(int slot) {
        return number[slot];
    }

    /** The number, or -1 if the slot is not there. */
    public long numberOr(int slot) {
        return has(slot) ? number[slot] : -1;
    }

    /** The text of a slot that is there: of a string or token, or the last string of a list (null if it is empty). */
    public String text(int slot) {
        if (keys.tokens[slot] != null) {
            return keys.tokens[slot][(int) number[slot]];
        }
        int start = from[slot];
        int end = to[slot];
        if (start < 0) {
            return null;
        }
        byte[] last = lastBytes[slot];
        if (last == null || !Arrays.equals(last, 0, last.length, bytes, start, end)) {
            lastBytes[slot] = Arrays.copyOfRange(bytes, start, end);
            lastText[slot] = bytes[start] == '"' ? unquoted(start, end) : slice(start, end);
        }
        return lastText[slot];
    }

    /** The text, or null if the slot is not there or it is empty. */
    public String textOr(int slot) {
        if (!has(slot)) {
            return null;
        }
        String text = text(slot);
        return text == null || text.isEmpty() ? null : text;
    }

    /** Keys whose value was bad, by comma; null if none. */
    public String dropped() {
        return droppedCount == 0 ? null : dropped.toString();
    }

    private String slice(int start, int end) {
        return new String(bytes, start, end - start, StandardCharsets.UTF_8);
    }

    private String unquoted(int start, int end) {
        String text = slice(start + 1, end - 1);
        if (text.indexOf('\\') < 0) {
            return text;
        }
        StringBuilder plain = new StringBuilder(text.length());
        for (int i = 0; i < text.length(); i++) {
            if (text.charAt(i) == '\\') {
                i++;
            }
            plain.append(text.charAt(i));
        }
        return plain.toString();
    }

    /** Text of each item of a list of strings by the text of its parameter {@code name}. */
    public Map<String, String> byParam(int slot, String name) {
        Map<String, String> found = new HashMap<>();
        at = listFrom[slot];
        list(slot, bytes.length, Kind.STRINGS, new Listener() {
            private String item;

            @Override
            public void item(int from, int to) {
                item = unquoted(from, to);
            }

            @Override
            public void param(int nameFrom, int nameTo, int from, int to) {
                if (from >= 0 && same(name, nameFrom, nameTo)) {
                    found.putIfAbsent(bytes[from] == '"' ? unquoted(from, to) : slice(from, to), item);
                }
            }
        });
        return found;
    }

    /** The record in canonical form: keys sorted, unknown ones as they were; null if there is no record. For tests. */
    public String canonical(byte[] line) {
        unknown = new TreeMap<>();
        try {
            if (read(line, 0, line.length) != null) {
                return null;
            }
            int[][] places = places(line);
            TreeMap<String, String> all = new TreeMap<>(unknown);
            for (int slot = 0; slot < keys.names.length; slot++) {
                if (has(slot)) {
                    all.put(keys.names[slot], written(slot, places[slot]));
                }
            }
            StringBuilder out = new StringBuilder();
            all.forEach((name, value) -> out.append(out.isEmpty() ? "" : ",").append(name).append(value));
            return out.toString();
        } finally {
            unknown = null;
        }
    }

    /** Where the counted value of each slot stands: of good members the last. */
    private int[][] places(byte[] line) {
        int[][] found = new int[keys.names.length][];
        int end = line.length;
        while (end > 0 && isBlank(line[end - 1], true)) {
            end--;
        }
        int start = 0;
        while (start < end && isBlank(line[start], true)) {
            start++;
        }
        while (start <= end) {
            int stop = memberEnd(start, end);
            int a = start;
            int b = stop;
            while (a < b && isBlank(line[a], false)) {
                a++;
            }
            while (a < b && isBlank(line[b - 1], false)) {
                b--;
            }
            int equals = a;
            while (equals < b && line[equals] != '=') {
                equals++;
            }
            int slot = keys.find(line, a, equals);
            if (slot >= 0 && value(slot, equals < b ? equals + 1 : -1, b)) {
                found[slot] = new int[] {equals < b ? equals + 1 : -1, b};
            }
            start = stop + 1;
        }
        return found;
    }

    private String written(int slot, int[] place) {
        long n = number[slot];
        return switch (keys.kinds[slot]) {
            case INTEGER, SIGNED -> "=" + n;
            case BOOLEAN -> n == 1 ? "" : "=?0";
            case DECIMAL -> "=" + decimal(n);
            case INTEGERS, SUMMED, STRINGS -> "=" + listText(slot, place);
            default -> "=" + slice(place[0], place[1]);
        };
    }

    private static String decimal(long thousandths) {
        String text = String.format("%s%d.%03d", thousandths < 0 ? "-" : "", Math.abs(thousandths) / 1000,
                Math.abs(thousandths) % 1000).replaceAll("0+$", "");
        return text.endsWith(".") ? text + "0" : text;
    }

    private String listText(int slot, int[] place) {
        StringBuilder out = new StringBuilder("(");
        at = place[0];
        boolean strings = keys.kinds[slot] == Kind.STRINGS;
        list(slot, place[1], keys.kinds[slot], new Listener() {
            @Override
            public void item(int start, int end) {
                out.append(out.length() == 1 ? "" : " ").append(strings ? slice(start, end) : bareText(start, end));
            }

            @Override
            public void param(int nameStart, int nameEnd, int start, int end) {
                out.append(';').append(slice(nameStart, nameEnd));
                if (start >= 0 && !same("?1", start, end)) {
                    out.append('=').append(bareText(start, end));
                }
            }
        });
        return out.append(')').toString();
    }

    private String bareText(int start, int end) {
        byte b = bytes[start];
        if (b != '-' && (b < '0' || b > '9')) {
            return slice(start, end);
        }
        int back = at;
        at = start;
        numeric(end);
        at = back;
        return whole ? Long.toString(thousandths) : decimal(thousandths);
    }

    /** Whether bytes are UTF-8 as Unicode defines it: no surrogates, nothing longer than needed. */
    private static boolean isUtf8(byte[] bytes, int from, int to) {
        for (int i = from; i < to; i++) {
            int b = bytes[i];
            if (b >= 0) {
                continue;
            }
            b &= 0xFF;
            int more = b >= 0xC2 && b <= 0xDF ? 1 : b >= 0xE0 && b <= 0xEF ? 2 : b >= 0xF0 && b <= 0xF4 ? 3 : 0;
            if (more == 0 || i + more >= to) {
                return false;
            }
            int second = bytes[i + 1] & 0xFF;
            boolean wrong = b == 0xE0 && second < 0xA0 || b == 0xED && second > 0x9F || b == 0xF0 && second < 0x90
                    || b == 0xF4 && second > 0x8F;
            for (; more > 0; more--) {
                wrong |= (bytes[++i] & 0xC0) != 0x80;
            }
            if (wrong) {
                return false;
            }
        }
        return true;
    }
}
