package io.matinee.kernel;

import io.matinee.kernel.Measure.Formula;
import io.matinee.kernel.Schemas.Schema;
import io.matinee.kernel.Schemas.Type;
import java.util.Arrays;
import java.util.List;

/**
 * A key of sums and its measures to framed Avro of a record. What each field is comes as text, rendered from the
 * registry: {@code $n} the n-th column of the key, {@code day $n} the UTC date of that time, {@code 'live'} a constant,
 * else an expression over measures, taken once for each row that is written instead of for each row that is added.
 */
public final class SumRow {
    private static final long DAY_MS = 86_400_000;

    private record Part(int column, boolean day, String constant, Formula formula) {}

    private final Schema schema;
    private final Part[] parts;
    private final long[] measures = new long[Measure.COUNT];

    /** {@code fields}: one for each field of the record, in its order, between ';'. */
    public SumRow(String record, String fields) {
        schema = Schemas.newest(record);
        String[] texts = fields.split(";", -1);
        if (texts.length != schema.fields().size()) {
            throw new IllegalArgumentException("record " + record + " has " + schema.fields().size() + " fields, found "
                    + texts.length + ": the kernel was built from other records than the job (make setup)");
        }
        parts = new Part[texts.length];
        for (int i = 0; i < texts.length; i++) {
            parts[i] = part(texts[i]);
            if (schema.fields().get(i).nullable()) {
                throw new IllegalArgumentException(record + "." + schema.fields().get(i).name() + " may be null; a row of sums has no null");
            }
        }
    }

    private static Part part(String text) {
        boolean day = text.startsWith("day ");
        String rest = day ? text.substring(4) : text;
        if (rest.startsWith("$")) {
            return new Part(Integer.parseInt(rest.substring(1)), day, null, null);
        }
        return text.startsWith("'") ? new Part(-1, false, text.substring(1, text.length() - 1), null)
                : new Part(-1, false, null, Measure.formula(text));
    }

    public byte[] encode(byte[] key, byte[] packed) {
        List<String> columns = SumKey.split(key);
        Arrays.fill(measures, 0);
        Measure.add(packed, measures);
        Codec.Out out = new Codec.Out();
        Encoder.frame(out, schema);
        for (int i = 0; i < parts.length; i++) {
            Part part = parts[i];
            if (part.formula != null) {
                out.number(part.formula.of(measures));
            } else if (part.constant != null) {
                out.string(part.constant);
            } else if (part.day) {
                out.number(Math.floorDiv(Long.parseLong(columns.get(part.column)), DAY_MS));
            } else if (schema.fields().get(i).type() == Type.STRING) {
                out.string(columns.get(part.column));
            } else {
                out.number(Long.parseLong(columns.get(part.column)));
            }
        }
        return out.done();
    }
}
