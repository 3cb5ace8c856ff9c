package io.matinee.kernel;

import io.matinee.kernel.Schemas.Field;
import io.matinee.kernel.Schemas.Schema;
import io.matinee.kernel.Schemas.Type;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Message bytes to a valid record, or to a class of error with a reason; never an exception, whatever the bytes.
 *
 * <p>Confluent frame (0, four bytes of schema id), Avro binary of the writer's schema, resolved to the newest version.
 * The records are flat, so this is short; Avro's own reader allocates whatever length a message claims (2 GB for six
 * bytes of poison), which is why it is not used here. Tests compare with fastavro.
 */
public final class Decoder {
    public static final String CONTROL_RECORD = "day_end";
    public static final String CONTROL_KEY = "__day_end__";
    /** Timestamps lie from 1970 to 2099 and dates from year 1 to 9999: what every engine can hold and add to. */
    static final long MAX_TIMESTAMP = 4_102_444_800_000L;
    static final int MIN_DATE = -719_162;
    static final int MAX_DATE = 2_932_896;

    /** A record of {@code schema} (values in its fields' order), or an error. {@code schemaId} is -1 if unreadable. */
    public record Decoded(Schema schema, int schemaId, Object[] values, String errorClass, String reason) {

        public boolean good() {
            return errorClass == null;
        }

        public boolean control() {
            return good() && schema.record().equals(CONTROL_RECORD);
        }

        public Object get(String field) {
            return values[schema.index(field)];
        }
    }

    /** Why bytes are refused; carries no stack, it may be thrown for every message. */
    private static final class Refused extends Exception {
        private final String errorClass;

        Refused(String errorClass, String reason) {
            super(reason, null, false, false);
            this.errorClass = errorClass;
        }
    }

    /** How one writer's schema becomes the newest: place of each writer's field in the reader, -1 to skip. */
    private record Plan(Schema reader, Field[] fields, int[] target, Field[] promoted, Object[] defaults, Rule[] rules, int key) {}

    /** What a good value of a field is; of {@code values} null if every text is. */
    private record Rule(Field field, Set<String> values, long low, long high) {}

    private static final Map<Integer, Plan> PLANS = new ConcurrentHashMap<>();

    private final byte[] bytes;
    private int at = 5;

    private Decoder(byte[] bytes) {
        this.bytes = bytes;
    }

    /** Decode a message of the topic that carries {@code record}; on playback_event a day_end is good too. */
    public static Decoded decode(byte[] value, byte[] key, String record) {
        int id = -1;
        try {
            if (value == null) {
                throw new Refused("frame", "no value");
            }
            if (value.length < 5) {
                throw new Refused("frame", "a header of 5 bytes is needed, the message has " + value.length);
            }
            if (value[0] != 0) {
                throw new Refused("frame", "first byte is " + (value[0] & 0xFF) + ", not 0");
            }
            id = ByteBuffer.wrap(value).getInt(1);
            Plan plan = plan(id, record);
            Object[] values = new Decoder(value).read(plan);
            check(plan.rules, values);
            checkKey(plan, values, key);
            return new Decoded(plan.reader, id, values, null, null);
        } catch (Refused refused) {
            return new Decoded(null, id, null, refused.errorClass, refused.getMessage());
        }
    }

    private static Plan plan(int id, String record) throws Refused {
        Plan known = PLANS.get(id);
        if (known != null && known.reader.record().equals(record)) {
            return known;
        }
        Schema writer = Schemas.byId(id);
        if (writer == null) {
            throw new Refused("schema", "no record has schema id " + id);
        }
        boolean control = record.equals("playback_event") && writer.record().equals(CONTROL_RECORD);
        if (!writer.record().equals(record) && !control) {
            throw new Refused("schema", "schema id " + id + " is record " + writer.record() + ", not " + record);
        }
        return PLANS.computeIfAbsent(id, key -> plan(writer));
    }

    private static Plan plan(Schema writer) {
        Schema reader = Schemas.newest(writer.record());
        int[] target = new int[writer.fields().size()];
        Arrays.fill(target, -1);
        Object[] defaults = new Object[reader.fields().size()];
        Field[] promoted = new Field[target.length];
        Rule[] rules = new Rule[defaults.length];
        for (int r = 0; r < defaults.length; r++) {
            Field field = reader.fields().get(r);
            defaults[r] = field.fallback();
            rules[r] = new Rule(field, field.values().isEmpty() ? null : new HashSet<>(field.values()),  // found faster than in Set.of
                    field.min() != null ? field.min().longValue() : lowest(field.type()),
                    field.max() != null ? field.max().longValue() : highest(field.type()));
            for (int w = 0; w < target.length; w++) {
                if (writer.fields().get(w).name().equals(field.name())) {
                    target[w] = r;
                    promoted[w] = writer.fields().get(w).type() == field.type() ? null : field;
                }
            }
        }
        int key = reader.record().equals("playback_event") ? reader.index("session_id")
                : reader.record().equals(CONTROL_RECORD) ? reader.index("partition") : -1;
        return new Plan(reader, writer.fields().toArray(Field[]::new), target, promoted, defaults, rules, key);
    }

    private Object[] read(Plan plan) throws Refused {
        Object[] values = plan.defaults.clone();
        for (int w = 0; w < plan.target.length; w++) {
            Object value = value(plan.fields[w]);
            if (plan.target[w] >= 0) {
                values[plan.target[w]] = plan.promoted[w] == null ? value : promoted(value, plan.promoted[w]);
            }
        }
        if (at != bytes.length) {
            throw new Refused("decode", (bytes.length - at) + " bytes left after the last field");
        }
        return values;
    }

    private Object value(Field field) throws Refused {
        if (field.nullable()) {
            long branch = number(field);
            if (branch == 0) {
                return null;
            }
            if (branch != 1) {
                throw bad(field, "its union has no branch " + branch);
            }
        }
        return field.array() ? list(field) : scalar(field);
    }

    private List<Object> list(Field field) throws Refused {
        List<Object> items = new ArrayList<>();
        for (long count = number(field); count != 0; count = number(field)) {
            if (count < 0) {
                count = -count;
                number(field);
            }
            if (count < 0 || count > bytes.length - at) {
                throw bad(field, "an array of more items than bytes");
            }
            for (; count > 0; count--) {
                items.add(scalar(field));
            }
        }
        return items;
    }

    private Object scalar(Field field) throws Refused {
        return switch (field.type()) {
            case BOOLEAN -> flag(field);
            case INT, DATE -> integer(field);
            case LONG, TIMESTAMP -> number(field);
            case DOUBLE -> {
                need(8, field);
                double value = ByteBuffer.wrap(bytes, at, 8).order(ByteOrder.LITTLE_ENDIAN).getDouble();
                at += 8;
                yield value;
            }
            case STRING -> text(field);
            case BYTES -> {
                int length = length(field);
                at += length;
                yield Arrays.copyOfRange(bytes, at - length, at);
            }
        };
    }

    private boolean flag(Field field) throws Refused {
        need(1, field);
        byte value = bytes[at++];
        if (value != 0 && value != 1) {
            throw bad(field, "a boolean is one byte, 0 or 1");
        }
        return value == 1;
    }

    private int integer(Field field) throws Refused {
        long value = number(field);
        if (value != (int) value) {
            throw bad(field, "an int has 32 bits");
        }
        return (int) value;
    }

    private long number(Field field) throws Refused {
        long value = 0;
        for (int shift = 0; shift < 70; shift += 7) {
            need(1, field);
            byte b = bytes[at++];
            value |= (b & 0x7FL) << shift;
            if (b >= 0) {
                return (value >>> 1) ^ -(value & 1);
            }
        }
        throw bad(field, "a number of more than 10 bytes");
    }

    private int length(Field field) throws Refused {
        long length = number(field);
        if (length < 0 || length > bytes.length - at) {
            throw bad(field, "a length beyond the end of the message");
        }
        return (int) length;
    }

    private String text(Field field) throws Refused {
        int length = length(field);
        String value = Texts.of(bytes, at, length);
        if (value.indexOf('\uFFFD') >= 0
                && !Arrays.equals(value.getBytes(StandardCharsets.UTF_8), Arrays.copyOfRange(bytes, at, at + length))) {
            throw bad(field, "not UTF-8");
        }
        at += length;
        return value;
    }

    private void need(int n, Field field) throws Refused {
        if (n > bytes.length - at) {
            throw bad(field, "the message ends here");
        }
    }

    private static Refused bad(Field field, String why) {
        return new Refused("decode", field.name() + ": " + why);
    }

    private static Object promoted(Object value, Field to) {
        if (value instanceof Integer i) {
            return switch (to.type()) {
                case LONG, TIMESTAMP -> (Object) i.longValue();
                case DOUBLE -> (Object) i.doubleValue();
                default -> i;
            };
        }
        return value instanceof Long l && to.type() == Type.DOUBLE ? (Object) l.doubleValue() : value;
    }

    private static void check(Rule[] rules, Object[] values) throws Refused {
        for (int i = 0; i < values.length; i++) {
            Rule rule = rules[i];
            if (values[i] == null) {
                if (!rule.field.nullable()) {
                    throw new Refused("range", rule.field.name() + " is null, the newest version requires it");
                }
            } else if (rule.field.array()) {
                for (Object item : (List<?>) values[i]) {
                    check(rule, item);
                }
            } else {
                check(rule, values[i]);
            }
        }
    }

    private static void check(Rule rule, Object value) throws Refused {
        Field field = rule.field;
        if (value instanceof String text) {
            if (rule.values != null && !rule.values.contains(text)) {
                throw out(field, text, "it is not one of its " + rule.values.size() + " values");
            }
        } else if (value instanceof Double d) {
            if (!Double.isFinite(d)) {
                throw out(field, d, "it must be finite");
            }
            if (field.min() != null && d < field.min().doubleValue() || field.max() != null && d > field.max().doubleValue()) {
                throw out(field, d, "allowed is " + field.min() + " to " + field.max());
            }
        } else if (value instanceof Number n) {
            if (n.longValue() < rule.low || n.longValue() > rule.high) {
                throw out(field, n, "allowed is " + rule.low + " to " + rule.high);
            }
        }
    }

    private static long lowest(Type type) {
        return type == Type.TIMESTAMP ? 0 : type == Type.DATE ? MIN_DATE : Long.MIN_VALUE;
    }

    private static long highest(Type type) {
        return type == Type.TIMESTAMP ? MAX_TIMESTAMP - 1 : type == Type.DATE ? MAX_DATE : Long.MAX_VALUE;
    }

    private static Refused out(Field field, Object value, String rule) {
        String shown = value.toString().replaceAll("\\p{Cntrl}", "?");
        shown = shown.length() > 40 ? shown.substring(0, 40) + "..." : shown;
        return new Refused("range", field.name() + (field.personal() ? ": " : " is " + shown + ": ") + rule);
    }

    private static void checkKey(Plan plan, Object[] values, byte[] key) throws Refused {
        if (plan.key < 0) {
            return;
        }
        boolean control = plan.reader.record().equals(CONTROL_RECORD);
        String expected = control ? CONTROL_KEY + values[plan.key] : (String) values[plan.key];
        if (expected.isEmpty()) {
            throw new Refused("range", "session_id is empty");
        }
        if (key == null || !Arrays.equals(key, expected.getBytes(StandardCharsets.UTF_8))) {
            throw new Refused("key", control
                    ? "message key is not " + CONTROL_KEY + "<partition>" : "message key is not the record's session_id");
        }
    }
}
