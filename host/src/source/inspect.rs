//! Words for a person about a partition: why it is not read, what another tool did to the group, who holds records back,
//! each with the command that mends it. Looks at running partitions for the same; moves and commits nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use tracing::warn;

use super::resolve::Resolver;
use super::{Partition, topics};
use crate::commit::begin::{Moved, Obstacle};
use crate::metrics::ByPartition;
use crate::sinks::Lane;

/// Time for one question to the cluster.
const PATIENCE: Duration = Duration::from_secs(5);
/// Partitions of the topic in which groups keep their offsets, unless a cluster was set up otherwise.
const OFFSET_PARTITIONS: i32 = 50;

/// A partition that is being read, to be looked at.
#[derive(Clone, Debug)]
pub struct Asked {
    pub partition: Partition,
    pub epoch: u64,
    /// The topic that is being read.
    pub topic_id: Arc<str>,
    /// The next offset that is expected.
    pub next: i64,
    /// Where the client goes on reading: behind `next` lie markers and aborted records of transactions, which are not
    /// lost when retention deletes them.
    pub seen: i64,
    /// The end of the log, where it lies behind `next`.
    pub high: Option<i64>,
    /// Whether to ask if the log still holds `next`.
    pub ends: bool,
}

impl Asked {
    /// Compares what was read with the ends of the log.
    fn compare(&self, low: i64, end: i64) -> Result<Finding, Obstacle> {
        if self.seen < low {
            return Err(Obstacle::Deleted(self.seen));
        }
        // The end is never behind what was read, unless the log was cut.
        if self.ends && self.next > end {
            return Err(Obstacle::GroupBeyond);
        }
        Ok(match self.high {
            Some(high) if high > end => Finding::Held { end, high },
            _ => Finding::Free,
        })
    }
}

/// What was found out about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It must not be read on.
    Stop(String),
    /// Only what comes before `end` can be read, though the log goes on to `high`.
    Held { end: i64, high: i64 },
    /// Nothing holds its records back.
    Free,
}

/// How a person names this flow to the command line.
#[derive(Clone, Debug)]
pub struct CommandLine {
    pub flow: Arc<str>,
    /// The configuration that the host was started with.
    pub file: Option<PathBuf>,
    pub brokers: String,
}

impl CommandLine {
    /// The command that moves one partition.
    pub fn reset(&self, (topic, number): &Partition, to: &str) -> String {
        let file = self.file.as_ref().map(|file| format!(" -c {}", file.display())).unwrap_or_default();
        format!("wasmill flow reset {} --only {topic}/{number} --to {to}{file}", self.flow)
    }
}

impl Resolver {
    /// Looks at partitions that are being read. What cannot be asked is no finding.
    pub fn inspect(&self, asked: Vec<Asked>) -> Vec<(Partition, u64, Finding)> {
        let mut ids: HashMap<Arc<str>, Option<Arc<str>>> = HashMap::new();
        let mut found = Vec::new();
        for one in asked {
            let topic = one.partition.0.clone();
            let id = ids.entry(topic.clone()).or_insert_with(|| topics::id(&self.consumer, &topic).ok());
            if let Some(id) = id
                && is_other(id, &one.topic_id)
            {
                let words = self.recreated(&one.partition, one.next);
                found.push((one.partition, one.epoch, Finding::Stop(words)));
                continue;
            }
            if let Some(finding) = self.inspect_ends(&one) {
                found.push((one.partition, one.epoch, finding));
            }
        }
        found
    }

    fn inspect_ends(&self, asked: &Asked) -> Option<Finding> {
        if asked.high.is_none() && !asked.ends {
            return Some(Finding::Free);
        }
        let (topic, number) = &asked.partition;
        let (low, end) = self.consumer.fetch_watermarks(topic, *number, PATIENCE).ok()?;
        Some(asked.compare(low, end).unwrap_or_else(|obstacle| {
            Finding::Stop(self.words(obstacle, &asked.partition, asked.next, &[], (low, end)))
        }))
    }

    /// Why a partition is not read, and what to do.
    pub(super) fn words(
        &self,
        obstacle: Obstacle,
        partition: &Partition,
        group: i64,
        stored: &[(&str, &Lane)],
        (low, end): (i64, i64),
    ) -> String {
        let (topic, number) = partition;
        let reset = self.command.reset(partition, "earliest");
        match obstacle {
            Obstacle::Deleted(start) => format!(
                "{topic}/{number} is to be read from offset {start}, but retention has deleted everything below {low}: \
                 {} offsets are lost; to go on with what is left, stop the flow and run: {reset}",
                low - start
            ),
            Obstacle::SinkBeyond(sink) => format!(
                "sink {} has progress {} in {topic}/{number}, but the log ends at {end}: the topic was emptied or restored \
                 under the same id, and new records would be taken for old ones; stop the flow and run: {reset}",
                stored[sink].0, stored[sink].1.next_offset
            ),
            Obstacle::GroupBeyond => format!(
                "the flow is at offset {group} in {topic}/{number}, but the log ends at {end}: the topic was emptied or \
                 restored; stop the flow and run: {reset}"
            ),
        }
    }

    /// The offset belongs to another topic of the same name.
    pub(super) fn recreated(&self, partition: &Partition, offset: i64) -> String {
        let (topic, number) = partition;
        format!(
            "topic {topic} was deleted and created again: offset {offset} of {topic}/{number} belongs to the old one, and \
             records of the new one would be skipped; stop the flow and run: {}",
            self.command.reset(partition, "earliest")
        )
    }

    /// Tells what another tool did to the group.
    pub(super) fn tell_moved(&self, partition: &Partition, group: i64, stored: &[(&str, &Lane)], moved: &[Moved]) {
        let (topic, number) = partition;
        let place = format!("{topic}/{number}");
        let reset = self.command.reset(partition, &format!("offset:{group}"));
        let mut suppressed = 0;
        for moved in moved {
            match *moved {
                Moved::Back { sink, until } => {
                    suppressed = suppressed.max(until - group);
                    warn!(
                        flow = %self.flow, partition = %place, sink = stored[sink].0,
                        "another tool moved the consumer group back to {group}: the sink has everything up to {until}, so \
                         what comes of offsets {group} to {} is not written there again (Kafka outputs of it are); to write it again, stop the \
                         flow and run: {reset}", until - 1
                    );
                }
                Moved::Forward { sink, from } => warn!(
                    flow = %self.flow, partition = %place, sink = stored[sink].0,
                    "another tool moved the consumer group forward to {group}: the sink lacks what comes of offsets {from} \
                     to {}, so that is read all the same and only Kafka outputs of it are skipped; to skip it, stop the \
                     flow and run: {reset}", group - 1
                ),
                Moved::Somewhere => warn!(
                    flow = %self.flow, partition = %place,
                    "another tool moved the consumer group to {group}, where the flow begins: what comes before is skipped \
                     unless it was written earlier, what was written earlier is published again, and documents with an \
                     _id of their own keep what they have; `{reset}` would have them written again"
                ),
            }
        }
        if suppressed > 0 {
            let labels =
                ByPartition { flow: self.flow.to_string(), topic: topic.to_string(), partition: number.to_string() };
            self.metrics.records_suppressed.get_or_create(&labels).inc_by(suppressed.unsigned_abs());
        }
    }

    /// Records of a partition wait behind a transaction that nobody ends.
    pub fn held(&self, (topic, number): &Partition, end: i64, high: i64) -> String {
        let brokers = &self.command.brokers;
        format!(
            "degraded: {topic}/{number} cannot be read beyond offset {end} though its log goes on to {high}: a transaction \
             of another program was begun there and not ended for more than {} s; find it: kafka-transactions.sh \
             --bootstrap-server {brokers} find-hanging --topic {topic} --partition {number}; end it: kafka-transactions.sh \
             --bootstrap-server {brokers} abort --topic {topic} --partition {number} --start-offset {end}",
            self.transaction_patience.as_secs()
        )
    }

    /// The group's offsets may wait for a transaction that nobody ends.
    pub fn unstable(&self) -> String {
        let (brokers, number) = (&self.command.brokers, offset_partition(&self.group));
        format!(
            "degraded: where the brokers are up, a hanging transaction holds the offsets of consumer group {}; find it: \
             kafka-transactions.sh --bootstrap-server {brokers} find-hanging --topic __consumer_offsets --partition {number}; \
             end it: kafka-transactions.sh --bootstrap-server {brokers} abort --topic __consumer_offsets --partition {number} \
             --start-offset N, with the start offset that was found",
            self.group
        )
    }
}

/// Whether two topics of one name are different ones, as far as the cluster has ids.
pub(super) fn is_other(id: &str, than: &str) -> bool {
    !id.is_empty() && !than.is_empty() && id != than
}

/// The partition of `__consumer_offsets` in which a group keeps its offsets.
fn offset_partition(group: &str) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % OFFSET_PARTITIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_that_retention_deletes_are_no_lost_records() {
        let asked = |next, seen| {
            let partition = ("t".into(), 0);
            Asked { partition, epoch: 1, topic_id: "id".into(), next, seen, high: None, ends: true }
        };
        assert_eq!(asked(8, 10).compare(10, 10), Ok(Finding::Free));
        assert_eq!(asked(8, 10).compare(11, 12), Err(Obstacle::Deleted(10)));
        assert_eq!(asked(8, 8).compare(9, 9), Err(Obstacle::Deleted(8)));
        assert_eq!(asked(8, 10).compare(3, 7), Err(Obstacle::GroupBeyond));
        let held = Asked { high: Some(20), ..asked(8, 8) };
        assert_eq!(held.compare(3, 8), Ok(Finding::Held { end: 8, high: 20 }));
    }

    #[test]
    fn groups_keep_their_offsets_where_the_brokers_look_for_them() {
        // As Java's String.hashCode has it.
        assert_eq!(offset_partition(""), 0);
        assert_eq!(offset_partition("a"), 97 % 50);
        assert_eq!(offset_partition("hello"), 99_162_322 % 50);
        assert_eq!(offset_partition("polygenelubricants"), 0);
    }
}
