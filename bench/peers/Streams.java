import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/**
 * The benchmark's work in Kafka Streams, tuned: Streams TO TOPIC GROUP DELIVERY OUTPUT-TOPIC, as the native program. It writes
 * records only; its consumers say in the log when they have their partitions.
 */
public final class Streams {
    @JsonIgnoreProperties(ignoreUnknown = true)
    record Quote(
            @JsonProperty(required = true) String quote,
            @JsonProperty(required = true) String character,
            @JsonProperty(required = true) String image) {}

    record Row(String quotes, String charact, String imag) {}

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final ObjectReader QUOTES = JSON.readerFor(Quote.class);
    private static final ObjectWriter ROWS = JSON.writerFor(Row.class);

    private static final Map<String, String> TUNING = Map.ofEntries(
            Map.entry("num.stream.threads", Integer.toString(Runtime.getRuntime().availableProcessors())),
            // By default 30 s without transactions, which would all come twice after a crash, and 100 ms with them, which waits
            // for the brokers half of the time.
            Map.entry("commit.interval.ms", "500"),
            // A partition with more records waiting than this is not fetched from.
            Map.entry("buffered.records.per.partition", "20000"),
            Map.entry("main.consumer.max.poll.records", "10000"),
            Map.entry("main.consumer.max.partition.fetch.bytes", "8388608"),
            Map.entry("main.consumer.receive.buffer.bytes", "1048576"),
            Map.entry("main.consumer.isolation.level", "read_committed"),
            Map.entry("main.consumer.auto.offset.reset", "earliest"),
            Map.entry("producer.batch.size", "262144"),
            Map.entry("producer.buffer.memory", "67108864"),
            Map.entry("producer.linger.ms", "2"));

    private Streams() {}

    public static void main(String[] arguments) {
        String topic = arguments[1], group = arguments[2], delivery = arguments[3], output = arguments[4];
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(topic, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .filter((key, value) -> key == null && value != null)
                .mapValues(Streams::row)
                .filter((key, row) -> row != null)
                .to(output, Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
        Properties properties = new Properties();
        properties.putAll(TUNING);
        properties.put("bootstrap.servers", System.getenv("KAFKA_BROKERS"));
        properties.put("application.id", group);
        properties.put("processing.guarantee", delivery.equals("transactional") ? "exactly_once_v2" : "at_least_once");
        properties.put("state.dir", "streams");
        KafkaStreams streams = new KafkaStreams(builder.build(), properties);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.ERROR) {
                Runtime.getRuntime().halt(1);
            }
        });
        streams.start();
    }

    /** Nothing where the record is no quote. */
    private static byte[] row(byte[] value) {
        Quote quote;
        try {
            quote = QUOTES.readValue(value);
        } catch (IOException notAQuote) {
            return null;
        }
        try {
            return ROWS.writeValueAsBytes(new Row(quote.quote(), quote.character(), quote.image()));
        } catch (JsonProcessingException cause) {
            throw new IllegalStateException(cause);
        }
    }
}
