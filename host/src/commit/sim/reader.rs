//! The source thread: polls, answers rebalances, finds out where partitions begin, seals batches.

use super::batch::Batch;
use super::host::Host;
use super::world::World;
use crate::commit::Decisions;
use crate::commit::begin::{Known, begin, group_offset};
use crate::sinks::Span;
use crate::source::SealedSpan;

/// Where a partition stands.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) epoch: u64,
    pub(super) state: State,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    Resolving,
    /// The group's offset is known.
    Asked(Option<i64>),
    Reading {
        kafka_lane: i64,
        passed: i64,
        next: i64,
    },
}

/// Batches on their way.
const IN_FLIGHT: usize = 2;

impl Host {
    pub(super) fn read(&mut self, world: &mut World) {
        if !self.poll(world) {
            return;
        }
        let unresolved = (0..self.slots.len()).filter(|p| self.is_parked(*p)).min();
        match unresolved {
            Some(partition) => self.resolve(world, partition),
            None => self.seal(world),
        }
    }

    fn is_parked(&self, partition: usize) -> bool {
        self.slots[partition].as_ref().is_some_and(|slot| !matches!(slot.state, State::Reading { .. }))
    }

    /// Serves rebalances; false while there was something to serve.
    fn poll(&mut self, world: &mut World) -> bool {
        if !world.group.has(self.index, self.process) {
            if self.joined {
                self.say(world, || "lost its partitions".into());
                self.epochs.revoke(&world.plan.names);
                self.slots.fill(None);
            }
            world.group.join(self.index, self.process, &mut world.rng);
            self.joined = true;
            self.generation = world.group.generation;
            return false;
        }
        for partition in 0..self.slots.len() {
            let name = &world.plan.names[partition];
            if world.group.owner[partition] != Some(self.index) {
                continue;
            }
            if world.group.target[partition].is_some_and(|target| target != self.index) {
                // The callback waits for batches, but not for ever.
                if !self.epochs.busy(std::slice::from_ref(name)).is_empty() && world.rng.chance(700) {
                    return false;
                }
                self.say(world, || format!("lets go of {partition}"));
                self.epochs.revoke(std::slice::from_ref(name));
                self.slots[partition] = None;
                world.group.release(partition, &mut world.rng);
                return false;
            }
            if !self.epochs.owns(name) {
                self.say(world, || format!("owns {partition}"));
                let epoch = self.epochs.assign(name.clone());
                self.slots[partition] = Some(Slot { epoch, state: State::Resolving });
                self.generation = world.group.generation;
                return false;
            }
        }
        true
    }

    fn resolve(&mut self, world: &mut World, partition: usize) {
        let Some(slot) = &self.slots[partition] else { return };
        let epoch = slot.epoch;
        let state = match slot.state {
            State::Resolving => match world.kafka.stable(partition) {
                Some(committed) => State::Asked(committed),
                None => return,
            },
            State::Asked(committed) => match self.beginning(world, partition, epoch, committed) {
                Some(state) => state,
                None => return,
            },
            State::Reading { .. } => return,
        };
        self.say(world, || format!("partition {partition}: {state:?}"));
        self.slots[partition] = Some(Slot { epoch, state });
    }

    fn beginning(&mut self, world: &mut World, partition: usize, epoch: u64, committed: Option<i64>) -> Option<State> {
        let lanes: Vec<i64> = world.sql.iter().filter_map(|sql| sql.lanes[partition]).collect();
        let group = group_offset(committed, lanes.iter().copied()).unwrap_or(0);
        let end = world.end(partition);
        let Ok(beginning) = begin(Known { group, lanes: &lanes, low: 0, end }) else {
            world.broken.push(format!("partition {partition} cannot begin"));
            return None;
        };
        if committed.is_none() {
            if !world.group.accepts(self.index, self.process, self.generation) {
                return None;
            }
            world.kafka.committed[partition] = Some(beginning.kafka_lane);
        }
        let crate::commit::begin::Beginning { start, kafka_lane, passed } = beginning;
        self.epochs.commit(&world.plan.names[partition], epoch, start);
        Some(State::Reading { kafka_lane, passed, next: start })
    }

    fn seal(&mut self, world: &mut World) {
        let in_flight = self.epochs.in_flight();
        if in_flight >= IN_FLIGHT || (in_flight > 0 && world.rng.chance(500)) {
            return;
        }
        let mut spans = Vec::new();
        for partition in 0..self.slots.len() {
            let end = world.end(partition);
            let Some(Slot { epoch, state: State::Reading { kafka_lane, passed, next } }) = &mut self.slots[partition]
            else {
                continue;
            };
            let most = (end - *next).min(3) as usize;
            if most == 0 || world.rng.chance(250) {
                continue;
            }
            let span = Span {
                topic: world.plan.names[partition].0.clone(),
                topic_id: world.plan.id.clone(),
                partition: partition as i32,
                start: *next,
                end: *next + 1 + world.rng.below(most) as i64,
                digest: world.plan.id.clone(),
            };
            *next = span.end;
            spans.push(SealedSpan { span, epoch: *epoch, kafka_lane: *kafka_lane, passed: *passed, born: 0 });
        }
        if spans.is_empty() {
            return;
        }
        self.epochs.begin(spans.iter().map(|s| (&world.plan.names[s.span.partition as usize], s.epoch)));
        self.say(world, || {
            let spans: Vec<String> =
                spans.iter().map(|s| format!("{}:{}..{}", s.span.partition, s.span.start, s.span.end)).collect();
            format!("seals {}", spans.join(" "))
        });
        self.sealed.push_back(Batch {
            spans,
            generation: self.generation,
            version: world.version,
            items: Vec::new(),
            decisions: Decisions::default(),
            delivered: Vec::new(),
            transformed: false,
        });
    }

    /// Reads partitions again, as the writer asks.
    pub(super) fn reread(&mut self, world: &World, spans: &[SealedSpan]) {
        for sealed in spans {
            let partition = sealed.span.partition as usize;
            if let Some(epoch) = self.epochs.renew(&world.plan.names[partition], sealed.epoch) {
                self.slots[partition] = Some(Slot { epoch, state: State::Resolving });
            }
        }
    }
}
