//! How reading ends: when `--once` has nothing left to do, and leaving the group.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::{CLOSE, Loop, NOTHING_ASSIGNED, Slot, State};
use crate::health::Beat;
use crate::source::Partition;
use crate::source::consumer::list;

impl Loop {
    pub(super) fn is_done(&self) -> bool {
        let assigned = self.assigned_once || self.started.elapsed() > NOTHING_ASSIGNED;
        let done = |slot: &Slot| match &slot.state {
            // The end may lie behind transaction markers, which are never delivered.
            State::Reading(reading) => reading.next >= reading.target || reading.at_end,
            State::Stopped => true,
            State::Resolving => false,
        };
        assigned
            && self.reader.open.is_empty()
            && self.reader.ownership.in_flight() == 0
            && self.slots.values().flat_map(HashMap::values).all(done)
    }

    /// Leaves the group, waiting for it at most a moment: what is not committed is read again by the next owner.
    pub(super) fn close(&mut self, beat: &Beat) {
        let names: Vec<Partition> =
            self.slots.values().flat_map(HashMap::values).map(|slot| slot.partition.clone()).collect();
        // Whoever reads them next will find out for itself.
        self.forget(&names);
        let consumer = &self.reader.consumer;
        debug!(flow = %self.reader.flow, partitions = %list(names.iter()), "leaving the group");
        if let Err(cause) = consumer.close_queue() {
            warn!(flow = %self.reader.flow, "could not leave the consumer group: {cause}");
            return;
        }
        let deadline = Instant::now() + CLOSE;
        while !consumer.closed() && Instant::now() < deadline {
            beat.tick();
            drop(consumer.poll(Duration::from_millis(20)));
        }
    }
}
