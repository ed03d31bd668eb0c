//! The newest records of a topic, for somebody who wants to look: no group is joined and nothing is committed, so it can be
//! done beside any flow at any time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, Timestamp, TopicPartitionList};

use super::topics;
use crate::config::{Kafka, properties};
use crate::record::{Slice, SliceBuilder};

/// Time for one question to the cluster.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for the next record or the end of a partition.
const SILENCE: Duration = Duration::from_secs(15);

/// At most `count` records, the newest by timestamp, oldest first; each in a slice of its own.
pub fn newest(kafka: &Kafka, topic: &str, count: usize) -> Result<Vec<Slice>, String> {
    let mut settings = properties::consumer(kafka);
    // The client wants a name; without a subscription or a commit the brokers never hear of it.
    settings.set("group.id", "wasmill.try").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = settings.create().map_err(|cause| format!("cannot make a Kafka client: {cause}"))?;
    let partitions = topics::partition_counts(&consumer, &[topic.to_owned()])
        .map_err(|words| format!("{words}; check that Kafka is up at {}", kafka.brokers))?;
    let partitions = partitions.get(topic).copied().ok_or_else(|| format!("there is no topic {topic}"))?;
    let mut open = BTreeMap::new();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, PATIENCE)
            .map_err(|cause| format!("could not read the ends of {topic}/{partition}: {cause}"))?;
        if low < high {
            let from = low.max(high - count as i64);
            list.add_partition_offset(topic, partition, Offset::Offset(from))
                .map_err(|cause| format!("could not choose {topic}/{partition}: {cause}"))?;
            open.insert(partition, high);
        }
    }
    consumer.assign(&list).map_err(|cause| format!("could not read {topic}: {cause}"))?;
    let mut found = collect(&consumer, topic, open)?;
    found.sort_by_key(|slice| (slice.timestamp(0), slice.partition, slice.offset(0)));
    found.drain(..found.len().saturating_sub(count));
    Ok(found)
}

/// Reads each partition up to the end that it had; `open` holds those ends.
fn collect(consumer: &BaseConsumer, topic: &str, mut open: BTreeMap<i32, i64>) -> Result<Vec<Slice>, String> {
    let name: Arc<str> = topic.into();
    let mut found = Vec::new();
    let mut heard = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let (partition, next) = (message.partition(), message.offset() + 1);
                let Some(end) = open.get(&partition).copied() else { continue };
                if next <= end {
                    found.push(slice(&name, &message));
                }
                if next >= end {
                    open.remove(&partition);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(cause)) if heard.elapsed() > SILENCE => return Err(format!("could not read {topic}: {cause}")),
            None if heard.elapsed() > SILENCE => {
                return Err(format!("nothing came of {topic} for {} s", SILENCE.as_secs()));
            }
            Some(Err(_)) | None => {}
        }
    }
    Ok(found)
}

fn slice(topic: &Arc<str>, message: &BorrowedMessage<'_>) -> Slice {
    let timestamp = match message.timestamp() {
        Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => millis,
        Timestamp::NotAvailable => -1,
    };
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter()).map(|h| (h.key, h.value));
    let mut slice = SliceBuilder::new(topic.clone(), message.partition());
    slice.push(message.offset(), timestamp, message.key(), message.payload(), headers);
    slice.build()
}
