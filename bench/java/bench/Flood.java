package bench;

import io.matinee.kernel.Decoder;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Copies of the first events of a topic with other session ids: BOOTSTRAP FROM TO COPIES LIMIT RATE. All copies of an
 * event lie one after the other, so the time of the events runs as in FROM, with COPIES times the load. RATE 0: at once,
 * under the original timestamps; else so many messages a second, stamped now, until the process is ended. With another
 * topic behind that, each goes there too, cut down to the columns of {@link NotesFold}'s table.
 */
public final class Flood {
    private static final int FRAME = 5;
    private static final Decoder EVENT = new Decoder("playback_event");
    private static final String[] COLUMNS = {"state", "title_id", "cdn_id", "isp", "device", "country", "app_version"};

    public static void main(String[] a) throws InterruptedException {
        int copies = Integer.parseInt(a[3]);
        int limit = Integer.parseInt(a[4]);
        double rate = Double.parseDouble(a[5]);
        List<ConsumerRecord<byte[], byte[]>> base = read(a[0], a[1], limit);
        long sent = 0;
        long began = System.nanoTime();
        try (KafkaProducer<byte[], byte[]> to = new KafkaProducer<>(Map.of("bootstrap.servers", a[0], "linger.ms", 20,
                "batch.size", 1 << 18, "buffer.memory", 64 << 20, "acks", "1", "compression.type", "lz4"),
                new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int round = 0; round == 0 || rate > 0; round++) {
                for (ConsumerRecord<byte[], byte[]> r : base) {
                    int times = framed(r.value(), r.key()) ? copies : 1;
                    for (int c = 0; c < times; c++) {
                        byte[] mark = times == 1 ? new byte[0] : (round + "~" + c).getBytes(StandardCharsets.US_ASCII);
                        Long at = rate > 0 ? null : (Long) r.timestamp();
                        byte[] key = joined(r.key(), mark);
                        byte[] value = marked(r.value(), r.key(), mark);
                        to.send(new ProducerRecord<>(a[2], r.partition(), at, key, value));
                        if (a.length > 6) {
                            to.send(new ProducerRecord<>(a[6], r.partition(), at, key, cut(value, key)));
                        }
                        sent++;
                    }
                    long ahead = rate > 0 ? (long) (sent / rate * 1000) - (System.nanoTime() - began) / 1_000_000 : 0;
                    if (ahead > 5) {
                        Thread.sleep(ahead);
                    }
                }
            }
        }
        System.out.println(sent);
    }

    private static List<ConsumerRecord<byte[], byte[]>> read(String bootstrap, String topic, int limit) {
        List<ConsumerRecord<byte[], byte[]>> all = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> from = new KafkaConsumer<>(Map.of("bootstrap.servers", bootstrap),
                new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> parts = from.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList();
            from.assign(parts);
            from.seekToBeginning(parts);
            Map<TopicPartition, Long> ends = from.endOffsets(parts);
            while (parts.stream().anyMatch(p -> from.position(p) < ends.get(p))) {
                from.poll(Duration.ofSeconds(1)).forEach(all::add);
            }
        }
        all.removeIf(r -> r.key() == null || new String(r.key(), StandardCharsets.UTF_8).startsWith("__day_end__"));
        all.sort((x, y) -> Long.compare(x.timestamp(), y.timestamp()));
        return all.subList(0, Math.min(limit, all.size()));
    }

    /** Whether the first field is the session's id, as it is in playback_event, and as short as this copies it. */
    private static boolean framed(byte[] value, byte[] key) {
        return value != null && value.length > FRAME + 1 + key.length && key.length < 50 && value[FRAME] == key.length * 2
                && Arrays.equals(value, FRAME + 1, FRAME + 1 + key.length, key, 0, key.length);
    }

    /** Plain Avro of session_id, seq, event_at (the device's moment by the server's clock), state and the dimensions. */
    private static byte[] cut(byte[] value, byte[] key) {
        if (!EVENT.read(value, key)) {
            throw new IllegalArgumentException("only good events can be cut down: " + EVENT.reason());
        }
        ByteArrayOutputStream out = new ByteArrayOutputStream(96);
        text(out, (String) EVENT.get("session_id"));
        number(out, (Integer) EVENT.get("seq"));
        number(out, (Long) EVENT.get("device_at") + (Long) EVENT.get("received_at") - (Long) EVENT.get("post_device_at"));
        for (String name : COLUMNS) {
            text(out, (String) EVENT.get(name));
        }
        return out.toByteArray();
    }

    private static void text(ByteArrayOutputStream out, String text) {
        byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
        number(out, utf8.length);
        out.writeBytes(utf8);
    }

    private static void number(ByteArrayOutputStream out, long value) {
        long rest = (value << 1) ^ (value >> 63);
        for (; (rest & ~0x7FL) != 0; rest >>>= 7) {
            out.write((int) (rest & 0x7F | 0x80));
        }
        out.write((int) rest);
    }

    private static byte[] joined(byte[] left, byte[] right) {
        byte[] both = Arrays.copyOf(left, left.length + right.length);
        System.arraycopy(right, 0, both, left.length, right.length);
        return both;
    }

    private static byte[] marked(byte[] value, byte[] key, byte[] mark) {
        if (mark.length == 0) {
            return value;
        }
        int behind = FRAME + 1 + key.length;
        byte[] both = joined(joined(Arrays.copyOf(value, behind), mark), Arrays.copyOfRange(value, behind, value.length));
        both[FRAME] = (byte) ((key.length + mark.length) * 2);
        return both;
    }
}
