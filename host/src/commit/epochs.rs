//! Which partitions are ours, under which assignment, and how many batches of them are on their way. An epoch tells
//! one assignment from every other; a batch sealed under an old one must not be committed.

use std::collections::HashMap;

use super::Event;
use crate::source::Partition;

/// The partitions of one flow.
#[derive(Clone, Debug, Default)]
pub struct Epochs {
    owned: HashMap<Partition, Owned>,
    last: u64,
    /// Sealed batches that are neither committed nor abandoned.
    batches: usize,
}

#[derive(Clone, Debug)]
struct Owned {
    epoch: u64,
    batches: usize,
    /// The next offset to be committed; unknown until the partition is read.
    committed: Option<i64>,
}

impl Epochs {
    /// Takes over a partition under a new epoch.
    pub fn assign(&mut self, partition: Partition) -> u64 {
        self.last += 1;
        self.owned.insert(partition, Owned { epoch: self.last, batches: 0, committed: None });
        self.last
    }

    /// Gives partitions up.
    pub fn revoke(&mut self, partitions: &[Partition]) {
        self.owned.retain(|partition, _| !partitions.contains(partition));
    }

    /// Whether the partition is still ours under this epoch.
    pub fn holds(&self, partition: &Partition, epoch: u64) -> bool {
        self.owned.get(partition).is_some_and(|owned| owned.epoch == epoch || mutant!(EpochIgnored))
    }

    pub fn owns(&self, partition: &Partition) -> bool {
        self.owned.contains_key(partition)
    }

    /// Begins a new epoch for a partition that is still ours, so that batches of the old one are not committed.
    pub fn renew(&mut self, partition: &Partition, epoch: u64) -> Option<u64> {
        self.holds(partition, epoch).then(|| self.assign(partition.clone()))
    }

    /// Notes how far the partition is committed.
    pub fn commit(&mut self, partition: &Partition, epoch: u64, offset: i64) {
        if let Some(owned) = self.under(partition, epoch) {
            owned.committed = Some(offset);
        }
    }

    /// How far the partition is committed.
    pub fn committed(&self, partition: &Partition) -> Option<i64> {
        self.owned.get(partition)?.committed
    }

    /// A batch of these partitions is sealed.
    pub fn begin<'a>(&mut self, partitions: impl Iterator<Item = (&'a Partition, u64)>) {
        self.batches += 1;
        for (partition, epoch) in partitions {
            if let Some(owned) = self.under(partition, epoch) {
                owned.batches += 1;
            }
        }
    }

    /// A batch of these partitions is committed or abandoned.
    pub fn end<'a>(&mut self, partitions: impl Iterator<Item = (&'a Partition, u64)>) {
        self.batches -= 1;
        for (partition, epoch) in partitions {
            if let Some(owned) = self.under(partition, epoch) {
                owned.batches -= 1;
            }
        }
    }

    /// Those of the partitions that have batches on their way.
    pub fn busy(&self, partitions: &[Partition]) -> Vec<Partition> {
        partitions.iter().filter(|p| self.owned.get(p).is_some_and(|owned| owned.batches > 0)).cloned().collect()
    }

    /// Sealed batches that are neither committed nor abandoned.
    pub fn in_flight(&self) -> usize {
        self.batches
    }

    fn under(&mut self, partition: &Partition, epoch: u64) -> Option<&mut Owned> {
        self.owned.get_mut(partition).filter(|owned| owned.epoch == epoch)
    }
}

/// What it means for a batch that of its spans only those are still ours; nothing where all are.
pub fn revoked(ours: &[bool]) -> Option<Event> {
    if ours.iter().all(|ours| *ours) {
        None
    } else if ours.contains(&true) {
        Some(Event::SomeRevoked)
    } else {
        Some(Event::AllRevoked)
    }
}

/// The new number of each span once those that are not kept are taken out.
pub fn renumbered(keep: &[bool]) -> Vec<Option<usize>> {
    let mut next = 0..;
    keep.iter().map(|kept| if *kept { next.next() } else { None }).collect()
}

/// Gives a span its new number; false where it is taken out.
pub fn renumber(span: &mut usize, numbers: &[Option<usize>]) -> bool {
    numbers[*span].inspect(|number| *span = *number).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_moves_up() {
        assert_eq!(renumbered(&[false, true, false, true]), [None, Some(0), None, Some(1)]);
        assert_eq!(revoked(&[true, false]), Some(Event::SomeRevoked));
        assert_eq!(revoked(&[false, false]), Some(Event::AllRevoked));
        assert_eq!(revoked(&[true, true]), None);
    }
}
