//! Kafka as a test sees it: topics, records in bulk, everything that a topic holds, what a group has committed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::services::{block_on, brokers};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Time for one question of [`answer`].
pub(crate) const ASK: Duration = Duration::from_secs(10);
/// Largest record that the helpers send and fetch.
const LARGEST: &str = "67108864";

type Bytes = Option<Vec<u8>>;

/// A record to produce.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    pub topic: String,
    pub partition: Option<i32>,
    pub key: Bytes,
    pub value: Bytes,
    pub headers: Vec<(String, Bytes)>,
    pub timestamp: Option<i64>,
}

impl Outgoing {
    pub fn to(topic: &str) -> Self {
        Outgoing { topic: topic.into(), ..Outgoing::default() }
    }

    pub fn partition(self, partition: i32) -> Self {
        Outgoing { partition: Some(partition), ..self }
    }

    pub fn key(self, key: impl Into<Vec<u8>>) -> Self {
        Outgoing { key: Some(key.into()), ..self }
    }

    pub fn value(self, value: impl Into<Vec<u8>>) -> Self {
        Outgoing { value: Some(value.into()), ..self }
    }

    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.into(), value.map(<[u8]>::to_vec)));
        self
    }

    pub fn timestamp(self, millis: i64) -> Self {
        Outgoing { timestamp: Some(millis), ..self }
    }
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: Bytes,
    pub value: Bytes,
    pub headers: Vec<(String, Bytes)>,
}

impl Incoming {
    /// The value as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// The first header of this name as text; empty where there is none.
    pub fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.as_deref());
        String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
    }
}

/// Creates a topic that takes large records, of a name that no other has.
pub fn create_topic(topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = client().create().expect("an admin client");
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("max.message.bytes", LARGEST);
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    let results = block_on(admin.create_topics([&new], &options)).expect("the brokers answer");
    // The client asks again when an answer is lost, and is then told of its own topic.
    let there = |result| matches!(result, &Ok(_) | &Err((_, RDKafkaErrorCode::TopicAlreadyExists)));
    assert!(results.iter().all(there), "topic {topic} could not be created: {results:?}");
    // A topic that was created is not yet known by every broker.
    crate::wait_until(&format!("topic {topic} has leaders"), 30, || partition_count(topic) == partitions);
}

/// Number of partitions with a leader; 0 where there is no such topic.
pub fn partition_count(topic: &str) -> i32 {
    leaders(topic).into_iter().filter(|has_one| *has_one).count() as i32
}

/// Whether each partition has a leader; empty where there is no such topic.
fn leaders(topic: &str) -> Vec<bool> {
    let consumer: BaseConsumer = client().create().expect("a consumer");
    let metadata = answer("the brokers know their topics", || consumer.fetch_metadata(Some(topic), ASK));
    let partitions = metadata.topics().first().map(|t| t.partitions()).unwrap_or_default();
    partitions.iter().map(|p| p.leader() >= 0 && p.error().is_none()).collect()
}

/// Produces the records in order and returns partition and offset of each.
pub fn produce(records: &[Outgoing]) -> Vec<(i32, i64)> {
    let context = Deliveries { places: Mutex::new(vec![(-1, -1); records.len()]), failed: Mutex::default() };
    let producer: ThreadedProducer<Deliveries> = client()
        .set("enable.idempotence", "true")
        .set("message.max.bytes", LARGEST)
        .set("queue.buffering.max.messages", "1000000")
        .set("linger.ms", "5")
        .create_with_context(context)
        .expect("a producer");
    for (index, record) in records.iter().enumerate() {
        send(&producer, index, record);
    }
    producer.flush(4 * TIMEOUT).expect("the brokers take the records");
    let failed = producer.context().failed.lock().expect("no callback panicked").clone();
    assert!(failed.is_empty(), "{} records were not produced, the first because of {}", failed.len(), failed[0]);
    producer.context().places.lock().expect("no callback panicked").clone()
}

/// Sends records one by one, each at once.
pub struct Sender(ThreadedProducer<DefaultProducerContext>);

impl Default for Sender {
    fn default() -> Self {
        Sender::new()
    }
}

impl Sender {
    pub fn new() -> Self {
        Sender(client().set("linger.ms", "0").create().expect("a producer"))
    }

    pub fn send(&self, topic: &str, value: &str) {
        let record = BaseRecord::<str, str>::to(topic).payload(value);
        self.0.send(record).map_err(|(cause, _)| cause).expect("queued");
    }

    /// Waits until everything that was sent is in its topic.
    pub fn flush(&self) {
        self.0.flush(4 * TIMEOUT).expect("the brokers take the records");
    }
}

/// Everything that is committed in a topic, ordered by partition and offset; nothing where there is no such topic.
pub fn consume(topic: &str) -> Vec<Incoming> {
    let partitions = partition_count(topic);
    if partitions == 0 {
        return Vec::new();
    }
    let consumer: BaseConsumer = client()
        .set("group.id", "wasmill-tests-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.message.max.bytes", LARGEST)
        .create()
        .expect("a consumer");
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&all).expect("assigned");
    let mut records = read_to_the_end(&consumer, partitions as usize);
    records.sort_by_key(|r| (r.partition, r.offset));
    records
}

/// As [`consume`], once every transaction that is open now has ended: one of another test hides all that comes after
/// it, and a flow's own may show its offsets before its records.
pub fn consume_settled(topic: &str) -> Vec<Incoming> {
    let consumer: BaseConsumer = client().set("isolation.level", "read_uncommitted").create().expect("a consumer");
    let now = ends_by(&consumer, topic, partition_count(topic));
    crate::wait_until(&format!("the transactions in {topic} have ended"), 120, || {
        let committed = ends(topic);
        now.iter().all(|(partition, end)| committed.get(partition) >= Some(end))
    });
    consume(topic)
}

/// What the group has committed, by partition; only partitions with an offset.
pub fn committed(group: &str, topic: &str) -> BTreeMap<i32, i64> {
    let consumer: BaseConsumer = client().set("group.id", group).create().expect("a consumer");
    committed_by(&consumer, topic, partition_count(topic))
}

/// End offsets by partition, of what is committed.
pub fn ends(topic: &str) -> BTreeMap<i32, i64> {
    let consumer: BaseConsumer = client().create().expect("a consumer");
    ends_by(&consumer, topic, partition_count(topic))
}

/// Records of a topic that the group has not committed yet.
pub fn lag(group: &str, topic: &str) -> i64 {
    let consumer: BaseConsumer = client().set("group.id", group).create().expect("a consumer");
    let all_led = || Some(leaders(topic)).filter(|all| !all.is_empty() && !all.contains(&false));
    let partitions = crate::wait_for(&format!("{topic} has all its leaders"), 60, all_led).len();
    let ends = ends_by(&consumer, topic, partitions as i32);
    let committed = committed_by(&consumer, topic, ends.len() as i32);
    ends.iter().map(|(partition, end)| end - committed.get(partition).unwrap_or(&0)).sum()
}

/// A consumer group that is asked often.
pub struct Group(BaseConsumer);

impl Group {
    pub fn new(group: &str) -> Self {
        Group(client().set("group.id", group).create().expect("a consumer"))
    }

    /// Sum of the committed offsets of these partitions.
    pub fn committed(&self, topic: &str, partitions: &BTreeMap<i32, i64>) -> i64 {
        self.offsets(topic, partitions.len() as i32).values().sum()
    }

    /// The committed offsets by partition; only partitions with an offset.
    pub fn offsets(&self, topic: &str, partitions: i32) -> BTreeMap<i32, i64> {
        committed_by(&self.0, topic, partitions)
    }
}

/// Members of a consumer group.
pub fn members(group: &str) -> usize {
    let consumer: BaseConsumer = client().create().expect("a consumer");
    let groups = answer("the coordinator lists the group", || consumer.fetch_group_list(Some(group), ASK));
    groups.groups().iter().map(|group| group.members().len()).sum()
}

/// What a cluster answers once its leaders and coordinators have settled: a broker that was just elected refuses for a
/// moment, and librdkafka hands some of these refusals on.
pub(crate) fn answer<T>(what: &str, mut ask: impl FnMut() -> KafkaResult<T>) -> T {
    crate::wait_for(what, 4 * TIMEOUT.as_secs(), || match ask() {
        Ok(found) => Some(found),
        Err(e) if is_passing(&e) => None,
        Err(e) => panic!("{what}: {e}"),
    })
}

fn committed_by(consumer: &BaseConsumer, topic: &str, partitions: i32) -> BTreeMap<i32, i64> {
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition(topic, partition);
    }
    // The list is gone before the consumer: librdkafka would wait for it for ever.
    let offsets = answer("the coordinator has the offsets", || consumer.committed_offsets(all.clone(), ASK));
    let known = |offset: Offset| offset.to_raw().filter(|offset| *offset >= 0);
    offsets.elements().iter().filter_map(|e| known(e.offset()).map(|offset| (e.partition(), offset))).collect()
}

fn ends_by(consumer: &BaseConsumer, topic: &str, partitions: i32) -> BTreeMap<i32, i64> {
    let end = |partition| answer("the leader has the end", || consumer.fetch_watermarks(topic, partition, ASK)).1;
    (0..partitions).map(|partition| (partition, end(partition))).collect()
}

struct Deliveries {
    places: Mutex<Vec<(i32, i64)>>,
    failed: Mutex<Vec<String>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, index: Box<usize>) {
        match result {
            Ok(m) => self.places.lock().expect("no callback panicked")[*index] = (m.partition(), m.offset()),
            Err((e, _)) => self.failed.lock().expect("no callback panicked").push(e.to_string()),
        }
    }
}

fn send(producer: &ThreadedProducer<Deliveries>, index: usize, outgoing: &Outgoing) {
    let mut record = BaseRecord::<[u8], [u8], Box<usize>>::with_opaque_to(&outgoing.topic, Box::new(index));
    if let Some(key) = &outgoing.key {
        record = record.key(key);
    }
    if let Some(value) = &outgoing.value {
        record = record.payload(value);
    }
    if let Some(partition) = outgoing.partition {
        record = record.partition(partition);
    }
    if let Some(timestamp) = outgoing.timestamp {
        record = record.timestamp(timestamp);
    }
    if !outgoing.headers.is_empty() {
        let add = |all: OwnedHeaders, (key, value): &(String, Bytes)| all.insert(Header { key, value: value.as_ref() });
        record = record.headers(outgoing.headers.iter().fold(OwnedHeaders::new(), add));
    }
    while let Err((e, back)) = producer.send(record) {
        assert_eq!(e.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "record {index}: {e}");
        std::thread::sleep(Duration::from_millis(5));
        record = back;
    }
}

fn read_to_the_end(consumer: &BaseConsumer, partitions: usize) -> Vec<Incoming> {
    let end = Instant::now() + 4 * TIMEOUT;
    let mut done = std::collections::BTreeSet::new();
    let mut records = Vec::new();
    while done.len() < partitions {
        assert!(Instant::now() < end, "the topic could not be read to its end in time");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => records.push(incoming(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = done.insert(partition),
            Some(Err(e)) if is_passing(&e) => {}
            Some(Err(e)) => panic!("reading failed: {e}"),
            None => {}
        }
    }
    records
}

fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerTransportFailure, NetworkException, OperationTimedOut, RequestTimedOut,
    };
    use RDKafkaErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator, UnstableOffsetCommit, WaitingForCoordinator,
    };
    use RDKafkaErrorCode::{FencedLeaderEpoch, LeaderNotAvailable, NotLeaderForPartition, OffsetNotAvailable};
    use RDKafkaErrorCode::{UnknownLeaderEpoch, UnknownTopicOrPartition};
    let of_ways = [AllBrokersDown, BrokerTransportFailure, NetworkException, OperationTimedOut, RequestTimedOut];
    let of_leaders = [LeaderNotAvailable, NotLeaderForPartition, OffsetNotAvailable, UnknownTopicOrPartition];
    let of_epochs = [FencedLeaderEpoch, UnknownLeaderEpoch];
    let of_coordinators = [CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator];
    let of_groups = [UnstableOffsetCommit, WaitingForCoordinator];
    let passing = [&of_ways[..], &of_leaders, &of_epochs, &of_coordinators, &of_groups].concat();
    error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
}

fn incoming(message: &impl Message) -> Incoming {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let headers = message.headers().map(|h| h.iter().map(|h| (h.key.to_owned(), owned(h.value))).collect());
    Incoming {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        key: owned(message.key()),
        value: owned(message.payload()),
        headers: headers.unwrap_or_default(),
    }
}

fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("topic.metadata.refresh.interval.ms", "1000");
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_empty_and_absent_survive_the_broker() {
        let topic = crate::case::unique("harness");
        create_topic(&topic, 2);
        let sent = [
            Outgoing::to(&topic).partition(0).key("k").header("h", None).header("h", Some(b"")).timestamp(5),
            Outgoing::to(&topic).partition(0).value(""),
            Outgoing::to(&topic).partition(1).key("").value(vec![b'x'; 3 << 20]),
        ];
        assert_eq!(produce(&sent), [(0, 0), (0, 1), (1, 0)]);
        let read = consume(&topic);
        let fields = |r: &Incoming| (r.key.clone(), r.value.as_ref().map(Vec::len), r.headers.len());
        assert_eq!(
            read.iter().map(fields).collect::<Vec<_>>(),
            [(Some(b"k".to_vec()), None, 2), (None, Some(0), 0), (Some(vec![]), Some(3 << 20), 0)]
        );
        assert_eq!(read[0].headers, [("h".into(), None), ("h".into(), Some(vec![]))]);
        assert_eq!((read[0].timestamp, ends(&topic)), (5, BTreeMap::from([(0, 2), (1, 1)])));
        assert_eq!((committed("nobody", &topic), lag("nobody", &topic)), (BTreeMap::new(), 3));
        assert_eq!(consume("harness_no_such_topic"), []);
    }
}
