package io.matinee.kernel.spark;

import com.github.luben.zstd.ZstdCompressCtx;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.iceberg.shaded.org.apache.parquet.bytes.BytesInput;
import org.apache.iceberg.shaded.org.apache.parquet.bytes.HeapByteBufferAllocator;
import org.apache.iceberg.shaded.org.apache.parquet.column.ColumnDescriptor;
import org.apache.iceberg.shaded.org.apache.parquet.column.Encoding;
import org.apache.iceberg.shaded.org.apache.parquet.column.page.DictionaryPage;
import org.apache.iceberg.shaded.org.apache.parquet.column.statistics.Statistics;
import org.apache.iceberg.shaded.org.apache.parquet.column.values.rle.RunLengthBitPackingHybridEncoder;
import org.apache.iceberg.shaded.org.apache.parquet.hadoop.ParquetFileWriter;
import org.apache.iceberg.shaded.org.apache.parquet.hadoop.metadata.CompressionCodecName;
import org.apache.iceberg.shaded.org.apache.parquet.io.api.Binary;
import org.apache.iceberg.types.Types.NestedField;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.unsafe.types.UTF8String;

/**
 * The values of one column of a row group, and the Parquet pages made of them (format: parquet.apache.org, data page v1).
 *
 * <p>Numbers are plain, a column of one value a dictionary of it; texts have a dictionary unless it would be large. What
 * a dictionary of numbers would save, zstd saves.
 */
abstract class ColumnPages {
    enum Kind { BOOLEAN, INT, LONG, DOUBLE, TEXT }

    private static final int PAGE_ROWS = 1 << 14;
    private static final int LEVEL = 1;

    private final ColumnDescriptor descriptor;
    private final boolean bounds;
    private final int most;
    /** Whether each row has a value, null while all have; the values stand without gaps. */
    private boolean[] there;
    private final Buffer page = new Buffer();
    private final ZstdCompressCtx zstd = new ZstdCompressCtx().setLevel(LEVEL);
    private byte[] packed = new byte[0];
    private int rows;
    int values;

    private ColumnPages(ColumnDescriptor descriptor, int most, boolean bounds) {
        this.descriptor = descriptor;
        this.bounds = bounds;
        this.most = most;
    }

    /** The kind of a column's values; an error if there is none for it. */
    static Kind kind(NestedField field) {
        return switch (field.type().typeId()) {
            case BOOLEAN -> Kind.BOOLEAN;
            case INTEGER, DATE -> Kind.INT;
            case LONG, TIMESTAMP -> Kind.LONG;
            case DOUBLE -> Kind.DOUBLE;
            case STRING -> Kind.TEXT;
            default -> throw new UnsupportedOperationException("column " + field.name() + " is " + field.type() + ": not written by column");
        };
    }

    /** A column of at most {@code most} rows; {@code bounds}: whether the footer says the least and the greatest value. */
    static ColumnPages of(Kind kind, ColumnDescriptor descriptor, int most, boolean bounds) {
        return kind == Kind.TEXT ? new TextPages(descriptor, most, bounds) : new NumberPages(kind, descriptor, most, bounds);
    }

    /** The next row's value. */
    final void add(InternalRow row, int place) {
        if (row.isNullAt(place)) {
            if (there == null) {
                there = new boolean[most];
                Arrays.fill(there, 0, rows, true);
            }
            there[rows++] = false;
            return;
        }
        if (there != null) {
            there[rows] = true;
        }
        rows++;
        take(row, place);
        values++;
    }

    /** The next rows' values: a column at a time, as a row at a time would touch every array for each. */
    final void add(List<? extends InternalRow> more, int place) {
        for (InternalRow row : more) {
            add(row, place);
        }
    }

    /** Keeps a value at {@code values}. */
    abstract void take(InternalRow row, int place);

    /** The values of a dictionary, as they are written in its page, and their number; null without one. */
    abstract Dictionary dictionary();

    /** Writes values {@code [from, until)} to the page: plain. */
    abstract void plain(Buffer out, int from, int until);

    /** The place of a value in the dictionary. */
    abstract int place(int value);

    /** Tells the bounds of values {@code [from, until)}. */
    abstract void tell(Statistics<?> statistics, int from, int until);

    /** Forgets the values. */
    abstract void clear();

    record Dictionary(byte[] bytes, int length, int size) {}

    /** Writes the column of the row group, and is empty again. */
    final void write(ParquetFileWriter out) throws IOException {
        out.startColumn(descriptor, rows, CompressionCodecName.ZSTD);
        Dictionary known = values == 0 ? null : dictionary();
        if (known != null) {
            BytesInput bytes = compressed(known.bytes, known.length);
            out.writeDictionaryPage(new DictionaryPage(bytes, known.length, known.size, Encoding.PLAIN));
        }
        int from = 0;
        for (int row = 0; row < rows; row += PAGE_ROWS) {
            int end = Math.min(rows, row + PAGE_ROWS);
            int until = there == null ? end : from;
            for (int i = row; i < end && there != null; i++) {
                until += there[i] ? 1 : 0;
            }
            page.clear();
            levels(row, end, until - from);
            if (known == null) {
                plain(page, from, until);
            } else {
                places(from, until, known.size);
            }
            Statistics<?> statistics = bounds ? Statistics.createStats(descriptor.getPrimitiveType())
                    : Statistics.noopStats(descriptor.getPrimitiveType());
            statistics.incrementNumNulls(end - row - (until - from));
            if (bounds && until > from) {
                tell(statistics, from, until);
            }
            out.writeDataPage(end - row, page.length, compressed(page.bytes, page.length), statistics, end - row,
                    Encoding.BIT_PACKED, Encoding.RLE, known == null ? Encoding.PLAIN : Encoding.RLE_DICTIONARY);
            from = until;
        }
        out.endColumn();
        rows = 0;
        values = 0;
        there = null;
        clear();
    }

    private BytesInput compressed(byte[] bytes, int length) {
        int most = (int) com.github.luben.zstd.Zstd.compressBound(length);
        if (packed.length < most) {
            packed = new byte[most];
        }
        return BytesInput.from(packed, 0, zstd.compressByteArray(packed, 0, packed.length, bytes, 0, length));
    }

    /** Definition levels: 1 for a value, 0 for null; their length stands before them. */
    private void levels(int from, int until, int defined) throws IOException {
        int start = page.length;
        page.number(0, 4);
        if (defined == until - from) {
            page.run(1, until - from, 1);
        } else {
            try (RunLengthBitPackingHybridEncoder levels = encoder(1)) {
                for (int i = from; i < until; i++) {
                    levels.writeInt(there[i] ? 1 : 0);
                }
                page.add(levels.toBytes());
            }
        }
        ByteBuffer.wrap(page.bytes).order(ByteOrder.LITTLE_ENDIAN).putInt(start, page.length - start - 4);
    }

    private void places(int from, int until, int size) throws IOException {
        int width = Math.max(1, 32 - Integer.numberOfLeadingZeros(size - 1));
        page.number(width, 1);
        if (size == 1) {
            page.run(0, until - from, 1);
            return;
        }
        try (RunLengthBitPackingHybridEncoder places = encoder(width)) {
            for (int i = from; i < until; i++) {
                places.writeInt(place(i));
            }
            page.add(places.toBytes());
        }
    }

    private static RunLengthBitPackingHybridEncoder encoder(int width) {
        return new RunLengthBitPackingHybridEncoder(width, 1 << 10, 1 << 16, HeapByteBufferAllocator.getInstance());
    }

    /** Bytes that grow. */
    static final class Buffer {
        byte[] bytes = new byte[1 << 12];
        int length;

        void clear() {
            length = 0;
        }

        /** Room for so many more bytes; where they begin. */
        int room(int more) {
            int at = length;
            if (at + more > bytes.length) {
                bytes = Arrays.copyOf(bytes, Math.max(at + more, 2 * bytes.length));
            }
            length = at + more;
            return at;
        }

        ByteBuffer window(int more) {
            int at = room(more);
            return ByteBuffer.wrap(bytes, at, more).slice().order(ByteOrder.LITTLE_ENDIAN);
        }

        void number(int value, int width) {
            int at = room(width);
            for (int i = 0; i < width; i++) {
                bytes[at + i] = (byte) (value >>> 8 * i);
            }
        }

        /** One run of the run-length encoding, of a value of at most 8 bits. */
        void run(int value, int count, int width) {
            if (count == 0) {
                return;
            }
            int head = count << 1;
            while (head >= 0x80) {
                number(head & 0x7f | 0x80, 1);
                head >>>= 7;
            }
            number(head, 1);
            number(value, width);
        }

        void add(BytesInput more) throws IOException {
            int size = (int) more.size();
            int at = room(size);
            more.toByteBuffer().get(bytes, at, size);
        }
    }

    private static final class NumberPages extends ColumnPages {
        private final Kind kind;
        private final long[] numbers;
        private boolean same = true;

        NumberPages(Kind kind, ColumnDescriptor descriptor, int most, boolean bounds) {
            super(descriptor, most, bounds);
            this.kind = kind;
            numbers = new long[most];
        }

        @Override
        void take(InternalRow row, int place) {
            long value = switch (kind) {
                case BOOLEAN -> row.getBoolean(place) ? 1 : 0;
                case INT -> row.getInt(place);
                case DOUBLE -> Double.doubleToRawLongBits(row.getDouble(place));
                default -> row.getLong(place);
            };
            numbers[values] = value;
            same &= value == numbers[0];
        }

        @Override
        Dictionary dictionary() {
            if (!same || kind == Kind.BOOLEAN) {
                return null;
            }
            Buffer one = new Buffer();
            plain(one, 0, 1);
            return new Dictionary(one.bytes, one.length, 1);
        }

        @Override
        int place(int value) {
            return 0;
        }

        @Override
        void plain(Buffer out, int from, int until) {
            int count = until - from;
            if (kind == Kind.BOOLEAN) {
                int at = out.room((count + 7) / 8);
                Arrays.fill(out.bytes, at, out.length, (byte) 0);
                for (int i = 0; i < count; i++) {
                    out.bytes[at + i / 8] |= (byte) (numbers[from + i] << i % 8);
                }
            } else if (kind == Kind.INT) {
                ByteBuffer window = out.window(4 * count);
                for (int i = from; i < until; i++) {
                    window.putInt((int) numbers[i]);
                }
            } else {
                out.window(8 * count).asLongBuffer().put(numbers, from, count);
            }
        }

        @Override
        void tell(Statistics<?> statistics, int from, int until) {
            if (kind == Kind.DOUBLE) {
                for (int i = from; i < until; i++) {
                    statistics.updateStats(Double.longBitsToDouble(numbers[i]));
                }
                return;
            }
            long least = numbers[from];
            long most = numbers[from];
            for (int i = from + 1; i < until; i++) {
                least = Math.min(least, numbers[i]);
                most = Math.max(most, numbers[i]);
            }
            for (long bound : new long[] {least, most}) {
                switch (kind) {
                    case BOOLEAN -> statistics.updateStats(bound == 1);
                    case INT -> statistics.updateStats((int) bound);
                    default -> statistics.updateStats(bound);
                }
            }
        }

        @Override
        void clear() {
            same = true;
        }
    }

    private static final class TextPages extends ColumnPages {
        /** A dictionary larger than this is no help to a reader, who must hold it. */
        private static final int LARGE = 1 << 20;

        private final int[] places;
        private final Map<UTF8String, Integer> known = new HashMap<>();
        private final List<UTF8String> texts = new ArrayList<>();
        private int bytes;
        /** The value before, as it was given (folded rows give one object again and again), and our own copy of it. */
        private UTF8String given;
        private UTF8String last;
        private int lastPlace;

        TextPages(ColumnDescriptor descriptor, int most, boolean bounds) {
            super(descriptor, most, bounds);
            places = new int[most];
        }

        @Override
        void take(InternalRow row, int place) {
            UTF8String text = row.getUTF8String(place);
            if (text != given && (last == null || !last.equals(text))) {
                Integer at = known.get(text);
                if (at == null) {
                    UTF8String own = text.clone();
                    at = texts.size();
                    known.put(own, at);
                    texts.add(own);
                    bytes += 4 + own.numBytes();
                }
                last = texts.get(at);
                lastPlace = at;
            }
            given = text;
            places[values] = lastPlace;
        }

        @Override
        Dictionary dictionary() {
            if (bytes > LARGE) {
                return null;
            }
            Buffer all = new Buffer();
            texts.forEach(text -> put(all, text));
            return new Dictionary(all.bytes, all.length, texts.size());
        }

        @Override
        int place(int value) {
            return places[value];
        }

        @Override
        void plain(Buffer out, int from, int until) {
            for (int i = from; i < until; i++) {
                put(out, texts.get(places[i]));
            }
        }

        private static void put(Buffer out, UTF8String text) {
            byte[] own = text.getBytes();
            out.number(own.length, 4);
            int at = out.room(own.length);
            System.arraycopy(own, 0, out.bytes, at, own.length);
        }

        @Override
        void tell(Statistics<?> statistics, int from, int until) {
            boolean[] seen = new boolean[texts.size()];
            for (int i = from; i < until; i++) {
                if (!seen[places[i]]) {
                    seen[places[i]] = true;
                    statistics.updateStats(Binary.fromConstantByteArray(texts.get(places[i]).getBytes()));
                }
            }
        }

        @Override
        void clear() {
            known.clear();
            texts.clear();
            bytes = 0;
            last = null;
            given = null;
        }
    }
}
