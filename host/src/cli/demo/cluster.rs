//! The mock cluster of librdkafka with a producer. Good for showing and testing only: it keeps 5 MiB or 100,000
//! records per partition and its transactions are a façade.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::Failure;
use crate::source::ffi;

pub(super) const PARTITIONS: i32 = 3;

pub(super) struct Cluster {
    producer: BaseProducer,
    brokers: String,
}

impl Cluster {
    pub(super) fn start(topics: &[&str]) -> Result<Self, Failure> {
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

    pub(super) fn brokers(&self) -> String {
        self.brokers.clone()
    }

    /// Queues a record; `false` where the queue is full.
    pub(super) fn send(&self, topic: &str, partition: i32, key: Option<&str>, value: &str) -> bool {
        let mut record = BaseRecord::<str, str>::to(topic).partition(partition).payload(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        self.producer.send(record).is_ok()
    }

    /// Lets deliveries be noticed.
    pub(super) fn poll(&self) {
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
