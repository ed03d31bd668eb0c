//! The writer's threads: take a batch through the stages, one external call per step.

use super::batch::Batch;
use super::host::Host;
use super::world::World;
use crate::commit::epochs::revoked;
use crate::commit::{Abandon, Action, Commit, Event, Stage};

/// A batch at work.
pub(super) struct Writing {
    pub(super) batch: Batch,
    pub(super) commit: Commit,
    pub(super) action: Action,
    /// How far the current stage has got.
    pub(super) at: At,
    /// The last attempt of this stage got no answer.
    pub(super) unknown: bool,
    /// The generation when it was last looked whether the batch is ours.
    pub(super) checked: u32,
}

/// Calls of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Whether the batch is still ours has to be looked at.
    Check,
    Call,
    /// In a transaction: the outputs are sent.
    Sent,
    /// The offsets are sent.
    Offsets,
}

/// What a call leaves behind.
pub(super) enum Step {
    /// The stage goes on.
    Next(At),
    Over(Event),
}

impl Host {
    pub(super) fn write(&mut self, world: &mut World) {
        if self.resting.is_some() && world.rng.chance(500) {
            self.resting = self.resting.take().and_then(|writing| self.step_of(world, writing));
            return;
        }
        let Some(mut writing) = self.writing.take() else { return self.take(world) };
        if !writing.batch.transformed {
            writing.batch.transform(world);
            // The modules ask for another attempt, and are replaced.
            if world.fails(10) {
                writing.action = Action::Abandon(Abandon::Reread);
            }
            self.writing = Some(writing);
        } else if world.plan.overlaps && writing.commit.lets_next_begin() {
            match &self.resting {
                Some(_) => self.writing = Some(writing),
                None => self.resting = Some(writing),
            }
        } else if self.resting.is_some() && matches!(writing.action, Action::Abandon(_)) && !mutant!(GivenUpAtOnce) {
            // As the writer's first thread does: it waits until the other has nothing to do.
            self.writing = Some(writing);
        } else {
            self.writing = self.step_of(world, writing);
        }
    }

    /// Nothing where the batch was at its end.
    fn step_of(&mut self, world: &mut World, mut writing: Writing) -> Option<Writing> {
        let stage = match writing.action {
            Action::Run(stage) | Action::RetryLater(stage, _) => stage,
            Action::Finished | Action::Abandon(_) => {
                self.finish(world, writing);
                return None;
            }
        };
        let step = match writing.at {
            At::Check => {
                writing.checked = self.generation;
                self.check(world, &mut writing.batch)
            }
            at => self.call(world, stage, at, &mut writing),
        };
        match step {
            Step::Next(at) => writing.at = at,
            Step::Over(event) => {
                self.say(world, || format!("{stage:?}: {event:?}"));
                writing.at = At::Check;
                writing.action = writing.commit.on(event);
            }
        }
        Some(writing)
    }

    fn take(&mut self, world: &World) {
        if let Some(batch) = self.sealed.pop_front() {
            let sql: Vec<usize> = (0..world.plan.sql).collect();
            let documents: Vec<usize> = (world.plan.sql..world.plan.sql + world.plan.documents).collect();
            let commit = Commit::new(&sql, &documents);
            let action = commit.start();
            self.writing = Some(Writing { batch, commit, action, at: At::Check, unknown: false, checked: 0 });
        }
    }

    fn check(&self, world: &World, batch: &mut Batch) -> Step {
        let holds =
            |s: &crate::source::SealedSpan| self.epochs.holds(&world.plan.names[s.span.partition as usize], s.epoch);
        let keep: Vec<bool> = batch.spans.iter().map(holds).collect();
        match revoked(&keep) {
            None => Step::Next(At::Call),
            Some(event) => {
                if event == Event::SomeRevoked {
                    batch.keep(&keep);
                }
                Step::Over(event)
            }
        }
    }

    fn call(&mut self, world: &mut World, stage: Stage, at: At, writing: &mut Writing) -> Step {
        match stage {
            Stage::Sql(sink) => Step::Over(self.sql(world, sink, writing)),
            Stage::Documents(_) => Step::Over(self.documents(world, &mut writing.batch)),
            Stage::DeadTable => Step::Over(self.dead_table(world, &writing.batch)),
            Stage::Publish => self.publish(world, at, &mut writing.batch),
            Stage::Offsets => Step::Over(self.offsets(world, writing)),
        }
    }

    fn finish(&mut self, world: &mut World, writing: Writing) {
        let Writing { batch, action, .. } = writing;
        // The spans that were sealed, less those that were revoked meanwhile: ends of those count for nothing.
        self.epochs.end(batch.spans.iter().map(|s| (&world.plan.names[s.span.partition as usize], s.epoch)));
        match action {
            Action::Abandon(Abandon::Reread) => self.reread(world, &batch.spans),
            Action::Abandon(Abandon::Fenced) => world.broken.push("fenced without a twin".into()),
            _ => {}
        }
    }

    /// The group has the offsets of a batch.
    pub(super) fn note_committed(&mut self, world: &World, batch: &Batch) {
        for (sealed, (_, offset)) in batch.spans.iter().zip(batch.offsets()) {
            self.epochs.commit(&world.plan.names[sealed.span.partition as usize], sealed.epoch, offset);
        }
    }
}
