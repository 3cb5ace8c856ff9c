package io.matinee.kernel.spark;

import io.matinee.kernel.Schemas.Field;
import io.matinee.kernel.Schemas.Schema;
import io.matinee.kernel.Schemas.Type;
import java.time.Instant;
import java.time.LocalDate;

/** The kernel's values as Spark's. */
final class Values {
    private Values() {}

    /** {@code values} in the order of the schema's fields; timestamps become Instant, dates LocalDate, in place. */
    static Object[] external(Schema schema, Object[] values) {
        for (int i = 0; i < schema.fields().size(); i++) {
            Field field = schema.fields().get(i);
            if (values[i] != null && field.type() == Type.TIMESTAMP) {
                values[i] = Instant.ofEpochMilli((Long) values[i]);
            } else if (values[i] != null && field.type() == Type.DATE) {
                values[i] = LocalDate.ofEpochDay((Integer) values[i]);
            }
        }
        return values;
    }
}
