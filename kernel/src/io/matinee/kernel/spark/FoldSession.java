package io.matinee.kernel.spark;

import io.matinee.kernel.BatchFold;
import io.matinee.kernel.Event;
import io.matinee.kernel.EventBytes;
import io.matinee.kernel.FoldedBytes;
import io.matinee.kernel.Policy;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.spark.sql.catalyst.util.ArrayData;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;

/**
 * fold_session: all packed events of one or more sessions to folded sessions, as bytes that spans_of and sessions_of
 * read; null if none has an event in {@code [from_ms, until_ms)} of the session's corrected clock. No bytes at all if one
 * of those that have may have begun before what was read, of which the first day ends at {@code began_ms}
 * ({@link BatchFold#unbegun}).
 */
public final class FoldSession implements Once<byte[]> {
    private static final long serialVersionUID = 4;

    private static final byte[] UNBEGUN = {};

    private final Policy policy;
    private transient EventBytes.Reader reader;
    private transient FoldedBytes.Writer writer;

    FoldSession(Policy policy) {
        this.policy = policy;
    }

    @Override
    public DataType[] inputTypes() {
        return new DataType[] {DataTypes.createArrayType(DataTypes.BinaryType), DataTypes.LongType, DataTypes.LongType, DataTypes.LongType};
    }

    @Override
    public DataType resultType() {
        return DataTypes.BinaryType;
    }

    @Override
    public String name() {
        return "fold_session";
    }

    /** Found by its name: Spark calls it from the code it generates. */
    public byte[] invoke(ArrayData packed, long fromMs, long untilMs, long beganMs) {
        if (packed == null) {
            return null;
        }
        if (reader == null) {
            reader = new EventBytes.Reader();
            writer = new FoldedBytes.Writer();
        }
        List<Event> events = new ArrayList<>(packed.numElements());
        boolean one = true;
        for (int i = 0; i < packed.numElements(); i++) {
            events.add(reader.read(packed.getBinary(i)));
            one &= events.get(i).sessionId.equals(events.get(0).sessionId);
        }
        boolean any = false;
        for (List<Event> session : one ? List.of(events) : apart(events)) {
            if (BatchFold.touches(session, fromMs, untilMs)) {
                if (BatchFold.unbegun(session, beganMs)) {
                    writer.done();
                    return UNBEGUN;
                }
                writer.add(BatchFold.fold(session, policy));
                any = true;
            }
        }
        return any ? writer.done() : null;
    }

    /** Sessions whose hashes are equal, if they were gathered by a hash. */
    private static Iterable<List<Event>> apart(List<Event> events) {
        Map<String, List<Event>> sessions = new LinkedHashMap<>();
        for (Event event : events) {
            sessions.computeIfAbsent(event.sessionId, id -> new ArrayList<>()).add(event);
        }
        return sessions.values();
    }
}
