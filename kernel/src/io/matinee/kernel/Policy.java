package io.matinee.kernel;

import java.io.Serializable;
import java.util.HashMap;
import java.util.Map;
import java.util.function.ToLongFunction;

/** The fold's times in milliseconds: settings.fold. */
public record Policy(long latenessMs, long holdMs, long gapWaitMs, long pauseLimitMs, long sessionCapMs, long causeMs,
                     long retryMs, long exitMs, long startupMs, long longWaitMs) implements Serializable {

    public Policy {
        for (long ms : new long[] {latenessMs, holdMs, gapWaitMs, pauseLimitMs, sessionCapMs, causeMs, retryMs, exitMs, startupMs,
            longWaitMs}) {
            if (ms <= 0 || ms > 1L << 40) {
                throw new IllegalArgumentException("fold times are milliseconds above 0, found " + ms);
            }
        }
    }

    /** From the names that settings.fold has. */
    public static Policy of(ToLongFunction<String> setting) {
        return new Policy(setting.applyAsLong("lateness_ms"), setting.applyAsLong("hold_ms"), setting.applyAsLong("gap_wait_ms"),
                setting.applyAsLong("pause_limit_ms"), setting.applyAsLong("session_cap_ms"), setting.applyAsLong("cause_ms"),
                setting.applyAsLong("retry_ms"), setting.applyAsLong("exit_ms"), setting.applyAsLong("startup_ms"),
                setting.applyAsLong("long_wait_ms"));
    }

    /** From {@code lateness_ms:120000,hold_ms:75000,...}. */
    public static Policy parse(String text) {
        Map<String, Long> found = new HashMap<>();
        for (String pair : text.split(",")) {
            String[] word = pair.split(":", 2);
            found.put(word[0].trim(), Long.parseLong(word[1].trim()));
        }
        return of(name -> {
            Long value = found.get(name);
            if (value == null) {
                throw new IllegalArgumentException("the fold's setting " + name + " is missing in " + text);
            }
            return value;
        });
    }

    /** Received further apart than this, two events are not of one segment: a stream cannot wait longer. */
    long silenceMs() {
        return holdMs + latenessMs;
    }
}
