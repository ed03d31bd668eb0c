//! The newest records of a topic and, if wanted, those that follow, as they come.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{Cluster, Topic, properties};

/// Longest wait for a record that is there.
const SILENCE: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(100);

/// A record as it lies in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970, where there is one.
    pub timestamp: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A topic that is being read at its end.
pub struct Tail {
    topic: String,
    consumer: BaseConsumer,
    /// The ends that are yet to be reached, by partition.
    open: BTreeMap<i32, i64>,
}

impl Cluster {
    /// Begins `count` records before the end of each partition.
    pub fn tail(&self, topic: &Topic, count: i64) -> Result<Tail, String> {
        let failed = |cause: KafkaError| format!("could not read {}: {cause}", topic.name);
        let mut settings = properties::consumer(&self.kafka);
        // Transactions that are aborted are not seen, but the client tells that they were passed.
        settings.set("group.id", "wasmill.topics").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = settings.create().map_err(failed)?;
        let mut open = BTreeMap::new();
        let mut list = TopicPartitionList::new();
        for partition in &topic.partitions {
            let (low, high) = self.ends(&topic.name, partition.number)?;
            let from = low.max(high - count);
            list.add_partition_offset(&topic.name, partition.number, Offset::Offset(from)).map_err(failed)?;
            if from < high {
                open.insert(partition.number, high);
            }
        }
        consumer.assign(&list).map_err(failed)?;
        Ok(Tail { topic: topic.name.clone(), consumer, open })
    }
}

impl Tail {
    /// At most `count` records, the newest by timestamp, oldest first, and whatever came meanwhile.
    pub fn newest(&mut self, count: usize) -> Result<Vec<Found>, String> {
        let mut found = Vec::new();
        let mut later = Vec::new();
        let mut heard = Instant::now();
        while !self.open.is_empty() {
            match self.poll(TICK) {
                Ok(Some(record)) => {
                    heard = Instant::now();
                    let Some(end) = self.open.get(&record.partition).copied() else {
                        later.push(record);
                        continue;
                    };
                    if record.offset + 1 >= end {
                        self.open.remove(&record.partition);
                    }
                    if record.offset < end { &mut found } else { &mut later }.push(record);
                }
                Ok(None) if heard.elapsed() < SILENCE => {}
                Ok(None) => return Err(format!("nothing came of {} for {} s", self.topic, SILENCE.as_secs())),
                Err(cause) if heard.elapsed() > SILENCE => return Err(self.explain(&cause)),
                Err(_) => {}
            }
        }
        found.sort_by_key(|record: &Found| (record.timestamp, record.partition, record.offset));
        found.drain(..found.len().saturating_sub(count));
        found.extend(later);
        Ok(found)
    }

    /// The next record, if one comes in time.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Found>, String> {
        match self.poll(patience) {
            // Brokers that come and go are the client's business.
            Err(cause) if cause.rdkafka_error_code().is_some_and(is_passing) => Ok(None),
            other => other.map_err(|cause| self.explain(&cause)),
        }
    }

    fn poll(&mut self, patience: Duration) -> Result<Option<Found>, KafkaError> {
        match self.consumer.poll(patience) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(found(&message))),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.open.remove(&partition);
                Ok(None)
            }
            Some(Err(cause)) => Err(cause),
        }
    }

    fn explain(&self, cause: &KafkaError) -> String {
        format!("could not read {}: {cause}", self.topic)
    }
}

fn is_passing(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, NotLeaderForPartition};
    [AllBrokersDown, BrokerTransportFailure, NotLeaderForPartition].contains(&code)
}

fn found(message: &rdkafka::message::BorrowedMessage<'_>) -> Found {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let headers = message.headers().map(|headers| headers.iter().map(|h| (h.key.to_owned(), owned(h.value))).collect());
    Found {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: owned(message.key()),
        value: owned(message.payload()),
        headers: headers.unwrap_or_default(),
    }
}
