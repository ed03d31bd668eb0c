//! The writer of a flow: waits for the workers' outcomes, routes them, and takes the batch through the stages of the
//! commit protocol, in the order in which batches were sealed. Once the SQL sinks have a batch, a second thread takes it
//! through the stages that are left, beside the first stages of the next one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError};
use tracing::{error, warn};

use super::drive::{Drive, LOOK, Outcome, key};
use super::finish::{Finish, Tally, Work};
use super::stages::Batch;
use crate::commit::decisions;
use crate::config::{Delivery, OnError};
use crate::failpoint;
use crate::health::Beat;
use crate::outcome::{Ruling, Transformed, Verdict};
use crate::router::{self, Routed};
use crate::runtime::{Job, Pool};
use crate::sinks::{Span, backoff};
use crate::source::chains::Chains;
use crate::source::{Partition, Sealed, SealedSpan};

/// Attempts for a record that was written before and is condemned now: what comes from load passes, what comes from
/// another module does not.
const LATE_ATTEMPTS: u32 = 2;

/// The writer of one flow.
pub struct Writer {
    pub sealed: Receiver<Sealed>,
    pub pool: Arc<Pool>,
    pub chains: Arc<Chains>,
    pub drive: Drive,
    pub finish: Finish,
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

/// What is given to the thread for the rest; nothing, to wait until it is through with what it has.
type Handed = Option<Work>;

/// The thread for the rest, as the other one sees it.
struct Rest {
    give: Sender<Handed>,
    /// Nothing ever comes here; it is closed when the thread has ended.
    over: Receiver<()>,
}

/// Why there are no outcomes of a batch.
enum Untransformed {
    GivenUp,
    /// Other modules are in place of those that ask for another attempt: they get it.
    Replaced,
}

impl Writer {
    /// Runs until the reader has ended or the flow has to stop.
    pub fn run(self, beat: &Beat) -> End {
        if !self.overlaps() {
            return self.write(None, beat);
        }
        std::thread::scope(|scope| {
            // Nothing is kept in between: who hands something over knows that the other has nothing to do.
            let (to_rest, works) = crossbeam_channel::bounded(0);
            let (ended, over) = crossbeam_channel::bounded::<()>(0);
            let thread = std::thread::Builder::new().name(self.name("rest"));
            let rest = thread.spawn_scoped(scope, || {
                let end = self.rest(works);
                drop(ended);
                end
            });
            let Ok(rest) = rest else { return self.write(None, beat) };
            let end = self.write(Some(&Rest { give: to_rest, over: over.clone() }), beat);
            while matches!(over.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout)) {
                beat.tick();
            }
            match rest.join() {
                Ok(End::Drained) => end,
                Ok(other) => other,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Whether the next batch is begun before the last one is through. A flow that stops at a record writes nothing that
    /// comes after it; a SQL sink without progress would double two batches after a crash where one is promised.
    fn overlaps(&self) -> bool {
        let shared = &self.drive.shared;
        let has_sql = shared.sinks.iter().any(|sink| sink.is_sql());
        has_sql && shared.on_error != OnError::Stop && shared.delivery != Delivery::AtLeastOnce
    }

    /// Takes batches to their end, or to where the other thread goes on with them.
    fn write(&self, rest: Option<&Rest>, beat: &Beat) -> End {
        loop {
            beat.tick();
            let sealed = match self.sealed.recv_timeout(LOOK) {
                Ok(sealed) => sealed,
                Err(RecvTimeoutError::Timeout) if rest.is_none_or(Rest::works) => continue,
                Err(_) => return End::Drained,
            };
            let outcome = match self.transformed(sealed, beat) {
                Ok(work) => self.process(work, rest, beat),
                Err(outcome) => Some(outcome),
            };
            if let Some(end) = outcome.and_then(ending) {
                return end;
            }
        }
    }

    /// Takes what the other thread has begun to its end.
    fn rest(&self, works: Receiver<Handed>) -> End {
        for mut work in works.into_iter().flatten() {
            // Only while there is something to do: who waits must not be taken for stuck.
            let beat = self.drive.shared.health.beat(&self.name("rest"));
            if let Some(outcome) = self.drive.run(&mut work.batch, &mut work.course, false, &beat)
                && let Some(end) = ending(self.finish.finish(work, outcome))
            {
                return end;
            }
        }
        End::Drained
    }

    fn name(&self, part: &str) -> String {
        format!("flow {} {part}", self.drive.shared.name)
    }

    /// The work that a batch makes, once it is transformed and judged.
    fn transformed(&self, sealed: Sealed, beat: &Beat) -> Result<Work, Outcome> {
        let keys: Vec<_> = sealed.spans.iter().map(key).collect();
        let work = self.work(sealed, keys.clone(), beat);
        work.inspect_err(|_| self.finish.end(&keys))
    }

    fn work(&self, sealed: Sealed, keys: Vec<(Partition, u64)>, beat: &Beat) -> Result<Work, Outcome> {
        let shared = &self.drive.shared;
        let records: usize = sealed.slices.iter().map(|(_, slice)| slice.len()).sum();
        let outcomes = match self.outcomes(&sealed, beat) {
            Ok(outcomes) => outcomes,
            Err(why) => {
                shared.health.solved(&self.name("retry"));
                return match why {
                    Untransformed::GivenUp => Err(Outcome::GivenUp),
                    Untransformed::Replaced => Ok(self.reread(sealed, keys)),
                };
            }
        };
        failpoint::step("batch.transformed");
        let names: Vec<&str> = shared.sinks.iter().map(|sink| sink.name()).collect();
        let stop_on_error = shared.on_error == OnError::Stop;
        let mut routed = router::route(&sealed.slices, outcomes, &names, stop_on_error);
        let mut spans = sealed.spans.clone();
        let stop = stop_reason(&routed, &spans);
        let mut cut: Vec<_> = spans.iter().map(|sealed| sealed.span.clone()).collect();
        routed.cut_at_stops(&mut cut);
        spans.iter_mut().zip(cut).for_each(|(sealed, span)| sealed.span = span);
        let tally = Tally::of(&routed, records);
        // Whoever redrives letters knows that they may die again.
        let is_redriven = sealed.slices.iter().any(|(_, slice)| slice.redriven().is_some());
        let mut judged = None;
        if !is_redriven {
            let judgement = self.finish.breaker().judge(&sealed.chain.digest, tally.records, &routed.verdicts);
            judged = Some(judgement.map_err(Outcome::Stop)?);
        }
        let batch = Batch::new(shared, sealed, spans, routed);
        Ok(Work { batch, course: self.drive.course(), begun: Instant::now(), sealed: keys, tally, judged, stop })
    }

    /// The work of having a batch read again, for the modules that are in place now.
    fn reread(&self, sealed: Sealed, keys: Vec<(Partition, u64)>) -> Work {
        let (spans, nothing) = (sealed.spans.clone(), Routed::default());
        Work {
            tally: Tally::of(&nothing, 0),
            batch: Batch::new(&self.drive.shared, sealed, spans, nothing),
            course: self.drive.reread_course(),
            begun: Instant::now(),
            sealed: keys,
            judged: None,
            stop: None,
        }
    }

    /// Takes a batch to its end, or hands it over; `None` where the other thread has it.
    fn process(&self, mut work: Work, rest: Option<&Rest>, beat: &Beat) -> Option<Outcome> {
        if let Some(outcome) = self.drive.run(&mut work.batch, &mut work.course, rest.is_some(), beat) {
            return Some(self.finish.finish(work, outcome));
        }
        let rest = rest?;
        if !work.course.is_given_up() {
            self.finish.note_refused(&work);
            return match rest.hand_over(Some(work), beat) {
                // The flow ends, for a reason that the other thread tells.
                Some(Some(work)) => Some(self.finish.finish(work, Outcome::Ended)),
                _ => None,
            };
        }
        // The batch before may be half-way through a transaction: who reads its offsets again now would publish its
        // outputs twice.
        let outcome = match rest.hand_over(None, beat) {
            None => self.drive.run(&mut work.batch, &mut work.course, false, beat)?,
            Some(_) => Outcome::Ended,
        };
        Some(self.finish.finish(work, outcome))
    }

    /// Collects the outcomes of all slices; slices whose module asks for another attempt are run again until it does
    /// not, those that condemn what a sink has already written a few times.
    fn outcomes(&self, sealed: &Sealed, beat: &Beat) -> Result<Vec<Transformed>, Untransformed> {
        let mut outcomes: Vec<Option<Transformed>> = sealed.slices.iter().map(|_| None).collect();
        self.collect(&sealed.outcomes, &mut outcomes, beat)?;
        let key = self.name("retry");
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
                    self.drive.shared.health.solved(&key);
                }
                return Ok(outcomes.into_iter().flatten().collect());
            };
            attempt += 1;
            let asked = outcomes.iter().flatten().any(|outcome| retry_reason(outcome).is_some());
            if asked {
                self.drive.shared.retried("modules").inc();
                self.drive.shared.health.problem(&key, format!("another attempt is needed: {reason}"));
                warn!(flow = %self.drive.shared.name, attempt, "another attempt of the batch is needed: {reason}");
            }
            // What was most likely rejected the first time too is tried again without a wait.
            let patience = if asked { backoff::next(attempt) } else { Duration::ZERO };
            let is_replaced = || asked && !sealed.repeats && self.chains.current().digest != sealed.chain.digest;
            let held = || sealed.spans.iter().any(|s| self.drive.holds(s));
            let is_over = self.drive.wait(patience, beat, || held() && !is_replaced());
            if is_replaced() {
                return Err(Untransformed::Replaced);
            }
            if !is_over {
                return Err(Untransformed::GivenUp);
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

    fn collect(
        &self,
        replies: &Receiver<(usize, Transformed)>,
        outcomes: &mut [Option<Transformed>],
        beat: &Beat,
    ) -> Result<(), Untransformed> {
        let mut missing = outcomes.iter().filter(|outcome| outcome.is_none()).count();
        while missing > 0 {
            beat.tick();
            match replies.recv_timeout(LOOK) {
                Ok((index, outcome)) => {
                    outcomes[index] = Some(outcome);
                    missing -= 1;
                }
                Err(RecvTimeoutError::Timeout) if !self.drive.is_abandoned() => {}
                Err(_) => return Err(Untransformed::GivenUp),
            }
        }
        Ok(())
    }
}

impl Rest {
    fn works(&self) -> bool {
        self.over.try_recv() == Err(TryRecvError::Empty)
    }

    /// Waits until the thread has nothing to do, and gives it something. What comes back it does not take: it has ended.
    fn hand_over(&self, mut handed: Handed, beat: &Beat) -> Option<Handed> {
        loop {
            beat.tick();
            match self.give.send_timeout(handed, LOOK) {
                Ok(()) => return None,
                Err(SendTimeoutError::Timeout(again)) => handed = again,
                Err(SendTimeoutError::Disconnected(back)) => return Some(back),
            }
        }
    }
}

/// What an outcome means for the flow, where it ends it.
fn ending(outcome: Outcome) -> Option<End> {
    match outcome {
        Outcome::Through | Outcome::GivenUp => None,
        Outcome::Ended => Some(End::Drained),
        Outcome::Stop(reason) => Some(End::Stopped(reason)),
        Outcome::Fenced(reason) => Some(End::Fenced(reason)),
    }
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
