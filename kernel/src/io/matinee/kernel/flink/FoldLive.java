package io.matinee.kernel.flink;

import io.matinee.kernel.CmcdMessage;
import io.matinee.kernel.Decoder;
import io.matinee.kernel.Decoder.Decoded;
import io.matinee.kernel.Encoder;
import io.matinee.kernel.LiveFold;
import io.matinee.kernel.Measure;
import io.matinee.kernel.MinuteKey;
import io.matinee.kernel.Policy;
import io.matinee.kernel.Rows;
import io.matinee.kernel.Schemas;
import io.matinee.kernel.Segment;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.table.annotation.ArgumentHint;
import org.apache.flink.table.annotation.ArgumentTrait;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.annotation.StateHint;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ProcessTableFunction;

/**
 * Raw messages of playback_event and of cmcd, keyed by message key, to rows of kind minute (signed deltas), session
 * (upserts), progress, dlq and dlq_cmcd.
 *
 * <p>Called without on_time: with it, rows behind the watermark never reach eval. Timers are set on the arrival clock
 * (Kafka's timestamp); see {@link LiveFold} for what depends on it.
 */
@FunctionHint(output = @DataTypeHint(value = FoldLive.OUTPUT, bridgedTo = RowData.class))
public class FoldLive extends ProcessTableFunction<RowData> {
    private static final long serialVersionUID = 1;

    static final String OUTPUT = "ROW<kind STRING, minute_ms BIGINT, cdn_id STRING, isp STRING, device STRING, country STRING, app_version"
            + " STRING, title_id STRING, deltas BYTES, out_key BYTES, out_value BYTES, headers MAP<STRING, BYTES>, step_ms BIGINT>";
    private static final int DIMENSION = 2;
    private static final int DELTAS = DIMENSION + 6;
    private static final int OUT_KEY = DELTAS + 1;
    private static final int OUT_VALUE = OUT_KEY + 1;
    private static final int HEADERS = OUT_VALUE + 1;
    private static final int STEP = HEADERS + 1;
    private static final int FIELDS = STEP + 1;
    private static final long STEP_MS = 10_000;

    private static final String INPUT = "ROW<message_key BYTES, message_value BYTES, kafka_partition INT, kafka_offset BIGINT,"
            + " kafka_at TIMESTAMP_LTZ(3), is_cmcd BOOLEAN>";
    private static final StringData MINUTE = StringData.fromString("minute");
    private static final StringData SESSION = StringData.fromString("session");
    private static final StringData PROGRESS = StringData.fromString("progress");
    private static final StringData DLQ = StringData.fromString("dlq");
    private static final StringData DLQ_CMCD = StringData.fromString("dlq_cmcd");
    private static final long DAY_MS = 86_400_000;
    private static final int DROPPED = Schemas.newest("playback_event").index("dropped_keys");

    private transient Policy policy;
    private transient Emitter emitter;
    private transient CmcdMessage cmcd;
    private transient MetricGroup dropped;
    private transient Map<String, Counter> droppedKeys;

    /** What is kept for a key: a session's {@link LiveFold}, or the days that wait for the watermark (12 and 8 bytes each). */
    public static class State {
        public byte[] fold;
        public byte[] days;
    }

    @Override
    public void open(FunctionContext context) throws Exception {
        super.open(context);
        policy = Policy.of(name -> setting(context, name));
        emitter = new Emitter();
        cmcd = new CmcdMessage();
        dropped = context.getMetricGroup().addGroup("cmcd_dropped");
        droppedKeys = new HashMap<>();
    }

    private static long setting(FunctionContext context, String name) {
        String key = "matinee.fold." + name;
        String value = context.getJobParameter(key, null);
        if (value == null) {
            throw new IllegalStateException("job parameter " + key + " is not set: put the fold's settings into"
                    + " pipeline.global-job-parameters");
        }
        return Long.parseLong(value);
    }

    public void eval(Context context, @StateHint(ttl = "0 ms") State state,
            @ArgumentHint(value = ArgumentTrait.SET_SEMANTIC_TABLE, type = @DataTypeHint(value = INPUT, bridgedTo = RowData.class))
            RowData e) {
        byte[] key = e.isNullAt(0) ? null : e.getBinary(0);
        byte[] value = e.isNullAt(1) ? null : e.getBinary(1);
        long arrival = e.getTimestamp(4, 3).getMillisecond();
        TimeContext<Long> time = context.timeContext(Long.class);
        emitter.at(arrival);
        boolean lines = e.getBoolean(5);
        Decoded decoded = lines && (value == null || value.length == 0 || value[0] != 0)
                ? null : Decoder.decode(value, key, "playback_event");
        if (lines && (decoded == null || !decoded.control())) {
            cmcd(key, value, e.getInt(2), e.getLong(3), arrival, state, time);
        } else if (!decoded.good()) {
            emitter.deadLetter(decoded, key, value, e.getInt(2), e.getLong(3), arrival);
        } else if (decoded.control()) {
            dayEnd(state, decoded, time);
        } else {
            LiveFold fold = state.fold == null ? new LiveFold(policy) : LiveFold.fromBytes(state.fold, policy);
            fold.event(Rows.event(decoded.values(), e.getInt(2), e.getLong(3)), arrival, emitter);
            keep(fold, state, time);
        }
    }

    /** A message of the collector: its events into the session's fold, its refused lines to the dead letters. */
    private void cmcd(byte[] key, byte[] value, int partition, long offset, long arrival, State state, TimeContext<Long> time) {
        LiveFold[] fold = new LiveFold[1];
        cmcd.read(value, key, partition, offset, new CmcdMessage.Out() {
            @Override
            public void event(Object[] values, int place, long order) {
                if (fold[0] == null) {
                    fold[0] = state.fold == null ? new LiveFold(policy) : LiveFold.fromBytes(state.fold, policy);
                }
                fold[0].event(Rows.event(values, place, order), arrival, emitter);
                count((String) values[DROPPED]);
            }

            @Override
            public void letter(int line, byte[] payload, String errorClass, String reason) {
                emitter.letter(DLQ_CMCD, new Decoded(null, -1, null, errorClass, reason), key, payload, partition, offset,
                        arrival, line);
            }
        });
        if (fold[0] != null) {
            keep(fold[0], state, time);
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

    public void onTimer(OnTimerContext context, State state) {
        TimeContext<Long> time = context.timeContext(Long.class);
        long now = Math.max(time.time(), watermark(time));
        if (state.days != null) {
            daysPassed(state, now);
        }
        if (state.fold == null) {
            return;
        }
        emitter.at(now);
        LiveFold fold = LiveFold.fromBytes(state.fold, policy);
        fold.watermark(now, emitter);
        if (fold.forgotten(now)) {
            state.fold = null;
            return;
        }
        if (fold.timer <= now) {
            fold.timer = 0;
        }
        keep(fold, state, time);
    }

    /** Write the state back, with a timer set if none comes early enough. */
    private static void keep(LiveFold fold, State state, TimeContext<Long> time) {
        long next = fold.nextTimer();
        if (fold.timer == 0 || next < fold.timer) {
            fold.timer = Math.max(next, watermark(time) + 1);
            time.registerOnTime(fold.timer);
        }
        state.fold = fold.toBytes();
    }

    private static long watermark(TimeContext<Long> time) {
        Long now = time.currentWatermark();
        return now == null ? Long.MIN_VALUE : now;
    }

    /** Remember the day until the watermark has passed its control record's time. */
    private static void dayEnd(State state, Decoded decoded, TimeContext<Long> time) {
        long at = (Long) decoded.get("received_at");
        byte[] old = state.days == null ? new byte[0] : state.days;
        state.days = ByteBuffer.allocate(old.length + 16).put(old).putInt((Integer) decoded.get("day"))
                .putInt((Integer) decoded.get("partition")).putLong(at).array();
        time.registerOnTime(Math.max(at, watermark(time) + 1));
    }

    private void daysPassed(State state, long now) {
        ByteBuffer days = ByteBuffer.wrap(state.days);
        ByteBuffer left = ByteBuffer.allocate(state.days.length);
        while (days.hasRemaining()) {
            int day = days.getInt();
            int partition = days.getInt();
            long at = days.getLong();
            if (at <= now) {
                emitter.progress(day, partition);
            } else {
                left.putInt(day).putInt(partition).putLong(at);
            }
        }
        state.days = left.position() == 0 ? null : java.util.Arrays.copyOf(left.array(), left.position());
    }

    /** Rows out. */
    private final class Emitter implements LiveFold.Out {
        private long step;

        /** What follows became known at this moment of the arrival clock. */
        void at(long clock) {
            step = clock - Math.floorMod(clock, STEP_MS);
        }

        private GenericRowData row(StringData kind) {
            GenericRowData row = new GenericRowData(FIELDS);
            row.setField(0, kind);
            return row;
        }

        @Override
        public void minute(MinuteKey key, long[] measures) {
            GenericRowData row = row(MINUTE);
            row.setField(1, key.minuteAt());
            String[] dimensions = key.dimensions();
            for (int i = 0; i < dimensions.length; i++) {
                row.setField(DIMENSION + i, StringData.fromString(dimensions[i]));
            }
            row.setField(DELTAS, Measure.pack(measures));
            row.setField(STEP, step);
            collect(row);
        }

        @Override
        public void session(Segment s, long clockOffsetMs, long duplicates, long late) {
            keyed(SESSION, s.last.sessionId + "|" + s.number,
                    Encoder.encode("qoe_session", Rows.liveSession(s, clockOffsetMs, duplicates, late)));
        }

        @Override
        public void gone(String sessionId, int segment) {
            keyed(SESSION, sessionId + "|" + segment, null);
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

        void deadLetter(Decoded decoded, byte[] key, byte[] value, int partition, long offset, long arrival) {
            letter(DLQ, decoded, key, value, partition, offset, arrival, 0);
        }

        /** {@code line} is 0 for a whole message. */
        void letter(StringData kind, Decoded decoded, byte[] key, byte[] value, int partition, long offset, long arrival, int line) {
            Map<StringData, byte[]> headers = new HashMap<>();
            header(headers, "kafka_partition", partition);
            header(headers, "kafka_offset", offset);
            header(headers, "kafka_at", arrival);
            header(headers, "error_class", decoded.errorClass());
            header(headers, "reason", decoded.reason());
            if (decoded.schemaId() >= 0) {
                header(headers, "schema_id", decoded.schemaId());
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
