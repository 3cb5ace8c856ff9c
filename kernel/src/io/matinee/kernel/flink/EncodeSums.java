package io.matinee.kernel.flink;

import io.matinee.kernel.SumRow;
import org.apache.flink.table.functions.ScalarFunction;

/** encode_sums(record, fields, key, sums): framed Avro of a row of sums; {@link SumRow} says what fields are. */
public class EncodeSums extends ScalarFunction {
    private static final long serialVersionUID = 1;

    private transient String parsed;
    private transient SumRow row;

    public byte[] eval(String record, String fields, byte[] key, byte[] sums) {
        if (!fields.equals(parsed)) {
            row = new SumRow(record, fields);
            parsed = fields;
        }
        return row.encode(key, sums);
    }
}
