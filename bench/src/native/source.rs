//! Reading in batches: as many records as the client has, at most 10,000 or 4 MiB.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use wasmill_tests::services::brokers;

use super::quote::Quote;

const RECORDS: usize = 10_000;
const BYTES: usize = 4 << 20;

pub(crate) struct Source {
    pub(crate) consumer: BaseConsumer<Said>,
    topic: String,
}

/// Says when partitions are there, for whoever takes the time.
pub(crate) struct Said;

impl ClientContext for Said {}

impl ConsumerContext for Said {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            eprintln!("reading");
        }
    }
}

/// Records of one batch, in one buffer.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Partition, offset, whether it has a key, where the value ends.
    records: Vec<(i32, i64, bool, usize)>,
    next: BTreeMap<i32, i64>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
        self.next.clear();
    }

    pub(crate) fn value(&self, record: usize) -> &[u8] {
        let from = record.checked_sub(1).map_or(0, |before| self.records[before].3);
        &self.bytes[from..self.records[record].3]
    }

    pub(crate) fn place(&self, record: usize) -> (i32, i64) {
        (self.records[record].0, self.records[record].1)
    }

    /// The next offset by partition.
    pub(crate) fn next(&self) -> impl Iterator<Item = (i32, i64)> {
        self.next.iter().map(|(partition, offset)| (*partition, *offset))
    }
}

/// The records without a key that are quotes.
pub(crate) fn quotes(batch: &Batch) -> impl Iterator<Item = (usize, Quote<'_>)> {
    let plain = (0..batch.records.len()).filter(|record| !batch.records[*record].2);
    plain.filter_map(|record| Some((record, serde_json::from_slice(batch.value(record)).ok()?)))
}

impl Source {
    pub(crate) fn open(topic: &str, group: &str) -> Result<Self> {
        let consumer: BaseConsumer<Said> = ClientConfig::new()
            .set("bootstrap.servers", brokers())
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.min.messages", "200000")
            .set("queued.max.messages.kbytes", "65536")
            .create_with_context(Said)?;
        consumer.subscribe(&[topic])?;
        Ok(Source { consumer, topic: topic.into() })
    }

    pub(crate) fn fill(&self, batch: &mut Batch, patience: Duration) -> Result<()> {
        while batch.records.len() < RECORDS && batch.bytes.len() < BYTES {
            let Some(message) = self.consumer.poll(patience) else { return Ok(()) };
            let message = message?;
            batch.bytes.extend_from_slice(message.payload().unwrap_or_default());
            let (partition, offset) = (message.partition(), message.offset());
            batch.records.push((partition, offset, message.key().is_some(), batch.bytes.len()));
            batch.next.insert(partition, offset + 1);
        }
        Ok(())
    }

    pub(crate) fn offsets(&self, batch: &Batch) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, next) in batch.next() {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(next))?;
        }
        Ok(list)
    }

    pub(crate) fn commit(&self, offsets: &TopicPartitionList) -> Result<()> {
        Ok(self.consumer.commit(offsets, CommitMode::Sync)?)
    }

    pub(crate) fn commit_later(&self, offsets: &TopicPartitionList) -> Result<()> {
        Ok(self.consumer.commit(offsets, CommitMode::Async)?)
    }
}
