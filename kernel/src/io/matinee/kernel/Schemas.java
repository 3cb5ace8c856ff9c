package io.matinee.kernel;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** Every version of every flat record, from the table that kernel/build.py made of schemas/records and ids.lock. */
public final class Schemas {

    /** The scalar types of the records; TIMESTAMP is a long of UTC milliseconds, DATE an int of days since 1970. */
    public enum Type { BOOLEAN, INT, LONG, DOUBLE, STRING, BYTES, TIMESTAMP, DATE }

    /** One field; {@code array} means a list of {@code type}. Bounds are null where there are none. */
    public record Field(String name, Type type, boolean array, boolean nullable, Number min, Number max,
                        Set<String> values, boolean hasDefault, Object fallback, boolean personal) {}

    /** One version of a record. */
    public record Schema(String record, int version, int id, List<Field> fields) {

        public int index(String field) {
            for (int i = 0; i < fields.size(); i++) {
                if (fields.get(i).name().equals(field)) {
                    return i;
                }
            }
            throw new IllegalArgumentException("record " + record + " has no field " + field);
        }
    }

    private static final Map<Integer, Schema> BY_ID = new HashMap<>();
    private static final Map<String, Schema> NEWEST = new TreeMap<>();

    static {
        try (InputStream in = Schemas.class.getResourceAsStream("schemas.tsv")) {
            if (in == null) {
                throw new IllegalStateException("schemas.tsv is not in the jar: build it with python -m kernel.build");
            }
            load(new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8)));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private Schemas() {}

    private static void load(BufferedReader lines) throws IOException {
        Schema schema = null;
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] word = line.split("\t", -1);
            if (word[0].equals("R")) {
                schema = new Schema(word[1], Integer.parseInt(word[2]), Integer.parseInt(word[3]), new ArrayList<>());
                BY_ID.put(schema.id(), schema);
                Schema known = NEWEST.get(schema.record());
                if (known == null || known.version() < schema.version()) {
                    NEWEST.put(schema.record(), schema);
                }
            } else {
                schema.fields().add(field(word));
            }
        }
    }

    /** F name type array nullable min max values hasDefault default personal. */
    private static Field field(String[] w) {
        Type type = Type.valueOf(w[2]);
        boolean real = type == Type.DOUBLE;
        Set<String> values = w[7].isEmpty() ? Set.of() : Set.of(w[7].split(","));
        boolean empty = w[9].isEmpty() && (type != Type.STRING || w[4].equals("1"));
        Object fallback = !w[8].equals("1") || empty ? null : parse(type, w[9]);
        return new Field(w[1], type, w[3].equals("1"), w[4].equals("1"), number(w[5], real), number(w[6], real), values,
                w[8].equals("1"), fallback, w[10].equals("1"));
    }

    private static Number number(String text, boolean real) {
        if (text.isEmpty()) {
            return null;
        }
        return real ? (Number) Double.valueOf(text) : (Number) Long.valueOf(text);
    }

    private static Object parse(Type type, String text) {
        return switch (type) {
            case BOOLEAN -> Boolean.valueOf(text);
            case INT, DATE -> Integer.valueOf(text);
            case LONG, TIMESTAMP -> Long.valueOf(text);
            case DOUBLE -> Double.valueOf(text);
            case STRING -> text;
            case BYTES -> text.getBytes(StandardCharsets.ISO_8859_1);
        };
    }

    /** The schema of an id, or null. */
    public static Schema byId(int id) {
        return BY_ID.get(id);
    }

    /** The newest version of a record: what readers of this build see. */
    public static Schema newest(String record) {
        Schema schema = NEWEST.get(record);
        if (schema == null) {
            throw new IllegalArgumentException("no record " + record + " in the kernel; it has " + NEWEST.keySet());
        }
        return schema;
    }

    /** All records, by name. */
    public static Iterable<Schema> newest() {
        return NEWEST.values();
    }
}
