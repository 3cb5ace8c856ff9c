package io.matinee.kernel.flink;

import java.util.Collection;
import org.apache.flink.state.rocksdb.RocksDBOptionsFactory;
import org.rocksdb.ColumnFamilyOptions;
import org.rocksdb.DBOptions;

/**
 * RocksDB with a checkpoint each second: every checkpoint leaves one small file of what changed, and after four of them
 * (by default) all of the level below is written anew. After {@link #FILES} that is a fraction of the work; a look-up
 * passes over more files, which their bloom filters tell it.
 */
public final class FewerMerges implements RocksDBOptionsFactory {
    private static final long serialVersionUID = 1;
    private static final int FILES = 12;

    @Override
    public DBOptions createDBOptions(DBOptions current, Collection<AutoCloseable> toClose) {
        return current;
    }

    @Override
    public ColumnFamilyOptions createColumnOptions(ColumnFamilyOptions current, Collection<AutoCloseable> toClose) {
        return current.setLevel0FileNumCompactionTrigger(FILES).setLevel0SlowdownWritesTrigger(3 * FILES)
                .setLevel0StopWritesTrigger(4 * FILES);
    }
}
