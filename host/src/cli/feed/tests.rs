//! Against a real cluster: `KAFKA_BROKERS`. Each test has a topic of its own.

use std::io::Cursor;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::*;

/// `None`, said aloud, where no cluster is given; a failure where one is required.
fn kafka() -> Option<Kafka> {
    let Ok(brokers) = std::env::var("KAFKA_BROKERS") else {
        assert!(std::env::var_os("WASMILL_TEST_SERVICES").is_none(), "KAFKA_BROKERS must be set for this test");
        eprintln!("skipped: KAFKA_BROKERS not set");
        return None;
    };
    Some(Kafka { brokers, ..Kafka::default() })
}

fn topic(test: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    format!("feed-{test}-{}-{}", std::process::id(), now.as_nanos())
}

/// Keys and values of the topic's only partition.
fn records(kafka: &Kafka, topic: &str) -> Vec<(Option<String>, String)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.brokers).set("group.id", "feed-test");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let (_, end) = consumer.fetch_watermarks(topic, 0, PATIENCE).expect("the topic exists");
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).expect("a valid offset");
    consumer.assign(&partitions).expect("assigned");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (0..end)
        .map(|_| {
            let message = consumer.poll(PATIENCE).expect("there are more").expect("a record");
            (message.key().map(text), message.payload().map(text).expect("not NULL"))
        })
        .collect()
}

fn fill(
    test: &str,
    input: &str,
    key: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Option<(Vec<(Option<String>, String)>, u64)> {
    let kafka = kafka()?;
    let topic = topic(test);
    let feed = Feed::open(&kafka, &topic).expect("the cluster answers");
    let count = feed.fill(Cursor::new(input.to_owned()), key).expect("all is delivered");
    Some((records(&kafka, &topic), count))
}

#[test]
fn each_line_is_a_record_in_order_without_a_key() {
    let Some((records, count)) = fill("lines", "{\"a\":1}\n\nnot json\r\n ü \nlast", |_| None) else { return };
    let values: Vec<&str> = records.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["{\"a\":1}", "not json", " ü ", "last"]);
    assert!(records.iter().all(|(key, _)| key.is_none()));
    assert_eq!(count, 4);
}

#[test]
fn a_field_of_the_line_is_its_key() {
    let lines = "{\"id\":\"a\\u0062\"}\n{\"id\":7}\n{\"x\":1}\nno\n";
    let Some((records, _)) = fill("keys", lines, |line| field_of(line, "id")) else { return };
    let keys: Vec<Option<&str>> = records.iter().map(|(key, _)| key.as_deref()).collect();
    assert_eq!(keys, [Some("ab"), Some("7"), None, None]);
}

#[test]
fn a_line_that_is_too_large_is_named_and_what_came_before_is_delivered() {
    let Some(kafka) = kafka() else { return };
    let topic = topic("large");
    let feed = Feed::open(&kafka, &topic).expect("the cluster answers");
    let input = format!("one\ntwo\n{}\nfour\n", "x".repeat(feed.max_bytes + 1));
    let failure = feed.fill(Cursor::new(input), |_| None).expect_err("the third line is too large");
    assert!(failure.message.starts_with("line 3 is larger"), "{}", failure.message);
    assert!(failure.message.contains("2 records before it"), "{}", failure.message);
    assert_eq!(records(&kafka, &topic).len(), 2);
}

#[test]
fn more_lines_than_the_queue_holds_all_arrive() {
    let input: String = (0..150_000).map(|i| format!("{i}\n")).collect();
    let Some((records, count)) = fill("many", &input, |_| None) else { return };
    assert_eq!((count, records.len()), (150_000, 150_000));
    assert!(records.iter().enumerate().all(|(i, (_, value))| *value == i.to_string()));
}

#[test]
fn an_unreachable_broker_is_an_environment_failure_within_seconds() {
    let kafka = Kafka { brokers: "127.0.0.1:1".into(), ..Kafka::default() };
    let begun = Instant::now();
    let failure = Feed::open(&kafka, "t").map(drop).expect_err("nobody is there");
    assert_eq!(failure.code, 3);
    assert!(failure.message.contains("127.0.0.1:1"), "{}", failure.message);
    assert!(begun.elapsed() < PATIENCE * 2);
}

#[test]
fn a_missing_file_is_named() {
    let failure = open(Path::new("/nowhere/at all")).map(drop).expect_err("there is none");
    assert_eq!(failure.code, 1);
    assert!(failure.message.contains("/nowhere/at all"), "{}", failure.message);
}
