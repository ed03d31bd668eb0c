//! Kafka while it is being killed: everything here may fail and says so, unlike the helpers for ordinary tests.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};

use crate::services::block_on;

/// Patience with one question.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Patience with a whole topic.
const READING: Duration = Duration::from_secs(300);

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Only what is committed; the end is that of the last transaction which is over.
    Committed,
    /// Everything, also of transactions that were aborted or are open.
    Uncommitted,
}

/// A connection for questions about offsets.
pub struct Asker(BaseConsumer);

impl Asker {
    /// For the offsets of this group, and for ends as seen with this isolation.
    pub fn new(brokers: &str, group: &str, isolation: Isolation) -> anyhow::Result<Self> {
        Ok(Asker(config(brokers, isolation).set("group.id", group).create()?))
    }

    /// What the group has committed, by partition.
    pub fn committed(&self, topic: &str, partitions: i32) -> anyhow::Result<Vec<Option<i64>>> {
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition(topic, partition);
        }
        let offsets = self.0.committed_offsets(all, TIMEOUT)?;
        let known = |offset: Offset| offset.to_raw().filter(|offset| *offset >= 0);
        let of = |partition| offsets.elements().iter().find(|e| e.partition() == partition).map(|e| e.offset());
        Ok((0..partitions).map(|partition| of(partition).and_then(known)).collect())
    }

    /// The end of each partition; nothing where there is no such topic.
    pub fn ends(&self, topic: &str) -> anyhow::Result<Vec<i64>> {
        let metadata = self.0.fetch_metadata(Some(topic), TIMEOUT)?;
        let count = metadata.topics().first().map_or(0, |t| t.partitions().len()) as i32;
        (0..count).map(|partition| Ok(self.0.fetch_watermarks(topic, partition, TIMEOUT)?.1)).collect()
    }
}

/// Creates a topic, after which every partition has a leader.
pub fn create_topic(brokers: &str, topic: &str, partitions: i32) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(brokers, Isolation::Committed).create()?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let created = block_on(admin.create_topics([&new], &AdminOptions::new().operation_timeout(Some(READING))))?;
    created
        .into_iter()
        .try_for_each(|result| result.map(drop).map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}")))?;
    let asker = Asker::new(brokers, "wasmill-chaos", Isolation::Committed)?;
    let end = Instant::now() + READING;
    while asker.ends(topic).map_or(0, |ends| ends.len()) as i32 != partitions {
        if Instant::now() > end {
            bail!("topic {topic} got no leaders");
        }
    }
    Ok(())
}

/// Every record of a topic, each partition in order; nothing where there is no such topic.
pub fn each(
    brokers: &str,
    topic: &str,
    isolation: Isolation,
    mut take: impl FnMut(&BorrowedMessage<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let partitions = Asker::new(brokers, "wasmill-chaos", isolation)?.ends(topic)?.len();
    let consumer: BaseConsumer = config(brokers, isolation).create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions as i32 {
        all.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let (mut done, end) = (BTreeSet::new(), Instant::now() + READING);
    while done.len() < partitions {
        if Instant::now() > end {
            bail!("{topic} could not be read to its end in {READING:?}: {done:?} of {partitions} partitions are done");
        }
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => take(&message).with_context(|| place(&message))?,
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = done.insert(partition),
            Some(Err(_)) | None => {}
        }
    }
    Ok(())
}

fn place(message: &BorrowedMessage<'_>) -> String {
    use rdkafka::Message;
    format!("{}/{}/{}", message.topic(), message.partition(), message.offset())
}

fn config(brokers: &str, isolation: Isolation) -> ClientConfig {
    let mut config = ClientConfig::new();
    let level = if isolation == Isolation::Committed { "read_committed" } else { "read_uncommitted" };
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "wasmill-chaos")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("reconnect.backoff.max.ms", "500")
        .set("isolation.level", level)
        // The client's complaints about a broker that was killed are no news here.
        .set("log_level", "0");
    config
}
