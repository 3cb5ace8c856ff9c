package bench;

import io.matinee.kernel.Decoder;
import io.matinee.kernel.LiveFold;
import io.matinee.kernel.Measure;
import io.matinee.kernel.MinuteKey;
import io.matinee.kernel.Policy;
import io.matinee.kernel.Rows;
import io.matinee.kernel.Segment;
import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * What deltas take back when a topic is read as it came, not as a backlog: POLICY SLACK. Messages of playback_event come
 * on standard input in order of arrival (as io.matinee.kernel.Main takes them), each goes into its session's fold, and
 * after each the watermark is SLACK behind the newest arrival. Prints deltas, corrections, and of each measure its sum
 * and what was taken back of it.
 */
public final class Paced implements LiveFold.Out {
    private final Policy policy;
    private final Map<String, LiveFold> folds = new HashMap<>();
    private final TreeMap<Long, List<String>> timers = new TreeMap<>();
    private final long[] sums = new long[Measure.COUNT];
    private final long[] takenBack = new long[Measure.COUNT];
    private long deltas;
    private long corrections;

    private Paced(Policy policy) {
        this.policy = policy;
    }

    public static void main(String[] a) throws IOException {
        Paced paced = new Paced(Policy.parse(a[0]));
        long slack = Long.parseLong(a[1]);
        Decoder decoder = new Decoder("playback_event");
        long newest = Long.MIN_VALUE;
        try (DataInputStream in = new DataInputStream(new BufferedInputStream(System.in, 1 << 16))) {
            while (true) {
                int partition = in.readInt();
                long offset = in.readLong();
                long arrival = in.readLong();
                byte[] key = bytes(in);
                if (decoder.read(bytes(in), key) && !decoder.control()) {
                    String session = new String(key, StandardCharsets.UTF_8);
                    LiveFold fold = paced.folds.computeIfAbsent(session, id -> new LiveFold(paced.policy));
                    fold.event(Rows.event(decoder.values(), partition, offset), arrival, paced);
                    fold.tell(paced);
                    paced.keep(session, fold);
                }
                newest = Math.max(newest, arrival);
                paced.advance(newest - slack - 1);
            }
        } catch (EOFException end) {
            paced.advance(Long.MAX_VALUE);
        }
        System.out.println("deltas " + paced.deltas + " " + paced.corrections);
        for (Measure measure : Measure.values()) {
            System.out.println(measure.column() + " " + paced.sums[measure.ordinal()] + " " + paced.takenBack[measure.ordinal()]);
        }
    }

    private static byte[] bytes(DataInputStream in) throws IOException {
        int length = in.readInt();
        return length < 0 ? null : in.readNBytes(length);
    }

    private void keep(String session, LiveFold fold) {
        long next = fold.nextTimer();
        if (fold.timer == 0 || next < fold.timer) {
            fold.timer = next;
            timers.computeIfAbsent(next, at -> new ArrayList<>()).add(session);
        }
    }

    private void advance(long watermark) {
        while (!timers.isEmpty() && timers.firstKey() <= watermark) {
            Map.Entry<Long, List<String>> due = timers.pollFirstEntry();
            for (String session : due.getValue()) {
                LiveFold fold = folds.get(session);
                if (fold == null) {
                    continue;
                }
                fold.watermark(due.getKey(), this);
                if (fold.forgotten(due.getKey())) {
                    folds.remove(session);
                    continue;
                }
                fold.timer = fold.timer <= due.getKey() ? 0 : fold.timer;
                keep(session, fold);
            }
        }
    }

    @Override
    public void minute(MinuteKey key, long[] measures) {
        deltas++;
        corrections += Measure.negative(measures) ? 1 : 0;
        for (int i = 0; i < measures.length; i++) {
            sums[i] += measures[i];
            takenBack[i] -= Math.min(measures[i], 0);
        }
    }

    @Override
    public void session(Segment segment, long clockOffsetMs, long duplicates, long late) {}

    @Override
    public void gone(String sessionId, int segment) {}
}
