package io.matinee.kernel.spark;

import io.matinee.kernel.CmcdMessage;
import io.matinee.kernel.Decoder;
import io.matinee.kernel.Schemas;
import io.matinee.kernel.Schemas.Schema;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.GenericInternalRow;
import org.apache.spark.sql.catalyst.util.GenericArrayData;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.unsafe.types.UTF8String;

/**
 * decode_cmcd(value, key, partition, offset): the events of a message of topic cmcd, with their position, and its refused
 * lines; null for a control record.
 */
public final class DecodeCmcd implements Once<InternalRow> {
    private static final long serialVersionUID = 2;
    private static final Schema EVENT = Schemas.newest("playback_event");
    private transient CmcdMessage reader;
    private transient Decoder framed;

    @Override
    public DataType[] inputTypes() {
        return new DataType[] {DataTypes.BinaryType, DataTypes.BinaryType, DataTypes.IntegerType, DataTypes.LongType};
    }

    @Override
    public DataType resultType() {
        StructType event = KernelCatalog.struct(EVENT).add("kafka_partition", DataTypes.IntegerType, false)
                .add("kafka_offset", DataTypes.LongType, false);
        StructType letter = new StructType().add("line", DataTypes.IntegerType).add("payload", DataTypes.BinaryType)
                .add("error_class", DataTypes.StringType).add("reason", DataTypes.StringType);
        return new StructType().add("events", DataTypes.createArrayType(event, false))
                .add("letters", DataTypes.createArrayType(letter, false));
    }

    @Override
    public String name() {
        return "decode_cmcd";
    }

    /** Found by its name: Spark calls it from the code it generates. */
    public InternalRow invoke(byte[] value, byte[] key, int partition, long offset) {
        if (reader == null) {
            reader = new CmcdMessage();
            framed = new Decoder(EVENT.record());
        }
        if (value != null && value.length > 0 && value[0] == 0 && framed.read(value, key) && framed.control()) {
            return null;
        }
        List<Object> events = new ArrayList<>();
        List<Object> letters = new ArrayList<>();
        reader.read(value, key, partition, offset, new CmcdMessage.Out() {
            @Override
            public void event(Object[] values, int place, long order) {
                Object[] row = Arrays.copyOf(Values.internal(EVENT, values, UTF8String::fromString), values.length + 2);
                row[values.length] = place;
                row[values.length + 1] = order;
                events.add(new GenericInternalRow(row));
            }

            @Override
            public void letter(int line, byte[] payload, String errorClass, String reason) {
                letters.add(new GenericInternalRow(new Object[] {
                    line, payload, UTF8String.fromString(errorClass), UTF8String.fromString(reason)}));
            }
        });
        return new GenericInternalRow(new Object[] {new GenericArrayData(events.toArray()), new GenericArrayData(letters.toArray())});
    }
}
