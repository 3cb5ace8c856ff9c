package io.matinee.kernel;

import io.matinee.kernel.Schemas.Field;
import io.matinee.kernel.Schemas.Schema;
import io.matinee.kernel.Schemas.Type;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
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
 *
 * <p>A decoder holds the values of the message that it has read last, numbers without a box: the stream reads each event
 * into one and takes what the fold needs. For one thread.
 */
public final class Decoder {
    public static final String CONTROL_RECORD = "day_end";
    public static final String CONTROL_KEY = "__day_end__";
    /** Timestamps lie from 1970 to 2099 and dates from year 1 to 9999: what every engine can hold and add to. */
    static final long MAX_TIMESTAMP = 4_102_444_800_000L;
    /** A POST whose clock is further from its receipt than this is of no known time, and so are its events. */
    static final long MAX_CLOCK = 86_400_000;
    static final int MIN_DATE = -719_162;
    static final int MAX_DATE = 2_932_896;
    private static final VarHandle LENGTH = MethodHandles.byteArrayViewVarHandle(short[].class, ByteOrder.BIG_ENDIAN);
    private static final VarHandle ID = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.BIG_ENDIAN);
    private static final VarHandle REAL = MethodHandles.byteArrayViewVarHandle(double[].class, ByteOrder.LITTLE_ENDIAN);

    /** Why bytes are refused; carries no stack, it may be thrown for every message. */
    private static final class Refused extends Exception {
        private final String errorClass;

        Refused(String errorClass, String reason) {
            super(reason, null, false, false);
            this.errorClass = errorClass;
        }
    }

    /** How one writer's schema becomes the newest: its fields in order, and what the reader has beyond them. */
    private record Plan(Schema reader, Step[] steps, Rule[] rules, int[] unwritten, boolean control, int key, int received, int posted,
            int runs) {}

    /**
     * A field as it was written, its place in the reader (one past the last if it has none), what it must be there.
     * {@code run} steps from here on are texts that a session's messages mostly repeat.
     */
    private record Step(Field written, int target, Rule rule, int run) {}

    /**
     * The texts of a session's message before, and what their bytes were: the same bytes, read as the same fields, are
     * the same texts, and need not be made again. Belongs to whoever keeps the session.
     */
    public static final class Recent {
        private Step[] steps;
        /** Run after run, each with its length (two bytes) before it: one array, as all this lies far away in memory. */
        private byte[] bytes;
        private Object[] texts;
        /** For {@link Rows}: the dimensions of the event before. */
        String[] dims;
    }

    /** What a good value of a field is; of {@code values} null if every text is. */
    private record Rule(Field field, Set<String> values, long low, long high, double least, double most) {}

    private static final Map<Integer, Plan> PLANS = new ConcurrentHashMap<>();

    private final String record;
    private byte[] bytes;
    private int at;
    /** Of the message read last; null if it is refused. */
    private Plan plan;
    /** Of the schema that was found last: hardly ever another one. */
    private Plan latest;
    private int latestId;
    private int schemaId;
    private String errorClass;
    private String reason;
    /** By place in the reader: numbers, dates, booleans (0, 1) and the bits of doubles; texts, bytes and lists. */
    private long[] numbers = {};
    private Object[] things = {};
    private boolean[] known = {};
    /** Where each run of texts begins and ends in the message. */
    private int[] starts = {};
    private int[] ends = {};
    /** Some value may break its field's rule; which one, and whether it does, is found out apart. */
    private boolean doubtful;

    /** Of messages of the topic that carries {@code record}; on playback_event a day_end is good too. */
    public Decoder(String record) {
        this.record = record;
    }

    /** Whether the message is good: then its values can be taken until the next one is read, otherwise the reason. */
    public boolean read(byte[] value, byte[] key) {
        return read(value, key, null);
    }

    /** The same; what {@code recent} holds of the message's session is used and renewed. */
    public boolean read(byte[] value, byte[] key, Recent recent) {
        schemaId = -1;
        plan = null;
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
            schemaId = (int) ID.get(value, 1);
            if (latest == null || latestId != schemaId) {
                latest = plan(schemaId, record);
                latestId = schemaId;
            }
            Plan found = latest;
            bytes = value;
            at = 5;
            read(found, recent);
            if (doubtful) {
                check(found.rules, values(found));
            }
            checkKey(found, key);
            checkClock(found);
            plan = found;
            errorClass = null;
            reason = null;
            return true;
        } catch (Refused refused) {
            errorClass = refused.errorClass;
            reason = refused.getMessage();
            return false;
        }
    }

    /** Whether the message read last is a good control record. */
    public boolean control() {
        return plan != null && plan.control;
    }

    /** What the values are of; null if the message read last is refused. */
    public Schema schema() {
        return plan == null ? null : plan.reader;
    }

    /** -1 if unreadable. */
    public int schemaId() {
        return schemaId;
    }

    /** Null if the message read last is good. */
    public String errorClass() {
        return errorClass;
    }

    /** Null if the message read last is good. */
    public String reason() {
        return reason;
    }

    /** Of a boolean 0 or 1. */
    long number(int field) {
        return numbers[field];
    }

    /** {@code otherwise} if there is none. */
    long number(int field, long otherwise) {
        return known[field] ? numbers[field] : otherwise;
    }

    double real(int field) {
        return Double.longBitsToDouble(numbers[field]);
    }

    /** Null if there is none. */
    String text(int field) {
        return (String) things[field];
    }

    /** A value of the good record by its field's name. */
    public Object get(String field) {
        return value(plan, plan.reader.index(field));
    }

    /** The good record's values in its fields' order. */
    public Object[] values() {
        return values(plan);
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
        int columns = reader.fields().size();
        Rule[] rules = new Rule[columns];
        Step[] steps = new Step[writer.fields().size()];
        for (int w = 0; w < steps.length; w++) {
            steps[w] = new Step(writer.fields().get(w), columns, null, 0);
        }
        List<Integer> unwritten = new ArrayList<>();
        for (int r = 0; r < columns; r++) {
            Field field = reader.fields().get(r);
            rules[r] = new Rule(field, field.values().isEmpty() ? null : new HashSet<>(field.values()),  // found faster than in Set.of
                    field.min() != null ? field.min().longValue() : lowest(field.type()),
                    field.max() != null ? field.max().longValue() : highest(field.type()),
                    field.min() != null ? field.min().doubleValue() : -Double.MAX_VALUE,
                    field.max() != null ? field.max().doubleValue() : Double.MAX_VALUE);
            int w = 0;
            while (w < steps.length && !steps[w].written.name().equals(field.name())) {
                w++;
            }
            if (w < steps.length) {
                steps[w] = new Step(steps[w].written, r, rules[r], 0);
            } else {
                unwritten.add(r);
            }
        }
        boolean control = reader.record().equals(CONTROL_RECORD);
        boolean event = reader.record().equals("playback_event");
        int key = event ? reader.index("session_id") : control ? reader.index("partition") : -1;
        return new Plan(reader, steps, rules, unwritten.stream().mapToInt(r -> r).toArray(), control, key,
                event ? reader.index("received_at") : -1, event ? reader.index("post_device_at") : -1, runs(steps));
    }

    /** Marks where runs of texts begin, and counts them. Texts of listed values alone (a player's state) go on changing. */
    private static int runs(Step[] steps) {
        int runs = 0;
        for (int w = 0; w < steps.length; ) {
            int until = w;
            boolean free = false;
            while (until < steps.length && steps[until].written.type() == Type.STRING && !steps[until].written.array()) {
                free |= steps[until].written.values().isEmpty();
                until++;
            }
            if (free) {
                steps[w] = new Step(steps[w].written, steps[w].target, steps[w].rule, until - w);
                runs++;
            }
            w = Math.max(until, w + 1);
        }
        return runs;
    }

    private void read(Plan plan, Recent recent) throws Refused {
        int columns = plan.rules.length;
        if (known.length <= columns) {
            numbers = new long[columns + 1];
            things = new Object[columns + 1];
            known = new boolean[columns + 1];
        }
        doubtful = false;
        if (recent == null) {
            for (Step step : plan.steps) {
                read(step);
            }
        } else {
            read(plan.steps, plan.runs, recent);
        }
        if (at != bytes.length) {
            throw new Refused("decode", (bytes.length - at) + " bytes left after the last field");
        }
        for (int r : plan.unwritten) {
            fallback(r, plan.rules[r].field);
        }
    }

    /** A run whose bytes are those of the message before is not read again. */
    private void read(Step[] steps, int count, Recent recent) throws Refused {
        if (starts.length < count) {
            starts = new int[count];
            ends = new int[count];
        }
        boolean same = recent.steps == steps;
        boolean renew = false;
        int run = 0;
        int text = 0;
        int from = 0;
        for (int w = 0; w < steps.length; ) {
            int texts = steps[w].run;
            if (texts == 0) {
                read(steps[w++]);
                continue;
            }
            starts[run] = at;
            int length = same ? (short) LENGTH.get(recent.bytes, from) & 0xFFFF : 0;
            from += Short.BYTES;
            if (same && at + length <= bytes.length && Arrays.equals(recent.bytes, from, from + length, bytes, at, at + length)) {
                for (int i = 0; i < texts; i++) {
                    Object before = recent.texts[text + i];
                    things[steps[w + i].target] = before;
                    known[steps[w + i].target] = before != null;
                }
                at += length;
            } else {
                for (int i = 0; i < texts; i++) {
                    read(steps[w + i]);
                }
                renew = true;
            }
            from += length;
            ends[run++] = at;
            text += texts;
            w += texts;
        }
        if (renew) {
            recent.steps = null;
            if (!doubtful) {
                renew(recent, steps, run, text);
            }
        }
    }

    private void renew(Recent recent, Step[] steps, int runs, int texts) {
        int size = 0;
        for (int run = 0; run < runs; run++) {
            int length = ends[run] - starts[run];
            if (length > 0xFFFF) {
                return;
            }
            size += Short.BYTES + length;
        }
        recent.steps = steps;
        recent.bytes = new byte[size];
        int to = 0;
        for (int run = 0; run < runs; run++) {
            int length = ends[run] - starts[run];
            LENGTH.set(recent.bytes, to, (short) length);
            System.arraycopy(bytes, starts[run], recent.bytes, to + Short.BYTES, length);
            to += Short.BYTES + length;
        }
        recent.texts = new Object[texts];
        int text = 0;
        for (int w = 0; w < steps.length; w += Math.max(1, steps[w].run)) {
            for (int i = 0; i < steps[w].run; i++) {
                recent.texts[text++] = things[steps[w + i].target];
            }
        }
    }

    private void read(Step step) throws Refused {
        Field field = step.written;
        int to = step.target;
        known[to] = true;
        if (field.nullable()) {
            long branch = number(field);
            if (branch == 0) {
                known[to] = false;
                things[to] = null;
                doubtful |= step.rule != null && !step.rule.field.nullable();
                return;
            }
            if (branch != 1) {
                throw bad(field, "its union has no branch " + branch);
            }
        }
        if (field.array()) {
            things[to] = list(field);
            doubtful = true;
            return;
        }
        Rule rule = step.rule;
        switch (field.type()) {
            case STRING -> {
                String text = text(field);
                things[to] = text;
                doubtful |= rule != null && rule.values != null && !rule.values.contains(text);
            }
            case BYTES -> things[to] = block(field);
            case BOOLEAN -> numbers[to] = flag(field) ? 1 : 0;
            case DOUBLE -> real(to, rule, real(field));
            default -> {
                long number = field.type() == Type.INT || field.type() == Type.DATE ? integer(field) : number(field);
                if (rule != null && rule.field.type() == Type.DOUBLE) {
                    real(to, rule, number);
                } else {
                    numbers[to] = number;
                    doubtful |= rule != null && (number < rule.low || number > rule.high);
                }
            }
        }
    }

    private void real(int to, Rule rule, double value) {
        numbers[to] = Double.doubleToRawLongBits(value);
        doubtful |= rule != null && !(value >= rule.least && value <= rule.most);
    }

    /** What the reader has where the writer has nothing. */
    private void fallback(int to, Field field) {
        Object value = field.fallback();
        known[to] = value != null;
        things[to] = null;
        if (value instanceof Boolean b) {
            numbers[to] = b ? 1 : 0;
        } else if (value instanceof Double d) {
            numbers[to] = Double.doubleToRawLongBits(d);
        } else if (value instanceof Number n) {
            numbers[to] = n.longValue();
        } else {
            things[to] = value;
        }
        doubtful |= value == null && !field.nullable();
    }

    private Object[] values(Plan plan) {
        Object[] values = new Object[plan.rules.length];
        for (int i = 0; i < values.length; i++) {
            values[i] = value(plan, i);
        }
        return values;
    }

    private Object value(Plan plan, int place) {
        Field field = plan.rules[place].field;
        if (!known[place] || field.array()) {
            return known[place] ? things[place] : null;
        }
        return switch (field.type()) {
            case BOOLEAN -> (Object) (numbers[place] != 0);
            case INT, DATE -> (Object) (int) numbers[place];
            case LONG, TIMESTAMP -> (Object) numbers[place];
            case DOUBLE -> (Object) real(place);
            case STRING, BYTES -> things[place];
        };
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
            case BOOLEAN -> (Object) flag(field);
            case INT, DATE -> (Object) integer(field);
            case LONG, TIMESTAMP -> (Object) number(field);
            case DOUBLE -> (Object) real(field);
            case STRING -> text(field);
            case BYTES -> block(field);
        };
    }

    private double real(Field field) throws Refused {
        need(8, field);
        at += 8;
        return (double) REAL.get(bytes, at - 8);
    }

    private byte[] block(Field field) throws Refused {
        int length = length(field);
        at += length;
        return Arrays.copyOfRange(bytes, at - length, at);
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
            if (d < rule.least || d > rule.most) {
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

    private void checkKey(Plan plan, byte[] key) throws Refused {
        if (plan.key < 0) {
            return;
        }
        if (plan.control) {
            if (key == null || !Arrays.equals(key, (CONTROL_KEY + numbers[plan.key]).getBytes(StandardCharsets.UTF_8))) {
                throw new Refused("key", "message key is not " + CONTROL_KEY + "<partition>");
            }
            return;
        }
        String expected = text(plan.key);
        if (expected.isEmpty()) {
            throw new Refused("range", "session_id is empty");
        }
        if (key == null || !Arrays.equals(key, expected.getBytes(StandardCharsets.UTF_8))) {
            throw new Refused("key", "message key is not the record's session_id");
        }
    }

    private void checkClock(Plan plan) throws Refused {
        if (plan.posted >= 0 && strays(numbers[plan.received], numbers[plan.posted])) {
            throw new Refused("clock", "post_device_at is " + numbers[plan.posted] + ": more than 24 h from received_at");
        }
    }

    /** Whether the clock of a POST, both times good, says nothing of when it was received. */
    static boolean strays(long received, long posted) {
        return Math.abs(received - posted) > MAX_CLOCK;
    }
}
