package bench;

import org.apache.flink.table.annotation.ArgumentHint;
import org.apache.flink.table.annotation.ArgumentTrait;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.annotation.StateHint;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.ProcessTableFunction;

/** The function that was measured before this project was built: what {@link BareFold} does, of rows that Flink has decoded. */
@FunctionHint(output = @DataTypeHint(value = "ROW<cdn_id STRING, isp STRING, play_ms BIGINT, stall_ms BIGINT>", bridgedTo = RowData.class))
public class NotesFold extends ProcessTableFunction<RowData> {
    private static final long MINUTE_MS = 60_000;
    private static final StringData PLAYING = StringData.fromString("p");
    private static final StringData STALLED = StringData.fromString("r");

    public static class State {
        public int seq = -1;
        public long at;
        public int state;
        public long playMs;
        public long stallMs;
    }

    public void eval(@StateHint(ttl = "0 ms") State s,
            @ArgumentHint(value = {ArgumentTrait.SET_SEMANTIC_TABLE, ArgumentTrait.REQUIRE_ON_TIME}, type = @DataTypeHint(
                    value = "ROW<session_id STRING, seq INT, event_at TIMESTAMP_LTZ(3), state STRING, cdn_id STRING, isp STRING>",
                    bridgedTo = RowData.class)) RowData e) {
        if (e.getInt(1) <= s.seq) {
            return;
        }
        long now = Math.max(s.at, e.getTimestamp(2, 3).getMillisecond());
        while (s.seq >= 0 && s.at < now) {
            long until = Math.min(now, (s.at / MINUTE_MS + 1) * MINUTE_MS);
            s.playMs += s.state == 1 ? until - s.at : 0;
            s.stallMs += s.state == 2 ? until - s.at : 0;
            if (until % MINUTE_MS == 0) {
                collect(GenericRowData.of(e.getString(4), e.getString(5), s.playMs, s.stallMs));
                s.playMs = 0;
                s.stallMs = 0;
            }
            s.at = until;
        }
        s.at = now;
        s.seq = e.getInt(1);
        s.state = e.getString(3).equals(PLAYING) ? 1 : e.getString(3).equals(STALLED) ? 2 : 0;
    }
}
