//! The source's thread: polls, fills the open batch, seals it, pauses when the writer is behind, and moves partitions
//! to where they begin. A batch is sealed as soon as the one before is committed, or when it is full.

mod begin;
mod end;
mod lookout;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use tracing::{debug, error, warn};

use self::lookout::Lookout;
use super::chains::Chains;
use super::consumer::{Context, FlowConsumer, Rebalance, to_list};
use super::intake::{Intake, Message};
use super::open_batch::{Incoming, OpenBatch, Origin};
use super::ownership::Ownership;
use super::resolve::{Answer, Replay, Resolver};
use super::{Partition, Sealed, SealedSpan};
use crate::board::FlowBoard;
use crate::failpoint;
use crate::health::{Beat, Health};
use crate::record::{Header, Slice};
use crate::redrive::{self, Copied};
use crate::runtime::{Chain, Job, Pool};

/// Longest time without a look at events while nothing arrives.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// Poll while nothing is read because the beginnings are being found out.
const RESOLVING_POLL: Duration = Duration::from_millis(5);
/// Poll while records wait for the batch before them: short, because they are sealed when that is done.
const BUSY_POLL: Duration = Duration::from_millis(1);
/// Poll for rebalances while a full batch waits and the partitions are paused.
const FULL_POLL: Duration = Duration::from_millis(5);
/// How long a full batch may wait for the writer before the partitions are paused. Pausing throws away what the
/// client has fetched ahead, so it is for outages, not for a database that is merely slower than Kafka.
const PAUSE_AFTER: Duration = Duration::from_millis(500);
/// Batches on their way: one with the sinks, one with the workers.
const IN_FLIGHT: usize = 2;
/// Between two attempts to find out where partitions begin.
const RESOLVE_AGAIN: Duration = Duration::from_secs(1);
/// Time for the group to let us go.
const CLOSE: Duration = Duration::from_secs(4);
/// With `--once`: a member that gets no partition for so long has nothing to do.
const NOTHING_ASSIGNED: Duration = Duration::from_secs(10);

/// What the writer asks of the source.
#[derive(Debug)]
pub enum Request {
    /// Read these partitions again from where the group and the sinks are; their new epochs.
    Reread(Vec<(Partition, u64)>),
}

/// Everything that the thread works with.
pub struct Reader {
    pub flow: Arc<str>,
    /// The topic of this flow's redriven records.
    pub redrive: Arc<str>,
    pub consumer: Arc<FlowConsumer>,
    pub ownership: Arc<Ownership>,
    pub rebalances: Receiver<Rebalance>,
    pub requests: Receiver<Request>,
    pub resolver: Arc<Resolver>,
    pub chains: Arc<Chains>,
    pub pool: Arc<Pool>,
    pub open: OpenBatch,
    pub sealed: Sender<Sealed>,
    /// Whether batches carry the group's metadata.
    pub transactional: bool,
    pub health: Arc<Health>,
    /// What operators see of the flow and may ask of it.
    pub board: Arc<FlowBoard>,
    pub on_lag: TellLag,
    pub on_pause: Box<dyn Fn(bool) + Send>,
    /// Told of each replay for which the modules of then are not at hand.
    pub on_other_module: Box<dyn Fn() + Send>,
    /// Set to end the thread.
    pub stop: Arc<std::sync::atomic::AtomicBool>,
    /// End when everything that was there at the first assignment is committed.
    pub once: bool,
}

/// Told how far a partition is committed and where it ends, or that it is not ours any more.
pub type TellLag = Box<dyn Fn(&Partition, Option<(i64, i64)>) + Send>;

/// Ways in which the thread ends without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Stopped,
    /// `--once` has nothing left to do.
    Done,
}

/// Where a partition stands.
struct Slot {
    partition: Partition,
    epoch: u64,
    state: State,
    /// So many times where it begins could not be found out.
    failures: u32,
}

enum State {
    /// Where it begins is being found out.
    Resolving,
    /// Somebody has to act first.
    Stopped,
    Reading(Reading),
}

struct Reading {
    topic_id: Arc<str>,
    kafka_lane: i64,
    passed: i64,
    born: i32,
    /// The next offset that we expect.
    next: i64,
    /// Where the last sealed batch ended.
    sealed: i64,
    /// With `--once`: what was the end at the first assignment.
    target: i64,
    /// The consumer has said that there is nothing more.
    at_end: bool,
    /// Where the client's position went by a complaint or an end, which it counts as one record.
    astray: Option<i64>,
    /// What other modules may have made already.
    replay: Option<Replay>,
}

/// The loop's own state.
struct Loop {
    reader: Reader,
    intake: Intake<Context>,
    slots: HashMap<Arc<str>, HashMap<i32, Slot>>,
    answers: (Sender<Answers>, Receiver<Answers>),
    resolving: bool,
    resolve_after: Instant,
    /// Since when a full batch waits for the writer.
    full_since: Option<Instant>,
    paused: bool,
    assigned_once: bool,
    /// A right was missing when the client was last heard of.
    barred: bool,
    started: Instant,
    lag_told: Instant,
    lookout: Lookout,
}

type Answers = (Vec<(Partition, u64)>, Result<Vec<Answer>, String>);

impl Reader {
    /// Runs until it is stopped, is done, or the client fails for good.
    pub fn run(self, beat: &Beat) -> Result<End, String> {
        let now = Instant::now();
        let mut looped = Loop {
            intake: Intake::new(self.consumer.clone()),
            reader: self,
            slots: HashMap::new(),
            answers: crossbeam_channel::unbounded(),
            resolving: false,
            resolve_after: now,
            full_since: None,
            paused: false,
            assigned_once: false,
            barred: false,
            started: now,
            lag_told: now,
            lookout: Lookout::default(),
        };
        let end = looped.run(beat);
        looped.let_in();
        looped.close(beat);
        end
    }
}

impl Loop {
    fn run(&mut self, beat: &Beat) -> Result<End, String> {
        loop {
            beat.tick();
            if self.reader.stop.load(std::sync::atomic::Ordering::Relaxed) {
                return Ok(End::Stopped);
            }
            self.take_events();
            self.resolve();
            self.fill()?;
            self.take_events();
            self.seal_or_hold();
            self.tell_lag();
            self.look_out();
            if self.reader.once && self.is_done() {
                return Ok(End::Done);
            }
        }
    }

    fn take_events(&mut self) {
        while let Ok(event) = self.reader.rebalances.try_recv() {
            match event {
                Rebalance::Assigned(partitions) => {
                    self.assigned_once |= !partitions.is_empty();
                    partitions.into_iter().for_each(|(partition, epoch)| self.park(partition, epoch));
                }
                Rebalance::Revoked(partitions) => self.forget(&partitions),
            }
        }
        while let Ok(Request::Reread(partitions)) = self.reader.requests.try_recv() {
            self.reread(partitions);
        }
        while let Ok((asked, answers)) = self.answers.1.try_recv() {
            self.resolving = false;
            self.take_answers(&asked, answers);
        }
    }

    fn park(&mut self, partition: Partition, epoch: u64) {
        self.let_in();
        self.intake.lead(&partition.0, partition.1);
        let slots = self.slots.entry(partition.0.clone()).or_default();
        slots.insert(partition.1, Slot { partition, epoch, state: State::Resolving, failures: 0 });
    }

    fn forget(&mut self, partitions: &[Partition]) {
        for (topic, number) in partitions {
            if let Some(slots) = self.slots.get_mut(topic) {
                slots.remove(number);
            }
            (self.reader.on_lag)(&(topic.clone(), *number), None);
            self.reader.health.solved(&problem_key(&self.reader.flow, topic, *number));
            self.forget_held(&(topic.clone(), *number));
        }
        if !self.slots.values().flat_map(HashMap::values).any(|slot| matches!(slot.state, State::Resolving)) {
            // Whoever has got the others finds out for itself.
            self.all_resolved();
        }
        let ownership = &self.reader.ownership;
        self.reader.open.retain(|partition, epoch| ownership.holds(partition, epoch));
    }

    fn reread(&mut self, partitions: Vec<(Partition, u64)>) {
        let owned: Vec<_> =
            partitions.into_iter().filter(|(p, epoch)| self.reader.ownership.holds(p, *epoch)).collect();
        if owned.is_empty() {
            return;
        }
        if let Err(cause) = self.reader.consumer.pause(&to_list(owned.iter().map(|(p, _)| p))) {
            warn!(flow = %self.reader.flow, "could not pause partitions that are read again: {cause}");
        }
        owned.into_iter().for_each(|(partition, epoch)| self.park(partition, epoch));
        let ownership = &self.reader.ownership;
        self.reader.open.retain(|partition, epoch| ownership.holds(partition, epoch));
    }

    /// Takes what the consumer has, until the batch is full or there is nothing more at the moment.
    fn fill(&mut self) -> Result<(), String> {
        if self.reader.board.is_paused() {
            // What was taken already is finished; the group sees us alive.
            return self.serve(if self.reader.open.is_empty() { IDLE_POLL } else { BUSY_POLL });
        }
        self.serve(Duration::ZERO)?;
        let mut patience = match (self.reader.open.is_empty(), self.room()) {
            // Nothing can arrive before partitions are there.
            (true, _) if !self.is_reading() => {
                return self.serve(if self.resolving { RESOLVING_POLL } else { IDLE_POLL });
            }
            (true, _) => IDLE_POLL,
            (false, _) if self.reader.open.is_full() => {
                return if self.paused { self.serve(FULL_POLL) } else { Ok(()) };
            }
            (false, true) => Duration::ZERO,
            (false, false) => BUSY_POLL,
        };
        while !self.reader.open.is_full() {
            let fetched = self.intake.fetch(patience, self.reader.open.room());
            if fetched.is_empty() {
                break;
            }
            fetched.runs().for_each(|run| self.take(run));
            patience = Duration::ZERO;
        }
        Ok(())
    }

    /// Serves what is no record: rebalances, and what is wrong with the client as a whole.
    fn serve(&mut self, patience: Duration) -> Result<(), String> {
        let consumer = self.reader.consumer.clone();
        let mut patience = patience;
        while let Some(event) = consumer.poll(patience) {
            match event {
                // Led elsewhere before anything was fetched.
                Ok(message) => error!(flow = %self.reader.flow, "a record of {} came astray", message.topic()),
                Err(KafkaError::MessageConsumptionFatal(cause)) => {
                    return Err(format!("flow {}: the Kafka client failed for good: {cause}", self.reader.flow));
                }
                Err(cause) => self.take_complaint(cause.rdkafka_error_code(), &cause),
            }
            patience = Duration::ZERO;
        }
        Ok(())
    }

    fn is_reading(&self) -> bool {
        self.slots.values().flat_map(HashMap::values).any(|slot| matches!(slot.state, State::Reading(_)))
    }

    /// librdkafka goes on by itself, except where an offset is not in the log any more.
    fn take_complaint(&mut self, code: Option<RDKafkaErrorCode>, words: &dyn std::fmt::Display) {
        use RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange, UnknownTopicOrPartition};
        use RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed};
        debug!(flow = %self.reader.flow, "{words}");
        if code.is_some_and(|code| [AutoOffsetReset, OffsetOutOfRange, UnknownTopicOrPartition].contains(&code)) {
            self.alarm();
        }
        if code.is_some_and(|code| [GroupAuthorizationFailed, TopicAuthorizationFailed].contains(&code)) {
            let topics: Vec<&str> = self.slots.keys().map(|topic| &**topic).collect();
            let words = format!(
                "{words}; grant Read on group {} and its topics {}",
                self.reader.resolver.group,
                topics.join(" ")
            );
            if self.reader.health.problem_is_new(&self.rights_key(), &words) {
                warn!(flow = %self.reader.flow, "{words}");
            }
            self.barred = true;
        }
    }

    /// Kafka lets us in, as a partition or a record shows.
    fn let_in(&mut self) {
        if std::mem::take(&mut self.barred) {
            self.reader.health.solved(&self.rights_key());
        }
    }

    fn rights_key(&self) -> String {
        format!("flow {} rights", self.reader.flow)
    }

    /// Takes records of one partition.
    fn take<'m>(&mut self, run: impl Iterator<Item = Message<'m>>) {
        let mut run = run.peekable();
        let Some(first) = run.peek() else { return };
        let slots = self.slots.get_mut(&*first.topic());
        let Some(slot) = slots.and_then(|slots| slots.get_mut(&first.partition())) else { return };
        let epoch = slot.epoch;
        let State::Reading(reading) = &mut slot.state else { return };
        let is_redrive = slot.partition.0 == self.reader.redrive;
        let (mut complaint, mut skipped) = (None, None);
        for message in run {
            if message.error().is_some() {
                reading.astray = Some(message.offset() + 1);
            }
            match message.error() {
                None => {}
                Some(RDKafkaErrorCode::PartitionEOF) => {
                    reading.at_end = true;
                    continue;
                }
                Some(code) => {
                    complaint = Some(code);
                    continue;
                }
            }
            // Left over from before a seek.
            if message.offset() < reading.next {
                continue;
            }
            if reading.has_skipped(message.offset()) {
                skipped = Some(slot.partition.clone());
                break;
            }
            reading.next = message.offset() + 1;
            reading.at_end = false;
            let origin = || Origin {
                topic_id: reading.topic_id.clone(),
                epoch,
                kafka_lane: reading.kafka_lane,
                passed: reading.passed,
                born: reading.born,
                position: reading.sealed,
            };
            if is_redrive && let Some(slice) = redriven(&message) {
                self.reader.open.push_alone(&slot.partition, message.offset(), slice, origin);
                continue;
            }
            let headers = message.headers();
            let record = Incoming {
                offset: message.offset(),
                timestamp: message.timestamp(),
                key: message.key(),
                value: message.value(),
                headers: headers.iter().map(|(name, value)| (&**name, *value)),
            };
            self.reader.open.push(&slot.partition, record, origin);
        }
        if let Some(partition) = skipped
            && let Some(epoch) = self.reader.ownership.renew(&partition, epoch)
        {
            self.reread(vec![(partition, epoch)]);
        }
        match complaint {
            Some(code) => self.take_complaint(Some(code), &code),
            None => self.let_in(),
        }
    }

    fn room(&self) -> bool {
        let in_flight = self.reader.ownership.in_flight();
        in_flight == 0 || (self.reader.open.is_full() && in_flight < IN_FLIGHT)
    }

    /// Seals the batch if the writer can take it, else holds intake back.
    fn seal_or_hold(&mut self) {
        if !self.reader.open.is_empty() && self.room() {
            self.seal();
        }
        let held = self.reader.board.is_paused();
        if held || !self.reader.open.is_full() {
            self.full_since = None;
            return self.pause(held);
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() > PAUSE_AFTER {
            self.pause(true);
        } else {
            self.reader.ownership.wait_below(IN_FLIGHT, PAUSE_AFTER / 10);
        }
    }

    fn seal(&mut self) {
        let current = self.reader.chains.current();
        let (mut spans, slices) = self.reader.open.seal(&current.digest);
        let chain = self.as_then(&mut spans, current.clone());
        let repeats = chain.digest != current.digest;
        for sealed in &spans {
            let slot = self.slots.get_mut(&sealed.span.topic).and_then(|s| s.get_mut(&sealed.span.partition));
            if let Some(State::Reading(reading)) = slot.map(|slot| &mut slot.state) {
                reading.sealed = sealed.span.end;
            }
        }
        let group = if self.reader.transactional { self.reader.consumer.group_metadata() } else { None };
        let keys: Vec<(Partition, u64)> =
            spans.iter().map(|s| ((s.span.topic.clone(), s.span.partition), s.epoch)).collect();
        self.reader.ownership.begin(keys.iter().map(|(partition, epoch)| (partition, *epoch)));
        failpoint::step("batch.sealed");
        let (reply, outcomes) = crossbeam_channel::unbounded();
        for (index, (_, slice)) in slices.iter().enumerate() {
            self.reader.pool.submit(Job { slice: slice.clone(), chain: chain.clone(), index, reply: reply.clone() });
        }
        let sealed = Sealed { spans, slices, chain, repeats, outcomes, group, sealed_at: Instant::now() };
        // The writer outlives the reader, except when it has failed, and then the flow ends.
        drop(self.reader.sealed.send(sealed));
    }

    /// The modules for a batch: where it repeats what a sink has from earlier ones that are still at hand, those.
    fn as_then(&self, spans: &mut [SealedSpan], current: Arc<Chain>) -> Arc<Chain> {
        let then = spans.iter().find_map(|sealed| {
            let slot = self.slots.get(&sealed.span.topic)?.get(&sealed.span.partition)?;
            let State::Reading(reading) = &slot.state else { return None };
            self.reader.chains.with_digest(reading.replays(sealed.span.start)?)
        });
        match then {
            Some(then) if then.digest != current.digest => {
                spans.iter_mut().for_each(|sealed| sealed.span.digest = then.digest.clone());
                then
            }
            _ => current,
        }
    }

    fn pause(&mut self, pause: bool) {
        if pause == self.paused {
            return;
        }
        let reading = self.slots.values().flat_map(HashMap::values).filter(|s| matches!(s.state, State::Reading(_)));
        let partitions = to_list(reading.map(|slot| &slot.partition));
        let consumer = &self.reader.consumer;
        let result = if pause { consumer.pause(&partitions) } else { consumer.resume(&partitions) };
        match result {
            Ok(()) => {
                self.paused = pause;
                let held = self.reader.board.is_paused();
                (self.reader.on_pause)(pause && !held);
                debug!(flow = %self.reader.flow, pause, held, "intake");
                if !pause && partitions.count() > 0 {
                    self.wake(partitions);
                }
            }
            Err(cause) => warn!(flow = %self.reader.flow, "could not pause or resume: {cause}"),
        }
    }
}

/// The record that a letter was made of, in a slice of its own. What does not say where it comes from is a record like any.
fn redriven(message: &Message<'_>) -> Option<Slice> {
    let headers = message.headers();
    let headers: Vec<Header<'_>> = headers.iter().map(|(name, value)| (&**name, *value)).collect();
    let (key, value) = (message.key(), message.value());
    redrive::slice(&Copied { position: message.offset(), key, value, headers: &headers })
}

/// Key of the problem that stops one partition.
fn problem_key(flow: &str, topic: &str, partition: i32) -> String {
    format!("flow {flow} {topic}/{partition}")
}
