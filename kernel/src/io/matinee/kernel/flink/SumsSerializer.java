package io.matinee.kernel.flink;

import io.matinee.kernel.Measure;
import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSchemaCompatibility;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** {@link Sums} as their packed bytes behind a length. */
public final class SumsSerializer extends TypeSerializerSingleton<Sums> {
    private static final long serialVersionUID = 1;

    @Override
    public void serialize(Sums sums, DataOutputView to) throws IOException {
        write(sums.packed(), to);
    }

    private static void write(byte[] packed, DataOutputView to) throws IOException {
        to.writeShort(packed.length);
        to.write(packed);
    }

    private static byte[] read(DataInputView from) throws IOException {
        byte[] packed = new byte[from.readUnsignedShort()];
        from.readFully(packed);
        return packed;
    }

    @Override
    public Sums deserialize(DataInputView from) throws IOException {
        Sums sums = new Sums();
        sums.add(read(from));
        return sums;
    }

    @Override
    public Sums deserialize(Sums reuse, DataInputView from) throws IOException {
        return deserialize(from);
    }

    @Override
    public Sums copy(Sums sums) {
        Sums other = new Sums();
        other.add(sums.packed());
        return other;
    }

    @Override
    public Sums copy(Sums sums, Sums reuse) {
        return copy(sums);
    }

    @Override
    public void copy(DataInputView from, DataOutputView to) throws IOException {
        write(read(from), to);
    }

    @Override
    public Sums createInstance() {
        return new Sums();
    }

    @Override
    public boolean isImmutableType() {
        return false;
    }

    @Override
    public int getLength() {
        return -1;
    }

    @Override
    public TypeSerializerSnapshot<Sums> snapshotConfiguration() {
        return new Snapshot();
    }

    /** Stands with the state and names its measures: packed bytes of another list would be read as something else. */
    public static final class Snapshot implements TypeSerializerSnapshot<Sums> {
        private static final String MEASURES = Arrays.toString(Measure.values());
        private String measures = MEASURES;

        @Override
        public int getCurrentVersion() {
            return 1;
        }

        @Override
        public void writeSnapshot(DataOutputView to) throws IOException {
            to.writeUTF(measures);
        }

        @Override
        public void readSnapshot(int version, DataInputView from, ClassLoader loader) throws IOException {
            measures = from.readUTF();
        }

        @Override
        public TypeSerializer<Sums> restoreSerializer() {
            return new SumsSerializer();
        }

        @Override
        public TypeSerializerSchemaCompatibility<Sums> resolveSchemaCompatibility(TypeSerializerSnapshot<Sums> old) {
            return old instanceof Snapshot that && that.measures.equals(measures)
                    ? TypeSerializerSchemaCompatibility.compatibleAsIs() : TypeSerializerSchemaCompatibility.incompatible();
        }
    }
}
