//! Against a real cluster: `KAFKA_BROKERS`. Each test has a topic of its own, with one partition.

use std::io::Write as _;
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::*;

/// Longest wait for a record that is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// `None`, said aloud, where no cluster is given; a failure where one is required.
fn brokers() -> Option<String> {
    let brokers = std::env::var("KAFKA_BROKERS").ok();
    if brokers.is_none() {
        assert!(std::env::var_os("WASMILL_TEST_SERVICES").is_none(), "KAFKA_BROKERS must be set for this test");
        eprintln!("skipped: KAFKA_BROKERS not set");
    }
    brokers
}

/// Feeds a file that holds `input` into a new topic.
fn feed(brokers: &str, test: &str, input: &str) -> (Result<(), Failure>, String) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let topic = format!("feed-{test}-{}-{}", std::process::id(), now.as_nanos());
    let kafka = Kafka { brokers: brokers.into(), ..Kafka::default() };
    let sink = KafkaSink::open(Settings {
        brokers: brokers.into(),
        properties: Vec::new(),
        create_topics: true,
        transactional_id: None,
    });
    sink.expect("valid settings").ensure_topics(&[(topic.clone(), 1)]).expect("the cluster answers");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(input.as_bytes()).expect("written");
    let args = FileArgs { file: file.path().into(), topic: topic.clone(), key: None, brokers: Some(kafka.brokers) };
    (feed_file(&args, None), topic)
}

/// Keys and values of a topic's only partition.
fn records(brokers: &str, topic: &str) -> Vec<(Option<Vec<u8>>, String)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "feed-test");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let (_, end) = consumer.fetch_watermarks(topic, 0, PATIENCE).expect("the topic exists");
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).expect("a valid offset");
    consumer.assign(&partitions).expect("assigned");
    (0..end)
        .map(|_| {
            let message = consumer.poll(PATIENCE).expect("there are more").expect("a record");
            let value = message.payload().expect("not NULL").to_vec();
            (message.key().map(<[u8]>::to_vec), String::from_utf8(value).expect("UTF-8"))
        })
        .collect()
}

#[test]
fn each_line_is_a_record_in_order_without_a_key() {
    let Some(brokers) = brokers() else { return };
    let (fed, topic) = feed(&brokers, "lines", "{\"a\":1}\n\nnot json\r\n ü \nlast");
    fed.expect("all is delivered");
    let records = records(&brokers, &topic);
    let values: Vec<&str> = records.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["{\"a\":1}", "not json", " ü ", "last"]);
    assert!(records.iter().all(|(key, _)| key.is_none()));
}

#[test]
fn a_line_that_is_too_large_is_named_and_what_came_before_is_delivered() {
    let Some(brokers) = brokers() else { return };
    let input = format!("one\n\ntwo\n{}\nfour\n", "x".repeat(1_100_000));
    let (fed, topic) = feed(&brokers, "large", &input);
    let failure = fed.expect_err("the fourth line is too large");
    assert!(failure.message.contains("line 4 "), "{}", failure.message);
    assert_eq!(records(&brokers, &topic).len(), 2);
}

#[test]
fn more_lines_than_the_queue_holds_all_arrive_in_order() {
    let Some(brokers) = brokers() else { return };
    let input: String = (0..150_000).map(|i| format!("{i}\n")).collect();
    let (fed, topic) = feed(&brokers, "many", &input);
    fed.expect("all is delivered");
    let records = records(&brokers, &topic);
    assert_eq!(records.len(), 150_000);
    assert!(records.iter().enumerate().all(|(i, (_, value))| *value == i.to_string()));
}

#[test]
fn an_unreachable_broker_is_an_environment_failure_within_seconds() {
    let begun = Instant::now();
    let kafka = Kafka { brokers: "127.0.0.1:1".into(), ..Kafka::default() };
    let failure = ensure_topic(&kafka, "t").expect_err("nobody is there");
    assert_eq!(failure.code, 3);
    assert!(failure.message.contains("127.0.0.1:1"), "{}", failure.message);
    assert!(begun.elapsed() < 2 * PATIENCE);
}

#[test]
fn a_missing_file_is_named() {
    let failure = open(Path::new("/nowhere/at all")).map(drop).expect_err("there is none");
    assert_eq!(failure.code, 1);
    assert!(failure.message.contains("/nowhere/at all"), "{}", failure.message);
}
