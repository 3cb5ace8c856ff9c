package io.matinee.kernel.spark;

import io.matinee.kernel.Schemas;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.apache.iceberg.DataFile;
import org.apache.iceberg.DataFiles;
import org.apache.iceberg.FileFormat;
import org.apache.iceberg.MetricsConfig;
import org.apache.iceberg.MetricsModes;
import org.apache.iceberg.PartitionField;
import org.apache.iceberg.SchemaParser;
import org.apache.iceberg.StructLike;
import org.apache.iceberg.Table;
import org.apache.iceberg.TableProperties;
import org.apache.iceberg.encryption.EncryptedOutputFile;
import org.apache.iceberg.io.OutputFileFactory;
import org.apache.iceberg.parquet.ParquetSchemaUtil;
import org.apache.iceberg.parquet.ParquetUtil;
import org.apache.iceberg.shaded.org.apache.parquet.hadoop.ParquetFileWriter;
import org.apache.iceberg.shaded.org.apache.parquet.hadoop.metadata.ParquetMetadata;
import org.apache.iceberg.shaded.org.apache.parquet.io.OutputFile;
import org.apache.iceberg.shaded.org.apache.parquet.io.PositionOutputStream;
import org.apache.iceberg.shaded.org.apache.parquet.schema.MessageType;
import org.apache.iceberg.spark.source.SerializableTableWithSize;
import org.apache.iceberg.types.Types.NestedField;
import org.apache.iceberg.util.PropertyUtil;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.function.FlatMapFunction;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.catalyst.InternalRow;
import org.apache.spark.sql.classic.Dataset;
import org.apache.spark.sql.execution.QueryExecution;
import org.apache.spark.sql.execution.SQLExecution;
import scala.Option;

/**
 * The rows of a frame as Parquet data files of an Iceberg table, encoded column by column.
 *
 * <p>Iceberg's own writer hands over value after value: a row of 84 columns goes through 84 writers, each with levels,
 * statistics and a dictionary of its own, and nine tenths of the values are zeros. Here rows are gathered in arrays, and
 * a page is made of an array at once. File, footer and metrics are the libraries'; readers see no difference.
 */
public final class ColumnFiles {
    /** Rows gathered before they are written as one row group: 84 columns of 8 bytes take 44 MB. */
    private static final int GROUP_ROWS = 1 << 16;
    /** Rows of spans taken together: as many as the nearest cache holds. */
    private static final int BLOCK_ROWS = 32;

    private ColumnFiles() {}

    /**
     * Writes the frame's rows, whose columns are the table's, to new files of the table.
     *
     * @return the files, not committed
     * @throws UnsupportedOperationException a column, the codec or the partitions are none this writer knows
     */
    public static List<DataFile> write(Dataset<Row> frame, Table table) {
        return write(frame, new Part(table, frame.schema().fieldNames(), null));
    }

    /**
     * Writes the spans that start on a day (as 2026-01-31) out of folded sessions, a column of bytes as {@code spans_of}
     * reads them: as rows of Spark's they would be made, copied and compared column by column once more.
     */
    public static List<DataFile> writeSpans(Dataset<Row> folded, Table table, String day) {
        String[] columns = KernelCatalog.struct(Schemas.newest("span")).fieldNames();
        return write(folded, new Part(table, columns, (int) LocalDate.parse(day).toEpochDay()));
    }

    private static List<DataFile> write(Dataset<Row> frame, Part part) {
        QueryExecution query = frame.queryExecution();
        return SQLExecution.withNewExecutionId(query, Option.apply("write"),
                () -> query.toRdd().toJavaRDD().mapPartitions(part).collect());
    }

    private static void check(Table table) {
        String codec = table.properties().getOrDefault(TableProperties.PARQUET_COMPRESSION, TableProperties.PARQUET_COMPRESSION_DEFAULT_SINCE_1_4_0);
        if (!codec.equals("zstd")) {
            throw new UnsupportedOperationException(table.name() + " is compressed with " + codec + ", files by column with zstd");
        }
        List<PartitionField> parts = table.spec().fields();
        if (parts.size() > 1 || parts.stream().anyMatch(part -> !part.transform().isIdentity())) {
            throw new UnsupportedOperationException(table.name() + " is not partitioned by the value of one column");
        }
        table.schema().columns().forEach(ColumnPages::kind);
    }

    /** One task: a file, or several, of each partition value its rows have. */
    private static final class Part implements FlatMapFunction<Iterator<InternalRow>, DataFile>, Serializable {
        private static final long serialVersionUID = 1;
        private final Table table;
        /** Where each column of the table stands in a row: a table that grew has its columns in another order. */
        private final int[] places;
        /** Where the partition's column stands in a row, -1 if there is none. */
        private final int by;
        /** The day whose spans are wanted out of folded sessions; null where the rows are the table's own. */
        private final Integer day;

        Part(Table table, String[] names, Integer day) {
            check(table);
            this.table = SerializableTableWithSize.copyOf(table);
            this.day = day;
            List<PartitionField> parts = table.spec().fields();
            List<String> given = List.of(names);
            places = table.schema().columns().stream().mapToInt(column -> given.indexOf(column.name())).toArray();
            if (given.size() != places.length || Arrays.stream(places).anyMatch(place -> place < 0)) {
                throw new UnsupportedOperationException(table.name() + " and the rows differ in columns: " + given);
            }
            by = parts.isEmpty() ? -1 : given.indexOf(table.schema().findColumnName(parts.get(0).sourceId()));
        }

        @Override
        public Iterator<DataFile> call(Iterator<InternalRow> rows) {
            TaskContext task = TaskContext.get();
            OutputFileFactory names = OutputFileFactory.builderFor(table, task.partitionId(), task.taskAttemptId())
                    .format(FileFormat.PARQUET).build();
            Map<Integer, Files> open = new HashMap<>();
            List<DataFile> done = new ArrayList<>();
            try {
                if (day != null) {
                    FoldedRows spans = new FoldedRows(true);
                    while (rows.hasNext()) {
                        spread(spans.rows(rows.next().getBinary(0)), open, names, done);
                    }
                } else {
                    spread(rows, open, names, done);
                }
                for (Files each : open.values()) {
                    each.close();
                }
                return done.iterator();
            } catch (IOException failed) {
                giveUp(open, done);
                throw new UncheckedIOException(failed);
            } catch (RuntimeException | Error failed) {
                giveUp(open, done);
                throw failed;
            }
        }

        /** The rows of one or more sessions that are of the day, all to one file. */
        private void spread(List<InternalRow> rows, Map<Integer, Files> open, OutputFileFactory names, List<DataFile> done)
                throws IOException {
            rows.removeIf(row -> row.getInt(by) != day);
            Files files = rows.isEmpty() ? null : files(day, open, names, done);
            for (int from = 0; from < rows.size(); from += BLOCK_ROWS) {
                files.add(rows.subList(from, Math.min(rows.size(), from + BLOCK_ROWS)));
            }
        }

        /** Each row to the file of its partition value. */
        private void spread(Iterator<? extends InternalRow> rows, Map<Integer, Files> open, OutputFileFactory names, List<DataFile> done)
                throws IOException {
            Integer last = null;
            Files files = null;
            while (rows.hasNext()) {
                InternalRow row = rows.next();
                Integer value = by < 0 || row.isNullAt(by) ? null : (Integer) row.getInt(by);
                if (files == null || !Objects.equals(value, last)) {
                    files = files(value, open, names, done);
                    last = value;
                }
                files.add(row);
            }
        }

        private Files files(Integer value, Map<Integer, Files> open, OutputFileFactory names, List<DataFile> done) {
            return open.computeIfAbsent(value, key -> new Files(table, places, by < 0 ? null : new Day(key), names, done));
        }

        private void giveUp(Map<Integer, Files> open, List<DataFile> done) {
            open.values().forEach(Files::giveUp);
            done.forEach(file -> table.io().deleteFile(file.location()));
        }
    }

    /** A partition value: a date in days, or null. */
    private record Day(Integer value) implements StructLike {
        @Override
        public int size() {
            return 1;
        }

        @Override
        public <T> T get(int place, Class<T> kind) {
            return kind.cast(value);
        }

        @Override
        public <T> void set(int place, T given) {
            throw new UnsupportedOperationException("a partition value does not change");
        }
    }

    /** The files of one partition value, one after another. */
    private static final class Files {
        private final Table table;
        private final int[] places;
        private final StructLike partition;
        private final OutputFileFactory names;
        private final List<DataFile> done;
        private final MessageType parquet;
        private final MetricsConfig metrics;
        private final ColumnPages[] columns;
        private final long enough;
        private int rows;
        private EncryptedOutputFile target;
        private ParquetFileWriter writer;

        Files(Table table, int[] places, StructLike partition, OutputFileFactory names, List<DataFile> done) {
            this.table = table;
            this.places = places;
            this.partition = partition;
            this.names = names;
            this.done = done;
            parquet = ParquetSchemaUtil.convert(table.schema(), "table");
            metrics = MetricsConfig.forTable(table);
            enough = PropertyUtil.propertyAsLong(table.properties(), TableProperties.WRITE_TARGET_FILE_SIZE_BYTES,
                    TableProperties.WRITE_TARGET_FILE_SIZE_BYTES_DEFAULT);
            List<NestedField> fields = table.schema().columns();
            columns = new ColumnPages[fields.size()];
            for (int i = 0; i < columns.length; i++) {
                boolean bounds = metrics.columnMode(fields.get(i).name()) != MetricsModes.None.get();
                columns[i] = ColumnPages.of(ColumnPages.kind(fields.get(i)), parquet.getColumns().get(i), GROUP_ROWS, bounds);
            }
        }

        void add(InternalRow row) throws IOException {
            for (int i = 0; i < columns.length; i++) {
                columns[i].add(row, places[i]);
            }
            if (++rows == GROUP_ROWS) {
                group();
            }
        }

        void add(List<InternalRow> more) throws IOException {
            if (rows + more.size() > GROUP_ROWS) {
                group();
            }
            for (int i = 0; i < columns.length; i++) {
                columns[i].add(more, places[i]);
            }
            rows += more.size();
        }

        private void group() throws IOException {
            if (writer == null) {
                target = partition == null ? names.newOutputFile() : names.newOutputFile(table.spec(), partition);
                writer = new ParquetFileWriter(new Out(target.encryptingOutputFile()), parquet, ParquetFileWriter.Mode.CREATE,
                        TableProperties.PARQUET_ROW_GROUP_SIZE_BYTES_DEFAULT, 0, 64, Integer.MAX_VALUE, false);
                writer.start();
            }
            writer.startBlock(rows);
            for (ColumnPages column : columns) {
                column.write(writer);
            }
            writer.endBlock();
            rows = 0;
            if (writer.getPos() >= enough) {
                end();
            }
        }

        private void end() throws IOException {
            writer.end(Map.of("iceberg.schema", SchemaParser.toJson(table.schema())));
            ParquetMetadata footer = writer.getFooter();
            DataFiles.Builder file = DataFiles.builder(table.spec()).withEncryptedOutputFile(target).withFormat(FileFormat.PARQUET)
                    .withFileSizeInBytes(target.encryptingOutputFile().toInputFile().getLength())
                    .withSplitOffsets(ParquetUtil.getSplitOffsets(footer))
                    .withMetrics(ParquetUtil.footerMetrics(footer, Stream.empty(), metrics));
            done.add((partition == null ? file : file.withPartition(partition)).build());
            writer = null;
        }

        void close() throws IOException {
            if (rows > 0) {
                group();
            }
            if (writer != null) {
                end();
            }
        }

        /** Leaves nothing of a file that is not whole. */
        void giveUp() {
            if (writer != null) {
                try {
                    writer.close();
                    table.io().deleteFile(target.encryptingOutputFile().location());
                } catch (IOException | RuntimeException ignored) {
                    // What broke the task is told; a file left over is swept by `matinee job retention`.
                }
            }
        }
    }

    /** Iceberg's file as Parquet's. */
    private record Out(org.apache.iceberg.io.OutputFile file) implements OutputFile {
        @Override
        public PositionOutputStream create(long blockSize) {
            return new Bytes(file.create());
        }

        @Override
        public PositionOutputStream createOrOverwrite(long blockSize) {
            return new Bytes(file.createOrOverwrite());
        }

        @Override
        public boolean supportsBlockSize() {
            return false;
        }

        @Override
        public long defaultBlockSize() {
            return 0;
        }
    }

    private static final class Bytes extends PositionOutputStream {
        private final org.apache.iceberg.io.PositionOutputStream out;

        Bytes(org.apache.iceberg.io.PositionOutputStream out) {
            this.out = out;
        }

        @Override
        public long getPos() throws IOException {
            return out.getPos();
        }

        @Override
        public void write(int one) throws IOException {
            out.write(one);
        }

        @Override
        public void write(byte[] bytes, int from, int length) throws IOException {
            out.write(bytes, from, length);
        }

        @Override
        public void flush() throws IOException {
            out.flush();
        }

        @Override
        public void close() throws IOException {
            out.close();
        }
    }
}
