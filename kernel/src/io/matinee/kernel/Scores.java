package io.matinee.kernel;

/** Mux's startup and smoothness scores in thousandths; models/playback/scores.py says why the exponential is our own. */
final class Scores {
    private Scores() {}

    static long startup(long delayMs) {
        return 800_000_000 / (8_000 + delayMs);
    }

    static long smoothness(long stalls, long stallMs, long playMs) {
        double count = Math.max(stalls, 0);
        double stalled = Math.max(stallMs, 0);
        double played = Math.max(playMs, 0);
        double ratio = stalled + played > 0 ? stalled / (stalled + played) : 0.0;
        double byCount = 100_000.0 / Math.sqrt(1.0 + count * count / 4.0);
        return (long) Math.floor((byCount + 100_000.0 * expMinus(10.0 * ratio)) / 2.0 + 0.5);
    }

    private static double expMinus(double x) {
        double z = x / 1024.0;
        double term = 1.0 - z * (1.0 - z / 2.0 * (1.0 - z / 3.0 * (1.0 - z / 4.0)));
        for (int i = 0; i < 10; i++) {
            term *= term;
        }
        return term;
    }
}
