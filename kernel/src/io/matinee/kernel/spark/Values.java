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
            if (values[i] != null) {
                Field field = fields.get(i);
                values[i] = field.array() ? list(field.type(), (List<?>) values[i], text) : scalar(field.type(), values[i], text);
            }
        }
        return values;
    }

    private static GenericArrayData list(Type type, List<?> items, Function<String, UTF8String> text) {
        return new GenericArrayData(items.stream().map(item -> scalar(type, item, text)).toArray());
    }

    /** By the field's type: asking a value whether it is a list is slow where it is none (an interface, looked for in vain). */
    private static Object scalar(Type type, Object value, Function<String, UTF8String> text) {
        return switch (type) {
            case STRING -> text.apply((String) value);
            case TIMESTAMP -> (Long) value * 1_000;
            default -> value;
        };
    }

    /** Texts of one session, most of which come again in row after row as the same object. */
    static final class Texts implements Function<String, UTF8String> {
        private final Map<String, UTF8String> known = new IdentityHashMap<>();

        @Override
        public UTF8String apply(String text) {
            return known.computeIfAbsent(text, UTF8String::fromString);
        }
    }

    /** Texts of many sessions, most of which come again; one lost to another is made again. */
    static final class Recent implements Function<String, UTF8String> {
        private final Made[] slots = new Made[1 << 14];

        private record Made(String text, UTF8String utf8) {}

        @Override
        public UTF8String apply(String text) {
            int hash = text.hashCode();
            int slot = (hash ^ hash >>> 14) & slots.length - 1;
            Made made = slots[slot];
            if (made == null || !made.text.equals(text)) {
                made = new Made(text, UTF8String.fromString(text));
                slots[slot] = made;
            }
            return made.utf8;
        }
    }
}
