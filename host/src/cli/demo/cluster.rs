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
