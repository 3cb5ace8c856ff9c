package io.matinee.kernel.spark;

import io.matinee.kernel.Policy;
import io.matinee.kernel.Schemas;
import io.matinee.kernel.Schemas.Field;
import io.matinee.kernel.Schemas.Schema;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;

/** Makes the kernel known to a Spark session; called once from Python through py4j. */
public final class Register {
    private static final Set<String> ADDED = Set.of("schema_id", "error_class", "reason");

    private Register() {}

    /**
     * decode_&lt;record&gt;(value, key) for every flat record that has none of the columns it adds, decode_cmcd for what
     * the collector wrote, and fold_session(array of structs). {@code policy} is settings.fold as {@code name:ms,...}.
     */
    public static void all(SparkSession spark, String policy) {
        for (Schema schema : Schemas.newest()) {
            if (schema.fields().stream().noneMatch(field -> ADDED.contains(field.name()))) {
                spark.udf().register("decode_" + schema.record(), new DecodeMessage(schema.record()), decoded(schema));
            }
        }
        spark.udf().register("decode_cmcd", new DecodeCmcd(), DecodeCmcd.TYPE);
        spark.udf().register("fold_session", new FoldSession(Policy.parse(policy)), FoldSession.TYPE);
    }

    private static StructType decoded(Schema schema) {
        List<StructField> fields = new ArrayList<>(List.of(struct(schema).fields()));
        fields.add(DataTypes.createStructField("schema_id", DataTypes.IntegerType, true));
        fields.add(DataTypes.createStructField("error_class", DataTypes.StringType, true));
        fields.add(DataTypes.createStructField("reason", DataTypes.StringType, true));
        return DataTypes.createStructType(fields);
    }

    /** The columns of a record, all nullable. */
    static StructType struct(Schema schema) {
        List<StructField> fields = new ArrayList<>();
        for (Field field : schema.fields()) {
            DataType type = type(field.type());
            fields.add(DataTypes.createStructField(field.name(), field.array() ? DataTypes.createArrayType(type, false) : type, true));
        }
        return DataTypes.createStructType(fields);
    }

    private static DataType type(Schemas.Type type) {
        return switch (type) {
            case BOOLEAN -> DataTypes.BooleanType;
            case INT -> DataTypes.IntegerType;
            case LONG -> DataTypes.LongType;
            case DOUBLE -> DataTypes.DoubleType;
            case STRING -> DataTypes.StringType;
            case BYTES -> DataTypes.BinaryType;
            case TIMESTAMP -> DataTypes.TimestampType;
            case DATE -> DataTypes.DateType;
        };
    }
}
