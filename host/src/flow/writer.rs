//! The writer's thread: waits for the workers' outcomes, routes them, and takes the batch through the stages of the
//! commit protocol. One batch at a time, in the order in which they were sealed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tracing::{error, info, warn};

use super::breaker::Breaker;
use super::stages::{Batch, Stages};
use super::{Shared, shown};
use crate::commit::{Abandon, Action, Commit, Event, Stage, decisions, epochs};
use crate::config::OnError;
use crate::failpoint;
use crate::health::Beat;
use crate::metrics::ByGuest;
use crate::outcome::{Ruling, Transformed, Verdict};
use crate::router::{self, Routed};
use crate::runtime::{Job, Pool};
use crate::sinks::{Span, backoff};
use crate::source::chains::Chains;
use crate::source::pace::Pace;
use crate::source::reader::Request;
use crate::source::{Partition, Sealed, SealedSpan};

/// How often a wait looks up: for the beat, for revoked partitions, for shutdown.
const LOOK: Duration = Duration::from_millis(100);
/// Attempts for a record that was written before and is condemned now: what comes from load passes, what comes from
/// another module does not.
const LATE_ATTEMPTS: u32 = 2;

/// The writer of one flow.
pub struct Writer {
    pub shared: Arc<Shared>,
    pub sealed: Receiver<Sealed>,
    pub requests: Sender<Request>,
    pub pool: Arc<Pool>,
    pub chains: Arc<Chains>,
    /// Give up what is not through yet.
    pub abandon: Arc<AtomicBool>,
    pub stages: Stages,
    pub silence: Silence,
    pub breaker: Breaker,
    pub pace: Arc<Pace>,
}

/// Why the writer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The reader has ended and every batch is through or given up.
    Drained,
    /// A module or a rule wants an operator.
    Stopped(String),
    /// Another process runs under our name.
    Fenced(String),
}

/// What became of one batch.
enum Outcome {
    Through,
    GivenUp,
    Stop(String),
    Fenced(String),
}

impl Writer {
    /// Runs until the reader has ended or the flow has to stop.
    pub fn run(mut self, beat: &Beat) -> End {
        loop {
            beat.tick();
            let sealed = match self.sealed.recv_timeout(LOOK) {
                Ok(sealed) => sealed,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return End::Drained,
            };
            let keys: Vec<(Partition, u64)> = sealed.spans.iter().map(key).collect();
            let outcome = self.process(sealed, beat);
            self.shared.ownership.end(keys.iter().map(|(partition, epoch)| (partition, *epoch)));
            match outcome {
                Outcome::Through | Outcome::GivenUp => {}
                Outcome::Stop(reason) => return End::Stopped(reason),
                Outcome::Fenced(reason) => return End::Fenced(reason),
            }
        }
    }

    fn process(&mut self, sealed: Sealed, beat: &Beat) -> Outcome {
        let records: usize = sealed.slices.iter().map(|(_, slice)| slice.len()).sum();
        let Some(outcomes) = self.outcomes(&sealed, beat) else {
            self.shared.health.solved(&self.retry_key());
            return Outcome::GivenUp;
        };
        failpoint::step("batch.transformed");
        let names: Vec<&str> = self.shared.sinks.iter().map(|sink| sink.name()).collect();
        let stop_on_error = self.shared.on_error == OnError::Stop;
        let mut routed = router::route(&sealed.slices, outcomes, &names, stop_on_error);
        let mut spans = sealed.spans.clone();
        let stop = stop_reason(&routed, &spans);
        let mut cut: Vec<_> = spans.iter().map(|sealed| sealed.span.clone()).collect();
        routed.cut_at_stops(&mut cut);
        spans.iter_mut().zip(cut).for_each(|(sealed, span)| sealed.span = span);
        let tally = Tally::of(&routed, records);
        // Whoever redrives letters knows that they may die again.
        let is_redriven = sealed.slices.iter().any(|(_, slice)| slice.redriven().is_some());
        if !is_redriven && let Some(reason) = self.breaker.judge(&sealed.chain.digest, tally.records, &routed.verdicts)
        {
            return Outcome::Stop(reason);
        }
        let mut batch = Batch::new(&self.shared, sealed, spans, routed);
        let begun = Instant::now();
        let outcome = self.drive(&mut batch, beat);
        match outcome {
            Outcome::Through => self.pace.through(records, begun.elapsed()),
            _ => {
                self.pace.given_up();
                if !is_redriven {
                    self.breaker.forget_last();
                }
            }
        }
        match (outcome, stop) {
            (Outcome::Through, Some(reason)) => Outcome::Stop(reason),
            (Outcome::Through, None) => {
                self.count(&batch, &tally);
                Outcome::Through
            }
            (outcome, _) => outcome,
        }
    }

    /// Collects the outcomes of all slices; slices whose module asks for another attempt are run again until it does
    /// not, those that condemn what a sink has already written a few times. `None` where the batch is given up meanwhile,
    /// or left to the modules that have replaced those that ask.
    fn outcomes(&self, sealed: &Sealed, beat: &Beat) -> Option<Vec<Transformed>> {
        let mut outcomes: Vec<Option<Transformed>> = sealed.slices.iter().map(|_| None).collect();
        self.collect(&sealed.outcomes, &mut outcomes, beat)?;
        let key = self.retry_key();
        let mut attempt = 0;
        loop {
            let wanted = |index: usize, outcome: &Transformed| match retry_reason(outcome) {
                None if attempt < LATE_ATTEMPTS => late_reason(sealed, index, outcome),
                reason => reason,
            };
            let again: Vec<(usize, String)> =
                outcomes.iter().enumerate().filter_map(|(i, o)| Some((i, wanted(i, o.as_ref()?)?))).collect();
            let Some((_, reason)) = again.first() else {
                if attempt > 0 {
                    self.shared.health.solved(&key);
                }
                return outcomes.into_iter().collect();
            };
            attempt += 1;
            let asked = outcomes.iter().flatten().any(|outcome| retry_reason(outcome).is_some());
            if asked {
                self.shared.retried("modules").inc();
                self.shared.health.problem(&key, format!("another attempt is needed: {reason}"));
                warn!(flow = %self.shared.name, attempt, "another attempt of the batch is needed: {reason}");
            }
            // What was most likely rejected the first time too is tried again without a wait.
            let patience = if asked { backoff::next(attempt) } else { Duration::ZERO };
            let is_replaced = || asked && !sealed.repeats && self.chains.current().digest != sealed.chain.digest;
            let held = || sealed.spans.iter().any(|s| self.holds(s));
            let is_over = self.wait(patience, beat, || held() && !is_replaced());
            if is_replaced() {
                self.reread(&sealed.spans);
                return None;
            }
            if !is_over {
                return None;
            }
            let (reply, replies) = crossbeam_channel::unbounded();
            for (index, _) in &again {
                outcomes[*index] = None;
                let (slice, chain) = (sealed.slices[*index].1.clone(), sealed.chain.clone());
                self.pool.submit(Job { slice, chain, index: *index, reply: reply.clone() });
            }
            self.collect(&replies, &mut outcomes, beat)?;
        }
    }

    fn retry_key(&self) -> String {
        format!("flow {} retry", self.shared.name)
    }

    fn collect(
        &self,
        replies: &Receiver<(usize, Transformed)>,
        outcomes: &mut [Option<Transformed>],
        beat: &Beat,
    ) -> Option<()> {
        let mut missing = outcomes.iter().filter(|outcome| outcome.is_none()).count();
        while missing > 0 {
            beat.tick();
            match replies.recv_timeout(LOOK) {
                Ok((index, outcome)) => {
                    outcomes[index] = Some(outcome);
                    missing -= 1;
                }
                Err(RecvTimeoutError::Timeout) if !self.abandon.load(Ordering::Relaxed) => {}
                Err(_) => return None,
            }
        }
        Some(())
    }

    /// Takes a batch through its stages, whatever happens on the way.
    fn drive(&mut self, batch: &mut Batch, beat: &Beat) -> Outcome {
        let (sql, documents) = self.shared.sinks_by_kind();
        let mut commit = Commit::new(&sql, &documents);
        let mut action = commit.start();
        loop {
            beat.tick();
            action = match action {
                Action::Run(stage) => {
                    let event = match self.revoked(batch) {
                        Some(event) => event,
                        None => self.run_stage(stage, batch),
                    };
                    match event {
                        StageEvent::Commit(event) => commit.on(event),
                        StageEvent::Stop(reason) => return Outcome::Stop(reason),
                    }
                }
                Action::RetryLater(stage, attempt) => {
                    let owned = |batch: &Batch| batch.spans.iter().all(|sealed| self.holds(sealed));
                    if self.wait(backoff::next(attempt), beat, || owned(batch)) || !owned(batch) {
                        Action::Run(stage)
                    } else {
                        commit.on(Event::Stop)
                    }
                }
                Action::Finished => return Outcome::Through,
                Action::Abandon(why) => return self.give_up(batch, why),
            };
        }
    }

    fn run_stage(&mut self, stage: Stage, batch: &mut Batch) -> StageEvent {
        match self.stages.run(&self.shared, stage, batch) {
            Ok(event) => StageEvent::Commit(event),
            Err(reason) => StageEvent::Stop(reason),
        }
    }

    /// Notices partitions that are not ours any more and takes them out of the batch.
    fn revoked(&self, batch: &mut Batch) -> Option<StageEvent> {
        let keep: Vec<bool> = batch.spans.iter().map(|sealed| self.holds(sealed)).collect();
        let event = epochs::revoked(&keep)?;
        if event == Event::SomeRevoked {
            batch.keep(&keep);
        }
        Some(StageEvent::Commit(event))
    }

    fn give_up(&self, batch: &Batch, why: Abandon) -> Outcome {
        self.shared.kafka.give_up();
        let partitions: Vec<Partition> = batch.spans.iter().map(|sealed| key(sealed).0).collect();
        let names = crate::source::consumer::list(partitions.iter());
        match why {
            Abandon::Revoked => info!(flow = %self.shared.name, partitions = %names, "batch left to the new owner"),
            Abandon::Stopped => info!(flow = %self.shared.name, partitions = %names, "batch given up uncommitted"),
            Abandon::Fenced => {
                let name = &self.shared.name;
                return Outcome::Fenced(format!("flow {name}: another host runs with the same [host] instance"));
            }
            Abandon::Reread => self.reread(&batch.spans),
        }
        Outcome::GivenUp
    }

    fn reread(&self, spans: &[SealedSpan]) {
        let keys: Vec<(Partition, u64)> = spans.iter().map(key).collect();
        let names = crate::source::consumer::list(keys.iter().map(|(partition, _)| partition));
        warn!(flow = %self.shared.name, partitions = %names, "reading again from what is committed");
        let renewed = keys.into_iter().filter_map(|(partition, epoch)| {
            let epoch = self.shared.ownership.renew(&partition, epoch)?;
            Some((partition, epoch))
        });
        // The reader outlives the batches that it has sealed unless the flow is ending.
        drop(self.requests.send(Request::Reread(renewed.collect())));
    }

    /// Waits; true when the time is over, false when the batch is to be given up or `while_owned` fails.
    fn wait(&self, time: Duration, beat: &Beat, while_owned: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            beat.tick();
            if self.abandon.load(Ordering::Relaxed) || !while_owned() {
                return false;
            }
            std::thread::sleep(LOOK.min(deadline.saturating_duration_since(Instant::now())));
        }
        true
    }

    fn holds(&self, sealed: &SealedSpan) -> bool {
        let (partition, epoch) = key(sealed);
        self.shared.ownership.holds(&partition, epoch)
    }

    fn count(&mut self, batch: &Batch, tally: &Tally) {
        let shared = &self.shared;
        for (span, slice) in &batch.slices {
            shared.read(&batch.spans[*span].span.topic).inc_by(slice.len() as u64);
        }
        for (reason, count) in &tally.filtered {
            shared.filtered(reason).inc_by(*count);
        }
        if !batch.is_redriven() {
            self.breaker.add_refused(batch.decisions.all());
        }
        for verdict in batch.decisions.all() {
            match shared.on_error {
                OnError::Skip => shared.filtered(verdict.code.as_str()).inc(),
                OnError::DeadLetter | OnError::Stop => shared.dead(verdict.code.as_str()).inc(),
            };
        }
        for (module, traps) in &tally.trapped {
            let labels = ByGuest { flow: shared.name.to_string(), module: module.to_string() };
            shared.metrics.module_traps.get_or_create(&labels).inc_by(*traps);
        }
        shared.metrics.records_slow.get_or_create(&shared.by_flow()).inc_by(tally.slow);
        shared.metrics.batches.get_or_create(&shared.by_flow()).inc();
        shared.metrics.batch_records.get_or_create(&shared.by_flow()).observe(tally.records as f64);
        shown::show(shared, batch, tally);
        self.silence.add(&shared.name, tally);
    }
}

/// What a stage means for the batch or for the flow.
enum StageEvent {
    Commit(Event),
    /// The flow has to stop.
    Stop(String),
}

/// Figures of a batch for the metrics.
pub(super) struct Tally {
    records: u64,
    outputs: u64,
    dead: u64,
    pub(super) filtered: Vec<(Arc<str>, u64)>,
    /// Traps by module.
    pub(super) trapped: Vec<(Arc<str>, u64)>,
    slow: u64,
}

impl Tally {
    fn of(routed: &Routed, records: usize) -> Self {
        Tally {
            records: records as u64,
            outputs: (routed.sinks.iter().map(Vec::len).sum::<usize>() + routed.kafka.len()) as u64,
            dead: routed.verdicts.len() as u64,
            filtered: routed.filtered.iter().map(|(reason, count)| (reason.clone(), *count)).collect(),
            trapped: routed.trapped.iter().map(|(module, count)| (module.clone(), *count)).collect(),
            slow: routed.slow,
        }
    }
}

/// Says aloud when a flow consumes and nothing comes out: the most common mistake in a new transform.
#[derive(Debug)]
pub struct Silence {
    consumed: u64,
    emitted: u64,
    next: u64,
}

impl Default for Silence {
    fn default() -> Self {
        Silence { consumed: 0, emitted: 0, next: 100 }
    }
}

impl Silence {
    fn add(&mut self, flow: &str, tally: &Tally) {
        self.consumed += tally.records;
        self.emitted += tally.outputs + tally.dead;
        if self.emitted > 0 || self.consumed < self.next {
            return;
        }
        while self.next <= self.consumed {
            self.next *= 10;
        }
        let reasons: Vec<String> = tally.filtered.iter().map(|(reason, n)| format!("{reason}: {n}")).collect();
        warn!(flow, "consumed {}, emitted 0; of the last batch were filtered: {}", self.consumed, reasons.join(", "));
    }
}

fn key(sealed: &SealedSpan) -> (Partition, u64) {
    ((sealed.span.topic.clone(), sealed.span.partition), sealed.epoch)
}

fn retry_reason(outcome: &Transformed) -> Option<String> {
    outcome.verdicts.iter().find_map(|verdict| match &verdict.ruling {
        Ruling::Retry { message } => Some(format!("module {}: {message}", verdict.module)),
        _ => None,
    })
}

/// A record that some sink has passed, of which nothing may be written now.
fn late_reason(sealed: &Sealed, index: usize, outcome: &Transformed) -> Option<String> {
    let (span, slice) = &sealed.slices[index];
    let SealedSpan { span, passed, .. } = &sealed.spans[*span];
    let is_late = |verdict: &&Verdict| {
        let offset = slice.position(verdict.record as usize);
        matches!(verdict.ruling, Ruling::Dead { .. }) && decisions::is_late(offset, *passed)
    };
    let verdict = outcome.verdicts.iter().find(is_late)?;
    let offset = slice.position(verdict.record as usize);
    let Span { topic, partition, .. } = span;
    Some(format!("module {} rejects {topic}/{partition}/{offset}, which a sink has passed", verdict.module))
}

/// Why the flow has to stop after this batch, with the first record that it must not pass.
fn stop_reason(routed: &Routed, spans: &[SealedSpan]) -> Option<String> {
    let (span, offset, reason) = routed.stops.iter().min_by_key(|(span, offset, _)| (*span, *offset))?;
    let span = &spans[*span].span;
    let words = format!("stopped before {}/{}/{offset}: {reason}", span.topic, span.partition);
    error!("{words}");
    Some(words)
}
