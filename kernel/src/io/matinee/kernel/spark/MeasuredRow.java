package io.matinee.kernel.spark;

import org.apache.spark.sql.catalyst.expressions.GenericInternalRow;

/** A row whose last columns are the measures, as the fold has them: 63 longs that need not become objects. */
final class MeasuredRow extends GenericInternalRow {
    private static final long serialVersionUID = 1;
    private final Object[] head;
    private final long[] measures;

    MeasuredRow(Object[] head, long[] measures) {
        super(head);
        this.head = head;
        this.measures = measures;
    }

    @Override
    public int numFields() {
        return head.length + measures.length;
    }

    @Override
    public Object genericGet(int place) {
        return place < head.length ? head[place] : (Object) measures[place - head.length];
    }

    @Override
    public boolean isNullAt(int place) {
        return place < head.length && head[place] == null;
    }

    @Override
    public long getLong(int place) {
        return place < head.length ? (Long) head[place] : measures[place - head.length];
    }

    @Override
    public GenericInternalRow copy() {
        return this;
    }

    @Override
    public void update(int place, Object value) {
        throw new UnsupportedOperationException("a folded row does not change");
    }

    @Override
    public void setNullAt(int place) {
        throw new UnsupportedOperationException("a folded row does not change");
    }
}
