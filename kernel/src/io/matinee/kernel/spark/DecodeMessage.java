package io.matinee.kernel.spark;

import io.matinee.kernel.Decoder;
import io.matinee.kernel.Decoder.Decoded;
import io.matinee.kernel.Schemas;
import java.util.Arrays;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.api.java.UDF2;

/** decode_&lt;record&gt;: the columns of the newest version, then schema_id, error_class, reason; null for a control record. */
final class DecodeMessage implements UDF2<byte[], byte[], Row> {
    private static final long serialVersionUID = 1;
    private final String record;

    DecodeMessage(String record) {
        this.record = record;
    }

    @Override
    public Row call(byte[] value, byte[] key) {
        Decoded decoded = Decoder.decode(value, key, record);
        if (decoded.control()) {
            return null;
        }
        int columns = Schemas.newest(record).fields().size();
        Object[] row = decoded.good()
                ? Arrays.copyOf(Values.external(decoded.schema(), decoded.values()), columns + 3) : new Object[columns + 3];
        row[columns] = decoded.schemaId() < 0 ? null : decoded.schemaId();
        row[columns + 1] = decoded.errorClass();
        row[columns + 2] = decoded.reason();
        return RowFactory.create(row);
    }
}
