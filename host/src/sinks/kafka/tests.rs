//! Against a real cluster: `KAFKA_BROKERS`. Each test has topics of its own.

use std::collections::BTreeMap;
use std::time::Instant;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::manifest::TargetSpec;
use crate::outcome::{Headers, Operation, Output};
use crate::record::put_header;
use crate::sinks::sql::testing::{batch, output, target};

mod plain;
mod transactions;

/// Longest wait for something that is there or happens soon.
const SOON: Duration = Duration::from_secs(60);

/// A cluster.
struct Cluster {
    brokers: String,
    /// What the names of this test's topics begin with.
    prefix: String,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    partition: i32,
    key: Option<String>,
    value: Option<Vec<u8>>,
    timestamp: Option<i64>,
    headers: Vec<(String, Option<String>)>,
}

impl Read {
    fn text(&self) -> &str {
        self.value.as_deref().map_or("NULL", |value| std::str::from_utf8(value).expect("UTF-8"))
    }

    fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).filter_map(|(_, value)| value.as_deref()).collect()
    }
}

impl Cluster {
    /// `None`, said aloud, where no cluster is given; a failure where one is required.
    fn new(test: &str) -> Option<Self> {
        let Ok(brokers) = std::env::var("KAFKA_BROKERS") else {
            assert!(std::env::var_os("WASMILL_TEST_SERVICES").is_none(), "KAFKA_BROKERS must be set for this test");
            eprintln!("skipped: KAFKA_BROKERS not set");
            return None;
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        Some(Cluster { brokers, prefix: format!("{test}-{}-{}", std::process::id(), now.as_millis()) })
    }

    fn settings(&self) -> Settings {
        let properties = Vec::new();
        Settings { brokers: self.brokers.clone(), properties, create_topics: true, transactional_id: None }
    }

    fn sink(&self) -> KafkaSink {
        KafkaSink::open(self.settings()).expect("valid settings")
    }

    fn transactional(&self) -> KafkaSink {
        let sink = KafkaSink::open(Settings { transactional_id: Some(self.prefix.clone()), ..self.settings() });
        let sink = sink.expect("valid settings");
        let deadline = Instant::now() + SOON;
        while let Err(error) = sink.init(SOON) {
            assert!(matches!(error, PublishError::Wait(_)) && Instant::now() < deadline, "{error:?}");
        }
        sink
    }

    fn topic(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn target(&self, name: &str) -> Arc<TargetSpec> {
        target("kafka", &self.topic(name), None, &[], &[])
    }

    fn create(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = self.topic(name);
        let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        answer("the topic is created", || {
            let created = runtime.block_on(admin.create_topics([&new], &AdminOptions::new()))?;
            match created[0] {
                // A first answer may have come too late.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
                Err((_, code)) => Err(KafkaError::AdminOp(code)),
            }
        });
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", group).set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed").set("auto.offset.reset", "earliest");
        config.set("enable.partition.eof", "true").set("session.timeout.ms", "6000");
        config.create().expect("a consumer")
    }

    /// Everything that a reader of committed records sees in a topic, partition by partition.
    fn read(&self, name: &str) -> Vec<Read> {
        let topic = self.topic(name);
        let consumer = self.consumer("reader");
        let count = answer("the topic is known", || {
            let metadata = consumer.fetch_metadata(Some(&topic), SOON)?;
            let known = &metadata.topics()[0];
            known.error().map_or(Ok(known.partitions().len()), |code| Err(KafkaError::MetadataFetch(code.into())))
        });
        let mut assigned = TopicPartitionList::new();
        for partition in 0..count {
            assigned.add_partition_offset(&topic, partition as i32, Offset::Beginning).expect("a valid offset");
        }
        consumer.assign(&assigned).expect("assigned");
        let (mut records, mut ended) = (Vec::new(), 0);
        let deadline = Instant::now() + SOON;
        while ended < count {
            assert!(Instant::now() < deadline, "{topic} has no end");
            match consumer.poll(SOON).expect("records or the end") {
                Ok(message) => records.push(read(&message)),
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => assert!(is_passing(&error), "{error}"),
            }
        }
        records.sort_by_key(|record| record.partition);
        records
    }

    /// The same once there are so many, or after a while: the markers of a transaction follow its end.
    fn read_all(&self, name: &str, count: usize) -> Vec<Read> {
        let deadline = Instant::now() + SOON;
        loop {
            let records = self.read(name);
            if records.len() >= count || Instant::now() > deadline {
                return records;
            }
        }
    }
}

/// What a cluster answers once its leaders and coordinators have settled.
fn answer<T>(what: &str, mut ask: impl FnMut() -> KafkaResult<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match ask() {
            Ok(found) => return found,
            Err(error) => assert!(is_passing(&error) && Instant::now() < deadline, "{what}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, RequestTimedOut};
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition};
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    let code = match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    };
    let of_brokers = [AllBrokersDown, BrokerTransportFailure, OperationTimedOut, RequestTimedOut];
    let of_coordinators = [CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator];
    let of_leaders = [LeaderNotAvailable, NotLeaderForPartition];
    let of_topics = [UnknownPartition, UnknownTopic, UnknownTopicOrPartition];
    let all = [&of_brokers[..], &of_coordinators, &of_leaders, &of_topics].concat();
    code.is_some_and(|code| all.contains(&code))
}

fn read(message: &rdkafka::message::BorrowedMessage<'_>) -> Read {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let headers = message.headers().map_or(Vec::new(), |headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(text))).collect()
    });
    Read {
        partition: message.partition(),
        key: message.key().map(text),
        value: message.payload().map(<[u8]>::to_vec),
        timestamp: message.timestamp().to_millis(),
        headers,
    }
}

fn publish(batch: &SinkBatch) -> Publish<'_> {
    Publish { batch, dead_letters: &[], commit: None }
}

fn dead(topic: &str, value: &[u8]) -> (String, DeadLetter) {
    let letter = DeadLetter {
        id: "flow/id/0/7".into(),
        flow: "flow".into(),
        topic: "t".into(),
        partition: 0,
        offset: 7,
        timestamp: 1_700_000_000_000,
        stage: "transform".into(),
        code: Code::DECODE,
        message: "expected value".into(),
        module: "quotes".into(),
        sink: String::new(),
        target: String::new(),
        redriven: 0,
        key: Some(Bytes::from_static(b"k")),
        value: Some(Bytes::copy_from_slice(value)),
        headers: headers(&[("original", Some("1")), ("wasmill-code", Some("old"))]),
    };
    (topic.to_owned(), letter)
}

fn headers(headers: &[(&str, Option<&str>)]) -> Headers {
    let mut encoded = Vec::new();
    headers.iter().for_each(|(name, value)| put_header(&mut encoded, name, value.map(str::as_bytes)));
    Headers { count: headers.len() as u32, encoded: encoded.into() }
}
