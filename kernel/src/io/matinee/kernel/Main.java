package io.matinee.kernel;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The kernel without an engine: messages on standard input, rows on standard output; for tests and for looking.
 *
 * <p>{@code fold POLICY SLACK EVERY} (POLICY as settings.fold, {@code lateness_ms:120000,...}): every message is decoded (one
 * that is not framed as a message of topic cmcd); each session goes
 * through {@link BatchFold}, and through {@link LiveFold} in the order given, with a watermark SLACK milliseconds behind
 * the newest arrival and state written and read back at every so many events. {@code decode RECORD}: one line per message.
 * {@code cmcd}: messages of topic cmcd, a line per event or letter; {@code canonical}: a line per CMCD record;
 * {@code time N}: nanoseconds of this thread's CPU for each of N passes over all messages of topic cmcd.
 *
 * <p>A message in: partition (int), offset, arrival (longs), length (int) and bytes of key and of value, -1 for null.
 * A row out: its kind, then its columns, tab-separated, null as \N, a tab or line break in a text as ?.
 */
public final class Main {
    private static final PrintStream OUT =
            new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);

    private record Message(int partition, long offset, long arrival, byte[] key, byte[] value) {}

    private Main() {}

    public static void main(String[] args) throws IOException {
        if (args.length == 4 && args[0].equals("fold")) {
            fold(messages(System.in), Policy.parse(args[1]), Long.parseLong(args[2]), Integer.parseInt(args[3]));
        } else if (args.length == 2 && args[0].equals("decode")) {
            decode(messages(System.in), args[1]);
        } else if (args.length == 1 && args[0].equals("cmcd")) {
            cmcd(messages(System.in));
        } else if (args.length == 1 && args[0].equals("canonical")) {
            messages(System.in).forEach(m -> line("record", CmcdMessage.canonical(m.value)));
        } else if (args.length == 2 && args[0].equals("time")) {
            time(messages(System.in), Integer.parseInt(args[1]));
        } else {
            System.err.println("usage: fold POLICY SLACK EVERY | decode RECORD | cmcd | canonical | time PASSES");
            System.exit(2);
        }
        OUT.flush();
    }

    private static List<Message> messages(InputStream in) throws IOException {
        DataInputStream data = new DataInputStream(new BufferedInputStream(in, 1 << 16));
        List<Message> all = new ArrayList<>();
        while (true) {
            data.mark(1);
            if (data.read() < 0) {
                return all;
            }
            data.reset();
            all.add(new Message(data.readInt(), data.readLong(), data.readLong(), bytes(data), bytes(data)));
        }
    }

    private static byte[] bytes(DataInputStream in) throws IOException {
        int length = in.readInt();
        return length < 0 ? null : in.readNBytes(length);
    }

    private static void line(String kind, Object... columns) {
        StringBuilder line = new StringBuilder(kind);
        for (Object column : columns) {
            Object shown = column instanceof String text ? text.replaceAll("[\t\n]", "?") : column;
            line.append('\t').append(shown == null ? "\\N" : shown);
        }
        OUT.println(line);
    }

    private static void decode(List<Message> messages, String record) {
        Decoder d = new Decoder(record);
        Decoder.Recent recent = new Decoder.Recent();  // any messages may share one
        for (Message m : messages) {
            if (d.read(m.value, m.key, recent)) {
                line("good", d.values());
            } else {
                line("bad", d.schemaId(), d.errorClass(), d.reason());
            }
        }
    }

    private static void cmcd(List<Message> messages) {
        CmcdMessage reader = new CmcdMessage();
        for (Message m : messages) {
            reader.read(m.value, m.key, m.partition, m.offset, new CmcdMessage.Out() {
                @Override
                public void event(Object[] values, int partition, long offset) {
                    Object[] row = Arrays.copyOf(values, values.length + 2);
                    row[values.length] = partition;
                    row[values.length + 1] = offset;
                    line("event", row);
                }

                @Override
                public void letter(int number, byte[] payload, String errorClass, String reason) {
                    line("letter", number, Base64.getEncoder().encodeToString(payload), errorClass, reason);
                }
            });
        }
    }

    /** Read all messages again and again, as the stream does: to events of the fold. */
    private static void time(List<Message> messages, int passes) {
        CmcdMessage reader = new CmcdMessage();
        long[] seen = new long[3];
        CmcdMessage.Out out = new CmcdMessage.Out() {
            @Override
            public void event(Object[] values, int partition, long offset) {
                seen[0]++;
                seen[2] += Rows.event(values, partition, offset).deviceAt;
            }

            @Override
            public void letter(int number, byte[] payload, String errorClass, String reason) {
                seen[1]++;
            }
        };
        var clock = java.lang.management.ManagementFactory.getThreadMXBean();
        for (int pass = 0; pass < passes; pass++) {
            seen[0] = 0;
            seen[1] = 0;
            long start = clock.getCurrentThreadCpuTime();
            for (Message m : messages) {
                reader.read(m.value, m.key, m.partition, m.offset, out);
            }
            line("pass", seen[0], seen[1], clock.getCurrentThreadCpuTime() - start, seen[2]);
        }
    }

    private static void fold(List<Message> messages, Policy policy, long slack, int every) {
        Map<String, List<Event>> sessions = new LinkedHashMap<>();
        Map<Event, Long> arrivals = new LinkedHashMap<>();
        CmcdMessage reader = new CmcdMessage();
        Decoder d = new Decoder("playback_event");
        Decoder.Recent recent = new Decoder.Recent();
        for (Message m : messages) {
            boolean good = d.read(m.value, m.key, recent);
            if (!good && m.value != null && m.value.length > 0 && m.value[0] != 0) {
                reader.read(m.value, m.key, m.partition, m.offset, new CmcdMessage.Out() {
                    @Override
                    public void event(Object[] values, int partition, long offset) {
                        Event event = Rows.event(values, partition, offset);
                        sessions.computeIfAbsent(event.sessionId, id -> new ArrayList<>()).add(event);
                        arrivals.put(event, m.arrival);
                    }

                    @Override
                    public void letter(int number, byte[] payload, String errorClass, String reason) {
                        line("dead", m.partition, m.offset, errorClass, reason);
                    }
                });
            } else if (!good) {
                line("dead", m.partition, m.offset, d.errorClass(), d.reason());
            } else if (!d.control()) {
                Event event = Rows.event(d, recent, m.partition, m.offset);
                sessions.computeIfAbsent(event.sessionId, id -> new ArrayList<>()).add(event);
                arrivals.put(event, m.arrival);
            }
        }
        for (List<Event> events : sessions.values()) {
            BatchFold.Both both = BatchFold.fold(events, policy);
            batch(both.live(), "live");
            batch(both.full(), "final");
        }
        new Stream(policy, slack, every).run(arrivals);
    }

    private static void batch(BatchFold.Folded folded, String revision) {
        for (SpanRow span : folded.spans()) {
            line("span", Rows.span(span, revision));
        }
        for (Segment s : folded.segments()) {
            line("session", Rows.session(s, revision, folded.clockOffsetMs(),
                    s.number == 0 ? folded.duplicates() : 0, s.number == 0 ? folded.late() : 0));
        }
    }

    /** What an engine does around LiveFold: keys, timers, a watermark, state now and then in bytes; and its sinks: sums and upserts. */
    private static final class Stream implements LiveFold.Out {
        private final Policy policy;
        private final long slack;
        private final int every;
        private final Map<String, LiveFold> states = new LinkedHashMap<>();
        private final TreeMap<Long, List<String>> timers = new TreeMap<>();
        private final Map<String, Map<MinuteKey, long[]>> sums = new LinkedHashMap<>();
        private final Map<String, Object[]> rows = new TreeMap<>();
        private String session;
        private long kept;
        private long deltas;
        private long retractions;
        private long again;

        Stream(Policy policy, long slack, int every) {
            this.every = every;
            this.policy = policy;
            this.slack = slack;
        }

        void run(Map<Event, Long> arrivals) {
            long newest = Long.MIN_VALUE;
            for (Map.Entry<Event, Long> entry : arrivals.entrySet()) {
                session = entry.getKey().sessionId;
                LiveFold fold = load();
                fold.event(entry.getKey(), entry.getValue(), this);
                keep(fold);
                if (entry.getValue() > newest) {
                    newest = entry.getValue();
                    advance(newest - slack - 1);
                }
            }
            advance(Long.MAX_VALUE);
            sums.forEach((id, keys) -> keys.forEach((key, measures) -> {
                if (!Measure.none(measures)) {
                    List<Object> row = new ArrayList<>(List.of(id, key.minuteAt()));
                    row.addAll(List.of(key.dimensions()));
                    Arrays.stream(measures).forEach(row::add);
                    line("live_minute", row.toArray());
                }
            }));
            rows.values().forEach(row -> line("live_session", row));
            line("live_state", states.size(), deltas, retractions, again);
        }

        private LiveFold load() {
            LiveFold fold = states.get(session);
            return fold == null ? new LiveFold(policy) : fold;
        }

        private void keep(LiveFold fold) {
            long next = fold.nextTimer();
            if (fold.timer == 0 || next < fold.timer) {
                fold.timer = next;
                timers.computeIfAbsent(next, at -> new ArrayList<>()).add(session);
            }
            if (++kept % every == 0) {
                fold.tell(this);
                fold = LiveFold.fromBytes(fold.toBytes(), policy);
            }
            states.put(session, fold);
        }

        private void advance(long watermark) {
            while (!timers.isEmpty() && timers.firstKey() <= watermark) {
                Map.Entry<Long, List<String>> due = timers.pollFirstEntry();
                for (String id : due.getValue()) {
                    session = id;
                    LiveFold fold = load();
                    fold.watermark(due.getKey(), this);
                    if (fold.forgotten(due.getKey())) {
                        states.remove(id);
                        continue;
                    }
                    fold.timer = fold.timer <= due.getKey() ? 0 : fold.timer;
                    keep(fold);
                }
            }
        }

        @Override
        public void minute(MinuteKey key, long[] measures) {
            deltas++;
            retractions += Measure.negative(measures) ? 1 : 0;
            Measure.add(sums.computeIfAbsent(session, id -> new LinkedHashMap<>())
                    .computeIfAbsent(key, k -> new long[Measure.COUNT]), measures, 1);
        }

        @Override
        public void session(Segment s, long clockOffsetMs, long duplicates, long late) {
            rows.put(session + "|" + s.number, Rows.liveSession(s, clockOffsetMs, duplicates, late).clone());
        }

        @Override
        public void gone(String sessionId, int segment) {
            rows.remove(sessionId + "|" + segment);
        }

        @Override
        public void again(int events) {
            again += events;
        }
    }
}
