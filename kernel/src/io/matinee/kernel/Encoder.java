package io.matinee.kernel;

import io.matinee.kernel.Schemas.Field;
import io.matinee.kernel.Schemas.Schema;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;

/** A record to framed Avro of its newest version. */
public final class Encoder {
    private Encoder() {}

    /** Values in the order of the fields; timestamps are long (UTC milliseconds), dates int (days). */
    public static byte[] encode(String record, Object... values) {
        Schema schema = Schemas.newest(record);
        List<Field> fields = schema.fields();
        if (values.length != fields.size()) {
            throw new IllegalArgumentException("record " + record + " has " + fields.size() + " fields, found " + values.length);
        }
        Codec.Out out = new Codec.Out();
        frame(out, schema);
        for (int i = 0; i < values.length; i++) {
            Field field = fields.get(i);
            if (values[i] == null && !field.nullable()) {
                throw new IllegalArgumentException(record + "." + field.name() + " is null, the record requires it");
            }
            if (field.nullable()) {
                out.number(values[i] == null ? 0 : 1);
            }
            if (values[i] != null) {
                write(out, field, values[i]);
            }
        }
        return out.done();
    }

    /** Confluent's five bytes. */
    static void frame(Codec.Out out, Schema schema) {
        out.raw(ByteBuffer.allocate(5).put((byte) 0).putInt(schema.id()).array());
    }

    private static void write(Codec.Out out, Field field, Object value) {
        if (field.array()) {
            List<?> items = (List<?>) value;
            if (!items.isEmpty()) {
                out.number(items.size());
                items.forEach(item -> scalar(out, field, item));
            }
            out.number(0);
        } else {
            scalar(out, field, value);
        }
    }

    private static void scalar(Codec.Out out, Field field, Object value) {
        switch (field.type()) {
            case BOOLEAN -> out.flag((Boolean) value);
            case INT, LONG, TIMESTAMP, DATE -> out.number(((Number) value).longValue());
            case DOUBLE -> out.raw(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN)
                    .putDouble(((Number) value).doubleValue()).array());
            case STRING -> out.string(value.toString());
            case BYTES -> {
                out.number(((byte[]) value).length);
                out.raw((byte[]) value);
            }
        }
    }
}
