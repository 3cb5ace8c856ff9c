package io.matinee.kernel.spark;

import io.matinee.kernel.Event;
import io.matinee.kernel.EventBytes;
import io.matinee.kernel.Kept;
import io.matinee.kernel.Schemas;
import io.matinee.kernel.Schemas.Schema;
import io.matinee.kernel.State;
import java.io.Serializable;
import java.util.Arrays;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.connector.catalog.functions.ScalarFunction;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.unsafe.types.UTF8String;

/** pack_event: what the fold reads of a decoded event, as bytes. A third of the columns' size, and one column to gather. */
public final class PackEvent implements ScalarFunction<byte[]>, Serializable {
    private static final long serialVersionUID = 1;
    private static final Schema EVENT = Schemas.newest("playback_event");
    private static final String[] TEXTS = texts();
    private static final String[] COLUMNS = {"seq", "device_at", "received_at", "post_device_at", "state", "bitrate_kbps",
        "playhead_ms", "background", "ad", "kafka_partition", "kafka_offset", "stall_count", "stall_total_ms", "error_code",
        "playback_rate", "kept"};

    private final DataType given;
    /** Where the texts stand in the struct, then the columns; and whether a column of times holds microseconds. */
    private final int[] at = new int[TEXTS.length + COLUMNS.length];
    private final boolean[] micros = new boolean[at.length];
    private transient EventBytes.Writer writer;
    private transient byte[][] utf8;
    private transient UTF8String[] before;
    private transient Event event;

    PackEvent(DataType given) {
        if (!(given instanceof StructType type)) {
            throw new UnsupportedOperationException("pack_event needs a struct, not " + given.sql());
        }
        this.given = given;
        for (int i = 0; i < at.length; i++) {
            String name = i < TEXTS.length ? TEXTS[i] : COLUMNS[i - TEXTS.length];
            if (!Arrays.asList(type.fieldNames()).contains(name)) {
                throw new UnsupportedOperationException("pack_event: the struct has no column " + name);
            }
            at[i] = type.fieldIndex(name);
            StructField field = type.fields()[at[i]];
            micros[i] = field.dataType().equals(DataTypes.TimestampType);
            DataType needed = needed(name);
            if (!field.dataType().equals(needed) && !(needed.equals(DataTypes.TimestampType) && field.dataType().equals(DataTypes.LongType))) {
                throw new UnsupportedOperationException(
                        "pack_event: " + name + " is " + field.dataType().sql() + ", needed is " + needed.sql());
            }
        }
    }

    private static String[] texts() {
        String[] names = Arrays.copyOf(new String[] {"session_id", "impression_id", "page_id"}, EventBytes.TEXTS);
        System.arraycopy(Event.DIMENSION_NAMES, 0, names, 3, Event.DIMENSIONS);
        return names;
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
        return DataTypes.BinaryType;
    }

    @Override
    public String name() {
        return "pack_event";
    }

    /** Found by its name: Spark calls it from the code it generates. */
    public byte[] invoke(InternalRow row) {
        if (row == null) {
            return null;
        }
        if (writer == null) {
            writer = new EventBytes.Writer();
            utf8 = new byte[TEXTS.length][];
            before = new UTF8String[TEXTS.length];
            event = new Event();
        }
        for (int i = 0; i < TEXTS.length; i++) {
            UTF8String text = row.isNullAt(at[i]) ? null : row.getUTF8String(at[i]);
            if (text == null || !text.equals(before[i])) {
                utf8[i] = text == null ? null : text.getBytes();
                before[i] = utf8[i] == null ? null : UTF8String.fromBytes(utf8[i]);
            }
        }
        Event e = event;
        e.seq = row.getInt(at(0));
        e.deviceAt = millis(row, 1);
        e.receivedAt = millis(row, 2);
        e.postDeviceAt = millis(row, 3);
        String state = text(row, 4);
        e.state = State.of(state);
        if (e.state == null) {
            throw new IllegalArgumentException("state is " + state + ", not a letter of CMCD sta: fold decoded events");
        }
        e.bitrateKbps = row.isNullAt(at(5)) ? -1 : row.getInt(at(5));
        e.playheadMs = row.isNullAt(at(6)) ? -1 : row.getLong(at(6));
        e.background = row.getBoolean(at(7));
        e.ad = row.getBoolean(at(8));
        e.partition = row.getInt(at(9));
        e.offset = row.getLong(at(10));
        e.stallCount = row.isNullAt(at(11)) ? -1 : row.getInt(at(11));
        e.stallTotalMs = row.isNullAt(at(12)) ? -1 : row.getLong(at(12));
        e.told(text(row, 13), row.getDouble(at(14)));
        e.kept(Kept.bits(text(row, 15)));
        return writer.write(utf8, e);
    }

    private int at(int column) {
        return at[TEXTS.length + column];
    }

    private String text(InternalRow row, int column) {
        return row.isNullAt(at(column)) ? null : row.getUTF8String(at(column)).toString();
    }

    private long millis(InternalRow row, int column) {
        long value = row.getLong(at(column));
        return micros[TEXTS.length + column] ? Math.floorDiv(value, 1_000L) : value;
    }
}
