package io.matinee.kernel;

import java.util.Arrays;
import java.util.Locale;

/** The additive measures of schemas/measures.py, in its order; an array of them is indexed by ordinal. */
public enum Measure {
    ALIVE_MS, STARTING_MS, PLAY_MS, STALL_MS, SEEK_MS, PAUSE_MS, AD_MS, BACKGROUND_MS, WATCHED_MS, MEDIA_MS,
    CONTENT_MS, BITRATE_KBPS_MS, BITRATE_KNOWN_MS, CIR_STALL_MS, START_DELAY_MS, ANY_START_DELAY_MS,
    STARTUP_SCORE_MILLI, SMOOTHNESS_SCORE_MILLI, ATTEMPTS, PLAYS, STARTS_MEASURED, ANY_STARTS_MEASURED,
    EXITS_BEFORE_START, LONG_WAIT_EXITS, START_FAILURES, START_FAILURES_BUSINESS, START_FAILURES_RECOVERED,
    PLAYBACK_FAILURES, PLAYBACK_FAILURES_BUSINESS, PLAYBACK_FAILURES_RECOVERED, STALLS, CIR_STALLS, CIR_EXITS,
    SWITCHES_UP, SWITCHES_DOWN, SWITCH_UP_KBPS, SWITCH_DOWN_KBPS, STARTUP_SWITCHES, STARTUP_SWITCH_KBPS,
    SMOOTHNESS_SCORED, GAPS, GAPS_VERIFIED, REPAIRED_STALLS, REPAIRED_STALL_MS, START_LE_500_MS, START_LE_1000_MS,
    START_LE_1500_MS, START_LE_2000_MS, START_LE_3000_MS, START_LE_4000_MS, START_LE_6000_MS, START_LE_10000_MS,
    START_LE_20000_MS, START_OVER_20000_MS, STALL_LE_0_MS, STALL_LE_500_MS, STALL_LE_1000_MS, STALL_LE_2000_MS,
    STALL_LE_5000_MS, STALL_LE_10000_MS, STALL_LE_20000_MS, STALL_LE_60000_MS, STALL_OVER_60000_MS;

    public static final int COUNT = values().length;
    private static final Measure[] START_BINS = bins("start_");
    private static final Measure[] STALL_BINS = bins("stall_");
    private static final long[] START_EDGES = edges(START_BINS);
    private static final long[] STALL_EDGES = edges(STALL_BINS);

    public String column() {
        return name().toLowerCase(Locale.ROOT);
    }

    void add(long[] to, long amount) {
        to[ordinal()] += amount;
    }

    long of(long[] measures) {
        return measures[ordinal()];
    }

    /** The counts of a histogram: its columns are named by their edges, start_le_500_ms to start_over_20000_ms. */
    private static Measure[] bins(String prefix) {
        return Arrays.stream(values()).filter(m -> m.column().matches(prefix + "(le|over)_[0-9]+_ms")).toArray(Measure[]::new);
    }

    private static long[] edges(Measure[] bins) {
        return Arrays.stream(bins).mapToLong(m -> Long.parseLong(m.column().replaceAll("[^0-9]", ""))).toArray();
    }

    static Measure startBin(long ms) {
        return bin(START_BINS, START_EDGES, ms);
    }

    static Measure stallBin(long ms) {
        return bin(STALL_BINS, STALL_EDGES, ms);
    }

    private static Measure bin(Measure[] bins, long[] edges, long ms) {
        int i = 0;
        while (i < bins.length - 1 && ms > edges[i]) {
            i++;
        }
        return bins[i];
    }

    public static boolean none(long[] measures) {
        for (long value : measures) {
            if (value != 0) {
                return false;
            }
        }
        return true;
    }

    /** Whether one of them is below 0. */
    public static boolean negative(long[] measures) {
        long signs = 0;
        for (long value : measures) {
            signs |= value;
        }
        return signs < 0;
    }

    /** Add {@code sign} times {@code from} to {@code to}, of which only what changes is touched: it lies far away in memory. */
    public static void add(long[] to, long[] from, int sign) {
        int i = 0;
        for (; i <= COUNT - 8; i += 8) {
            if ((from[i] | from[i + 1] | from[i + 2] | from[i + 3] | from[i + 4] | from[i + 5] | from[i + 6] | from[i + 7]) != 0) {
                for (int j = i; j < i + 8; j++) {
                    to[j] += sign * from[j];
                }
            }
        }
        for (; i < COUNT; i++) {
            to[i] += sign * from[i];
        }
    }

    /** The measures as {@link #write} has them: the form in which deltas travel; equal measures give equal bytes. */
    public static byte[] pack(long[] measures) {
        Codec.Out out = new Codec.Out();
        write(measures, out);
        return out.done();
    }

    /** Add packed measures to {@code to}. */
    public static void add(byte[] packed, long[] to) {
        Codec.In in = new Codec.In(packed);
        long[] masks = masks(in);
        for (int word = 0; word < masks.length; word++) {
            for (long mask = masks[word]; mask != 0; mask &= mask - 1) {
                to[word * Long.SIZE + Long.numberOfTrailingZeros(mask)] += in.number();
            }
        }
    }

    /** Only what is not 0, behind a bit for each measure: most of a session's are 0. */
    static void write(long[] measures, Codec.Out out) {
        for (int from = 0; from < COUNT; from += Long.SIZE) {
            long mask = 0;
            for (int i = from; i < Math.min(COUNT, from + Long.SIZE); i++) {
                mask |= measures[i] == 0 ? 0 : 1L << (i - from);
            }
            out.number(mask);
        }
        for (long value : measures) {
            if (value != 0) {
                out.number(value);
            }
        }
    }

    static void read(long[] measures, Codec.In in) {
        long[] masks = masks(in);
        for (int i = 0; i < COUNT; i++) {
            measures[i] = (masks[i / Long.SIZE] >>> (i % Long.SIZE) & 1) == 0 ? 0 : in.number();
        }
    }

    private static long[] masks(Codec.In in) {
        long[] masks = new long[(COUNT + Long.SIZE - 1) / Long.SIZE];
        for (int i = 0; i < masks.length; i++) {
            masks[i] = in.number();
        }
        return masks;
    }

    /** The measures an expression of the metrics adds up, {@code stall_ms + play_ms - ad_ms}, with their signs. */
    public static Formula formula(String expression) {
        String[] word = expression.trim().split("\\s+");
        int[] measures = new int[(word.length + 1) / 2];
        int[] signs = new int[measures.length];
        for (int i = 0; i < word.length; i += 2) {
            String sign = i == 0 ? "+" : word[i - 1];
            if (word.length % 2 == 0 || !sign.matches("[+-]")) {
                throw new IllegalArgumentException("'" + expression + "' is not measures with + and - between them");
            }
            measures[i / 2] = of(word[i]).ordinal();
            signs[i / 2] = sign.equals("+") ? 1 : -1;
        }
        return new Formula(measures, signs);
    }

    private static Measure of(String column) {
        for (Measure measure : values()) {
            if (measure.column().equals(column)) {
                return measure;
            }
        }
        throw new IllegalArgumentException("the kernel has no measure '" + column + "': schemas/measures.py and Measure.java list them");
    }

    /** Sums and differences of measures, which may be taken before or after adding up. */
    public record Formula(int[] measures, int[] signs) {
        public long of(long[] values) {
            long total = 0;
            for (int i = 0; i < measures.length; i++) {
                total += signs[i] * values[measures[i]];
            }
            return total;
        }
    }
}
