package io.matinee.kernel;

/** What is known of ads in a gap right before an event; the rules stand in models/playback/repair.py. */
enum Ads {
    /** Nothing tells of one. */
    NONE,
    /** The segment has shown one and none is on after the gap. */
    SHOWN,
    /** The event does not say whether an ad is on, and one was shown, or the title is another. */
    PERHAPS,
    /** One is on before or after the gap. */
    BESIDE;

    /** {@code said} as it arrived, {@code event} with what it keeps; {@code segment} has the newest one before it, or is null. */
    static Ads around(Event said, Event event, Segment segment) {
        if (event.ad || (segment != null && segment.last.ad)) {
            return BESIDE;
        }
        boolean shown = segment != null && Measure.AD_MS.of(segment.sums) > 0;
        boolean renamed = segment != null && !event.title().equals(segment.last.title());
        return said.silentOfAd() && (shown || renamed) ? PERHAPS : shown ? SHOWN : NONE;
    }
}
