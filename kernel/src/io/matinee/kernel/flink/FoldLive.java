package io.matinee.kernel.flink;

import io.matinee.kernel.CmcdMessage;
import io.matinee.kernel.Decoder;
import io.matinee.kernel.Encoder;
import io.matinee.kernel.Event;
import io.matinee.kernel.LiveFold;
import io.matinee.kernel.Measure;
import io.matinee.kernel.MinuteKey;
import io.matinee.kernel.Policy;
import io.matinee.kernel.Rows;
import io.matinee.kernel.Schemas;
import io.matinee.kernel.Segment;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.common.typeutils.base.array.BytePrimitiveArraySerializer;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.TableConfig;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.api.config.ExecutionConfigOptions;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.DataType;

/**
 * Raw messages of playback_event and of cmcd, keyed by message key, to rows of kind minute (signed deltas), session
 * (upserts), progress, dlq and dlq_cmcd.
 *
 * <p>Nothing of this can be read before the checkpoint it belongs to, so what an event changes is kept here until the
 * checkpoint begins: folds are written to the state once, deltas of one minute and the rows of one segment go out once.
 * That is why this is an operator: a process table function is not told of checkpoints and reads, compares and writes
 * its whole state for every event.
 *
 * <p>Timers are set on the arrival clock (Kafka's timestamp); see {@link LiveFold} for what depends on it.
 */
public final class FoldLive extends AbstractStreamOperator<RowData>
        implements OneInputStreamOperator<RowData, RowData>, Triggerable<String, VoidNamespace> {
    private static final long serialVersionUID = 2;

    private static final DataType INPUT = DataTypes.ROW(
            DataTypes.FIELD("message_key", DataTypes.BYTES()), DataTypes.FIELD("message_value", DataTypes.BYTES()),
            DataTypes.FIELD("kafka_partition", DataTypes.INT()), DataTypes.FIELD("kafka_offset", DataTypes.BIGINT()),
            DataTypes.FIELD("kafka_at", DataTypes.TIMESTAMP_LTZ(3)), DataTypes.FIELD("is_cmcd", DataTypes.BOOLEAN()));
    private static final DataType OUTPUT = DataTypes.ROW(
            DataTypes.FIELD("kind", DataTypes.STRING()), DataTypes.FIELD("minute_ms", DataTypes.BIGINT()),
            DataTypes.FIELD("cdn_id", DataTypes.STRING()), DataTypes.FIELD("isp", DataTypes.STRING()),
            DataTypes.FIELD("device", DataTypes.STRING()), DataTypes.FIELD("country", DataTypes.STRING()),
            DataTypes.FIELD("app_version", DataTypes.STRING()), DataTypes.FIELD("title_id", DataTypes.STRING()),
            DataTypes.FIELD("deltas", DataTypes.BYTES()), DataTypes.FIELD("out_key", DataTypes.BYTES()),
            DataTypes.FIELD("out_value", DataTypes.BYTES()),
            DataTypes.FIELD("headers", DataTypes.MAP(DataTypes.STRING(), DataTypes.BYTES())),
            DataTypes.FIELD("step_ms", DataTypes.BIGINT()));
    private static final int DIMENSION = 2;
    private static final int DELTAS = DIMENSION + 6;
    private static final int OUT_KEY = DELTAS + 1;
    private static final int OUT_VALUE = OUT_KEY + 1;
    private static final int HEADERS = OUT_VALUE + 1;
    private static final int STEP = HEADERS + 1;
    private static final int FIELDS = STEP + 1;
    private static final long STEP_MS = 10_000;

    private static final StringData MINUTE = StringData.fromString("minute");
    private static final StringData SESSION = StringData.fromString("session");
    private static final StringData PROGRESS = StringData.fromString("progress");
    private static final StringData DLQ = StringData.fromString("dlq");
    private static final StringData DLQ_CMCD = StringData.fromString("dlq_cmcd");
    private static final long DAY_MS = 86_400_000;
    private static final int DROPPED = Schemas.newest("playback_event").index("dropped_keys");
    /** Rows that a subtask keeps at most; beyond it all are sent. */
    private static final int ROWS = 50_000;

    /** Folds (about 2 KB each) that a subtask keeps at most; beyond it the oldest is written, and one that rests too. */
    private final int most;

    private transient Policy policy;
    private transient Emitter emitter;
    private transient Decoder decoder;
    private transient CmcdMessage cmcd;
    private transient MetricGroup dropped;
    private transient Map<String, Counter> droppedKeys;
    private transient Corrections corrections;
    /** One for each fold that lives, if need be renewed when it comes; and one for each day that waits. */
    private transient InternalTimerService<VoidNamespace> timers;
    /** One for each fold that rests and is not in memory, and none else: what is due is dropped without being read. */
    private transient InternalTimerService<VoidNamespace> resting;
    /** The {@link LiveFold.Bytes} of a session, as of the last checkpoint if it is among {@link #folds}. */
    private transient ValueState<byte[]> numbers;
    private transient ValueState<byte[]> texts;
    /** The days that wait for the watermark: day and partition (4 bytes each) and the control record's time (8). */
    private transient ValueState<byte[]> days;
    /** By key; the one that came in first is the first to go, unless it was used since it was last its turn. */
    private transient LinkedHashMap<String, Held> folds;

    private static final class Held {
        private final String key;
        private final LiveFold fold;
        private boolean used;
        private final Decoder.Recent recent = new Decoder.Recent();
        private boolean changed;
        /** The step of what the fold has to tell, if it has. */
        private long owedAt;
        /** As they lie in a state of their own; null if none do. */
        private byte[] texts;
        /** By number, the newest row of each segment that was told since rows were sent; null if none was. */
        private Map<Integer, Told> told;

        Held(String key, LiveFold fold, byte[] texts) {
            this.key = key;
            this.fold = fold;
            this.texts = texts;
        }
    }

    /** A row of a segment as it was then, not encoded as another one may follow; {@code segment} is null if it is gone. */
    private record Told(String sessionId, int number, Segment segment, long clockOffsetMs, long duplicates, long late) {
        void send(Emitter to) {
            to.keyed(SESSION, sessionId + "|" + number, segment == null ? null
                    : Encoder.encode("qoe_session", Rows.liveSession(segment, clockOffsetMs, duplicates, late)));
        }
    }

    /** The key of a message; its bytes as characters, so that no two keys are one. */
    private static final class Key implements KeySelector<RowData, String> {
        private static final long serialVersionUID = 1;

        @Override
        public String getKey(RowData row) {
            return row.isNullAt(0) ? "" : new String(row.getBinary(0), StandardCharsets.ISO_8859_1);
        }
    }

    private FoldLive(int most) {
        this.most = most;
    }

    /**
     * View {@code output} of the rows folded from views {@code inputs}; {@code uid} names the state in savepoints, and a
     * subtask keeps {@code most} folds in memory. The inputs come together here and not by UNION ALL: an operator behind
     * that is a task of its own, to which every message would be sent before it is sent to its session's.
     */
    public static void view(StreamTableEnvironment env, String[] inputs, String output, String uid, int most) {
        // With mini-batches the planner would put its clock, which is the machine's, in place of the sources' watermarks.
        TableConfig config = env.getConfig();
        boolean batches = config.get(ExecutionConfigOptions.TABLE_EXEC_MINIBATCH_ENABLED);
        config.set(ExecutionConfigOptions.TABLE_EXEC_MINIBATCH_ENABLED, false);
        DataStream<RowData> raw = Arrays.stream(inputs)
                .map(input -> env.<RowData>toDataStream(env.from(input), INPUT.bridgedTo(RowData.class)))
                .reduce(DataStream::union).orElseThrow();
        config.set(ExecutionConfigOptions.TABLE_EXEC_MINIBATCH_ENABLED, batches);
        env.createTemporaryView(output, raw.keyBy(new Key(), Types.STRING)
                .transform("fold_live", InternalTypeInfo.<RowData>of(OUTPUT.getLogicalType()), new FoldLive(most))
                .uid(uid));
    }

    @Override
    public void open() throws Exception {
        super.open();
        Map<String, String> parameters = getExecutionConfig().getGlobalJobParameters().toMap();
        policy = Policy.of(name -> setting(parameters, name));
        emitter = new Emitter();
        decoder = new Decoder("playback_event");
        cmcd = new CmcdMessage();
        dropped = getMetricGroup().addGroup("cmcd_dropped");
        droppedKeys = new HashMap<>();
        corrections = new Corrections(getMetricGroup());
        timers = getInternalTimerService("fold", VoidNamespaceSerializer.INSTANCE, this);
        resting = getInternalTimerService("resting", VoidNamespaceSerializer.INSTANCE, new Forgetting());
        numbers = bytes("fold");
        texts = bytes("texts");
        days = bytes("days");
        folds = new LinkedHashMap<>();
    }

    private ValueState<byte[]> bytes(String name) throws Exception {
        return getPartitionedState(new ValueStateDescriptor<>(name, BytePrimitiveArraySerializer.INSTANCE));
    }

    private static long setting(Map<String, String> parameters, String name) {
        String key = "matinee.fold." + name;
        String value = parameters.get(key);
        if (value == null) {
            throw new IllegalStateException("job parameter " + key + " is not set: put the fold's settings into"
                    + " pipeline.global-job-parameters");
        }
        return Long.parseLong(value);
    }

    @Override
    public void processElement(StreamRecord<RowData> element) throws Exception {
        RowData e = element.getValue();
        byte[] key = e.isNullAt(0) ? null : e.getBinary(0);
        byte[] value = e.isNullAt(1) ? null : e.getBinary(1);
        long arrival = e.getTimestamp(4, 3).getMillisecond();
        boolean lines = e.getBoolean(5);
        boolean framed = !lines || value != null && value.length > 0 && value[0] == 0;
        Held held = framed ? held() : null;  // before it is read: the fold has the session's texts
        boolean good = framed && decoder.read(value, key, held.recent);
        if (lines && !(good && decoder.control())) {
            cmcd(key, value, e.getInt(2), e.getLong(3), arrival);
        } else if (!good) {
            emitter.deadLetter(decoder, key, value, e.getInt(2), e.getLong(3), arrival);
        } else if (decoder.control()) {
            dayEnd();
        } else {
            event(held, Rows.event(decoder, held.recent, e.getInt(2), e.getLong(3)), arrival);
            changed(held);
        }
        if (emitter.size() > ROWS) {
            emitter.send();
        }
    }

    private void event(Held held, Event event, long arrival) {
        if (held.fold.owes() && held.owedAt != emitter.step(arrival)) {
            tell(held);  // it became known in the step before
        }
        emitter.of(held, arrival);
        held.fold.event(event, arrival, emitter);
        if (held.fold.owes()) {
            held.owedAt = emitter.step(arrival);
            emitter.owing.add(held);
        }
    }

    /** What came out of line, in the step in which it came. */
    private void tell(Held held) {
        if (held.fold.owes()) {
            emitter.of(held, held.owedAt);
            held.fold.tell(emitter);
        }
    }

    /** A message of the collector: its events into the session's fold, its refused lines to the dead letters. */
    private void cmcd(byte[] key, byte[] value, int partition, long offset, long arrival) throws Exception {
        Held held = held();
        boolean[] any = new boolean[1];
        cmcd.read(value, key, partition, offset, new CmcdMessage.Out() {
            @Override
            public void event(Object[] values, int place, long order) {
                any[0] = true;
                FoldLive.this.event(held, Rows.event(values, place, order), arrival);
                count((String) values[DROPPED]);
            }

            @Override
            public void letter(int line, byte[] payload, String errorClass, String reason) {
                emitter.letter(DLQ_CMCD, -1, errorClass, reason, key, payload, partition, offset, arrival, line);
            }
        });
        if (any[0]) {
            changed(held);
        }
    }

    /** Keys whose value was bad, counted by key. */
    private void count(String keys) {
        if (keys != null) {
            for (String name : keys.split(",")) {
                droppedKeys.computeIfAbsent(name, n -> dropped.counter(n)).inc();
            }
        }
    }

    @Override
    public void onEventTime(InternalTimer<String, VoidNamespace> timer) throws Exception {
        long until = Math.max(timer.getTimestamp(), timers.currentWatermark());
        if (timer.getKey().startsWith(Decoder.CONTROL_KEY) && days.value() != null) {
            daysPassed(until);
        }
        Held held = held();
        tell(held);
        // One by one at its own time: the watermark may have jumped, and by hours where a day is read at once.
        while (!held.fold.forgotten(until) && held.fold.nextTimer() <= until) {
            long due = held.fold.nextTimer();
            emitter.of(held, due);
            held.fold.watermark(due, emitter);
        }
        if (held.fold.forgotten(until)) {
            numbers.clear();
            if (held.texts != null) {
                texts.clear();
            }
            folds.remove(timer.getKey());
            return;
        }
        if (held.fold.timer <= until) {
            held.fold.timer = 0;
        }
        changed(held);
    }

    @Override
    public void onProcessingTime(InternalTimer<String, VoidNamespace> timer) {
        throw new IllegalStateException("the fold sets no timer on processing time");
    }

    /** Drops folds that have rested long enough; they have their texts among the numbers. */
    private final class Forgetting implements Triggerable<String, VoidNamespace> {
        @Override
        public void onEventTime(InternalTimer<String, VoidNamespace> timer) {
            numbers.clear();
        }

        @Override
        public void onProcessingTime(InternalTimer<String, VoidNamespace> timer) {
            FoldLive.this.onProcessingTime(timer);
        }
    }

    /** The current key's fold. */
    private Held held() throws Exception {
        String key = (String) getCurrentKey();
        Held held = folds.get(key);
        if (held != null) {
            held.used = true;
        } else {
            byte[] changing = numbers.value();
            boolean rested = changing != null && LiveFold.rested(changing);
            byte[] staying = changing == null || rested ? null : texts.value();
            held = new Held(key, changing == null ? new LiveFold(policy)
                    : LiveFold.fromBytes(new LiveFold.Bytes(changing, staying), policy), staying);
            if (rested) {
                resting.deleteEventTimeTimer(VoidNamespace.INSTANCE, held.fold.forgottenAt());
            }
            if (folds.size() >= most) {
                makeRoom();
                setCurrentKey(key);
            }
            folds.put(key, held);
        }
        return held;
    }

    /** For one more. Leaves another current key. */
    private void makeRoom() throws Exception {
        while (true) {
            Iterator<Held> all = folds.values().iterator();
            Held first = all.next();
            all.remove();
            if (!first.used) {
                write(first);
                return;
            }
            first.used = false;
            folds.put(first.key, first);
        }
    }

    /** The current key's fold has changed: a timer is set if none comes early enough. */
    private void changed(Held held) {
        LiveFold fold = held.fold;
        long next = fold.nextTimer();
        if (fold.timer == 0 || next < fold.timer) {
            noTimer(fold);
            fold.timer = Math.max(next, timers.currentWatermark() + 1);
            timers.registerEventTimeTimer(VoidNamespace.INSTANCE, fold.timer);
        }
        held.changed = true;
    }

    /** The current key's fold has no timer. */
    private void noTimer(LiveFold fold) {
        if (fold.timer != 0) {
            timers.deleteEventTimeTimer(VoidNamespace.INSTANCE, fold.timer);
            fold.timer = 0;
        }
    }

    /**
     * To the state, if it has changed. Whether it rests: then it has to leave the memory, where nothing but a straggler
     * wakes it. Leaves another current key.
     */
    private boolean write(Held held) throws Exception {
        tell(held);
        boolean rests = held.fold.rests();
        if (rests && !held.fold.empty()) {
            setCurrentKey(held.key);
            noTimer(held.fold);  // before it is written: its bytes say which timer it has
            resting.registerEventTimeTimer(VoidNamespace.INSTANCE, held.fold.forgottenAt());
        }
        if (held.changed) {
            setCurrentKey(held.key);
            LiveFold.Bytes bytes = held.fold.toBytes();
            numbers.update(bytes.numbers());
            if (bytes.texts() == null && held.texts != null) {
                texts.clear();
            } else if (!Arrays.equals(bytes.texts(), held.texts)) {
                texts.update(bytes.texts());
            }
            held.texts = bytes.texts();
            held.changed = false;
        }
        return rests;
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpointId) throws Exception {
        emitter.send();
        for (Iterator<Held> all = folds.values().iterator(); all.hasNext(); ) {
            if (write(all.next())) {
                all.remove();
            }
        }
    }

    @Override
    public void finish() throws Exception {
        emitter.send();
        super.finish();
    }

    /** Remember the day until the watermark has passed its control record's time. */
    private void dayEnd() throws Exception {
        long at = (Long) decoder.get("received_at");
        byte[] old = days.value() == null ? new byte[0] : days.value();
        days.update(ByteBuffer.allocate(old.length + 16).put(old).putInt((Integer) decoder.get("day"))
                .putInt((Integer) decoder.get("partition")).putLong(at).array());
        timers.registerEventTimeTimer(VoidNamespace.INSTANCE, Math.max(at, timers.currentWatermark() + 1));
    }

    private void daysPassed(long now) throws Exception {
        ByteBuffer all = ByteBuffer.wrap(days.value());
        ByteBuffer left = ByteBuffer.allocate(all.capacity());
        while (all.hasRemaining()) {
            int day = all.getInt();
            int partition = all.getInt();
            long at = all.getLong();
            if (at <= now) {
                emitter.progress(day, partition);
            } else {
                left.putInt(day).putInt(partition).putLong(at);
            }
        }
        if (left.position() == 0) {
            days.clear();
        } else {
            days.update(Arrays.copyOf(left.array(), left.position()));
        }
    }

    /** What deltas are added up by before they go out: the sums of minutes and those of steps are taken from it. */
    private record Sum(MinuteKey minute, long step) {
        @Override
        public int hashCode() {
            return minute.hashCode() + 31 * (int) (step / STEP_MS);
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Sum s && step == s.step && minute.equals(s.minute);
        }
    }

    /** Rows out: deltas and rows of segments when they are sent, the rest, which is rare, at once. */
    private final class Emitter implements LiveFold.Out {
        private final Map<Sum, long[]> sums = new HashMap<>();
        /** Those that have told rows, once each; a fold that was written and read again stands behind its former self. */
        private final List<Held> telling = new ArrayList<>();
        /** Those that had something to tell. */
        private final Set<Held> owing = new LinkedHashSet<>();
        private final StreamRecord<RowData> record = new StreamRecord<>(null);
        private Held held;
        private long step;

        static long step(long clock) {
            return clock - Math.floorMod(clock, STEP_MS);
        }

        /** What follows is of this fold and became known at this moment of the arrival clock. */
        void of(Held fold, long clock) {
            held = fold;
            step = step(clock);
        }

        int size() {
            return sums.size() + telling.size() + owing.size();
        }

        void send() {
            owing.forEach(FoldLive.this::tell);
            owing.clear();
            sums.forEach(this::sum);
            sums.clear();
            for (Held fold : telling) {
                fold.told.values().forEach(row -> row.send(this));
                fold.told = null;
            }
            telling.clear();
        }

        private GenericRowData row(StringData kind) {
            GenericRowData row = new GenericRowData(FIELDS);
            row.setField(0, kind);
            return row;
        }

        @Override
        public void minute(MinuteKey key, long[] measures) {
            corrections.count(measures);
            Measure.add(sums.computeIfAbsent(new Sum(key, step), k -> new long[Measure.COUNT]), measures, 1);
        }

        private void sum(Sum key, long[] measures) {
            if (Measure.none(measures)) {
                return;
            }
            GenericRowData row = row(MINUTE);
            row.setField(1, key.minute.minuteAt());
            String[] dimensions = key.minute.dimensions();
            for (int i = 0; i < dimensions.length; i++) {
                row.setField(DIMENSION + i, StringData.fromString(dimensions[i]));
            }
            row.setField(DELTAS, Measure.pack(measures));
            row.setField(STEP, key.step);
            collect(row);
        }

        private void collect(RowData row) {
            output.collect(record.replace(row));
        }

        @Override
        public void session(Segment s, long clockOffsetMs, long duplicates, long late) {
            tell(new Told(s.last.sessionId, s.number, s.row(), clockOffsetMs, duplicates, late));
        }

        @Override
        public void gone(String sessionId, int segment) {
            tell(new Told(sessionId, segment, null, 0, 0, 0));
        }

        private void tell(Told row) {
            if (held.told == null) {
                held.told = new HashMap<>(2);
                telling.add(held);
            }
            held.told.put(row.number, row);
        }

        void progress(int day, int partition) {
            keyed(PROGRESS, Integer.toString(partition),
                    Encoder.encode("qoe_progress", day, partition, (day + 1L) * DAY_MS));
        }

        private void keyed(StringData kind, String key, byte[] value) {
            GenericRowData row = row(kind);
            row.setField(OUT_KEY, key.getBytes(StandardCharsets.UTF_8));
            row.setField(OUT_VALUE, value);
            collect(row);
        }

        void deadLetter(Decoder of, byte[] key, byte[] value, int partition, long offset, long arrival) {
            letter(DLQ, of.schemaId(), of.errorClass(), of.reason(), key, value, partition, offset, arrival, 0);
        }

        /** {@code schemaId} is -1 where there is none, {@code line} 0 for a whole message. */
        void letter(StringData kind, int schemaId, String errorClass, String reason, byte[] key, byte[] value, int partition,
                    long offset, long arrival, int line) {
            Map<StringData, byte[]> headers = new HashMap<>();
            header(headers, "kafka_partition", partition);
            header(headers, "kafka_offset", offset);
            header(headers, "kafka_at", arrival);
            header(headers, "error_class", errorClass);
            header(headers, "reason", reason);
            if (schemaId >= 0) {
                header(headers, "schema_id", schemaId);
            }
            if (line > 0) {
                header(headers, "line", line);
            }
            GenericRowData row = row(kind);
            row.setField(OUT_KEY, key);
            row.setField(OUT_VALUE, value);
            row.setField(HEADERS, new GenericMapData(headers));
            collect(row);
        }

        private void header(Map<StringData, byte[]> headers, String name, Object text) {
            headers.put(StringData.fromString(name), text.toString().getBytes(StandardCharsets.UTF_8));
        }
    }
}
