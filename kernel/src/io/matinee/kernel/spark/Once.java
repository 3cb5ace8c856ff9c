package io.matinee.kernel.spark;

import java.io.Serializable;
import org.apache.spark.sql.connector.catalog.functions.ScalarFunction;

/**
 * A function worth calling once a row. Spark writes a deterministic expression anew wherever its value is used: in a filter
 * pushed below it, in the test that it infers before an explode. So this one does not say that it is.
 */
interface Once<R> extends ScalarFunction<R>, Serializable {
    @Override
    default boolean isDeterministic() {
        return false;
    }
}
