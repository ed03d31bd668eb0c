//! The consumer's side of a rebalance. The callback runs inside `poll`, on the source's thread: on a revoke it waits
//! for the batches of those partitions, on an assignment it only parks them; where they begin is found out elsewhere,
//! so that a database that is down never holds up the group.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{info, warn};

use super::Partition;
use super::ownership::Ownership;
use super::trouble::{self, Telling};

/// How often the same error of the client is logged.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// The consumer of a flow.
pub type FlowConsumer = BaseConsumer<Context>;

/// What the callback tells the reader.
#[derive(Debug)]
pub enum Rebalance {
    /// New partitions with the epoch of their assignment; they are paused.
    Assigned(Vec<(Partition, u64)>),
    Revoked(Vec<Partition>),
}

/// State of the callbacks.
pub struct Context {
    pub flow: Arc<str>,
    pub ownership: Arc<Ownership>,
    pub events: Sender<Rebalance>,
    /// How long a revoke waits for batches: a third of the session, so that the group does not give us up.
    pub patience: Duration,
    /// The last error that was logged, and when.
    pub told: Mutex<Option<(RDKafkaErrorCode, Instant)>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        Telling.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Brokers that come and go are librdkafka's business, and it tells of each attempt; the flow reports what it
        // cannot do.
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        trouble::note(&error, reason);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|(last, at)| Some(last) != code || at.elapsed() > TELL_AGAIN) {
            *told = code.map(|code| (code, Instant::now()));
            warn!(flow = %self.flow, "kafka client: {error}: {reason}");
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let result = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            _ => self.revoke(consumer, partitions),
        };
        if let Err(error) = result {
            warn!(flow = %self.flow, "could not answer a rebalance: {error}");
        }
    }
}

impl Context {
    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        let assigned: Vec<(Partition, u64)> =
            names(partitions).into_iter().map(|p| (p.clone(), self.ownership.assign(p))).collect();
        // Any place will do: the partitions are paused before the first fetch and moved before they are resumed.
        partitions.set_all_offsets(Offset::Beginning)?;
        consumer.incremental_assign(partitions)?;
        if partitions.count() > 0 {
            consumer.pause(partitions)?;
        }
        info!(flow = %self.flow, partitions = %list(assigned.iter().map(|(p, _)| p)), "partitions assigned");
        self.tell(Rebalance::Assigned(assigned));
        Ok(())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> KafkaResult<()> {
        let revoked = names(partitions);
        // A lost assignment already belongs to somebody else: there is nothing to wait for.
        let patience = if consumer.assignment_lost() { Duration::ZERO } else { self.patience };
        let abandoned = self.ownership.revoke(&revoked, patience);
        info!(
            flow = %self.flow, partitions = %list(revoked.iter()), uncommitted = %list(abandoned.iter()),
            "partitions revoked"
        );
        self.tell(Rebalance::Revoked(revoked));
        consumer.incremental_unassign(partitions)
    }

    fn tell(&self, event: Rebalance) {
        // The reader ends before its consumer does; then nobody needs to know.
        drop(self.events.send(event));
    }
}

/// The partitions of a list, in order.
pub fn names(partitions: &TopicPartitionList) -> Vec<Partition> {
    partitions.elements().iter().map(|e| (Arc::from(e.topic()), e.partition())).collect()
}

/// A list of partitions without offsets.
pub fn to_list<'a>(partitions: impl Iterator<Item = &'a Partition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    list
}

/// `topic/0 topic/1`, for log lines.
pub fn list<'a>(partitions: impl Iterator<Item = &'a Partition>) -> String {
    let names: Vec<String> = partitions.map(|(topic, partition)| format!("{topic}/{partition}")).collect();
    names.join(" ")
}
