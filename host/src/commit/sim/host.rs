//! A host: its source thread and the two threads of its writer, each as a state machine that makes one external call per step.

use std::collections::VecDeque;

use super::batch::Batch;
use super::reader::Slot;
use super::world::World;
use super::writer::{At, Writing};
use crate::commit::epochs::Epochs;

pub(super) struct Host {
    pub(super) index: usize,
    /// Tells a process from its predecessors.
    pub(super) process: u32,
    pub(super) epochs: Epochs,
    /// The generation that the client knows of.
    pub(super) generation: u32,
    pub(super) joined: bool,
    /// By partition; nothing where it is not ours.
    pub(super) slots: Vec<Option<Slot>>,
    pub(super) sealed: VecDeque<Batch>,
    pub(super) writing: Option<Writing>,
    /// What the SQL sinks have, on its way through the other stages.
    pub(super) resting: Option<Writing>,
    /// The epoch of the producer, once it is registered.
    pub(super) producer: Option<u32>,
    /// Steps that it is not scheduled for.
    pub(super) stopped: usize,
}

impl Host {
    pub(super) fn new(index: usize, process: u32, world: &World) -> Self {
        Host {
            index,
            process,
            epochs: Epochs::default(),
            generation: 0,
            joined: false,
            slots: vec![None; world.plan.partitions()],
            sealed: VecDeque::new(),
            writing: None,
            resting: None,
            producer: None,
            stopped: 0,
        }
    }

    /// The transactional id.
    pub(super) fn producer_id(&self, world: &World) -> u32 {
        if world.plan.named { self.index as u32 } else { 1000 + self.process }
    }

    pub(super) fn step(&mut self, world: &mut World) {
        if self.stopped > 0 && world.faults {
            self.stopped -= 1;
            return;
        }
        // The client's own thread hears of a new generation before anybody polls, unless the member was expelled.
        if world.group.has(self.index, self.process) && world.rng.chance(500) {
            self.generation = world.group.generation;
        }
        let busy = self.writing.is_some() || self.resting.is_some() || !self.sealed.is_empty();
        if busy && world.rng.chance(600) { self.write(world) } else { self.read(world) }
    }

    /// Whether its next call was decided on before.
    pub(super) fn is_half_way(&self) -> bool {
        [&self.writing, &self.resting].into_iter().flatten().any(|writing| writing.at != At::Check)
    }

    pub(super) fn say(&self, world: &World, what: impl FnOnce() -> String) {
        if world.trace {
            eprintln!("host {}.{}: {}", self.index, self.process, what());
        }
    }
}
