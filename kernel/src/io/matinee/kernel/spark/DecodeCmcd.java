package io.matinee.kernel.spark;

import io.matinee.kernel.CmcdMessage;
import io.matinee.kernel.Decoder;
import io.matinee.kernel.Schemas;
import io.matinee.kernel.Schemas.Schema;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.api.java.UDF4;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;

/**
 * decode_cmcd(value, key, partition, offset): the events of a message of topic cmcd, with their position, and its refused
 * lines; null for a control record.
 */
final class DecodeCmcd implements UDF4<byte[], byte[], Integer, Long, Row> {
    private static final long serialVersionUID = 1;
    private static final Schema EVENT = Schemas.newest("playback_event");
    static final StructType TYPE = type();
    private transient CmcdMessage reader;

    private static StructType type() {
        StructField[] columns = Arrays.copyOf(Register.struct(EVENT).fields(), EVENT.fields().size() + 2);
        columns[columns.length - 2] = DataTypes.createStructField("kafka_partition", DataTypes.IntegerType, false);
        columns[columns.length - 1] = DataTypes.createStructField("kafka_offset", DataTypes.LongType, false);
        StructType letter = new StructType().add("line", DataTypes.IntegerType).add("payload", DataTypes.BinaryType)
                .add("error_class", DataTypes.StringType).add("reason", DataTypes.StringType);
        return new StructType().add("events", DataTypes.createArrayType(DataTypes.createStructType(columns), false))
                .add("letters", DataTypes.createArrayType(letter, false));
    }

    @Override
    public Row call(byte[] value, byte[] key, Integer partition, Long offset) {
        if (value != null && value.length > 0 && value[0] == 0 && Decoder.decode(value, key, EVENT.record()).control()) {
            return null;
        }
        if (reader == null) {
            reader = new CmcdMessage();
        }
        List<Row> events = new ArrayList<>();
        List<Row> letters = new ArrayList<>();
        reader.read(value, key, partition, offset, new CmcdMessage.Out() {
            @Override
            public void event(Object[] values, int place, long order) {
                Object[] row = Arrays.copyOf(Values.external(EVENT, values), values.length + 2);
                row[values.length] = place;
                row[values.length + 1] = order;
                events.add(RowFactory.create(row));
            }

            @Override
            public void letter(int line, byte[] payload, String errorClass, String reason) {
                letters.add(RowFactory.create(line, payload, errorClass, reason));
            }
        });
        return RowFactory.create(events, letters);
    }
}
