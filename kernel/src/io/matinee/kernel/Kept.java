package io.matinee.kernel;

import java.util.HashMap;
import java.util.Map;

/** Column {@code kept} of playback_event, as bits: what a record does not say and takes from the one before it. */
public final class Kept {
    static final String EVERYTHING = "*";
    static final int STATE = 1;
    static final int AD = 2;
    static final int BITRATE = 4;
    static final int TITLE = 8;
    static final int ASSET = 16;
    static final int CDN = 32;
    static final int APP = 64;
    static final int PROFILE = 128;
    /** One ad begins or ends; a break around it that is open stays, and an ad on screen with it. */
    static final int AD_BREAK = 256;
    static final int ALL = 1 << 9;

    private static final String[] COLUMNS =
            {"state", "ad", "bitrate_kbps", "title_id", "asset_id", "cdn_id", "app_version", "profile_id",
                "ad_break"};
    private static final String[] TEXTS = new String[ALL];
    private static final Map<String, Integer> BITS = new HashMap<>();

    static {
        for (int bits = 0; bits < ALL; bits++) {
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < COLUMNS.length; i++) {
                if ((bits & 1 << i) != 0) {
                    text.append(text.isEmpty() ? "" : ",").append(COLUMNS[i]);
                }
            }
            TEXTS[bits] = text.toString();
            BITS.put(TEXTS[bits], bits);
        }
        BITS.put(EVERYTHING, ALL);
    }

    private Kept() {}

    static String text(int bits) {
        return TEXTS[bits];
    }

    /** The bits of a text; columns in another order or unknown ones are left out. */
    public static int bits(String text) {
        if (text == null || text.isEmpty()) {
            return 0;
        }
        Integer known = BITS.get(text);
        if (known != null) {
            return known;
        }
        int bits = 0;
        for (String word : text.split(",")) {
            bits |= BITS.getOrDefault(word, 0);
        }
        return bits;
    }

    /** {@code event}, or a copy of it, with what it keeps taken from {@code before}; as an unknown title, and an asset of the same one. */
    static Event resolved(Event event, Event before) {
        if (event.kept == 0 && !event.untold(Event.TITLE) && !event.untold(Event.ASSET)) {
            return event;
        }
        Event e = event.copy();
        int bits = e.kept;
        boolean all = (bits & ALL) != 0;
        e.state = all || (bits & STATE) != 0 ? before.state : e.state;
        if (e.silentOfBreak()) {
            e.ad = all || (bits & AD) != 0 ? before.ad : e.ad;
            e.ad |= (bits & AD_BREAK) != 0 && before.adBreak;
            e.adBreak = before.adBreak;
        }
        e.bitrateKbps = all || (bits & BITRATE) != 0 ? before.bitrateKbps : e.bitrateKbps;
        e.background = all ? before.background : e.background;
        e.rateMilli = all ? before.rateMilli : e.rateMilli;
        e.dims = new String[Event.DIMENSIONS];
        for (int i = 0; i < Event.DIMENSIONS; i++) {
            e.dims[i] = all || (bits & DIMENSION_BITS[i]) != 0 ? before.dims[i] : event.dims[i];
        }
        if (e.untold(Event.TITLE)) {
            e.dims[Event.TITLE] = before.dims[Event.TITLE];
        }
        if (e.untold(Event.ASSET) && (before.untold(Event.TITLE) || e.title().equals(before.title()))) {
            e.dims[Event.ASSET] = before.dims[Event.ASSET];
        }
        e.kept = event.silentOfAd() ? AD : 0;
        return e;
    }

    /** Bits of Event.DIMENSION_NAMES. */
    private static final int[] DIMENSION_BITS = {PROFILE, TITLE, ASSET, 0, 0, 0, APP, CDN};
}
