package io.matinee.kernel.spark;

import io.matinee.kernel.BatchFold.Folded;
import io.matinee.kernel.FoldedBytes;
import io.matinee.kernel.FoldedBytes.Ended;
import io.matinee.kernel.Rows;
import io.matinee.kernel.Schemas;
import io.matinee.kernel.Schemas.Schema;
import io.matinee.kernel.SpanRow;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.catalyst.expressions.GenericInternalRow;
import org.apache.spark.sql.catalyst.util.ArrayData;
import org.apache.spark.sql.catalyst.util.GenericArrayData;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.unsafe.types.UTF8String;

/**
 * spans_of and sessions_of: the rows of what fold_session gave.
 *
 * <p>A session without late events is the same in both revisions and given out once, as {@code both}: tables of spans
 * and sessions lie so, and {@code schemas.render.sql.each_revision} reads each revision whole. A session also says
 * {@code last_state}: that of its last span before the moment that ended it.
 */
public final class FoldedRows implements Once<ArrayData> {
    private static final long serialVersionUID = 1;
    private static final Schema SPAN = Schemas.newest("span");
    private static final Schema SESSION = Schemas.newest("session");
    private static final int SPAN_REVISION = SPAN.index("revision");
    private static final int SESSION_REVISION = SESSION.index("revision");
    private static final UTF8String LIVE = UTF8String.fromString("live");
    private static final UTF8String BOTH = UTF8String.fromString("both");
    private static final UTF8String FINAL = UTF8String.fromString("final");

    private final boolean spans;

    FoldedRows(boolean spans) {
        this.spans = spans;
    }

    @Override
    public DataType[] inputTypes() {
        return new DataType[] {DataTypes.BinaryType};
    }

    @Override
    public DataType resultType() {
        StructType row = spans ? KernelCatalog.struct(SPAN) : KernelCatalog.struct(SESSION).add("last_state", DataTypes.StringType);
        return DataTypes.createArrayType(row, false);
    }

    @Override
    public String name() {
        return spans ? "spans_of" : "sessions_of";
    }

    /** Found by its name: Spark calls it from the code it generates. */
    public ArrayData invoke(byte[] folded) {
        return folded == null ? null : new GenericArrayData(rows(folded).toArray());
    }

    List<InternalRow> rows(byte[] folded) {
        Made made = new Made();
        FoldedBytes.read(folded, spans, made);
        return made.rows;
    }

    /** The rows of one call: both, or live, then final, session by session. */
    private static final class Made implements FoldedBytes.Sink {
        private final List<InternalRow> rows = new ArrayList<>();
        private final Values.Texts out = new Values.Texts();

        @Override
        public void spans(List<SpanRow> live, List<SpanRow> full) {
            boolean one = live == full;
            live.forEach(span -> rows.add(row(span, one ? BOTH : LIVE)));
            if (!one) {
                full.forEach(span -> rows.add(row(span, FINAL)));
            }
        }

        private InternalRow row(SpanRow span, UTF8String revision) {
            Object[] head = Values.internal(SPAN, Rows.spanHead(span), out);
            head[SPAN_REVISION] = revision;
            return new MeasuredRow(head, span.measures);
        }

        @Override
        public void sessions(List<Ended> live, Folded liveCounts, List<Ended> full, Folded fullCounts) {
            boolean one = live == full;
            live.forEach(ended -> rows.add(row(ended, liveCounts, one ? BOTH : LIVE)));
            if (!one) {
                full.forEach(ended -> rows.add(row(ended, fullCounts, FINAL)));
            }
        }

        private InternalRow row(Ended ended, Folded counts, UTF8String revision) {
            boolean first = ended.segment().number == 0;
            Object[] columns = Rows.session(ended.segment(), null, counts.clockOffsetMs(), first ? counts.duplicates() : 0,
                    first ? counts.late() : 0);
            Object[] row = Arrays.copyOf(Values.internal(SESSION, columns, out), columns.length + 1);
            row[SESSION_REVISION] = revision;
            row[columns.length] = ended.lastState() == null ? null : out.apply(ended.lastState().label());
            return new GenericInternalRow(row);
        }
    }
}
