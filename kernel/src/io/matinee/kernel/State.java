package io.matinee.kernel;

/** Player states; the letter is CMCD's sta. */
public enum State {
    STARTING('s'), PLAYING('p'), SEEKING('k'), REBUFFERING('r'), PAUSED('a'), UNKNOWN('w'), PRELOADING('d'),
    ENDED('e'), FAILED('f'), QUIT('q');

    private static final State[] ALL = values();
    private final char letter;
    private final String label = name().toLowerCase(java.util.Locale.ROOT);

    State(char letter) {
        this.letter = letter;
    }

    public String label() {
        return label;
    }

    static State at(int ordinal) {
        return ALL[ordinal];
    }

    /** State of a CMCD letter; null if it is none. */
    public static State of(String sta) {
        if (sta != null && sta.length() == 1) {
            for (State state : ALL) {
                if (state.letter == sta.charAt(0)) {
                    return state;
                }
            }
        }
        return null;
    }

    public boolean terminal() {
        return this == ENDED || this == FAILED || this == QUIT;
    }

    boolean alive() {
        return !terminal() && this != PRELOADING;
    }
}
