package io.matinee.kernel;

import io.matinee.kernel.Schemas.Schema;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;

/**
 * A message of topic cmcd, the collector's line and a player's records behind it, to rows of playback_event and to what
 * is refused. models/playback/cmcd_event.py says in Python what each key becomes and what a record keeps.
 *
 * <p>One object reads one message after the other; not for two threads.
 */
public final class CmcdMessage {

    /** Takes what a message holds, line by line. */
    public interface Out {
        /** A row of the newest playback_event, and its position among those of all topics. */
        void event(Object[] values, int partition, long offset);

        /** A refused line (from 1; 0 is the whole message), as a message of its own. */
        void letter(int line, byte[] payload, String errorClass, String reason);
    }

    static final int DROPPED = 64;
    private static final int LINES = 1_024;
    private static final int PARTITIONS_FROM = 1_000_000;
    private static final long MAX_AT = 4_102_444_800_000L;
    private static final long MAX_SEQ = 10_000_000;
    private static final long MAX_KBPS = 1_000_000;
    private static final long MAX_RATE_THOUSANDTHS = 16_000;
    private static final String UNKNOWN = Event.UNKNOWN;

    private static final Cmcd.Keys KEYS = new Cmcd.Keys("""
            ab:INTEGERS bl:INTEGERS br:INTEGERS bsa:SUMMED bsd:INTEGERS bsda:SUMMED lab:INTEGERS lb:INTEGERS mtp:INTEGERS
            pb:INTEGERS tab:INTEGERS tb:INTEGERS tbl:INTEGERS tpb:INTEGERS
            d:INTEGER dfa:INTEGER dl:INTEGER msd:INTEGER pt:INTEGER rtp:INTEGER sn:INTEGER v:INTEGER ts:INTEGER rc:INTEGER
            ttfb:INTEGER ttfbb:INTEGER ttlb:INTEGER ltc:SIGNED pr:DECIMAL bg:BOOLEAN bs:BOOLEAN nr:BOOLEAN su:BOOLEAN
            cmsdd:STRING cmsds:STRING smrt:STRING url:STRING cs:STRING cen:STRING:64 cid:STRING:128 h:STRING:128
            sid:STRING:64 ec:STRINGS nor:STRINGS
            e:TOKEN:abs|abe|ae|as|b|bc|c|ce|e|h|m|pc|pe|pr|ps|rr|sk|t|um ot:TOKEN:m|a|v|av|i|c|tt|k|o
            sf:TOKEN:d|h|e|s|o st:TOKEN:v|l|ll sta:TOKEN:s|p|k|r|a|w|e|f|q|d
            io.matinee-app:TEXT:64 io.matinee-asset:TEXT:64 io.matinee-impression:TEXT:64 io.matinee-page:TEXT:64
            io.matinee-profile:TEXT:64
            """);
    private static final Cmcd.Keys COLLECTOR = new Cmcd.Keys("""
            app:STRING:64 at:INTEGER cdn:STRINGS country:STRING:2 device:TOKEN:tv|mobile|tablet|web|console isp:STRING:64
            newest:INTEGER profile:STRING:64 w:INTEGER
            """);

    private static final int V = KEYS.slot("v");
    private static final int E = KEYS.slot("e");
    private static final int SID = KEYS.slot("sid");
    private static final int TS = KEYS.slot("ts");
    private static final int SN = KEYS.slot("sn");
    private static final int STA = KEYS.slot("sta");
    private static final int BG = KEYS.slot("bg");
    private static final int NR = KEYS.slot("nr");
    private static final int CID = KEYS.slot("cid");
    private static final int HOST = KEYS.slot("h");
    private static final int PR = KEYS.slot("pr");
    private static final int EC = KEYS.slot("ec");
    private static final int[] BITRATES = {KEYS.slot("pb"), KEYS.slot("br"), KEYS.slot("ab")};
    private static final String[] BITRATE_NAMES = {"pb", "br", "ab"};
    private static final int APP = KEYS.slot("io.matinee-app");
    private static final int ASSET = KEYS.slot("io.matinee-asset");
    private static final int IMPRESSION = KEYS.slot("io.matinee-impression");
    private static final int PAGE = KEYS.slot("io.matinee-page");
    private static final int PROFILE = KEYS.slot("io.matinee-profile");

    private static final int AT = COLLECTOR.slot("at");
    private static final int NEWEST = COLLECTOR.slot("newest");
    private static final int CDN = COLLECTOR.slot("cdn");
    private static final int W = COLLECTOR.slot("w");

    private static final Schema EVENT = Schemas.newest("playback_event");
    /** Column, key, whether it is a LONG, and the highest value: higher drops the key. */
    private static final Number_[] NUMBERS = {
        new Number_("buffer_ms", "bl", 3_600_000), new Number_("stall_count", "bsa", 1_000_000),
        new Number_("stall_total_ms", "bsda", 86_400_000), new Number_("start_delay_ms", "msd", 86_400_000),
        new Number_("playhead_ms", "pt", 86_400_000), new Number_("throughput_kbps", "mtp", 100_000_000),
        new Number_("dropped_frames", "dfa", 100_000_000)};

    private record Number_(String name, int slot, int column, boolean isLong, long highest) {
        Number_(String column, String name, long highest) {
            this(name, KEYS.slot(name), EVENT.index(column),
                    EVENT.fields().get(EVENT.index(column)).type() == Schemas.Type.LONG, highest);
        }
    }

    private static final int C_SESSION = EVENT.index("session_id");
    private static final int C_SEQ = EVENT.index("seq");
    private static final int C_EVENT = EVENT.index("event");
    private static final int C_DEVICE_AT = EVENT.index("device_at");
    private static final int C_RECEIVED_AT = EVENT.index("received_at");
    private static final int C_POST_DEVICE_AT = EVENT.index("post_device_at");
    private static final int C_STATE = EVENT.index("state");
    private static final int C_BITRATE = EVENT.index("bitrate_kbps");
    private static final int C_BACKGROUND = EVENT.index("background");
    private static final int C_AD = EVENT.index("ad");
    private static final int C_ERROR = EVENT.index("error_code");
    private static final int C_PROFILE = EVENT.index("profile_id");
    private static final int C_TITLE = EVENT.index("title_id");
    private static final int C_ASSET = EVENT.index("asset_id");
    private static final int C_ISP = EVENT.index("isp");
    private static final int C_COUNTRY = EVENT.index("country");
    private static final int C_DEVICE = EVENT.index("device");
    private static final int C_APP = EVENT.index("app_version");
    private static final int C_CDN = EVENT.index("cdn_id");
    private static final int C_IMPRESSION = EVENT.index("impression_id");
    private static final int C_PAGE = EVENT.index("page_id");
    private static final int C_RATE = EVENT.index("playback_rate");
    private static final int C_KEPT = EVENT.index("kept");
    private static final int C_DROPPED = EVENT.index("dropped_keys");

    private final Cmcd record = new Cmcd(KEYS);
    private final Cmcd head = new Cmcd(COLLECTOR);
    private final String[] collector = new String[5];
    private static final int[] COLLECTOR_TEXTS = {COLLECTOR.slot("isp"), COLLECTOR.slot("country"), COLLECTOR.slot("device"),
        COLLECTOR.slot("app"), COLLECTOR.slot("profile")};
    private static final String[] COLLECTOR_DEFAULTS = {UNKNOWN, "ZZ", "web", null, null};
    private Map<String, String> clusters = Map.of();
    private Long receivedAt;
    private Long newestAt;
    private String errorClass;

    /** The record of a line in canonical form, or null; for tests. */
    public static String canonical(byte[] line) {
        return new Cmcd(KEYS).canonical(line);
    }

    /** Read a message; every line goes to {@code out} as an event or as a letter. */
    public void read(byte[] value, byte[] key, int partition, long offset, Out out) {
        byte[] bytes = value == null ? new byte[0] : value;
        int headEnd = lineEnd(bytes, 0);
        String wrong = collectorLine(bytes, headEnd);
        int lines = 0;
        for (int at = headEnd; at < bytes.length; at = lineEnd(bytes, at + 1)) {
            lines++;
        }
        if (wrong == null && (lines == 0 || lines >= LINES)) {
            wrong = lines + " records in a message: 1 to " + (LINES - 1) + " are allowed";
        }
        if (wrong != null) {
            out.letter(0, bytes, "frame", wrong);
            return;
        }
        int start = headEnd + 1;
        for (int line = 1; line <= lines; line++) {
            int end = lineEnd(bytes, start);
            Object[] values = new Object[EVENT.fields().size()];
            String reason = event(bytes, start, end, values);
            if (reason == null && !isKey((String) values[C_SESSION], key)) {
                errorClass = "key";
                reason = "message key is not the record's sid";
            }
            if (reason == null && Decoder.strays(receivedAt, newestAt)) {
                errorClass = "clock";
                reason = "newest is " + newestAt + ": more than 24 h from at";
            }
            if (reason == null) {
                out.event(values, PARTITIONS_FROM + partition, offset * LINES + line);
            } else {
                byte[] letter = Arrays.copyOf(bytes, headEnd + 1 + end - start);
                System.arraycopy(bytes, start, letter, headEnd + 1, end - start);
                letter[headEnd] = '\n';
                out.letter(line, letter, errorClass, reason);
            }
            start = end + 1;
        }
    }

    private static int lineEnd(byte[] bytes, int from) {
        int i = from;
        while (i < bytes.length && bytes[i] != '\n') {
            i++;
        }
        return i;
    }

    private byte[] keyBytes = {};
    private String keyText = "";

    private boolean isKey(String session, byte[] key) {
        if (key == null) {
            return false;
        }
        if (!Arrays.equals(key, keyBytes)) {
            keyBytes = key;
            keyText = new String(key, StandardCharsets.UTF_8);
        }
        return session.equals(keyText) && Arrays.equals(session.getBytes(StandardCharsets.UTF_8), key);
    }

    private String collectorLine(byte[] bytes, int end) {
        String wrong = head.read(bytes, 0, end);
        if (wrong != null) {
            return "collector line: " + wrong;
        }
        if (head.numberOr(W) != 1) {
            return "collector line: no valid w";
        }
        if (head.numberOr(AT) < 0 || head.number(AT) >= MAX_AT) {
            return "collector line: no valid at";
        }
        if (head.numberOr(NEWEST) < 0 || head.number(NEWEST) >= MAX_AT) {
            return "collector line: no valid newest";
        }
        receivedAt = head.number(AT);
        newestAt = head.number(NEWEST);
        for (int i = 0; i < collector.length; i++) {
            String text = head.textOr(COLLECTOR_TEXTS[i]);
            collector[i] = text == null ? COLLECTOR_DEFAULTS[i] : text;
        }
        clusters = head.has(CDN) ? head.byParam(CDN, "h") : Map.of();
        return null;
    }

    /** Fill the row of the record in [start, end); or why it is refused, with its class in {@link #errorClass}. */
    private String event(byte[] bytes, int start, int end, Object[] row) {
        String wrong = record.read(bytes, start, end);
        if (wrong != null) {
            return refuse("frame", wrong);
        }
        long version = record.numberOr(V);
        if (version < 0) {
            return refuse("decode", "no valid v");
        }
        if (version != 2) {
            return refuse("schema", "version " + version + ", known is 2");
        }
        if (!record.has(E)) {
            return refuse("decode", "no valid e: not of event mode");
        }
        String sid = record.textOr(SID);
        if (sid == null) {
            return refuse("decode", "no valid sid");
        }
        if (!record.has(TS)) {
            return refuse("decode", "no valid ts");
        }
        if (!record.has(SN)) {
            return refuse("decode", "no valid sn");
        }
        if (record.number(SN) > MAX_SEQ) {
            return refuse("range", "sn is " + record.number(SN) + ": allowed is 0 to " + MAX_SEQ);
        }
        if (record.number(TS) >= MAX_AT) {
            return refuse("range", "ts is " + record.number(TS) + ": allowed is 0 to " + (MAX_AT - 1));
        }
        row[C_SESSION] = sid;
        row[C_SEQ] = (int) record.number(SN);
        row[C_DEVICE_AT] = record.number(TS);
        row[C_RECEIVED_AT] = receivedAt;
        row[C_POST_DEVICE_AT] = newestAt;
        said(row);
        return null;
    }

    private String refuse(String class_, String reason) {
        errorClass = class_;
        return reason;
    }

    private void said(Object[] row) {
        String e = record.text(E);
        boolean silent = switch (e) {
            case "ce", "m", "pc", "pe", "rr", "um" -> true;
            default -> false;
        };
        row[C_EVENT] = e;
        int kept = 0;
        String state = record.textOr(STA);
        kept |= state == null ? Kept.STATE : 0;
        row[C_STATE] = state == null ? "d" : state;
        row[C_BACKGROUND] = !silent && (record.numberOr(BG) == 1 || record.numberOr(NR) == 1);
        boolean on = e.equals("as") || e.equals("abs");
        kept |= switch (e) {
            case "abs", "abe" -> 0;
            case "as", "ae" -> Kept.AD_BREAK;
            case "sk" -> "k".equals(state) ? Kept.AD : Kept.AD_BREAK;
            default -> Kept.AD;
        };
        row[C_AD] = on;
        Integer bitrate = bitrate(silent);
        kept |= bitrate == null ? Kept.BITRATE : 0;
        row[C_BITRATE] = bitrate;
        row[C_ISP] = collector[0];
        row[C_COUNTRY] = collector[1];
        row[C_DEVICE] = collector[2];
        kept |= names(row, (kept & Kept.AD) == 0);
        for (Number_ n : NUMBERS) {
            long value = record.numberOr(n.slot);
            if (value > n.highest) {
                record.drop(n.name);
            } else if (value >= 0) {
                row[n.column] = n.isLong ? (Object) value : (Object) (int) value;
            }
        }
        long rate = record.has(PR) ? record.number(PR) : 1000;
        if (rate > MAX_RATE_THOUSANDTHS) {
            record.drop("pr");
            rate = 1000;
        }
        row[C_RATE] = rate / 1000.0;
        row[C_ERROR] = record.has(EC) ? record.text(EC) : null;
        row[C_KEPT] = silent ? Kept.EVERYTHING : Kept.text(kept);
        row[C_DROPPED] = record.dropped();
    }

    private Integer bitrate(boolean silent) {
        for (int i = 0; i < BITRATES.length; i++) {
            long found = record.numberOr(BITRATES[i]);
            if (found > MAX_KBPS) {
                record.drop(BITRATE_NAMES[i]);
            } else if (found >= 0 && !silent) {
                return (int) found;
            }
        }
        return null;
    }

    /** {@code ofAd}: it begins or ends an ad or a break, and may bear the ad's own title and asset. */
    private int names(Object[] row, boolean ofAd) {
        int kept = 0;
        String title = ofAd ? null : record.textOr(CID);
        kept |= title == null ? Kept.TITLE : 0;
        row[C_TITLE] = title == null ? UNKNOWN : title;
        String asset = ofAd ? null : record.textOr(ASSET);
        asset = asset == null ? title : asset;
        kept |= asset == null ? Kept.ASSET : 0;
        row[C_ASSET] = asset == null ? UNKNOWN : asset;
        String host = record.textOr(HOST);
        kept |= host == null ? Kept.CDN : 0;
        row[C_CDN] = host == null ? UNKNOWN : clusters.getOrDefault(host, host);
        row[C_IMPRESSION] = record.textOr(IMPRESSION);
        row[C_PAGE] = record.textOr(PAGE);
        String app = record.textOr(APP);
        app = app == null ? collector[3] : app;
        kept |= app == null ? Kept.APP : 0;
        row[C_APP] = app == null ? UNKNOWN : app;
        String profile = record.textOr(PROFILE);
        profile = profile == null ? collector[4] : profile;
        kept |= profile == null ? Kept.PROFILE : 0;
        row[C_PROFILE] = profile == null ? UNKNOWN : profile;
        return kept;
    }
}
