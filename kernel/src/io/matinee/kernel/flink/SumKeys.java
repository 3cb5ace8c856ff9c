package io.matinee.kernel.flink;

import io.matinee.kernel.SumKey;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.TableFunction;

/**
 * sum_keys(templates, at, values...): the message key of every sum a row of deltas adds to, one for each template between
 * ';' ({@link SumKey}); $0 is the time, $1 the first value. One column is cheaper to send and to find than eight.
 */
@FunctionHint(output = @DataTypeHint(value = "ROW<message_key BYTES NOT NULL>", bridgedTo = RowData.class))
public class SumKeys extends TableFunction<RowData> {
    private static final long serialVersionUID = 1;

    private transient String parsed;
    private transient SumKey[] keys;

    public void eval(String templates, Long at, @DataTypeHint(value = "STRING", bridgedTo = StringData.class) StringData... values) {
        if (!templates.equals(parsed)) {
            keys = Arrays.stream(templates.split(";")).map(SumKey::new).toArray(SumKey[]::new);
            parsed = templates;
        }
        byte[][] words = new byte[values.length + 1][];
        words[0] = Long.toString(at).getBytes(StandardCharsets.ISO_8859_1);
        for (int i = 0; i < values.length; i++) {
            words[i + 1] = SumKey.escaped(values[i].toBytes());
        }
        for (SumKey key : keys) {
            collect(GenericRowData.of((Object) key.of(words)));
        }
    }
}
