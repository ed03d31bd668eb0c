//! `[kafka.properties]`: which librdkafka properties users may set, and the settings that every client of the host
//! gets. What delivery depends on is refused by name with the reason; nothing is connected to here.

mod known;

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::{Kafka, Scalar};

/// A property that cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub message: String,
    pub help: String,
}

/// Properties that users may not set: name, why, and what to do instead.
const REFUSED: &[(&str, &str, &str)] = &[
    ("enable.auto.commit", COMMIT, "remove it"),
    ("auto.commit.enable", COMMIT, "remove it"),
    ("enable.auto.offset.store", COMMIT, "remove it"),
    (
        "auto.offset.reset",
        "a silent reset would skip or repeat records; an offset out of range stops the partition instead",
        "set `start` in [flow.NAME]",
    ),
    (
        "isolation.level",
        "records of aborted transactions must not be processed",
        "remove it; records are read with read_committed",
    ),
    ("group.id", "each flow has its own consumer group", "set `group` in [flow.NAME]; the default is `wasmill.NAME`"),
    ("group.protocol", "offsets in transactions need the classic protocol", "remove it"),
    (
        "partition.assignment.strategy",
        "hosts of one group must agree, and only cooperative-sticky keeps partitions working during a rebalance",
        "remove it",
    ),
    ("transactional.id", "it is made of the flow and the instance", "set `instance` in [host]"),
    ("enable.idempotence", "without it retries double and reorder records", "remove it; it is always on"),
    ("acks", ACKS, "remove it; it is always `all`"),
    ("request.required.acks", ACKS, "remove it; it is always `all`"),
    ("bootstrap.servers", "the brokers have a key of their own", "set `brokers` in [kafka]"),
    ("metadata.broker.list", "the brokers have a key of their own", "set `brokers` in [kafka]"),
    ("check.crcs", "corrupt records must be noticed", "remove it; checksums are always checked"),
];

const COMMIT: &str = "offsets are committed only after all sinks have written";
const ACKS: &str = "a record that only one broker has can be lost";

/// Settings of every consumer that users may change.
const CONSUMER_DEFAULTS: &[(&str, &str)] = &[
    ("session.timeout.ms", "45000"),
    ("max.poll.interval.ms", "300000"),
    // The default of 1 s lets a fast consumer run dry each time its queue was full.
    ("fetch.queue.backoff.ms", "5"),
    ("queued.min.messages", "200000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "8388608"),
];

/// Settings of every consumer that delivery depends on.
const CONSUMER_FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("group.protocol", "classic"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("check.crcs", "true"),
];

/// Settings of every producer that users may change.
const PRODUCER_DEFAULTS: &[(&str, &str)] = &[
    // While a batch is handed over the client gathers records into larger requests; the flush at its end ends the wait.
    ("linger.ms", "5"),
    // Bounds a stage of a batch; cut to less than the transaction's time where that is shorter.
    ("delivery.timeout.ms", "12000"),
    ("transaction.timeout.ms", "15000"),
    // The default of 100 ms is paid by nearly every transaction that follows another at once.
    ("retry.backoff.ms", "5"),
    // Keys land in the partitions where Java clients put them.
    ("partitioner", "murmur2_random"),
];

/// Settings of every producer that delivery depends on.
const PRODUCER_FIXED: &[(&str, &str)] = &[("enable.idempotence", "true"), ("acks", "all")];

/// Settings of every client that users may change.
const CLIENT_DEFAULTS: &[(&str, &str)] =
    &[("client.id", "wasmill"), ("socket.keepalive.enable", "true"), ("reconnect.backoff.max.ms", "2000")];

/// librdkafka's default of `message.max.bytes`.
const MESSAGE_MAX_BYTES: usize = 1_000_000;
/// librdkafka's buffer of a producer is at least this large.
const PRODUCER_QUEUE_KBYTES: usize = 32 * 1024;

/// Checks what a user has set.
pub fn check(properties: &BTreeMap<String, Scalar>) -> Result<(), Vec<Problem>> {
    let problems: Vec<Problem> =
        properties.iter().filter_map(|(key, value)| problem(key, &value.to_string())).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Settings of a flow's consumer; group, instance and queue share are the flow's to add.
pub fn consumer(kafka: &Kafka) -> ClientConfig {
    let user = kafka.properties.iter().map(|(key, value)| (key.as_str(), value.to_string()));
    let user = user.filter(|(key, _)| !known::PRODUCER.contains(key));
    settings(&kafka.brokers, CONSUMER_DEFAULTS, user, CONSUMER_FIXED)
}

/// Settings of a producer; the transactional id is the sink's to add.
pub fn producer(kafka: &Kafka) -> ClientConfig {
    producer_of(&kafka.brokers, kafka.properties.iter().map(|(key, value)| (key.as_str(), value.to_string())))
}

/// As [`producer`], from properties that are texts already.
pub fn producer_of<'a>(brokers: &str, properties: impl Iterator<Item = (&'a str, String)>) -> ClientConfig {
    let user = properties.filter(|(key, _)| !known::CONSUMER.contains(key));
    let mut config = settings(brokers, PRODUCER_DEFAULTS, user, PRODUCER_FIXED);
    if config.get("queue.buffering.max.kbytes").is_none() {
        // A record that does not fit into the queue would wait for room for ever.
        let kbytes = (2 * message_max_bytes(&config) / 1024).max(PRODUCER_QUEUE_KBYTES);
        config.set("queue.buffering.max.kbytes", kbytes.to_string());
    }
    config
}

/// The largest record that a client with these settings sends.
pub fn message_max_bytes(config: &ClientConfig) -> usize {
    config.get("message.max.bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(MESSAGE_MAX_BYTES)
}

fn settings<'a>(
    brokers: &str,
    defaults: &[(&str, &str)],
    user: impl Iterator<Item = (&'a str, String)>,
    fixed: &[(&str, &str)],
) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in CLIENT_DEFAULTS.iter().chain(defaults) {
        config.set(*key, *value);
    }
    for (key, value) in user {
        for other in known::names_of(key) {
            config.remove(other);
        }
        config.set(key, value);
    }
    for (key, value) in fixed {
        for other in known::names_of(key) {
            config.remove(other);
        }
        config.set(*key, *value);
    }
    config.set("bootstrap.servers", brokers);
    config
}

fn problem(key: &str, value: &str) -> Option<Problem> {
    let problem = |message: String, help: String| Some(Problem { key: key.to_owned(), message, help });
    if let Some((_, reason, help)) = REFUSED.iter().find(|(name, ..)| *name == key) {
        return problem(format!("`{key}` cannot be set: {reason}"), (*help).to_owned());
    }
    if key.contains('\0') || value.contains('\0') {
        return problem("a property contains a NUL".into(), "remove it".into());
    }
    let mut config = ClientConfig::new();
    match config.set(key, value).create_native_config() {
        Ok(_) => None,
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            let help = match nearest(key) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "see librdkafka's list of configuration properties".into(),
            };
            problem(format!("librdkafka has no property `{key}`"), help)
        }
        // librdkafka's own words quote the value.
        Err(_) if is_secret(key) => problem(format!("the value of `{key}` is not accepted"), "check it".into()),
        Err(KafkaError::ClientConfig(_, words, ..)) => {
            problem(format!("`{key}` is not accepted: {words}"), "see librdkafka's documentation of it".into())
        }
        Err(error) => problem(format!("`{key}` is not accepted: {error}"), "check it".into()),
    }
}

fn is_secret(key: &str) -> bool {
    ["password", "secret", "passphrase", "pem", "oauthbearer.config"].iter().any(|part| key.contains(part))
}

fn nearest(key: &str) -> Option<&'static str> {
    let names = known::BOTH.iter().chain(known::CONSUMER).chain(known::PRODUCER);
    let scored = names.map(|name| (strsim::jaro_winkler(key, name), *name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(score, _)| *score > 0.85).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rdkafka::consumer::BaseConsumer;
    use rdkafka::producer::BaseProducer;

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, Scalar> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), Scalar::Text((*value).to_owned()))).collect()
    }

    fn kafka(pairs: &[(&str, &str)]) -> Kafka {
        Kafka { properties: properties(pairs), ..Kafka::default() }
    }

    #[test]
    fn what_delivery_depends_on_is_refused_by_name() {
        let all: Vec<(&str, &str)> = REFUSED.iter().map(|(name, ..)| (*name, "1")).collect();
        let problems = check(&properties(&all)).expect_err("all are refused");
        assert_eq!(problems.len(), REFUSED.len());
        assert!(problems.iter().all(|p| p.message.contains(&p.key) && !p.help.is_empty()));
    }

    #[test]
    fn a_typo_gets_the_nearest_name() {
        let problems = check(&properties(&[("session.timout.ms", "1")])).expect_err("unknown");
        assert_eq!(problems[0].help, "did you mean `session.timeout.ms`?");
    }

    #[test]
    fn a_bad_value_is_named_but_a_secret_is_not_shown() {
        let problems = check(&properties(&[("linger.ms", "soon")])).expect_err("not a number");
        assert!(problems[0].message.contains("linger.ms"), "{problems:?}");
        let problems = check(&properties(&[("sasl.password", "geheim\0")])).expect_err("not accepted");
        assert!(!format!("{problems:?}").contains("geheim"));
    }

    #[test]
    fn the_settings_are_accepted_by_both_clients() {
        let kafka = kafka(&[("session.timeout.ms", "6000"), ("queue.buffering.max.ms", "7"), ("debug", "topic")]);
        assert_eq!(check(&kafka.properties), Ok(()));
        let (consumer, producer) = (consumer(&kafka), producer(&kafka));
        assert_eq!(consumer.get("session.timeout.ms"), Some("6000"));
        assert_eq!(consumer.get("queue.buffering.max.ms"), None);
        assert_eq!(producer.get("session.timeout.ms"), None);
        // An alias replaces our default instead of standing beside it.
        assert_eq!((producer.get("queue.buffering.max.ms"), producer.get("linger.ms")), (Some("7"), None));
        let _: BaseConsumer = consumer.clone().set("group.id", "g").create().expect("a consumer");
        let _: BaseProducer = producer.create().expect("a producer");
    }

    #[test]
    fn a_large_record_fits_into_the_producers_queue() {
        let producer = producer(&kafka(&[("message.max.bytes", "100000000")]));
        assert_eq!(producer.get("queue.buffering.max.kbytes"), Some("195312"));
        assert_eq!(message_max_bytes(&producer), 100_000_000);
    }

    #[test]
    fn every_listed_name_is_known_to_the_library() {
        for name in known::BOTH.iter().chain(known::CONSUMER).chain(known::PRODUCER) {
            let set = ClientConfig::new().set(*name, "1").create_native_config();
            let unknown = matches!(set, Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)));
            assert!(!unknown, "{name}");
        }
    }

    proptest! {
        #[test]
        fn fixed_settings_cannot_be_overridden(values in proptest::collection::vec("[a-z0-9]{1,8}", REFUSED.len())) {
            let pairs: Vec<(&str, &str)> = REFUSED.iter().map(|r| r.0).zip(values.iter().map(String::as_str)).collect();
            let kafka = kafka(&pairs);
            for (key, value) in CONSUMER_FIXED {
                let config = consumer(&kafka);
                prop_assert_eq!(config.get(key), Some(*value));
            }
            for (key, value) in PRODUCER_FIXED {
                let config = producer(&kafka);
                prop_assert_eq!(config.get(key), Some(*value));
            }
        }
    }
}
