//! Where a newly assigned partition begins: the lowest of the committed offset and what each SQL sink has stored, so
//! that whoever is behind gets what it lacks and whoever is ahead skips it. Runs on a thread of its own and asks for
//! as long as it takes; the source goes on polling meanwhile.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

use super::consumer::{FlowConsumer, list, to_list};
use super::inspect::{CommandLine, is_other};
use super::{Lanes, Partition, SinkLanes, topics};
use crate::commit::begin::{self, Known};
use crate::config::Start;
use crate::metrics::Metrics;
use crate::sinks::{Lane, Span};

/// Time for one question to the cluster.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for one question after another partition could not be asked: those that have a leader answer at once, and who
/// does not is asked again.
const HURRY: Duration = Duration::from_secs(1);

/// Between two questions for an offset that is doubted.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// So many times the same answer is believed.
const SAME_ANSWERS: usize = 2;
/// Questions at most: an offset that is still moving then is taken as it is.
const QUESTIONS: usize = 20;

/// Everything that the answer depends on.
pub struct Resolver {
    pub flow: Arc<str>,
    /// The topic of redriven records, which is always read from its beginning.
    pub redrive: Arc<str>,
    pub consumer: Arc<FlowConsumer>,
    pub lanes: Arc<dyn Lanes>,
    pub start: Start,
    /// More than this between the group's offset and a sink's progress is not the trace of a crash.
    pub plausible_gap: i64,
    pub group: Arc<str>,
    pub command: CommandLine,
    /// A transaction that is open for longer is not going to be ended.
    pub transaction_patience: Duration,
    pub metrics: Arc<Metrics>,
    /// Whether outputs are published from the group's offset on: one that is too low doubles them.
    pub publishes: bool,
    /// The highest offset that the group was seen to have.
    pub highest: Mutex<HashMap<Partition, i64>>,
    /// Ids of topics as they were seen last.
    pub seen: Mutex<HashMap<Arc<str>, Arc<str>>>,
}

/// Where a partition begins.
#[derive(Clone, Debug)]
pub struct Begin {
    pub topic_id: Arc<str>,
    pub start: i64,
    /// Kafka outputs below are already published.
    pub kafka_lane: i64,
    /// Some sink has everything below.
    pub passed: i64,
    /// The end of what can be read now.
    pub end: i64,
    /// Partitions that the topic had when the group came into being.
    pub born: i32,
    /// The group has no offset here yet: it gets one before the first record is read, so that a record that arrives
    /// now is not skipped after a restart.
    pub first: bool,
    /// Records that a sink or a topic has already.
    pub replay: Option<Replay>,
}

/// Records that were processed before, and by which modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The first offset that was not.
    pub until: i64,
    /// Whole, or shortened as commits carry it.
    pub digest: String,
}

/// What commits carry in their metadata: `v1;born=12;id=bbDSKd4ZTXuHWPi6XgjdPQ;digest=0123456789abcdef`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitMark {
    /// Partitions that the topic had when the group came into being.
    pub born: i32,
    /// The topic's id: an offset says nothing about a topic that was created again. Empty where there are no ids.
    pub topic_id: Arc<str>,
    /// Of the modules that made the batch, shortened.
    pub digest: String,
}

impl CommitMark {
    pub fn parse(text: &str) -> Option<Self> {
        let fields = text.strip_prefix("v1;")?.split(';').filter_map(|field| field.split_once('='));
        let born = fields.clone().find(|(name, _)| *name == "born")?.1.parse().ok()?;
        let field = |wanted| fields.clone().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value);
        Some(CommitMark { born, topic_id: field("id").into(), digest: field("digest").into() })
    }
}

impl fmt::Display for CommitMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short: Vec<&str> = self.digest.split('+').map(|digest| digest.get(..16).unwrap_or(digest)).collect();
        // The brokers take 4,096 bytes: no more than sixteen modules of a chain are named.
        let short = short.get(..16).unwrap_or(&short).join("+");
        write!(f, "v1;born={};id={};digest={short}", self.born, self.topic_id)
    }
}

/// Adds a partition with its offset and mark to a list for a commit.
pub fn add_marked(
    list: &mut TopicPartitionList,
    (topic, number): &Partition,
    offset: i64,
    mark: &CommitMark,
) -> Result<(), String> {
    let mut element = list.add_partition(topic, *number);
    element.set_metadata(mark.to_string());
    element.set_offset(Offset::Offset(offset)).map_err(|cause| cause.to_string())
}

/// A partition with its beginning, or why it cannot be read until somebody acts; an error around that is worth another
/// attempt.
pub type Answer = (Partition, Result<Result<Begin, String>, String>);

impl Resolver {
    /// Finds the beginnings of partitions. An error concerns all of them and is worth another attempt. Answers may be
    /// left out where others took too long: those are to be asked for first then.
    pub fn resolve(&self, partitions: &[Partition]) -> Result<Vec<Answer>, String> {
        let found = committed(&self.consumer, partitions)?;
        let mut answers = Vec::with_capacity(partitions.len());
        let (mut known, mut committed, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        let mut ids: HashMap<Arc<str>, Result<Arc<str>, String>> = HashMap::new();
        for ((topic, partition), found) in partitions.iter().cloned().zip(found) {
            let id = ids.entry(topic.clone()).or_insert_with(|| topics::id(&self.consumer, &topic));
            let topic_id = match id {
                Ok(id) => id.clone(),
                Err(cause) => {
                    answers.push(((topic, partition), Err(cause.clone())));
                    continue;
                }
            };
            known.push((topic.clone(), partition));
            committed.push(found);
            spans.push(Span { topic, topic_id, partition, start: 0, end: 0, digest: "".into() });
        }
        if known.is_empty() {
            return Ok(answers);
        }
        let lanes = self.lanes.lanes(&spans).map_err(|error| error.message)?;
        self.doubt(&known, &lanes, &mut committed)?;
        let (begun, mut patience) = (Instant::now(), PATIENCE);
        for (index, partition) in known.iter().enumerate() {
            if patience < PATIENCE && begun.elapsed() > 2 * PATIENCE {
                break;
            }
            let stored: Vec<(&str, &Lane)> =
                lanes.iter().filter_map(|(sink, lanes)| Some((sink.as_str(), lanes[index].as_ref()?))).collect();
            let found = committed[index].as_ref().map(|(offset, mark)| (*offset, CommitMark::parse(mark)));
            let answer = self.answer(partition, &spans[index], found, &stored, patience);
            if answer.is_err() {
                patience = HURRY;
            }
            answers.push((partition.clone(), answer));
        }
        Ok(answers)
    }

    /// Asks once more where the group is behind a sink or behind what it had: mostly because a host died between the two.
    /// But a coordinator that was killed and has just come back was seen to answer, for less than a second, with offsets
    /// that were minutes old.
    fn doubt(
        &self,
        partitions: &[Partition],
        lanes: &[SinkLanes],
        found: &mut Vec<Option<(i64, String)>>,
    ) -> Result<(), String> {
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        let stored =
            |index: usize| lanes.iter().filter_map(move |(_, lanes)| lanes[index].as_ref()).map(|l| l.next_offset);
        let expected: Vec<i64> = (0..partitions.len())
            .map(|index| stored(index).chain(highest.get(&partitions[index]).copied()).max().unwrap_or(0))
            .collect();
        let is_behind = |found: &[Option<(i64, String)>]| {
            expected
                .iter()
                .zip(found)
                .any(|(expected, found)| found.as_ref().map_or(0, |(offset, _)| *offset) < *expected)
        };
        let mut same = 0;
        for _ in 1..QUESTIONS {
            if !self.publishes || !is_behind(found) || same == SAME_ANSWERS {
                break;
            }
            std::thread::sleep(ASK_AGAIN);
            let before = std::mem::replace(found, committed(&self.consumer, partitions)?);
            same = if before == *found { same + 1 } else { 0 };
        }
        for (partition, (offset, _)) in partitions.iter().zip(found.iter()).filter_map(|(p, f)| Some((p, f.as_ref()?)))
        {
            highest.insert(partition.clone(), *offset);
        }
        Ok(())
    }

    fn answer(
        &self,
        partition: &Partition,
        span: &Span,
        committed: Option<(i64, Option<CommitMark>)>,
        stored: &[(&str, &Lane)],
        patience: Duration,
    ) -> Result<Result<Begin, String>, String> {
        let (offset, mark) = committed.clone().unzip();
        let (marked, mark) = (committed.is_none() || mark.as_ref().is_some_and(Option::is_some), mark.flatten());
        if let (Some(offset), Some(mark)) = (offset, &mark)
            && is_other(&span.topic_id, &mark.topic_id)
        {
            return Ok(Err(self.recreated(partition, offset)));
        }
        let born = match &mark {
            Some(mark) => mark.born,
            None => self.born(&partition.0, patience)?,
        };
        let recreated = self.is_recreated(span);
        let group = match begin::group_offset(offset, stored.iter().map(|(_, lane)| lane.next_offset)) {
            Some(offset) => offset,
            // Everything in it is new, whatever was to be skipped of the old one.
            None if recreated => self.low(partition, patience)?,
            None => self.first(partition, born, patience)?,
        };
        let digest = mark.map_or_else(String::new, |mark| mark.digest);
        let begin = self.begin(partition, span, (group, marked), &digest, stored, patience)?;
        let first = offset.is_none();
        Ok(begin.map(|begin| Begin { born, first, ..begin }))
    }

    /// Compares the group's offset with the sinks' progress and with what the log still holds.
    fn begin(
        &self,
        partition: &Partition,
        span: &Span,
        (group, marked): (i64, bool),
        digest: &str,
        stored: &[(&str, &Lane)],
        patience: Duration,
    ) -> Result<Result<Begin, String>, String> {
        let (topic, number) = partition;
        let (low, end) = self
            .consumer
            .fetch_watermarks(topic, *number, patience)
            .map_err(|cause| format!("could not read the ends of {topic}/{number}: {cause}"))?;
        let lanes: Vec<i64> = stored.iter().map(|(_, lane)| lane.next_offset).collect();
        let beginning = match begin::begin(Known { group, lanes: &lanes, low, end }) {
            Ok(beginning) => beginning,
            Err(obstacle) => return Ok(Err(self.words(obstacle, partition, group, stored, (low, end)))),
        };
        let moved = begin::moved(group, marked, &lanes, self.plausible_gap);
        self.tell_moved(partition, group, stored, &moved);
        let begin::Beginning { start, kafka_lane, passed } = beginning;
        let replay = replay(start, kafka_lane, digest, stored);
        let topic_id = span.topic_id.clone();
        Ok(Ok(Begin { topic_id, start, kafka_lane, passed, end, born: 0, first: false, replay }))
    }

    /// Whether the topic is another one than this process has read under its name; notes the one that is there now.
    fn is_recreated(&self, span: &Span) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let recreated = seen.get(&span.topic).is_some_and(|before| is_other(&span.topic_id, before));
        if !recreated {
            // Kept as it was for the topic's other partitions, which are asked for one after the other.
            seen.entry(span.topic.clone()).or_insert_with(|| span.topic_id.clone());
        } else {
            warn!(flow = %self.flow, "topic {} was deleted and created again; it is read from its beginning", span.topic);
        }
        recreated
    }

    /// Where a partition without an offset begins. `start` holds for those that were there when the group came into
    /// being; one that was added later begins at its beginning, or its first records would be skipped.
    fn first(&self, (topic, number): &Partition, born: i32, patience: Duration) -> Result<i64, String> {
        let explain = |cause: String| format!("could not find the first offset of {topic}/{number}: {cause}");
        let (low, high) =
            self.consumer.fetch_watermarks(topic, *number, patience).map_err(|e| explain(e.to_string()))?;
        match self.start {
            _ if *number >= born || *topic == self.redrive => Ok(low),
            Start::Earliest => Ok(low),
            Start::Latest => Ok(high),
            Start::Offset(offset) => Ok(offset.clamp(low, high)),
            Start::Timestamp(timestamp) => {
                let mut times = TopicPartitionList::new();
                let asked = times.add_partition_offset(topic, *number, Offset::Offset(timestamp));
                asked.map_err(|e| explain(e.to_string()))?;
                let found = self.consumer.offsets_for_times(times, patience).map_err(|e| explain(e.to_string()))?;
                match found.find_partition(topic, *number).map(|element| element.offset()) {
                    Some(Offset::Offset(offset)) => Ok(offset),
                    _ => Ok(high),
                }
            }
        }
    }

    fn low(&self, (topic, number): &Partition, patience: Duration) -> Result<i64, String> {
        let ends = self.consumer.fetch_watermarks(topic, *number, patience);
        ends.map(|(low, _)| low).map_err(|cause| format!("could not read the ends of {topic}/{number}: {cause}"))
    }

    /// How many partitions the topic had when the group came into being: its commits carry the number. A group that
    /// another program founded counts every partition without an offset as added later.
    fn born(&self, topic: &Arc<str>, patience: Duration) -> Result<i32, String> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), patience)
            .map_err(|cause| format!("could not read the partitions of topic {topic}: {cause}"))?;
        let count = metadata.topics().iter().find(|t| t.name() == &**topic).map_or(0, |t| t.partitions().len() as i32);
        let all: Vec<Partition> = (0..count).map(|number| (topic.clone(), number)).collect();
        let committed = committed(&self.consumer, &all)?;
        let marked = committed.iter().flatten().find_map(|(_, mark)| CommitMark::parse(mark)).map(|mark| mark.born);
        let foreign = committed.iter().any(Option::is_some).then_some(0);
        Ok(marked.or(foreign).unwrap_or(count))
    }
}

/// Committed offsets, where there are any. The fetch is *stable*: it waits for transactions that hold offsets.
pub fn committed(consumer: &FlowConsumer, partitions: &[Partition]) -> Result<Vec<Option<(i64, String)>>, String> {
    let names = to_list(partitions.iter());
    let found = consumer
        .committed_offsets(names, PATIENCE)
        .map_err(|cause| format!("could not read the committed offsets of {}: {cause}", list(partitions.iter())))?;
    let offset = |(topic, number): &Partition| {
        let element = found.find_partition(topic, *number)?;
        match element.offset() {
            Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
            _ => None,
        }
    };
    for element in found.elements() {
        element.error().map_err(|cause| {
            format!("could not read the committed offset of {}/{}: {cause}", element.topic(), element.partition())
        })?;
    }
    Ok(partitions.iter().map(offset).collect())
}

/// What was processed before from `start` on, and by whom: the sink that is furthest tells, or else the group.
fn replay(start: i64, kafka_lane: i64, digest: &str, stored: &[(&str, &Lane)]) -> Option<Replay> {
    let sinks = stored.iter().map(|(_, lane)| (lane.next_offset, lane.digest.as_str()));
    let known = sinks.chain([(kafka_lane, digest)]).filter(|(until, digest)| *until > start && !digest.is_empty());
    known.max_by_key(|(until, _)| *until).map(|(until, digest)| Replay { until, digest: digest.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mark_survives_the_commit(born in any::<i32>(), id in "[A-Za-z0-9_-]{0,22}", digest in "[0-9a-f]{0,16}") {
            let mark = CommitMark { born, topic_id: id.into(), digest };
            prop_assert_eq!(CommitMark::parse(&mark.to_string()), Some(mark));
        }

        #[test]
        fn foreign_metadata_is_no_mark(text in "[^v].{0,40}") {
            prop_assert_eq!(CommitMark::parse(&text), None);
        }
    }
}
