package io.matinee.kernel.spark;

import io.matinee.kernel.Schemas.Field;
import io.matinee.kernel.Schemas.Schema;
import io.matinee.kernel.Schemas.Type;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.apache.spark.sql.catalyst.util.GenericArrayData;
import org.apache.spark.unsafe.types.UTF8String;

/** The kernel's values as Spark holds them inside: text as UTF8String, timestamps in microseconds, dates in days. */
final class Values {
    private Values() {}

    /** {@code values}, in the order of the schema's (first) fields, in place. */
    static Object[] internal(Schema schema, Object[] values, Function<String, UTF8String> text) {
        List<Field> fields = schema.fields();
        for (int i = 0; i < values.length; i++) {
            values[i] = values[i] == null ? null : value(fields.get(i).type(), values[i], text);
        }
        return values;
    }

    private static Object value(Type type, Object value, Function<String, UTF8String> text) {
        if (value instanceof List<?> items) {
            return new GenericArrayData(items.stream().map(item -> value(type, item, text)).toArray());
        }
        if (value instanceof String string) {
            return text.apply(string);
        }
        return type == Type.TIMESTAMP ? (Object) ((Long) value * 1_000) : value;
    }

    /** Texts of one session, most of which come again in row after row as the same object. */
    static final class Texts implements Function<String, UTF8String> {
        private final Map<String, UTF8String> known = new IdentityHashMap<>();

        @Override
        public UTF8String apply(String text) {
            return known.computeIfAbsent(text, UTF8String::fromString);
        }
    }
}
