//! Looks, beside the reading, at what the client does not tell: a topic that was created again, offsets that retention
//! has deleted, a transaction that nobody ends. What is found is named; only the partition concerned stops.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{error, warn};

use super::{Loop, Reading, State, problem_key};
use crate::source::consumer::to_list;
use crate::source::inspect::{Asked, Finding};
use crate::source::{Partition, ffi};

/// Between two looks while nothing gives reason for one.
const CALM: Duration = Duration::from_secs(10);
/// Longest wait for the end of a partition.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at least.
const EAGER: Duration = Duration::from_secs(1);

type Found = Vec<(Partition, u64, Finding)>;
type Ends = Vec<(Partition, i64)>;

/// What the look-out remembers.
pub(super) struct Lookout {
    found: (Sender<Found>, Receiver<Found>),
    looking: bool,
    last: Instant,
    /// The client complained of an offset or a topic.
    alarmed: bool,
    /// End of what can be read, since when, of partitions in which more is there.
    held: HashMap<Partition, (i64, Instant)>,
    /// Since when the beginnings of partitions cannot be found out.
    unresolved: Option<Instant>,
    /// Ends of partitions that are asked for while nothing is fetched.
    ends: (Sender<Ends>, Receiver<Ends>),
    asking_ends: bool,
    known_ends: HashMap<Partition, i64>,
}

impl Default for Lookout {
    fn default() -> Self {
        Lookout {
            found: crossbeam_channel::unbounded(),
            looking: false,
            last: Instant::now(),
            alarmed: false,
            held: HashMap::new(),
            unresolved: None,
            ends: crossbeam_channel::unbounded(),
            asking_ends: false,
            known_ends: HashMap::new(),
        }
    }
}

impl Loop {
    /// The client has complained: look soon.
    pub(super) fn alarm(&mut self) {
        self.lookout.alarmed = true;
    }

    /// Takes what was found, and looks again when it is time.
    pub(super) fn look_out(&mut self) {
        while let Ok(found) = self.lookout.found.1.try_recv() {
            self.lookout.looking = false;
            found.into_iter().for_each(|(partition, epoch, finding)| self.take_finding(&partition, epoch, finding));
        }
        // A hanging transaction is to be found within its time, also where that is short.
        let calm = CALM.min(self.reader.resolver.transaction_patience / 3);
        let pause = if self.lookout.alarmed { EAGER } else { calm };
        if self.lookout.looking || self.lookout.last.elapsed() < pause {
            return;
        }
        self.lookout.last = Instant::now();
        let asked = self.questions();
        self.lookout.alarmed = false;
        if asked.is_empty() {
            return;
        }
        self.lookout.looking = true;
        let (resolver, found) = (self.reader.resolver.clone(), self.lookout.found.0.clone());
        std::thread::spawn(move || {
            // Nobody waits where the flow has ended meanwhile.
            drop(found.send(resolver.inspect(asked)));
        });
    }

    fn questions(&mut self) -> Vec<Asked> {
        let alarmed = self.lookout.alarmed;
        // On this thread, which has taken everything that the client counts as read.
        let positions = if self.is_reading() { self.reader.consumer.position().ok() } else { None };
        let mut asked = Vec::new();
        for slot in self.slots.values().flat_map(HashMap::values) {
            let State::Reading(reading) = &slot.state else { continue };
            let (topic, number) = &slot.partition;
            let high = ffi::cached_watermarks(self.reader.consumer.client(), topic, *number).map(|(_, high)| high);
            let behind = !self.paused && high.is_some_and(|high| high > reading.next);
            if !behind {
                self.lookout.held.remove(&slot.partition);
            }
            asked.push(Asked {
                partition: slot.partition.clone(),
                epoch: slot.epoch,
                topic_id: reading.topic_id.clone(),
                next: reading.next,
                seen: reading.seen(positions.as_ref().and_then(|all| position(all, &slot.partition))),
                high: high.filter(|_| behind),
                ends: alarmed,
            });
        }
        asked
    }

    fn take_finding(&mut self, partition: &Partition, epoch: u64, finding: Finding) {
        if !self.reader.ownership.holds(partition, epoch) {
            return;
        }
        match finding {
            Finding::Stop(words) => self.stop_partition(partition, &words),
            Finding::Held { end, high } => self.take_held(partition, end, high),
            Finding::Free => self.release(partition),
        }
    }

    /// What is on its way is finished; nothing more is read.
    fn stop_partition(&mut self, partition: &Partition, words: &str) {
        let (topic, number) = partition;
        let Some(slot) = self.slots.get_mut(topic).and_then(|slots| slots.get_mut(number)) else { return };
        slot.state = State::Stopped;
        error!(flow = %self.reader.flow, "partition stopped: {words}");
        self.reader.health.problem(&problem_key(&self.reader.flow, topic, *number), words);
        if let Err(cause) = self.reader.consumer.pause(&to_list([partition].into_iter())) {
            warn!(flow = %self.reader.flow, "could not pause a stopped partition: {cause}");
        }
    }

    /// Records are there that cannot be read: named when that lasts longer than any transaction may.
    fn take_held(&mut self, partition: &Partition, end: i64, high: i64) {
        let now = Instant::now();
        let since = match self.lookout.held.get(partition) {
            Some((same, since)) if *same == end => *since,
            _ => {
                self.release(partition);
                self.lookout.held.insert(partition.clone(), (end, now));
                now
            }
        };
        if since.elapsed() <= self.reader.resolver.transaction_patience {
            return;
        }
        let (key, words) = (held_key(&self.reader.flow, partition), self.reader.resolver.held(partition, end, high));
        if self.reader.health.problem_is_new(&key, &words) {
            warn!(flow = %self.reader.flow, "{words}");
        }
    }

    fn release(&mut self, partition: &Partition) {
        self.lookout.held.remove(partition);
        self.reader.health.solved(&held_key(&self.reader.flow, partition));
    }

    /// A partition is not ours any more.
    pub(super) fn forget_held(&mut self, partition: &Partition) {
        self.release(partition);
    }

    /// Adds to a cause why beginnings are not found what holds up committed offsets, once that has lasted.
    pub(super) fn explain_unresolved(&mut self, cause: String) -> String {
        let since = *self.lookout.unresolved.get_or_insert_with(Instant::now);
        let resolver = &self.reader.resolver;
        if since.elapsed() <= resolver.transaction_patience || !cause.contains("committed offset") {
            return cause;
        }
        format!("{cause}; {}", resolver.unstable())
    }

    pub(super) fn resolved(&mut self) {
        self.lookout.unresolved = None;
    }

    /// The client learns where partitions end from what it fetches: while it is paused they are asked for, on a thread
    /// of its own.
    fn ask_ends(&mut self) {
        while let Ok(ends) = self.lookout.ends.1.try_recv() {
            self.lookout.asking_ends = false;
            self.lookout.known_ends.extend(ends);
        }
        if !self.paused {
            return self.lookout.known_ends.clear();
        }
        let reading = self.slots.values().flat_map(HashMap::values).filter(|s| matches!(s.state, State::Reading(_)));
        let asked: Vec<Partition> = reading.map(|slot| slot.partition.clone()).collect();
        if self.lookout.asking_ends || asked.is_empty() {
            return;
        }
        self.lookout.asking_ends = true;
        let (consumer, answer) = (self.reader.consumer.clone(), self.lookout.ends.0.clone());
        std::thread::spawn(move || {
            let end = |(topic, number): Partition| {
                let (_, end) = consumer.fetch_watermarks(&topic, number, END_PATIENCE).ok()?;
                Some(((topic, number), end))
            };
            let ends = asked.into_iter().filter_map(end).collect();
            // Nobody waits where the flow has ended meanwhile; the consumer must not outlive it here.
            drop(consumer);
            drop(answer.send(ends));
        });
    }

    pub(super) fn tell_lag(&mut self) {
        if self.lag_told.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.lag_told = Instant::now();
        self.ask_ends();
        for slot in self.slots.values().flat_map(HashMap::values) {
            let State::Reading(reading) = &slot.state else { continue };
            let ends = ffi::cached_watermarks(self.reader.consumer.client(), &slot.partition.0, slot.partition.1);
            let end = ends.map_or(reading.target, |(_, high)| high);
            let end = self.lookout.known_ends.get(&slot.partition).map_or(end, |known| end.max(*known));
            let committed = self.reader.ownership.committed(&slot.partition).unwrap_or(reading.sealed);
            (self.reader.on_lag)(&slot.partition, Some((committed, end)));
        }
    }
}

impl Reading {
    /// Everything before was read or is nothing that is handed out, as the client's position tells: at the end of the
    /// log that is behind the last record, where transactions have left their markers.
    fn seen(&self, position: Option<i64>) -> i64 {
        position.filter(|position| Some(*position) != self.astray).map_or(self.next, |position| position.max(self.next))
    }

    /// Whether the client may have left a record out before this one: it counts a complaint as a record, and goes on behind
    /// it when fetching was paused, by us or for a rebalance.
    pub(super) fn has_skipped(&self, offset: i64) -> bool {
        self.astray.is_some_and(|astray| self.next < astray && astray <= offset)
    }

    /// Whether a batch that begins here repeats what other modules have made.
    pub(super) fn replays(&self, start: i64) -> Option<&str> {
        self.replay.as_ref().filter(|replay| start < replay.until).map(|replay| &*replay.digest)
    }
}

/// The client's position in a partition, where it has one: none between a move and the first record.
fn position(all: &TopicPartitionList, (topic, number): &Partition) -> Option<i64> {
    match all.find_partition(topic, *number)?.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

fn held_key(flow: &str, (topic, partition): &Partition) -> String {
    format!("flow {flow} {topic}/{partition} transaction")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_has_passed_at_the_end_is_seen_but_not_what_it_only_complained_of() {
        let reading = |next, astray| Reading {
            topic_id: "id".into(),
            kafka_lane: 0,
            passed: 0,
            born: 1,
            next,
            sealed: 0,
            target: 0,
            at_end: false,
            astray,
            replay: None,
        };
        assert_eq!(reading(8, None).seen(Some(10)), 10);
        assert_eq!(reading(8, None).seen(Some(7)), 8);
        assert_eq!(reading(8, None).seen(None), 8);
        assert_eq!(reading(8, Some(9)).seen(Some(9)), 8);
        assert_eq!(reading(8, Some(9)).seen(Some(12)), 12);
        assert!(reading(8, Some(9)).has_skipped(9) && reading(8, Some(11)).has_skipped(12));
        assert!(!reading(8, Some(9)).has_skipped(8) && !reading(8, Some(11)).has_skipped(10));
        assert!(!reading(8, None).has_skipped(12) && !reading(10, Some(9)).has_skipped(12));
    }
}
