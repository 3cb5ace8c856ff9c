package io.matinee.kernel;

/** Why a segment ended. */
public enum Reason {
    OPEN, ENDED, FAILED, QUIT, CONTENT_CHANGE, PAUSE_LIMIT, TIMEOUT, LENGTH_CAP;

    private static final Reason[] ALL = values();
    private final String label = name().toLowerCase(java.util.Locale.ROOT);

    public String label() {
        return label;
    }

    static Reason at(int ordinal) {
        return ALL[ordinal];
    }

    static Reason of(State terminal) {
        return terminal == State.ENDED ? ENDED : terminal == State.FAILED ? FAILED : QUIT;
    }

    boolean terminal() {
        return this == ENDED || this == FAILED || this == QUIT;
    }

    /** No event said so. */
    public boolean inferred() {
        return this == TIMEOUT || this == PAUSE_LIMIT || this == LENGTH_CAP;
    }
}
