package io.matinee.kernel.flink;

import io.matinee.kernel.Measure;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;

/**
 * Counts what later events take back of what had been told: metrics {@code deltas}, {@code corrections} (deltas of which
 * a measure is negative) and {@code taken_back.<measure>}. In the rows of sums other sessions' growth hides it.
 */
public final class Corrections {
    private final Counter deltas;
    private final Counter corrections;
    private final MetricGroup takenBack;
    private final Counter[] byMeasure = new Counter[Measure.COUNT];

    public Corrections(MetricGroup metrics) {
        deltas = metrics.counter("deltas");
        corrections = metrics.counter("corrections");
        takenBack = metrics.addGroup("taken_back");
    }

    public void count(long[] measures) {
        deltas.inc();
        if (!Measure.negative(measures)) {
            return;
        }
        corrections.inc();
        for (Measure measure : Measure.values()) {
            int i = measure.ordinal();
            if (measures[i] < 0) {
                if (byMeasure[i] == null) {
                    byMeasure[i] = takenBack.counter(measure.column());
                }
                byMeasure[i].inc(-measures[i]);
            }
        }
    }
}
