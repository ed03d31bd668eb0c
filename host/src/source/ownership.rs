//! The epochs of `commit`, shared between the source, which learns of rebalances, and the writer, which must not commit
//! what it no longer owns; and the waiting for batches that are on their way.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Partition;
use crate::commit::epochs::Epochs;

/// The partitions of one flow.
#[derive(Debug, Default)]
pub struct Ownership {
    epochs: Mutex<Epochs>,
    changed: Condvar,
}

impl Ownership {
    /// Takes over a partition; the epoch that is returned tells this assignment from every other.
    pub fn assign(&self, partition: Partition) -> u64 {
        self.lock().assign(partition)
    }

    /// Gives partitions up after waiting, at most `patience`, for their batches to be committed.
    /// Returns those whose batches were not.
    pub fn revoke(&self, partitions: &[Partition], patience: Duration) -> Vec<Partition> {
        let deadline = Instant::now() + patience;
        let mut epochs = self.lock();
        loop {
            let busy = epochs.busy(partitions);
            let left = deadline.saturating_duration_since(Instant::now());
            if busy.is_empty() || left.is_zero() {
                epochs.revoke(partitions);
                self.changed.notify_all();
                return busy;
            }
            epochs = self.changed.wait_timeout(epochs, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether the partition is still ours under this epoch.
    pub fn holds(&self, partition: &Partition, epoch: u64) -> bool {
        self.lock().holds(partition, epoch)
    }

    pub fn owns(&self, partition: &Partition) -> bool {
        self.lock().owns(partition)
    }

    /// Begins a new epoch for a partition that is still ours, so that batches of the old one are not committed.
    pub fn renew(&self, partition: &Partition, epoch: u64) -> Option<u64> {
        self.lock().renew(partition, epoch)
    }

    /// Notes how far the partition is committed.
    pub fn commit(&self, partition: &Partition, epoch: u64, offset: i64) {
        self.lock().commit(partition, epoch, offset);
    }

    /// How far the partition is committed.
    pub fn committed(&self, partition: &Partition) -> Option<i64> {
        self.lock().committed(partition)
    }

    /// A batch of these partitions is sealed.
    pub fn begin<'a>(&self, partitions: impl Iterator<Item = (&'a Partition, u64)>) {
        self.lock().begin(partitions);
    }

    /// A batch of these partitions is committed or abandoned.
    pub fn end<'a>(&self, partitions: impl Iterator<Item = (&'a Partition, u64)>) {
        self.lock().end(partitions);
        self.changed.notify_all();
    }

    /// Sealed batches that are neither committed nor abandoned.
    pub fn in_flight(&self) -> usize {
        self.lock().in_flight()
    }

    /// Waits until fewer than `count` batches are in flight; false where that takes longer than `patience`.
    pub fn wait_below(&self, count: usize, patience: Duration) -> bool {
        let (epochs, timeout) = self
            .changed
            .wait_timeout_while(self.lock(), patience, |epochs| epochs.in_flight() >= count)
            .unwrap_or_else(PoisonError::into_inner);
        drop(epochs);
        !timeout.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, Epochs> {
        // The state is consistent after every statement, so a panic elsewhere does not spoil it.
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn partition(number: i32) -> Partition {
        (Arc::from("t"), number)
    }

    #[test]
    fn a_revoke_waits_for_its_own_batches_only() {
        let ownership = Arc::new(Ownership::default());
        let (a, b) = (ownership.assign(partition(0)), ownership.assign(partition(1)));
        ownership.begin([(&partition(0), a)].into_iter());
        assert!(ownership.revoke(&[partition(1)], Duration::from_secs(60)).is_empty());
        assert!(!ownership.holds(&partition(1), b));
        let other = ownership.clone();
        let writer = std::thread::spawn(move || other.end([(&partition(0), a)].into_iter()));
        assert!(ownership.revoke(&[partition(0)], Duration::from_secs(60)).is_empty());
        writer.join().expect("the writer ends");
        assert_eq!(ownership.in_flight(), 0);
    }

    #[test]
    fn a_batch_of_an_old_assignment_holds_nothing_of_the_new_one() {
        let ownership = Ownership::default();
        let old = ownership.assign(partition(0));
        ownership.begin([(&partition(0), old)].into_iter());
        assert_eq!(ownership.revoke(&[partition(0)], Duration::ZERO), [partition(0)]);
        let new = ownership.assign(partition(0));
        assert!(!ownership.holds(&partition(0), old) && ownership.holds(&partition(0), new));
        ownership.end([(&partition(0), old)].into_iter());
        assert!(ownership.revoke(&[partition(0)], Duration::ZERO).is_empty());
    }
}
