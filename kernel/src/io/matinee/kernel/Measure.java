package io.matinee.kernel;

/** The additive measures of records span and session; an array of them is indexed by ordinal. */
public enum Measure {
    ALIVE_MS, STARTING_MS, PLAY_MS, STALL_MS, SEEK_MS, PAUSE_MS, AD_MS, BACKGROUND_MS, WATCHED_MS, BITRATE_KBPS_MS,
    BITRATE_KNOWN_MS, START_DELAY_MS, ATTEMPTS, PLAYS, STARTS_MEASURED, EXITS_BEFORE_START, START_FAILURES,
    PLAYBACK_FAILURES, STALLS, SWITCHES_UP, SWITCHES_DOWN;

    public static final int COUNT = values().length;

    public String column() {
        return name().toLowerCase(java.util.Locale.ROOT);
    }

    void add(long[] to, long amount) {
        to[ordinal()] += amount;
    }

    static boolean none(long[] measures) {
        for (long value : measures) {
            if (value != 0) {
                return false;
            }
        }
        return true;
    }

    /** Add {@code sign} times {@code from} to {@code to}. */
    static void add(long[] to, long[] from, int sign) {
        for (int i = 0; i < COUNT; i++) {
            to[i] += sign * from[i];
        }
    }
}
