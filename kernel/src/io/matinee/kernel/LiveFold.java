package io.matinee.kernel;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The fold of one session as its events arrive, for revision live: what it has given out so far, added up, is the fold
 * of what it has seen so far, and in the end of the whole set.
 *
 * <p>While numbers come without a gap every event is folded at once. An event after a gap waits {@code gapWaitMs}, then
 * what follows the gap is folded on a copy and shown; the events are kept, so that a missing one that still comes is
 * put in its place and the difference is given out. Once lateness has passed the gap is settled. Decisions are taken on
 * {@code received_at}, from the data; the clock here ({@code arrival}, Kafka's timestamp, and the watermark over it)
 * decides only when something is shown and when it is forgotten.
 *
 * <p>What does not come in line is put in its place at once, but told only when asked ({@link #tell}): to tell it, all
 * that waits behind it is folded again, and a player whose numbers fall would have that done for each of them.
 */
public final class LiveFold {

    /** Takes the deltas. */
    public interface Out {
        /** Add these (signed) measures, which are not the taker's to keep, to the sums of the key. */
        void minute(MinuteKey key, long[] measures);

        /** The row of a segment, which goes on changing, is now this; duplicates and late events are its own share (0 but in segment 0). */
        void session(Segment segment, long clockOffsetMs, long duplicates, long late);

        /** The segment does not exist after all. */
        void gone(String sessionId, int segment);

        /** So many events that wait were folded on a copy: the part of the work that may exceed the events. */
        default void again(int events) {}
    }

    private static final byte VERSION = 9;

    /**
     * A fold's state: what nearly every event changes, and the texts in it, which stay and are most of the bytes. They
     * are null of a fold that rests, which has its texts among the numbers: one key less to keep and to forget.
     */
    public record Bytes(byte[] numbers, byte[] texts) {}

    private record Waiting(Event event, long arrival) {}

    /** Events behind a gap, by seq, as a row of references: nearly always few, and each comes last; many are moved as cheaply. */
    private static final class Pending {
        private final ArrayList<Waiting> list = new ArrayList<>(4);
        /** Where the lowest lies; those before have been taken. */
        private int head;
        private long firstArrival = Long.MAX_VALUE;
        private boolean firstArrivalKnown = true;

        boolean isEmpty() {
            return head == list.size();
        }

        int size() {
            return list.size() - head;
        }

        int firstSeq() {
            return list.get(head).event.seq;
        }

        int lastSeq() {
            return list.get(list.size() - 1).event.seq;
        }

        Iterable<Waiting> all() {
            return list.subList(head, list.size());
        }

        void add(Waiting w) {
            int low = head;
            int high = list.size();
            if (low < high && lastSeq() < w.event.seq) {
                low = high;
            }
            while (low < high) {
                int middle = (low + high) >>> 1;
                if (list.get(middle).event.seq < w.event.seq) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            list.add(low, w);
            firstArrival = Math.min(firstArrival, w.arrival);
        }

        Waiting removeFirst() {
            Waiting w = list.set(head++, null);
            if (head > 32 && head > list.size() / 2) {
                list.subList(0, head).clear();
                head = 0;
            }
            firstArrivalKnown = false;
            return w;
        }

        /** When the first of those after {@code seq} was received; {@code Long.MAX_VALUE} if there is none. */
        long receivedAfter(int seq) {
            long first = Long.MAX_VALUE;
            for (int i = list.size() - 1; i >= head && list.get(i).event.seq > seq; i--) {
                first = Math.min(first, list.get(i).event.receivedAt);
            }
            return first;
        }

        /** When the first of all arrived. */
        long firstArrival() {
            if (!firstArrivalKnown) {
                firstArrival = Long.MAX_VALUE;
                all().forEach(w -> firstArrival = Math.min(firstArrival, w.arrival));
                firstArrivalKnown = true;
            }
            return firstArrival;
        }
    }

    private static final Pending NONE = new Pending();

    /** What has been put in its place since something was last told. */
    private static final class Owed {
        /** What was shown beyond base then. */
        private final Delta shown;
        /** What base has taken in since. */
        private final Delta taken = new Delta();
        private boolean counted;

        Owed(Delta shown, Fold base) {
            this.shown = shown;
            taken.newest(base);
        }
    }

    private final Policy policy;
    private Fold base;
    private long clockOffsetMs;
    private SeqSet seen = new SeqSet();
    /** {@link #NONE} while none wait, as of nearly all folds. */
    private Pending pending = NONE;
    private boolean shown;
    private long showAt;
    /** Base with what is pending, if that is shown and was asked for: not part of the state, as it can be made again. */
    private Fold ahead;
    /** Null if all is told. Not part of the state, as it is told before that is written. */
    private Owed owed;
    /** The open segment of base is shown as closed by silence. */
    private boolean silent;
    private long duplicates;
    private long late;
    private long lastArrival;
    private long newestArrival = Long.MIN_VALUE;
    /** For the engine: the timer it has set, or 0. */
    public long timer;

    public LiveFold(Policy policy) {
        this.policy = policy;
    }

    /** One event of the session, in order of arrival; {@code arrival} is the arrival clock. */
    public void event(Event event, long arrival, Out out) {
        if (base == null) {
            clockOffsetMs = event.receivedAt - event.postDeviceAt;
            base = new Fold(policy, clockOffsetMs);
        }
        newestArrival = Math.max(newestArrival, arrival);
        if (!seen.add(event.seq)) {
            duplicates++;
            counted(out);
        } else if (isLate(event)) {
            late++;
            counted(out);
        } else if (pending == NONE && event.seq == base.before + 1 && !silent) {
            lastArrival = arrival;
            if (owed == null) {
                addTo(base, event, out);
            } else {
                base.add(event, owed.taken);
            }
        } else {
            outOfLine(event, arrival, out);
        }
    }

    private boolean isLate(Event event) {
        if (event.seq < base.before) {
            return true;
        }
        long earliest = pending.receivedAfter(event.seq);
        return earliest != Long.MAX_VALUE && event.receivedAt > earliest + policy.latenessMs();
    }

    /** The next event in order: what it gives is given out, and the rows that changed in a way worth telling. */
    private void addTo(Fold fold, Event event, Out out) {
        Segment before = fold.current;
        long wasAt = before == null ? 0 : before.at;
        boolean played = before != null && before.played;
        fold.add(event, new Telling(out));
        Segment now = fold.current;
        if (now != before || now.played != played || Fold.minute(now.at) != Fold.minute(wasAt)) {
            row(now, out);
        }
    }

    /** Gives out what a fold gives out: nothing of it has been shown. */
    private final class Telling implements Fold.Sink {
        private final Out out;

        Telling(Out out) {
            this.out = out;
        }

        private void add(long at, Segment s, long[] measures) {
            if (!Measure.none(measures)) {
                out.minute(MinuteKey.of(at, s.last), measures);
            }
        }

        @Override
        public void moment(Segment s, long[] measures) {
            add(s.at, s, measures);
        }

        @Override
        public void held(Segment s, long start, long end, boolean unobserved, long[] measures) {
            add(start, s, measures);
        }

        @Override
        public void closed(Segment s, long[] measures) {
            add(s.endAt, s, measures);
            row(s, out);
        }

        @Override
        public void takenIn(Segment s) {
            row(s, out);
        }
    }

    /** An event that does not simply follow: after a gap, into a gap, or after the close by silence. */
    private void outOfLine(Event event, long arrival, Out out) {
        if (pending == NONE) {
            shown = false;
            showAt = arrival + policy.gapWaitMs();
        } else if (shown && owed == null && pending.lastSeq() < event.seq) {
            Fold fold = visible(out);
            addTo(fold, event, out);
            insert(event, arrival);
            ahead = fold;
            return;
        }
        boolean fills = event.seq == base.before + 1;
        if (owed == null && (shown || fills)) {
            owed = new Owed(beyondBase(new Delta(), out), base);
        }
        insert(event, arrival);
        if (fills) {
            silent = false;
            settle(owed.taken);
        }
    }

    private void insert(Event event, long arrival) {
        pending = pending == NONE ? new Pending() : pending;
        pending.add(new Waiting(event, arrival));
        ahead = null;
    }

    /** Fold the first pending event, and those that follow it without a gap, into base. */
    private void settle(Fold.Sink sink) {
        do {
            Waiting w = pending.removeFirst();
            lastArrival = w.arrival;
            base.add(w.event, sink);
        } while (!pending.isEmpty() && pending.firstSeq() == base.before + 1);
        if (pending.isEmpty()) {
            pending = NONE;
            ahead = null;
        }
    }

    /** Whether something waits for {@link #tell}. */
    public boolean owes() {
        return owed != null;
    }

    /** Gives out what events out of line have changed: before the state is written, and before anybody wants to know. */
    public void tell(Out out) {
        if (owed == null) {
            return;
        }
        Owed told = owed;
        owed = null;
        give(beyondBase(told.taken, out).minus(told.shown, out), out);
        if (told.counted) {
            counted(out);
        }
    }

    /** Everything that arrived up to {@code clock} has been seen: show, settle, close what is due. */
    public void watermark(long clock, Out out) {
        if (base == null) {
            return;
        }
        tell(out);
        if (pending != NONE && !shown && clock >= showAt) {
            Delta old = beyondBase(new Delta(), out);
            shown = true;
            silent = false;
            give(beyondBase(new Delta(), out).minus(old, out), out);
        }
        while (pending != NONE && clock > settledAt()) {
            settle(NOBODY);
        }
        if (isOpen() && clock > lastArrival + policy.silenceMs()) {
            silent = true;
            give(beyondBase(new Delta(), out), out);
        }
    }

    /** Whether base has a segment that only silence will close. */
    private boolean isOpen() {
        return pending == NONE && !silent && base != null && base.current != null && !base.current.closed();
    }

    private long settledAt() {
        return Math.max(showAt, pending.firstArrival() + policy.latenessMs());
    }

    /** Whether it has seen no event. */
    public boolean empty() {
        return base == null;
    }

    /** Whether it only waits for stragglers. */
    public boolean rests() {
        return pending == NONE && !isOpen();
    }

    /** When a fold that rests, and has seen an event, may be dropped: a straggler counts as another session then. */
    public long forgottenAt() {
        return newestArrival + Math.max(policy.sessionCapMs(), policy.silenceMs() + 1);
    }

    /** When {@link #watermark} has to be called next. */
    public long nextTimer() {
        if (pending != NONE) {
            return shown ? settledAt() + 1 : showAt;
        }
        return isOpen() ? lastArrival + policy.silenceMs() + 1 : forgottenAt();
    }

    /** Whether the state may be dropped. */
    public boolean forgotten(long clock) {
        return base == null || (rests() && clock >= forgottenAt());
    }

    /** The counters of segment 0 have changed. */
    private void counted(Out out) {
        if (owed != null) {
            owed.counted = true;
            return;
        }
        Fold fold = visible(out);
        Segment zero = fold.first != null ? fold.first : fold.current;
        if (zero != null) {
            row(zero, out);
        }
    }

    private void row(Segment s, Out out) {
        out.session(s, clockOffsetMs, s.number == 0 ? duplicates : 0, s.number == 0 ? late : 0);
    }

    private void give(Delta delta, Out out) {
        delta.sums.forEach((key, measures) -> {
            if (!Measure.none(measures)) {
                out.minute(key, measures);
            }
        });
        delta.rows.values().forEach(s -> row(s, out));
    }

    /** The fold as shown: base, with what is pending, or closed by silence. */
    private Fold visible(Out out) {
        if (silent) {
            Fold fold = base.copy();
            fold.close(NOBODY);
            return fold;
        }
        if (!shown || pending == NONE) {
            return base;
        }
        if (ahead == null) {
            ahead = withPending(base.copy(), NOBODY, out);
        }
        return ahead;
    }

    private Fold withPending(Fold fold, Fold.Sink sink, Out out) {
        pending.all().forEach(w -> fold.add(w.event, sink));
        out.again(pending.size());
        return fold;
    }

    /** With what is shown beyond base: pending events, or the close by silence. */
    private Delta beyondBase(Delta delta, Out out) {
        Fold fold = base.copy();
        delta.newest(fold);
        if (shown && pending != NONE) {
            ahead = withPending(fold, delta, out);
        }
        if (silent) {
            fold.close(delta);
        }
        delta.newest(fold);
        return delta;
    }

    /** Takes what has been given out already. */
    private static final Fold.Sink NOBODY = new Fold.Sink() {
        @Override
        public void moment(Segment s, long[] measures) {}

        @Override
        public void held(Segment s, long start, long end, boolean unobserved, long[] measures) {}

        @Override
        public void closed(Segment s, long[] measures) {}

        @Override
        public void takenIn(Segment s) {}
    };

    /** Collects what a fold gives out: sums by key, rows that are complete. */
    private static final class Delta implements Fold.Sink {
        private final Map<MinuteKey, long[]> sums = new LinkedHashMap<>(4);
        private final Map<Integer, Segment> rows = new LinkedHashMap<>(2);

        private void newest(Fold fold) {
            if (fold.current != null) {
                rows.put(fold.current.number, fold.current);
            }
        }

        private void add(long at, Segment s, long[] measures) {
            Measure.add(sums.computeIfAbsent(MinuteKey.of(at, s.last), key -> new long[Measure.COUNT]), measures, 1);
        }

        @Override
        public void moment(Segment s, long[] measures) {
            add(s.at, s, measures);
        }

        @Override
        public void held(Segment s, long start, long end, boolean unobserved, long[] measures) {
            add(start, s, measures);
        }

        @Override
        public void closed(Segment s, long[] measures) {
            add(s.endAt, s, measures);
            rows.put(s.number, s);
        }

        @Override
        public void takenIn(Segment s) {
            rows.put(s.number, s);
        }

        /** This instead of {@code old}: signed sums, changed rows; rows that vanish are told at once. */
        Delta minus(Delta old, Out out) {
            old.sums.forEach((key, measures) ->
                    Measure.add(sums.computeIfAbsent(key, k -> new long[Measure.COUNT]), measures, -1));
            old.rows.forEach((number, was) -> {
                Segment now = rows.get(number);
                if (now == null) {
                    out.gone(was.last.sessionId, number);
                } else if (now.sameRow(was)) {
                    rows.remove(number);
                }
            });
            return this;
        }
    }

    public Bytes toBytes() {
        if (owed != null) {
            throw new IllegalStateException("a fold that has something to tell was to be written: call tell() before");
        }
        boolean rests = rests();
        List<String> texts = rests ? null : new ArrayList<>(Codec.FEW);
        Codec.Out out = new Codec.Out(texts);
        out.number(VERSION);
        out.flag(rests);
        out.number(newestArrival);
        out.number(clockOffsetMs);
        base.write(out);
        seen.write(out);
        out.number(pending.size());
        for (Waiting w : pending.all()) {
            w.event.write(out);
            out.number(w.arrival);
        }
        out.flag(shown);
        out.flag(silent);
        out.number(duplicates);
        out.number(late);
        out.number(lastArrival - newestArrival);
        out.number(pending == NONE ? 0 : showAt - newestArrival);
        out.flag(timer != 0);
        if (timer != 0) {
            out.number(timer - newestArrival);
        }
        return new Bytes(out.done(), rests ? null : Codec.pack(texts));
    }

    /** Whether the fold with these numbers rested, so that it has no texts apart. */
    public static boolean rested(byte[] numbers) {
        Codec.In in = new Codec.In(numbers);
        checkVersion(in);
        return in.flag();
    }

    private static void checkVersion(Codec.In in) {
        long version = in.number();
        if (version != VERSION) {
            throw new IllegalStateException("fold state of version " + version + ", this kernel reads " + VERSION
                    + ": start the job without the old savepoint, or with the kernel that wrote it");
        }
    }

    /** Takes back what {@link #toBytes} gave. */
    public static LiveFold fromBytes(Bytes bytes, Policy policy) {
        Codec.In in = new Codec.In(bytes.numbers, bytes.texts == null ? null : Codec.unpack(bytes.texts));
        checkVersion(in);
        in.flag();
        LiveFold fold = new LiveFold(policy);
        fold.newestArrival = in.number();
        fold.clockOffsetMs = in.number();
        fold.base = Fold.read(in, policy, fold.clockOffsetMs);
        fold.seen = SeqSet.read(in);
        for (long n = in.number(); n > 0; n--) {
            Event event = Event.read(in);
            fold.insert(event, in.number());
        }
        fold.shown = in.flag();
        fold.silent = in.flag();
        fold.duplicates = in.number();
        fold.late = in.number();
        fold.lastArrival = in.number() + fold.newestArrival;
        fold.showAt = in.number() + fold.newestArrival;
        fold.timer = in.flag() ? in.number() + fold.newestArrival : 0;
        return fold;
    }
}
