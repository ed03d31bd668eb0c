//! Takes a batch through the stages of the commit protocol, whatever happens on the way: outages, partitions that go to
//! others, a host that has to end. Which stage comes next is decided in `commit`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tracing::{info, warn};

use super::Shared;
use super::stages::{Batch, Stages};
use crate::commit::{Abandon, Action, Commit, Event, Stage, epochs};
use crate::health::Beat;
use crate::sinks::backoff;
use crate::source::reader::Request;
use crate::source::{Partition, SealedSpan};

/// How often a wait looks up: for the beat, for revoked partitions, for shutdown.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// What drives the batches of one flow.
pub struct Drive {
    pub shared: Arc<Shared>,
    pub requests: Sender<Request>,
    pub stages: Stages,
}

/// Where a batch is on its way.
pub(super) struct Course {
    commit: Commit,
    action: Action,
}

/// What became of one batch.
pub(super) enum Outcome {
    Through,
    GivenUp,
    /// Given up because the flow ends already.
    Ended,
    Stop(String),
    Fenced(String),
}

/// What a stage means for the batch or for the flow.
enum StageEvent {
    Commit(Event),
    /// The flow has to stop.
    Stop(String),
}

impl Course {
    pub(super) fn is_given_up(&self) -> bool {
        matches!(self.action, Action::Abandon(_))
    }
}

impl Drive {
    /// The way of a batch from its beginning.
    pub(super) fn course(&self) -> Course {
        let (sql, documents) = self.shared.sinks_by_kind();
        let commit = Commit::new(&sql, &documents);
        let action = commit.start();
        Course { commit, action }
    }

    /// The way of a batch that is only to be read again.
    pub(super) fn reread_course(&self) -> Course {
        Course { action: Action::Abandon(Abandon::Reread), ..self.course() }
    }

    /// Takes a batch to its end. With `beside` only until the rest may run beside the next batch, or until it is to be given
    /// up, then it is `None`.
    pub(super) fn run(&self, batch: &mut Batch, course: &mut Course, beside: bool, beat: &Beat) -> Option<Outcome> {
        loop {
            beat.tick();
            course.action = match course.action {
                Action::Run(_) if beside && course.commit.lets_next_begin() => return None,
                Action::Abandon(_) if beside => return None,
                // A batch that is given up must not be followed by one that gets through.
                Action::Run(_) if self.is_abandoned() => course.commit.on(Event::Stop),
                Action::Run(stage) => {
                    let event = match self.revoked(batch) {
                        Some(event) => event,
                        None => self.run_stage(stage, batch),
                    };
                    match event {
                        StageEvent::Commit(event) => course.commit.on(event),
                        StageEvent::Stop(reason) => return Some(Outcome::Stop(reason)),
                    }
                }
                Action::RetryLater(stage, attempt) => {
                    let owned = |batch: &Batch| batch.spans.iter().all(|sealed| self.holds(sealed));
                    if self.wait(backoff::next(attempt), beat, || owned(batch)) || !owned(batch) {
                        Action::Run(stage)
                    } else {
                        course.commit.on(Event::Stop)
                    }
                }
                Action::Finished => return Some(Outcome::Through),
                Action::Abandon(why) => return Some(self.give_up(batch, why)),
            };
        }
    }

    fn run_stage(&self, stage: Stage, batch: &mut Batch) -> StageEvent {
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

    /// Has the partitions read again from what is committed. Batches of them that are on their way are given up.
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
    pub(super) fn wait(&self, time: Duration, beat: &Beat, while_owned: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            beat.tick();
            if self.is_abandoned() || !while_owned() {
                return false;
            }
            std::thread::sleep(LOOK.min(deadline.saturating_duration_since(Instant::now())));
        }
        true
    }

    pub(super) fn holds(&self, sealed: &SealedSpan) -> bool {
        let (partition, epoch) = key(sealed);
        self.shared.ownership.holds(&partition, epoch)
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.shared.abandon.load(Ordering::Relaxed)
    }
}

pub(super) fn key(sealed: &SealedSpan) -> (Partition, u64) {
    ((sealed.span.topic.clone(), sealed.span.partition), sealed.epoch)
}
