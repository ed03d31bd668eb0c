//! The newest records of a topic, or all of them, for somebody who wants to look: no group is joined and nothing is committed, so it can be
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
    let from = |low: i64, high: i64| low.max(high - count as i64);
    let (consumer, open) = open(kafka, topic, from)?.ok_or_else(|| format!("there is no topic {topic}"))?;
    let mut found = Vec::new();
    collect(&consumer, topic, open, |slice| found.push(slice))?;
    found.sort_by_key(|slice| (slice.timestamp(0), slice.partition, slice.offset(0)));
    found.drain(..found.len().saturating_sub(count));
    Ok(found)
}

/// Hands out every record that the topic holds now, each in a slice of its own, in order within each partition; none where
/// there is no such topic.
pub fn all(kafka: &Kafka, topic: &str, take: impl FnMut(Slice)) -> Result<(), String> {
    match open(kafka, topic, |low, _| low)? {
        Some((consumer, open)) => collect(&consumer, topic, open, take),
        None => Ok(()),
    }
}

/// The ends of partitions in which there is something to read.
type Ends = BTreeMap<i32, i64>;

/// A consumer of all partitions, each from where `from` says by its ends; `None` where there is no such topic.
fn open(kafka: &Kafka, topic: &str, from: impl Fn(i64, i64) -> i64) -> Result<Option<(BaseConsumer, Ends)>, String> {
    let mut settings = properties::consumer(kafka);
    // The client wants a name; without a subscription or a commit the brokers never hear of it.
    settings.set("group.id", "wasmill.try").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = settings.create().map_err(|cause| format!("cannot make a Kafka client: {cause}"))?;
    let partitions = topics::partition_counts(&consumer, &[topic.to_owned()])
        .map_err(|words| format!("{words}; check that Kafka is up at {}", kafka.brokers))?;
    let Some(partitions) = partitions.get(topic).copied() else { return Ok(None) };
    let mut open = Ends::new();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, PATIENCE)
            .map_err(|cause| format!("could not read the ends of {topic}/{partition}: {cause}"))?;
        if low < high {
            list.add_partition_offset(topic, partition, Offset::Offset(from(low, high)))
                .map_err(|cause| format!("could not choose {topic}/{partition}: {cause}"))?;
            open.insert(partition, high);
        }
    }
    consumer.assign(&list).map_err(|cause| format!("could not read {topic}: {cause}"))?;
    Ok(Some((consumer, open)))
}

/// Reads each partition up to the end that it had; `open` holds those ends.
fn collect(consumer: &BaseConsumer, topic: &str, mut open: Ends, mut take: impl FnMut(Slice)) -> Result<(), String> {
    let name: Arc<str> = topic.into();
    let mut heard = Instant::now();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let (partition, next) = (message.partition(), message.offset() + 1);
                let Some(end) = open.get(&partition).copied() else { continue };
                if next <= end {
                    take(slice(&name, &message));
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
    Ok(())
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
