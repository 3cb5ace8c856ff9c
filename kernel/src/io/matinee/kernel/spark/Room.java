package io.matinee.kernel.spark;

import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;

/**
 * room: whether a task may hold these bytes too, of at most {@code limit} in all. For what a pass over many rows finds
 * beside its result and sends home with it: nobody knows before how much that is.
 */
public final class Room implements Once<Boolean> {
    private static final long serialVersionUID = 1;
    /** What a row takes beside its bytes, about. */
    private static final int ROW_BYTES = 200;
    private transient long taken;

    @Override
    public DataType[] inputTypes() {
        return new DataType[] {DataTypes.BinaryType, DataTypes.LongType};
    }

    @Override
    public DataType resultType() {
        return DataTypes.BooleanType;
    }

    @Override
    public String name() {
        return "room";
    }

    /** Found by its name: Spark calls it from the code it generates. */
    public boolean invoke(byte[] held, long limit) {
        taken += ROW_BYTES + (held == null ? 0 : held.length);
        return taken <= limit;
    }
}
