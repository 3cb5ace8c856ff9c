package io.matinee.kernel.spark;

import io.matinee.kernel.Policy;
import io.matinee.kernel.Schemas;
import io.matinee.kernel.Schemas.Field;
import io.matinee.kernel.Schemas.Schema;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Function;
import org.apache.spark.sql.catalyst.analysis.NoSuchFunctionException;
import org.apache.spark.sql.connector.catalog.FunctionCatalog;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.catalog.functions.BoundFunction;
import org.apache.spark.sql.connector.catalog.functions.UnboundFunction;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/**
 * Catalogue {@code kernel} of a session. Its functions take and give Spark's own rows: a UDF over {@code Row} would cost
 * more for converting than for folding.
 *
 * <p>{@code kernel.decode_<record>(value, key)} for every flat record that has none of the columns it adds,
 * {@code kernel.decode_cmcd} for what the collector wrote, {@code pack_event}, {@code fold_session}, {@code spans_of} and
 * {@code sessions_of}; {@code room}. Option {@code fold} is settings.fold as {@code name:ms,...}.
 */
public final class KernelCatalog implements FunctionCatalog {
    private static final Set<String> ADDED = Set.of("schema_id", "error_class", "reason");

    private final Map<String, UnboundFunction> functions = new TreeMap<>();
    private String name;

    @Override
    public void initialize(String catalog, CaseInsensitiveStringMap options) {
        name = catalog;
        Policy policy = Policy.parse(options.get("fold"));
        for (Schema schema : Schemas.newest()) {
            if (schema.fields().stream().noneMatch(field -> ADDED.contains(field.name()))) {
                add("decode_" + schema.record(), "value BINARY, key BINARY", 2, in -> new DecodeMessage(schema.record()));
            }
        }
        add("decode_cmcd", "value BINARY, key BINARY, partition INT, offset BIGINT", 4, in -> new DecodeCmcd());
        add("pack_event", "event STRUCT<...>", 1, in -> new PackEvent(in.fields()[0].dataType()));
        add("fold_session", "events ARRAY<BINARY>, from_ms BIGINT, until_ms BIGINT, began_ms BIGINT", 4, in -> new FoldSession(policy));
        add("spans_of", "folded BINARY", 1, in -> new FoldedRows(true));
        add("sessions_of", "folded BINARY", 1, in -> new FoldedRows(false));
        add("room", "held BINARY, limit BIGINT", 2, in -> new Room());
    }

    private void add(String function, String arguments, int count, Function<StructType, BoundFunction> bound) {
        functions.put(function, new UnboundFunction() {
            @Override
            public BoundFunction bind(StructType in) {
                if (in.size() != count) {
                    throw new UnsupportedOperationException(name() + "(" + arguments + ") was given " + in.size() + " arguments");
                }
                return bound.apply(in);
            }

            @Override
            public String name() {
                return function;
            }

            @Override
            public String description() {
                return function + "(" + arguments + ")";
            }
        });
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public Identifier[] listFunctions(String[] namespace) {
        return functions.keySet().stream().map(f -> Identifier.of(new String[0], f)).toArray(Identifier[]::new);
    }

    @Override
    public UnboundFunction loadFunction(Identifier wanted) throws NoSuchFunctionException {
        UnboundFunction found = wanted.namespace().length == 0 ? functions.get(wanted.name()) : null;
        if (found == null) {
            throw new NoSuchFunctionException(wanted);
        }
        return found;
    }

    /** The columns of a record, all nullable. */
    static StructType struct(Schema schema) {
        StructType type = new StructType();
        for (Field field : schema.fields()) {
            DataType one = type(field.type());
            type = type.add(field.name(), field.array() ? DataTypes.createArrayType(one, false) : one, true);
        }
        return type;
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
