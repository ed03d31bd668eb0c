//! From an assignment to reading: where partitions begin is asked, noted with the group, and gone to.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, error, info, warn};

use super::{Loop, RESOLVE_AGAIN, Reading, Slot, State, problem_key};
use crate::failpoint;
use crate::source::Partition;
use crate::source::consumer::to_list;
use crate::source::resolve::{Answer, Begin, CommitMark, add_marked};

/// For a question whose answer does not matter.
const WAKE: Duration = Duration::from_millis(200);

/// Something of a partition, under the epoch that it was asked for.
type Of<T> = (Partition, u64, T);
/// Where a partition begins, or why it cannot.
type Found = Of<Result<Begin, String>>;

impl Loop {
    /// Asks, on a thread of its own, where parked partitions begin.
    pub(super) fn resolve(&mut self) {
        if self.resolving || Instant::now() < self.resolve_after {
            return;
        }
        let parked = self.slots.values().flat_map(HashMap::values).filter(|s| matches!(s.state, State::Resolving));
        let mut parked: Vec<&Slot> = parked.collect();
        // One that cannot be asked takes its time, which is not to be at the cost of those that can.
        parked.sort_by_key(|slot| slot.failures);
        let asked: Vec<(Partition, u64)> = parked.iter().map(|slot| (slot.partition.clone(), slot.epoch)).collect();
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
        let (found, mut failed) = match answers {
            Ok(answers) => sort_out(asked, answers),
            Err(cause) => return self.ask_again(cause),
        };
        failed.retain(|((topic, number), epoch, _)| {
            let slot = self.slots.get_mut(topic).and_then(|slots| slots.get_mut(number));
            // What is not ours any more is nobody's problem here.
            slot.filter(|slot| slot.epoch == *epoch).map(|slot| slot.failures += 1).is_some()
        });
        match failed.first() {
            None => self.all_resolved(),
            Some((_, _, cause)) if failed.len() == 1 => self.ask_again(cause.clone()),
            Some((_, _, cause)) => self.ask_again(format!("{cause}; so with {} more partitions", failed.len() - 1)),
        }
        failpoint::step("assign.resolved");
        if let Err(cause) = self.commit_first(&found) {
            debug!(flow = %self.reader.flow, "{cause}; tried again in a moment");
            self.resolve_after = Instant::now() + RESOLVE_AGAIN;
            return;
        }
        let mut begun = Vec::new();
        for (partition, epoch, answer) in found {
            if !self.reader.ownership.holds(&partition, epoch) {
                continue;
            }
            match self.begin(&partition, epoch, answer) {
                Ok(()) => begun.push(partition),
                Err(cause) => {
                    debug!(flow = %self.reader.flow, "{cause}; tried again in a moment");
                    self.resolve_after = Instant::now() + Duration::from_millis(20);
                }
            }
        }
        if !self.paused && !begun.is_empty() {
            self.wake(to_list(begun.iter()));
        }
    }

    /// Has partitions fetched that were resumed. librdkafka 2.12 clears a flag and tells nobody: the thread of the leader's
    /// connection looks again after up to a second, or as soon as it has something else to do, such as this question.
    pub(super) fn wake(&self, mut resumed: TopicPartitionList) {
        let asked = resumed.set_all_offsets(Offset::Offset(0));
        let answered = asked.and_then(|()| self.reader.consumer.offsets_for_times(resumed, WAKE).map(drop));
        if let Err(cause) = answered {
            debug!(flow = %self.reader.flow, "partitions that were resumed may be fetched a second later: {cause}");
        }
    }

    /// Names why beginnings are not found out; they are asked for again.
    fn ask_again(&mut self, cause: String) {
        let cause = self.explain_unresolved(cause);
        self.reader.health.problem(&self.start_key(), &cause);
        warn!(flow = %self.reader.flow, "{cause}; asked again in a moment");
        self.resolve_after = Instant::now() + RESOLVE_AGAIN;
    }

    /// No partition waits for an answer that could not be had.
    pub(super) fn all_resolved(&mut self) {
        self.resolved();
        self.reader.health.solved(&self.start_key());
    }

    fn start_key(&self) -> String {
        format!("flow {} start", self.reader.flow)
    }

    /// Commits where partitions begin that the group has no offset for. On this thread no partition can be handed over
    /// meanwhile: a commit from elsewhere could put the next owner's offset back.
    fn commit_first(&self, found: &[Found]) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for (partition, epoch, answer) in found {
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
            astray: None,
            replay,
        });
        if !self.paused {
            self.reader.consumer.resume(&to_list([partition].into_iter())).map_err(|e| e.to_string())?;
        }
        failpoint::step("assign.begun");
        Ok(())
    }
}

/// Answers with the epochs that they were asked for under, and apart from them what has to be asked again. There may be
/// fewer answers than questions, in another order.
fn sort_out(asked: &[(Partition, u64)], answers: Vec<Answer>) -> (Vec<Found>, Vec<Of<String>>) {
    let epochs: HashMap<&Partition, u64> = asked.iter().map(|(partition, epoch)| (partition, *epoch)).collect();
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for (partition, answer) in answers {
        let Some(&epoch) = epochs.get(&partition) else { continue };
        match answer {
            Ok(answer) => found.push((partition, epoch, answer)),
            Err(cause) => failed.push((partition, epoch, cause)),
        }
    }
    (found, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_cannot_be_asked_keeps_no_answer_from_the_others() {
        let partition = |number| ("t".into(), number);
        let asked = [(partition(0), 10), (partition(1), 11), (partition(2), 12), (partition(3), 13)];
        let answers = vec![
            (partition(2), Ok(Err("stopped".to_owned()))),
            (partition(0), Err("no leader".to_owned())),
            (partition(3), Ok(Err("stopped too".to_owned()))),
        ];
        let (found, failed) = sort_out(&asked, answers);
        let found: Vec<(i32, u64)> = found.iter().map(|((_, number), epoch, _)| (*number, *epoch)).collect();
        assert_eq!(found, [(2, 12), (3, 13)]);
        assert_eq!(failed, [(partition(0), 10, "no leader".to_owned())]);
    }
}
