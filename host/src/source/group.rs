//! A consumer group seen from outside: who is in it, where it stands, and moving it while nobody is. The flow's own
//! consumer is elsewhere; here nothing is subscribed to and no record is read.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::resolve::{CommitMark, add_marked};
use super::trouble::Telling;
use super::{Partition, topics};
use crate::config::{Kafka, Start, properties};

/// Time for one question to the cluster.
const PATIENCE: Duration = Duration::from_secs(10);

/// A consumer group.
pub struct Group {
    name: String,
    consumer: BaseConsumer<Telling>,
}

/// Where a group stands in a partition.
#[derive(Clone, Debug)]
pub struct Standing {
    pub partition: Partition,
    /// Empty where the cluster has no topic ids.
    pub topic_id: Arc<str>,
    /// What the group has committed, with what was noted along with it.
    pub committed: Option<(i64, String)>,
    /// The oldest offset that the log still holds.
    pub low: i64,
    /// The end of what can be read now.
    pub end: i64,
    /// Partitions of the topic.
    pub count: i32,
}

/// Why a group was not moved.
#[derive(Debug)]
pub enum MoveError {
    /// Somebody has joined meanwhile.
    InUse,
    Other(String),
}

impl Group {
    pub fn open(kafka: &Kafka, name: &str) -> Result<Self, String> {
        let mut settings = properties::consumer(kafka);
        settings.set("group.id", name);
        let consumer =
            settings.create_with_context(Telling).map_err(|cause| format!("cannot make a Kafka client: {cause}"))?;
        Ok(Group { name: name.to_owned(), consumer })
    }

    /// The members, as `client at host`.
    pub fn members(&self) -> Result<Vec<String>, String> {
        let found = self.consumer.fetch_group_list(Some(&self.name), PATIENCE);
        let found = found.map_err(|cause| format!("could not ask for the members of group {}: {cause}", self.name))?;
        let members = found.groups().iter().filter(|group| group.name() == self.name).flat_map(|g| g.members());
        Ok(members.map(|member| format!("{} at {}", member.client_id(), member.client_host())).collect())
    }

    /// Where the group stands in every partition of the topics that exist; names may be patterns.
    pub fn standings(&self, names: &[String]) -> Result<Vec<Standing>, String> {
        let mut counts: Vec<(String, i32)> = topics::partition_counts(&self.consumer, names)?.into_iter().collect();
        counts.sort();
        let mut standings = Vec::new();
        for (topic, count) in counts {
            let topic_id = topics::id(&self.consumer, &topic)?;
            let topic: Arc<str> = topic.into();
            for number in 0..count {
                let (low, end) = self
                    .consumer
                    .fetch_watermarks(&topic, number, PATIENCE)
                    .map_err(|cause| format!("could not read the ends of {topic}/{number}: {cause}"))?;
                let (partition, topic_id) = ((topic.clone(), number), topic_id.clone());
                standings.push(Standing { partition, topic_id, committed: None, low, end, count });
            }
        }
        self.add_committed(&mut standings)?;
        Ok(standings)
    }

    fn add_committed(&self, standings: &mut [Standing]) -> Result<(), String> {
        if standings.is_empty() {
            return Ok(());
        }
        let asked = super::consumer::to_list(standings.iter().map(|standing| &standing.partition));
        let found = self.consumer.committed_offsets(asked, PATIENCE);
        let found = found.map_err(|cause| format!("could not read the offsets of group {}: {cause}", self.name))?;
        for Standing { partition: (topic, number), committed, .. } in standings {
            let element = found.find_partition(topic, *number);
            *committed = element.and_then(|element| match element.offset() {
                Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
                _ => None,
            });
        }
        Ok(())
    }

    /// The offset of a place that is given in words, within what the log holds.
    pub fn find(&self, standing: &Standing, to: &Start) -> Result<i64, String> {
        let Standing { partition: (topic, number), low, end, .. } = standing;
        match to {
            Start::Earliest => Ok(*low),
            Start::Latest => Ok(*end),
            Start::Offset(offset) => Ok((*offset).clamp(*low, *end)),
            Start::Timestamp(time) => {
                let explain = |cause: KafkaError| format!("could not find a time in {topic}/{number}: {cause}");
                let mut asked = TopicPartitionList::new();
                asked.add_partition_offset(topic, *number, Offset::Offset(*time)).map_err(explain)?;
                let found = self.consumer.offsets_for_times(asked, PATIENCE).map_err(explain)?;
                match found.find_partition(topic, *number).map(|element| element.offset()) {
                    Some(Offset::Offset(offset)) => Ok(offset),
                    _ => Ok(*end),
                }
            }
        }
    }

    /// Moves the group. The brokers refuse while it has members, so that nobody's work is mixed up.
    pub fn move_to(&self, places: &[(&Standing, i64)]) -> Result<(), MoveError> {
        let mut list = TopicPartitionList::new();
        for (standing, offset) in places {
            let mark = CommitMark { born: standing.count, topic_id: standing.topic_id.clone(), digest: String::new() };
            add_marked(&mut list, &standing.partition, *offset, &mark).map_err(MoveError::Other)?;
        }
        match self.consumer.commit(&list, CommitMode::Sync) {
            Ok(()) => Ok(()),
            Err(error) if is_in_use(&error) => Err(MoveError::InUse),
            Err(error) => Err(MoveError::Other(format!("could not move consumer group {}: {error}", self.name))),
        }
    }
}

fn is_in_use(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{IllegalGeneration, RebalanceInProgress, UnknownMemberId};
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| [IllegalGeneration, RebalanceInProgress, UnknownMemberId].contains(&code))
}
