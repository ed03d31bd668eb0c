//! From an assignment to reading: where partitions begin is asked, noted with the group, and gone to.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::{Loop, RESOLVE_AGAIN, Reading, State, problem_key};
use crate::failpoint;
use crate::source::Partition;
use crate::source::consumer::to_list;
use crate::source::resolve::{Answer, Begin, CommitMark, add_marked};

impl Loop {
    /// Asks, on a thread of its own, where parked partitions begin.
    pub(super) fn resolve(&mut self) {
        if self.resolving || Instant::now() < self.resolve_after {
            return;
        }
        let parked = self.slots.values().flat_map(HashMap::values).filter(|s| matches!(s.state, State::Resolving));
        let asked: Vec<(Partition, u64)> = parked.map(|slot| (slot.partition.clone(), slot.epoch)).collect();
        if asked.is_empty() {
            return;
        }
        self.resolving = true;
        let (resolver, answers) = (self.reader.resolver.clone(), self.answers.0.clone());
        std::thread::spawn(move || {
            let names: Vec<Partition> = asked.iter().map(|(partition, _)| partition.clone()).collect();
            let found = resolver.resolve(&names);
            // Nobody waits where the flow has ended meanwhile.
            drop(resolver);
            drop(answers.send((asked, found)));
        });
    }

    pub(super) fn take_answers(&mut self, asked: &[(Partition, u64)], answers: Result<Vec<Answer>, String>) {
        let key = format!("flow {} start", self.reader.flow);
        let answers = match answers {
            Ok(answers) => answers,
            Err(cause) => {
                let cause = self.explain_unresolved(cause);
                self.reader.health.problem(&key, &cause);
                warn!(flow = %self.reader.flow, "{cause}; asked again in a moment");
                self.resolve_after = Instant::now() + RESOLVE_AGAIN;
                return;
            }
        };
        self.resolved();
        self.reader.health.solved(&key);
        failpoint::step("assign.resolved");
        if let Err(cause) = self.commit_first(asked, &answers) {
            debug!(flow = %self.reader.flow, "{cause}; tried again in a moment");
            self.resolve_after = Instant::now() + RESOLVE_AGAIN;
            return;
        }
        for ((partition, answer), (_, epoch)) in answers.into_iter().zip(asked) {
            if !self.reader.ownership.holds(&partition, *epoch) {
                continue;
            }
            if let Err(cause) = self.begin(&partition, *epoch, answer) {
                debug!(flow = %self.reader.flow, "{cause}; tried again in a moment");
                self.resolve_after = Instant::now() + Duration::from_millis(20);
            }
        }
    }

    /// Commits where partitions begin that the group has no offset for. On this thread no partition can be handed over
    /// meanwhile: a commit from elsewhere could put the next owner's offset back.
    fn commit_first(&self, asked: &[(Partition, u64)], answers: &[Answer]) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for ((partition, answer), (_, epoch)) in answers.iter().zip(asked) {
            let Ok(begin) = answer else { continue };
            if begin.first && self.reader.ownership.holds(partition, *epoch) {
                let mark = CommitMark { born: begin.born, topic_id: begin.topic_id.clone(), digest: String::new() };
                add_marked(&mut list, partition, begin.kafka_lane, &mark)?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let committed = self.reader.consumer.commit(&list, CommitMode::Sync);
        committed.map_err(|cause| format!("could not commit the first offsets of the consumer group: {cause}"))
    }

    /// Moves a partition to its beginning and lets it go.
    fn begin(&mut self, partition: &Partition, epoch: u64, answer: Result<Begin, String>) -> Result<(), String> {
        let (topic, number) = partition;
        let Some(slot) = self.slots.get_mut(topic).and_then(|slots| slots.get_mut(number)) else { return Ok(()) };
        let begin = match answer {
            Ok(begin) => begin,
            Err(words) => {
                error!(flow = %self.reader.flow, "partition stopped: {words}");
                self.reader.health.problem(&problem_key(&self.reader.flow, topic, *number), words);
                slot.state = State::Stopped;
                return Ok(());
            }
        };
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(topic, *number, Offset::Offset(begin.start)).map_err(|e| e.to_string())?;
        let moved = self.reader.consumer.seek_partitions(place, Duration::from_secs(5)).map_err(|e| e.to_string())?;
        for element in moved.elements() {
            element.error().map_err(|cause| format!("could not move {topic}/{number} to its beginning: {cause}"))?;
        }
        info!(flow = %self.reader.flow, partition = %format!("{topic}/{number}"), offset = begin.start, "reading");
        self.reader.ownership.commit(partition, epoch, begin.start);
        (self.reader.on_lag)(partition, Some((begin.start, begin.end)));
        slot.epoch = epoch;
        let replay = begin.replay;
        if let Some(replay) = &replay
            && self.reader.chains.with_digest(&replay.digest).is_none()
        {
            (self.reader.on_other_module)();
            info!(
                flow = %self.reader.flow, partition = %format!("{topic}/{number}"), until = replay.until,
                "records are repeated by other modules than those that a sink has them from"
            );
        }
        slot.state = State::Reading(Reading {
            topic_id: begin.topic_id,
            kafka_lane: begin.kafka_lane,
            passed: begin.passed,
            born: begin.born,
            next: begin.start,
            sealed: begin.start,
            target: begin.end,
            at_end: false,
            replay,
        });
        if !self.paused {
            self.reader.consumer.resume(&to_list([partition].into_iter())).map_err(|e| e.to_string())?;
        }
        failpoint::step("assign.begun");
        Ok(())
    }
}
