package bench;

import io.matinee.kernel.Decoder;
import org.apache.flink.table.annotation.ArgumentHint;
import org.apache.flink.table.annotation.ArgumentTrait;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.annotation.StateHint;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.ProcessTableFunction;

/** The yardstick: decode, drop repeats, cut at minutes, a row per session and minute. No gaps, lateness, ends, metrics. */
@FunctionHint(output = @DataTypeHint(value = "ROW<minute_ms BIGINT, cdn_id STRING, isp STRING, play_ms BIGINT, stall_ms BIGINT>",
        bridgedTo = RowData.class))
public class BareFold extends ProcessTableFunction<RowData> {
    private static final long MINUTE_MS = 60_000;
    private transient Decoder d;

    public static class State {
        public int seq = -1;
        public long at;
        public String state = "";
        public long playMs;
        public long stallMs;
    }

    public void eval(@StateHint(ttl = "0 ms") State s, @ArgumentHint(value = ArgumentTrait.SET_SEMANTIC_TABLE, type = @DataTypeHint(
            value = "ROW<message_key BYTES, message_value BYTES>", bridgedTo = RowData.class)) RowData e) {
        d = d == null ? new Decoder("playback_event") : d;
        if (!d.read(e.getBinary(1), e.getBinary(0)) || d.control() || (Integer) d.get("seq") <= s.seq) {
            return;
        }
        for (long at = Math.max(s.at, (Long) d.get("device_at")); s.seq >= 0 && s.at < at; ) {
            long until = Math.min(at, (s.at / MINUTE_MS + 1) * MINUTE_MS);
            s.playMs += s.state.equals("p") ? until - s.at : 0;
            s.stallMs += s.state.equals("r") ? until - s.at : 0;
            if (until % MINUTE_MS == 0) {
                collect(GenericRowData.of(until - MINUTE_MS, StringData.fromString((String) d.get("cdn_id")),
                        StringData.fromString((String) d.get("isp")), s.playMs, s.stallMs));
                s.playMs = 0;
                s.stallMs = 0;
            }
            s.at = until;
        }
        s.at = Math.max(s.at, (Long) d.get("device_at"));
        s.seq = (Integer) d.get("seq");
        s.state = (String) d.get("state");
    }
}
