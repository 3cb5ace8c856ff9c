package io.matinee.kernel;

import io.matinee.kernel.Schemas.Schema;

/** Between decoded records and the fold: events in, the columns of span, session and qoe_session out. */
public final class Rows {
    private static final Schema EVENT = Schemas.newest("playback_event");
    private static final int SESSION = EVENT.index("session_id");
    private static final int SEQ = EVENT.index("seq");
    private static final int DEVICE_AT = EVENT.index("device_at");
    private static final int RECEIVED_AT = EVENT.index("received_at");
    private static final int POST_DEVICE_AT = EVENT.index("post_device_at");
    private static final int STATE = EVENT.index("state");
    private static final int BITRATE = EVENT.index("bitrate_kbps");
    private static final int PLAYHEAD = EVENT.index("playhead_ms");
    private static final int STALL_COUNT = EVENT.index("stall_count");
    private static final int STALL_TOTAL = EVENT.index("stall_total_ms");
    private static final int ERROR_CODE = EVENT.index("error_code");
    private static final int RATE = EVENT.index("playback_rate");
    private static final int BACKGROUND = EVENT.index("background");
    private static final int AD = EVENT.index("ad");
    private static final int IMPRESSION = EVENT.index("impression_id");
    private static final int PAGE = EVENT.index("page_id");
    private static final int KEPT = EVENT.index("kept");
    private static final int SPAN_REVISION = Schemas.newest("span").index("revision");
    private static final int[] DIMS = new int[Event.DIMENSIONS];
    private static final long DAY_MS = 86_400_000;

    static {
        for (int i = 0; i < DIMS.length; i++) {
            DIMS[i] = EVENT.index(Event.DIMENSION_NAMES[i]);
        }
    }

    private Rows() {}

    /** The event of the playback_event that was read last (with {@code recent}), which is good and no control record. */
    public static Event event(Decoder d, Decoder.Recent recent, int partition, long offset) {
        Event e = new Event();
        e.sessionId = d.text(SESSION);
        e.seq = (int) d.number(SEQ);
        e.deviceAt = d.number(DEVICE_AT);
        e.receivedAt = d.number(RECEIVED_AT);
        e.postDeviceAt = d.number(POST_DEVICE_AT);
        e.state = State.of(d.text(STATE));
        e.bitrateKbps = (int) d.number(BITRATE, -1);
        e.playheadMs = d.number(PLAYHEAD, -1);
        e.stallCount = (int) d.number(STALL_COUNT, -1);
        e.stallTotalMs = d.number(STALL_TOTAL, -1);
        e.told(d.text(ERROR_CODE), d.real(RATE));
        e.background = d.number(BACKGROUND) != 0;
        e.ad = d.number(AD) != 0;
        e.dims = dims(d, recent);
        e.impressionId = d.text(IMPRESSION);
        e.pageId = d.text(PAGE);
        e.partition = partition;
        e.offset = offset;
        e.kept(Kept.bits(d.text(KEPT)));
        return e;
    }

    /** Those of the event before if they are the same texts. */
    private static String[] dims(Decoder d, Decoder.Recent recent) {
        int same = 0;
        while (recent.dims != null && same < DIMS.length && recent.dims[same] == d.text(DIMS[same])) {
            same++;
        }
        if (same < DIMS.length) {
            recent.dims = new String[DIMS.length];
            for (int i = 0; i < DIMS.length; i++) {
                recent.dims[i] = d.text(DIMS[i]);
            }
        }
        return recent.dims;
    }

    /** The event of a playback_event's values. */
    public static Event event(Object[] v, int partition, long offset) {
        Event e = new Event();
        e.sessionId = (String) v[SESSION];
        e.seq = (Integer) v[SEQ];
        e.deviceAt = (Long) v[DEVICE_AT];
        e.receivedAt = (Long) v[RECEIVED_AT];
        e.postDeviceAt = (Long) v[POST_DEVICE_AT];
        e.state = State.of((String) v[STATE]);
        e.bitrateKbps = v[BITRATE] == null ? -1 : (Integer) v[BITRATE];
        e.playheadMs = v[PLAYHEAD] == null ? -1 : (Long) v[PLAYHEAD];
        e.stallCount = v[STALL_COUNT] == null ? -1 : (Integer) v[STALL_COUNT];
        e.stallTotalMs = v[STALL_TOTAL] == null ? -1 : (Long) v[STALL_TOTAL];
        e.told((String) v[ERROR_CODE], (Double) v[RATE]);
        e.background = (Boolean) v[BACKGROUND];
        e.ad = (Boolean) v[AD];
        e.dims = new String[DIMS.length];
        for (int i = 0; i < DIMS.length; i++) {
            e.dims[i] = (String) v[DIMS[i]];
        }
        e.impressionId = (String) v[IMPRESSION];
        e.pageId = (String) v[PAGE];
        e.partition = partition;
        e.offset = offset;
        e.kept(Kept.bits((String) v[KEPT]));
        return e;
    }

    /** Columns of record span, in its order; timestamps in milliseconds, dates in days. */
    public static Object[] span(SpanRow s, String revision) {
        Object[] head = spanHead(s);
        head[SPAN_REVISION] = revision;
        return join(head, new String[0], new Object[0], s.measures);
    }

    /** The same without the measures, which are the last columns, and without the revision. */
    public static Object[] spanHead(SpanRow s) {
        Object[] head = {s.segment.last.sessionId, s.segment.number, s.number, null, s.startAt, s.endAt, s.minuteAt(), day(s.startAt),
                s.state.label(), s.background, s.ad, s.bitrateKbps < 0 ? null : s.bitrateKbps, s.unobserved};
        return join(head, s.dims, new Object[0], new long[0]);
    }

    /** Columns of record session, in its order. */
    public static Object[] session(Segment s, String revision, long clockOffsetMs, long duplicates, long late) {
        Object[] head = {s.last.sessionId, s.number, revision, day(s.provenAt())};
        return join(head, s.last.dims, tail(s, clockOffsetMs, duplicates, late), s.sums);
    }

    /** Columns of record qoe_session, in its order. */
    public static Object[] liveSession(Segment s, long clockOffsetMs, long duplicates, long late) {
        Object[] head = {s.last.sessionId, s.number, s.closed()};
        return join(head, s.last.dims, tail(s, clockOffsetMs, duplicates, late), s.sums);
    }

    private static Object[] tail(Segment s, long clockOffsetMs, long duplicates, long late) {
        return new Object[] {s.impressionId, s.pageId, s.startAt, s.provenAt(), s.state.label(), s.reason.label(), s.reason.inferred(),
            clockOffsetMs, s.events, duplicates, late, s.missing, s.maxPlayheadMs < 0 ? null : s.maxPlayheadMs};
    }

    private static Object[] join(Object[] head, String[] dims, Object[] tail, long[] measures) {
        Object[] row = new Object[head.length + dims.length + tail.length + measures.length];
        System.arraycopy(head, 0, row, 0, head.length);
        System.arraycopy(dims, 0, row, head.length, dims.length);
        System.arraycopy(tail, 0, row, head.length + dims.length, tail.length);
        for (int i = 0; i < measures.length; i++) {
            row[head.length + dims.length + tail.length + i] = measures[i];
        }
        return row;
    }

    private static int day(long at) {
        return (int) Math.floorDiv(at, DAY_MS);
    }
}
