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
import java.io.Serializable;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.GenericInternalRow;
import org.apache.spark.sql.catalyst.util.ArrayData;
import org.apache.spark.sql.catalyst.util.GenericArrayData;
import org.apache.spark.sql.connector.catalog.functions.ScalarFunction;
import org.apache.spark.sql.types.ArrayType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.unsafe.types.UTF8String;

/**
 * fold_session: all events of one session to its spans and sessions.
 *
 * <p>Both revisions are given out always, also when no event is late and they differ in their label only: each is
 * complete by itself, so that a reader filters by revision and never has to fall back from one to the other. A session
 * also says {@code last_state}: that of its last span before the moment that ended it.
 */
public final class FoldSession implements ScalarFunction<InternalRow>, Serializable {
    private static final long serialVersionUID = 2;
    private static final Schema EVENT = Schemas.newest("playback_event");
    private static final Schema SPAN = Schemas.newest("span");
    private static final Schema SESSION = Schemas.newest("session");
    private static final int SPAN_REVISION = SPAN.index("revision");
    private static final int SESSION_REVISION = SESSION.index("revision");
    private static final String[] COLUMNS = {"session_id", "seq", "device_at", "received_at", "post_device_at", "state",
        "bitrate_kbps", "playhead_ms", "background", "ad", "impression_id", "page_id", "kafka_partition", "kafka_offset",
        "stall_count", "stall_total_ms", "error_code", "playback_rate", "kept"};
    private static final UTF8String LIVE = UTF8String.fromString("live");
    private static final UTF8String FINAL = UTF8String.fromString("final");

    private final Policy policy;
    private final DataType given;
    /** Where the columns stand in the struct, and whether a column of times holds microseconds. */
    private final int[] at = new int[COLUMNS.length + Event.DIMENSIONS];
    private final boolean[] micros = new boolean[at.length];
    private final int width;
    private transient Values.Texts out;
    private transient UTF8String[] before;
    private transient String[] texts;

    FoldSession(Policy policy, DataType given) {
        if (!(given instanceof ArrayType array) || !(array.elementType() instanceof StructType type)) {
            throw new UnsupportedOperationException("fold_session needs an array of structs, not " + given.sql());
        }
        this.policy = policy;
        this.given = given;
        this.width = type.size();
        for (int i = 0; i < at.length; i++) {
            String name = i < COLUMNS.length ? COLUMNS[i] : Event.DIMENSION_NAMES[i - COLUMNS.length];
            if (!Arrays.asList(type.fieldNames()).contains(name)) {
                throw new UnsupportedOperationException("fold_session: the struct has no column " + name);
            }
            at[i] = type.fieldIndex(name);
            StructField field = type.fields()[at[i]];
            micros[i] = field.dataType().equals(DataTypes.TimestampType);
            DataType needed = needed(name);
            if (!field.dataType().equals(needed) && !(needed.equals(DataTypes.TimestampType) && field.dataType().equals(DataTypes.LongType))) {
                throw new UnsupportedOperationException(
                        "fold_session: " + name + " is " + field.dataType().sql() + ", needed is " + needed.sql());
            }
        }
    }

    private static DataType needed(String column) {
        return switch (column) {
            case "kafka_partition" -> DataTypes.IntegerType;
            case "kafka_offset" -> DataTypes.LongType;
            default -> KernelCatalog.struct(EVENT).fields()[EVENT.index(column)].dataType();
        };
    }

    @Override
    public DataType[] inputTypes() {
        return new DataType[] {given};
    }

    @Override
    public DataType resultType() {
        return new StructType().add("spans", DataTypes.createArrayType(KernelCatalog.struct(SPAN), false))
                .add("sessions", DataTypes.createArrayType(
                        KernelCatalog.struct(SESSION).add("last_state", DataTypes.StringType), false));
    }

    @Override
    public String name() {
        return "fold_session";
    }

    /** Found by its name: Spark calls it from the code it generates. */
    public InternalRow invoke(ArrayData rows) {
        if (rows == null) {
            return null;
        }
        out = new Values.Texts();
        before = new UTF8String[width];
        texts = new String[width];
        List<Event> events = new ArrayList<>(rows.numElements());
        for (int i = 0; i < rows.numElements(); i++) {
            events.add(event(rows.getStruct(i, width)));
        }
        BatchFold.Both both = BatchFold.fold(events, policy);
        List<Object> spans = new ArrayList<>();
        List<Object> sessions = new ArrayList<>();
        add(both.live(), LIVE, spans, sessions);
        if (both.live() == both.full()) {
            again(spans, SPAN_REVISION);
            again(sessions, SESSION_REVISION);
        } else {
            add(both.full(), FINAL, spans, sessions);
        }
        return new GenericInternalRow(new Object[] {new GenericArrayData(spans.toArray()), new GenericArrayData(sessions.toArray())});
    }

    private void add(Folded folded, UTF8String revision, List<Object> spans, List<Object> sessions) {
        Map<Segment, State> last = new IdentityHashMap<>();
        for (SpanRow span : folded.spans()) {
            spans.add(row(SPAN, Rows.span(span, null), SPAN_REVISION, revision, 0));
            if (!span.state.terminal()) {
                last.put(span.segment, span.state);
            }
        }
        for (Segment s : folded.segments()) {
            long duplicates = s.number == 0 ? folded.duplicates() : 0;
            long late = s.number == 0 ? folded.late() : 0;
            Object[] columns = Rows.session(s, null, folded.clockOffsetMs(), duplicates, late);
            GenericInternalRow row = row(SESSION, columns, SESSION_REVISION, revision, 1);
            row.values()[columns.length] = last.containsKey(s) ? out.apply(last.get(s).label()) : null;
            sessions.add(row);
        }
    }

    private GenericInternalRow row(Schema schema, Object[] columns, int place, UTF8String revision, int more) {
        Object[] found = Values.internal(schema, columns, out);
        found[place] = revision;
        return new GenericInternalRow(more == 0 ? found : Arrays.copyOf(found, found.length + more));
    }

    /** Every row once more, as revision final. */
    private static void again(List<Object> rows, int place) {
        for (int i = 0, n = rows.size(); i < n; i++) {
            Object[] copy = ((GenericInternalRow) rows.get(i)).values().clone();
            copy[place] = FINAL;
            rows.add(new GenericInternalRow(copy));
        }
    }

    private Event event(InternalRow row) {
        Event e = new Event();
        e.sessionId = text(row, 0);
        e.seq = row.getInt(at[1]);
        e.deviceAt = millis(row, 2);
        e.receivedAt = millis(row, 3);
        e.postDeviceAt = millis(row, 4);
        String state = text(row, 5);
        e.state = State.of(state);
        if (e.state == null) {
            throw new IllegalArgumentException("state is " + state + ", not a letter of CMCD sta: fold decoded events");
        }
        e.bitrateKbps = row.isNullAt(at[6]) ? -1 : row.getInt(at[6]);
        e.playheadMs = row.isNullAt(at[7]) ? -1 : row.getLong(at[7]);
        e.background = row.getBoolean(at[8]);
        e.ad = row.getBoolean(at[9]);
        e.impressionId = text(row, 10);
        e.pageId = text(row, 11);
        e.partition = row.getInt(at[12]);
        e.offset = row.getLong(at[13]);
        e.stallCount = row.isNullAt(at[14]) ? -1 : row.getInt(at[14]);
        e.stallTotalMs = row.isNullAt(at[15]) ? -1 : row.getLong(at[15]);
        e.told(text(row, 16), row.getDouble(at[17]));
        e.kept = Kept.bits(text(row, 18));
        for (int i = 0; i < Event.DIMENSIONS; i++) {
            e.dims[i] = text(row, COLUMNS.length + i);
        }
        return e;
    }

    /** A column's text; the object of the row before if it says the same, as it mostly does. */
    private String text(InternalRow row, int column) {
        int place = at[column];
        if (row.isNullAt(place)) {
            return null;
        }
        UTF8String raw = row.getUTF8String(place);
        if (!raw.equals(before[place])) {
            before[place] = raw;
            texts[place] = raw.toString();
        }
        return texts[place];
    }

    private long millis(InternalRow row, int column) {
        long value = row.getLong(at[column]);
        return micros[column] ? Math.floorDiv(value, 1_000L) : value;
    }
}
