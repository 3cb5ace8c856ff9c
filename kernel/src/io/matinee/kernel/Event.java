package io.matinee.kernel;

/** What the fold reads of one playback_event; times in UTC milliseconds. */
public final class Event {
    public static final int DIMENSIONS = 8;
    /** Columns that a span and a session carry unchanged, in the order of {@link #dims}. */
    public static final String[] DIMENSION_NAMES =
            {"profile_id", "title_id", "asset_id", "isp", "country", "device", "app_version", "cdn_id"};
    static final int TITLE = 1;
    static final int ASSET = 2;
    /** A title or an asset that nobody told. */
    static final String UNKNOWN = "unknown";

    public String sessionId;
    public int seq;
    public long deviceAt;
    public long receivedAt;
    public long postDeviceAt;
    public State state;
    /** -1 if unknown. */
    public int bitrateKbps;
    /** -1 if unknown. */
    public long playheadMs;
    /** The player's own counters since the session began; -1 if unknown. */
    public int stallCount;
    public long stallTotalMs;
    /** Playback rate in thousandths. */
    public int rateMilli;
    byte errorClass;
    public boolean background;
    public boolean ad;
    /** A break with several ads is open: the end of one leaves the ad on screen. */
    boolean adBreak;
    /** Never changed: events of a session share them. */
    public String[] dims;
    public String impressionId;
    public String pageId;
    public int partition;
    public long offset;
    /** What it takes from the event before it: bits of {@link Kept}; once it has been taken, AD alone is left of them. */
    public int kept;

    /** Class of the event's error code, and the rate, from what the record says. */
    public void told(String errorCode, double playbackRate) {
        errorClass = ErrorCodes.of(errorCode);
        rateMilli = (int) Math.floor(playbackRate * 1000 + 0.5);
    }

    /** What it takes from the event before it, said last. */
    public void kept(int bits) {
        kept = bits;
        adBreak = ad && !silentOfBreak();
    }

    boolean silentOfBreak() {
        return (kept & (Kept.AD | Kept.AD_BREAK | Kept.ALL)) != 0;
    }

    /** Leaves to the event before whether an ad is on. */
    boolean silentOfAd() {
        return (kept & (Kept.AD | Kept.ALL)) != 0;
    }

    /** This event of an ad with the content's title and asset, which the event before had; a copy unless it is {@code own}. */
    Event withTitleOf(Event before, boolean own) {
        Event e = own ? this : copy();
        e.dims = own ? dims : dims.clone();
        e.dims[TITLE] = before.dims[TITLE];
        e.dims[ASSET] = before.dims[ASSET];
        return e;
    }

    /** This end of content with the title that the event before had: another one it tells is of what comes next, as is its playhead. */
    Event ending(Event before, boolean own) {
        if (title().equals(before.title())) {
            return this;
        }
        Event e = withTitleOf(before, own);
        e.playheadMs = -1;
        return e;
    }

    /** This event as what follows it finds it once it has ended its session: no ad, no break goes on. */
    Event withoutAd() {
        if (!ad && !adBreak) {
            return this;
        }
        Event e = copy();
        e.ad = false;
        e.adBreak = false;
        return e;
    }

    /** Whether it says itself which title this is. */
    boolean tellsTitle() {
        return (kept & (Kept.TITLE | Kept.ALL)) == 0 && !untold(TITLE);
    }

    boolean untold(int dimension) {
        return UNKNOWN.equals(dims[dimension]);
    }

    String title() {
        return dims[TITLE];
    }

    boolean beforeInTopic(Event other) {
        return partition != other.partition ? partition < other.partition : offset < other.offset;
    }

    Event copy() {
        Event e = new Event();
        e.sessionId = sessionId;
        e.seq = seq;
        e.deviceAt = deviceAt;
        e.receivedAt = receivedAt;
        e.postDeviceAt = postDeviceAt;
        e.state = state;
        e.bitrateKbps = bitrateKbps;
        e.playheadMs = playheadMs;
        e.stallCount = stallCount;
        e.stallTotalMs = stallTotalMs;
        e.rateMilli = rateMilli;
        e.errorClass = errorClass;
        e.background = background;
        e.ad = ad;
        e.adBreak = adBreak;
        e.dims = dims;
        e.impressionId = impressionId;
        e.pageId = pageId;
        e.partition = partition;
        e.offset = offset;
        e.kept = kept;
        return e;
    }

    void write(Codec.Out out) {
        out.string(sessionId);
        for (String dim : dims) {
            out.string(dim);
        }
        out.string(impressionId);
        out.string(pageId);
        writeNumbers(out);
    }

    /** Everything but the texts. */
    void writeNumbers(Codec.Out out) {
        out.number(seq);
        out.number(receivedAt);
        out.number(deviceAt - receivedAt);
        out.number(postDeviceAt - receivedAt);
        out.number(state.ordinal());
        out.number(bitrateKbps);
        out.number(playheadMs);
        out.number(stallCount);
        out.number(stallTotalMs);
        out.number(rateMilli);
        out.number(errorClass << 3 | (adBreak ? 4 : 0) | (background ? 2 : 0) | (ad ? 1 : 0));
        out.number(partition);
        out.number(offset);
        out.number(kept);
    }

    static Event read(Codec.In in) {
        Event e = new Event();
        e.sessionId = in.string();
        e.dims = new String[DIMENSIONS];
        for (int i = 0; i < DIMENSIONS; i++) {
            e.dims[i] = in.string();
        }
        e.impressionId = in.string();
        e.pageId = in.string();
        e.readNumbers(in);
        return e;
    }

    void readNumbers(Codec.In in) {
        seq = (int) in.number();
        receivedAt = in.number();
        deviceAt = in.number() + receivedAt;
        postDeviceAt = in.number() + receivedAt;
        state = State.at((int) in.number());
        bitrateKbps = (int) in.number();
        playheadMs = in.number();
        stallCount = (int) in.number();
        stallTotalMs = in.number();
        rateMilli = (int) in.number();
        int flags = (int) in.number();
        errorClass = (byte) (flags >> 3);
        adBreak = (flags & 4) != 0;
        background = (flags & 2) != 0;
        ad = (flags & 1) != 0;
        partition = (int) in.number();
        offset = in.number();
        kept = (int) in.number();
    }
}
