//! The mock cluster of librdkafka with a producer. Good for showing and testing only: it keeps 5 MiB or 100,000
//! records per partition and its transactions are a façade.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::Failure;
use crate::samples::read::Sample;
use crate::source::ffi;

pub(in crate::cli) const PARTITIONS: i32 = 3;

pub(in crate::cli) struct Cluster {
    producer: BaseProducer,
    brokers: String,
}

impl Cluster {
    pub(in crate::cli) fn start(topics: &[&str]) -> Result<Self, Failure> {
        let failed = |error: KafkaError| Failure::environment(format!("cannot start an in-process Kafka: {error}"));
        let producer: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "100000")
            .create()
            .map_err(failed)?;
        let brokers = {
            let mock = producer.client().mock_cluster();
            let mock = mock.ok_or_else(|| Failure::environment("cannot start an in-process Kafka"))?;
            for topic in topics {
                mock.create_topic(topic, PARTITIONS, 1).map_err(failed)?;
            }
            mock.bootstrap_servers()
        };
        // A group would otherwise wait 3 s for further members.
        ffi::mock_rebalance_delay(producer.client(), Duration::ZERO);
        Ok(Cluster { producer, brokers })
    }

    pub(in crate::cli) fn brokers(&self) -> String {
        self.brokers.clone()
    }

    /// Queues a record; `false` where the queue is full.
    pub(in crate::cli) fn send(&self, topic: &str, partition: i32, key: Option<&str>, value: &str) -> bool {
        let mut record = BaseRecord::<str, str>::to(topic).partition(partition).payload(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        self.producer.send(record).is_ok()
    }

    /// Makes one more topic.
    pub(in crate::cli) fn create_topic(&self, topic: &str) -> Result<(), Failure> {
        let made = self.producer.client().mock_cluster().map(|mock| mock.create_topic(topic, PARTITIONS, 1));
        let failed = |words: String| Failure::environment(format!("cannot make the topic {topic}: {words}"));
        made.ok_or_else(|| failed("no in-process Kafka".into()))?.map_err(|error| failed(error.to_string()))
    }

    /// Queues a sample; `false` where it cannot be taken.
    pub(in crate::cli) fn send_sample(&self, topic: &str, sample: &Sample) -> bool {
        let headers = sample
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }));
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(sample.partition.rem_euclid(PARTITIONS));
        (record.key, record.payload) = (sample.key.as_deref(), sample.value.as_deref());
        record = record.headers(headers);
        if sample.timestamp >= 0 {
            record = record.timestamp(sample.timestamp);
        }
        self.producer.send(record).is_ok()
    }

    /// Lets deliveries be noticed.
    pub(in crate::cli) fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rdkafka::Message as _;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};

    use super::*;

    #[test]
    fn a_group_reads_what_was_sent_and_learns_the_topics_id() {
        let cluster = Cluster::start(&["t", "t.dlq"]).unwrap_or_else(|failure| panic!("{}", failure.message));
        for n in 0..30 {
            assert!(cluster.send("t", n % PARTITIONS, (n % 2 == 0).then_some("k"), &format!("value {n}")));
        }
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", cluster.brokers())
            .set("group.id", "g")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .create()
            .unwrap();
        consumer.subscribe(&["t"]).unwrap();
        let begun = Instant::now();
        let mut values = std::collections::BTreeSet::new();
        while values.len() < 30 && begun.elapsed() < Duration::from_secs(60) {
            cluster.poll();
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                values.insert(message.payload().map(<[u8]>::to_vec));
            }
        }
        assert_eq!(values.len(), 30);
        let id = ffi::topic_id(consumer.client(), "t", Duration::from_secs(30));
        assert!(matches!(&id, Ok(Some(id)) if !id.is_empty()), "{id:?}");
    }
}
