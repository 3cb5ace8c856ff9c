import io.matinee.kernel.Measure;
import io.matinee.kernel.flink.Corrections;
import java.lang.reflect.Proxy;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.metrics.SimpleCounter;

/** Run by test_corrections.py: deltas of measures given as NAME=VALUE[,NAME=VALUE], one an argument; prints every counter. */
public final class Counted {
    private static final Map<String, Counter> COUNTERS = new TreeMap<>();

    public static void main(String[] args) {
        Corrections corrections = new Corrections(group(""));
        for (String delta : args) {
            long[] measures = new long[Measure.COUNT];
            for (String part : delta.split(",")) {
                String[] word = part.split("=");
                measures[Measure.valueOf(word[0]).ordinal()] = Long.parseLong(word[1]);
            }
            corrections.count(measures);
        }
        COUNTERS.forEach((name, counter) -> System.out.println(name + " " + counter.getCount()));
    }

    /** A group that keeps its counters; nothing else of it is asked for. */
    private static MetricGroup group(String prefix) {
        return (MetricGroup) Proxy.newProxyInstance(Counted.class.getClassLoader(), new Class<?>[] {MetricGroup.class},
                (proxy, method, given) -> switch (method.getName()) {
                    case "counter" -> COUNTERS.computeIfAbsent(prefix + given[0], name -> new SimpleCounter());
                    case "addGroup" -> group(prefix + given[0] + ".");
                    default -> throw new UnsupportedOperationException(method.toString());
                });
    }
}
