package io.matinee.kernel.flink;

import io.matinee.kernel.Encoder;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.InputGroup;
import org.apache.flink.table.functions.ScalarFunction;

/** encode_record(name, fields...): framed Avro of the record's newest version; the fields in the record's order. */
public class EncodeRecord extends ScalarFunction {
    private static final long serialVersionUID = 1;

    public @DataTypeHint("BYTES") byte[] eval(String record, @DataTypeHint(inputGroup = InputGroup.ANY) Object... fields) {
        return Encoder.encode(record, fields);
    }
}
