package io.matinee.kernel.spark;

import io.matinee.kernel.Decoder;
import io.matinee.kernel.Schemas;
import java.util.Arrays;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.GenericInternalRow;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.unsafe.types.UTF8String;

/** decode_&lt;record&gt;: the columns of the newest version, then schema_id, error_class, reason; null for a control record. */
public final class DecodeMessage implements Once<InternalRow> {
    private static final long serialVersionUID = 2;
    private final String record;
    private transient Decoder decoder;
    private transient int columns;
    private transient Values.Recent texts;

    DecodeMessage(String record) {
        this.record = record;
    }

    @Override
    public DataType[] inputTypes() {
        return new DataType[] {DataTypes.BinaryType, DataTypes.BinaryType};
    }

    @Override
    public DataType resultType() {
        return KernelCatalog.struct(Schemas.newest(record)).add("schema_id", DataTypes.IntegerType)
                .add("error_class", DataTypes.StringType).add("reason", DataTypes.StringType);
    }

    @Override
    public String name() {
        return "decode_" + record;
    }

    /** Found by its name: Spark calls it from the code it generates. */
    public InternalRow invoke(byte[] value, byte[] key) {
        if (decoder == null) {
            decoder = new Decoder(record);
            columns = Schemas.newest(record).fields().size();
            texts = new Values.Recent();
        }
        boolean good = decoder.read(value, key);
        if (decoder.control()) {
            return null;
        }
        Object[] row = good
                ? Arrays.copyOf(Values.internal(decoder.schema(), decoder.values(), texts), columns + 3)
                : new Object[columns + 3];
        row[columns] = decoder.schemaId() < 0 ? null : decoder.schemaId();
        row[columns + 1] = UTF8String.fromString(decoder.errorClass());
        row[columns + 2] = UTF8String.fromString(decoder.reason());
        return new GenericInternalRow(row);
    }
}
