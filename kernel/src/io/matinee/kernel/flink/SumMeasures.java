package io.matinee.kernel.flink;

import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.functions.AggregateFunction;

/** sum_measures(deltas): packed measures added up, packed; in two phases where mini-batches are on. */
@FunctionHint(accumulator = @DataTypeHint(value = "RAW", bridgedTo = Sums.class, rawSerializer = SumsSerializer.class),
        output = @DataTypeHint("BYTES NOT NULL"))
public class SumMeasures extends AggregateFunction<byte[], Sums> {
    private static final long serialVersionUID = 1;

    @Override
    public Sums createAccumulator() {
        return new Sums();
    }

    public void accumulate(Sums sums, byte[] deltas) {
        sums.add(deltas);
    }

    public void merge(Sums sums, Iterable<Sums> parts) {
        for (Sums part : parts) {
            sums.add(part.packed());
        }
    }

    @Override
    public byte[] getValue(Sums sums) {
        return sums.packed();
    }
}
