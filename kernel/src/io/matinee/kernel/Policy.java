package io.matinee.kernel;

import java.io.Serializable;

/** The fold's times in milliseconds: settings.fold. */
public record Policy(long latenessMs, long holdMs, long gapWaitMs, long pauseLimitMs, long sessionCapMs)
        implements Serializable {

    public Policy {
        for (long ms : new long[] {latenessMs, holdMs, gapWaitMs, pauseLimitMs, sessionCapMs}) {
            if (ms <= 0 || ms > 1L << 40) {
                throw new IllegalArgumentException("fold times are milliseconds above 0, found " + ms);
            }
        }
    }

    /** Received further apart than this, two events are not of one segment: a stream cannot wait longer. */
    long silenceMs() {
        return holdMs + latenessMs;
    }
}
