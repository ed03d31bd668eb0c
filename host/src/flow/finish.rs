//! The end of a batch: what it means for the pace, the breaker and the figures, and for the reader, who waits for it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tracing::warn;

use super::breaker::Breaker;
use super::drive::{Course, Outcome};
use super::stages::Batch;
use super::{Shared, lock, shown};
use crate::config::OnError;
use crate::metrics::ByGuest;
use crate::router::Routed;
use crate::source::Partition;
use crate::source::pace::Pace;

/// A batch that is transformed, on its way to its end.
pub(super) struct Work {
    pub(super) batch: Batch,
    pub(super) course: Course,
    pub(super) begun: Instant,
    /// The partitions that it was sealed of, with their epochs.
    pub(super) sealed: Vec<(Partition, u64)>,
    pub(super) tally: Tally,
    /// The breaker's number for it; redriven batches have none.
    pub(super) judged: Option<u64>,
    /// Why the flow has to stop behind it.
    pub(super) stop: Option<String>,
}

/// Where the batches of one flow end.
pub struct Finish {
    shared: Arc<Shared>,
    breaker: Mutex<Breaker>,
    silence: Mutex<Silence>,
    pace: Arc<Pace>,
}

impl Finish {
    pub fn new(shared: Arc<Shared>, breaker: Breaker, pace: Arc<Pace>) -> Self {
        Finish { shared, breaker: Mutex::new(breaker), silence: Mutex::default(), pace }
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        lock(&self.breaker)
    }

    /// Takes note of what was refused of the batch up to now, so that the next one is judged with it.
    pub(super) fn note_refused(&self, work: &Work) {
        if let Some(number) = work.judged {
            self.breaker().add_refused(number, work.batch.decisions.all());
        }
    }

    /// Takes note of what became of a batch, and says what that means for the flow.
    pub(super) fn finish(&self, work: Work, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Through => self.pace.through(work.tally.records as usize, work.begun.elapsed()),
            _ => {
                self.pace.given_up();
                if let Some(number) = work.judged {
                    self.breaker().forget(number);
                }
            }
        }
        let outcome = match (outcome, &work.stop) {
            (Outcome::Through, Some(reason)) => Outcome::Stop(reason.clone()),
            (Outcome::Through, None) => {
                self.note_refused(&work);
                self.count(&work.batch, &work.tally);
                Outcome::Through
            }
            (outcome, _) => outcome,
        };
        self.end(&work.sealed);
        outcome
    }

    /// A batch of these partitions is on its way no more.
    pub(super) fn end(&self, sealed: &[(Partition, u64)]) {
        self.shared.ownership.end(sealed.iter().map(|(partition, epoch)| (partition, *epoch)));
    }

    fn count(&self, batch: &Batch, tally: &Tally) {
        let shared = &self.shared;
        for (span, slice) in &batch.slices {
            shared.read(&batch.spans[*span].span.topic).inc_by(slice.len() as u64);
        }
        for (reason, count) in &tally.filtered {
            shared.filtered(reason).inc_by(*count);
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
        lock(&self.silence).add(&shared.name, tally);
    }
}

/// Figures of a batch for the metrics.
pub(super) struct Tally {
    pub(super) records: u64,
    outputs: u64,
    dead: u64,
    pub(super) filtered: Vec<(Arc<str>, u64)>,
    /// Traps by module.
    pub(super) trapped: Vec<(Arc<str>, u64)>,
    slow: u64,
}

impl Tally {
    pub(super) fn of(routed: &Routed, records: usize) -> Self {
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
struct Silence {
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
