package io.matinee.kernel.spark;

import io.matinee.kernel.BatchFold;
import io.matinee.kernel.BatchFold.Folded;
import io.matinee.kernel.Event;
import io.matinee.kernel.Kept;
import io.matinee.kernel.Policy;
import io.matinee.kernel.Rows;
import io.matinee.kernel.Schemas;
import io.matinee.kernel.Schemas.Schema;
import io.matinee.kernel.Segment;
import io.matinee.kernel.SpanRow;
import io.matinee.kernel.State;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.api.java.UDF1;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import scala.collection.Seq;

/**
 * fold_session: all events of one session to its spans and sessions.
 *
 * <p>Both revisions are given out always, also when no event is late and they differ in their label only: each is
 * complete by itself, so that a reader filters by revision and never has to fall back from one to the other.
 */
final class FoldSession implements UDF1<Seq<Row>, Row> {
    private static final long serialVersionUID = 1;
    private static final Schema SPAN = Schemas.newest("span");
    private static final Schema SESSION = Schemas.newest("session");
    static final StructType TYPE = new StructType()
            .add("spans", DataTypes.createArrayType(Register.struct(SPAN), false))
            .add("sessions", DataTypes.createArrayType(Register.struct(SESSION), false));
    private static final String[] COLUMNS = {"session_id", "seq", "device_at", "received_at", "post_device_at", "state",
        "bitrate_kbps", "playhead_ms", "background", "ad", "impression_id", "page_id", "kafka_partition", "kafka_offset",
        "stall_count", "stall_total_ms", "error_code", "playback_rate", "kept"};

    private final Policy policy;

    FoldSession(Policy policy) {
        this.policy = policy;
    }

    @Override
    public Row call(Seq<Row> rows) {
        if (rows == null) {
            return null;
        }
        List<Event> events = new ArrayList<>(rows.length());
        int[] at = null;
        for (int i = 0; i < rows.length(); i++) {
            at = at == null ? places(rows.apply(i).schema()) : at;
            events.add(event(rows.apply(i), at));
        }
        BatchFold.Both both = BatchFold.fold(events, policy);
        List<Row> spans = new ArrayList<>();
        List<Row> sessions = new ArrayList<>();
        add(both.live(), "live", spans, sessions);
        add(both.full(), "final", spans, sessions);
        return RowFactory.create(spans, sessions);
    }

    private static void add(Folded folded, String revision, List<Row> spans, List<Row> sessions) {
        for (SpanRow span : folded.spans()) {
            spans.add(RowFactory.create(Values.external(SPAN, Rows.span(span, revision))));
        }
        for (Segment s : folded.segments()) {
            long duplicates = s.number == 0 ? folded.duplicates() : 0;
            long late = s.number == 0 ? folded.late() : 0;
            sessions.add(RowFactory.create(
                    Values.external(SESSION, Rows.session(s, revision, folded.clockOffsetMs(), duplicates, late))));
        }
    }

    /** Where the columns stand in the struct; an absent one is an error that names it. */
    private static int[] places(StructType type) {
        int[] at = new int[COLUMNS.length + Event.DIMENSIONS];
        for (int i = 0; i < at.length; i++) {
            at[i] = type.fieldIndex(i < COLUMNS.length ? COLUMNS[i] : Event.DIMENSION_NAMES[i - COLUMNS.length]);
        }
        return at;
    }

    private static Event event(Row row, int[] at) {
        Event e = new Event();
        e.sessionId = row.getString(at[0]);
        e.seq = row.getInt(at[1]);
        e.deviceAt = millis(row.get(at[2]));
        e.receivedAt = millis(row.get(at[3]));
        e.postDeviceAt = millis(row.get(at[4]));
        e.state = State.of(row.getString(at[5]));
        if (e.state == null) {
            throw new IllegalArgumentException("state is " + row.getString(at[5]) + ", not a letter of CMCD sta: fold decoded events");
        }
        e.bitrateKbps = row.isNullAt(at[6]) ? -1 : row.getInt(at[6]);
        e.playheadMs = row.isNullAt(at[7]) ? -1 : row.getLong(at[7]);
        e.background = row.getBoolean(at[8]);
        e.ad = row.getBoolean(at[9]);
        e.impressionId = row.getString(at[10]);
        e.pageId = row.getString(at[11]);
        e.partition = row.getInt(at[12]);
        e.offset = row.getLong(at[13]);
        e.stallCount = row.isNullAt(at[14]) ? -1 : row.getInt(at[14]);
        e.stallTotalMs = row.isNullAt(at[15]) ? -1 : row.getLong(at[15]);
        e.told(row.getString(at[16]), row.getDouble(at[17]));
        e.kept = Kept.bits(row.getString(at[18]));
        for (int i = 0; i < Event.DIMENSIONS; i++) {
            e.dims[i] = row.getString(at[COLUMNS.length + i]);
        }
        return e;
    }

    private static long millis(Object value) {
        if (value instanceof Long ms) {
            return ms;
        }
        if (value instanceof Instant instant) {
            return instant.toEpochMilli();
        }
        if (value instanceof Timestamp timestamp) {
            return timestamp.getTime();
        }
        throw new IllegalArgumentException("a time of an event is " + value + ": TIMESTAMP or BIGINT milliseconds are needed");
    }
}
