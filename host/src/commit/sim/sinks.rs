//! Models of the databases: a SQL sink with progress and journal, a collection of documents with guards.

use super::plan::MOST;
use crate::sinks::StoredVerdict;

/// What tells an output from every other: partition, offset, index.
pub(super) type Id = (usize, i64, usize);

/// A database that keeps rows, progress, journal and dead letters, and changes them together.
#[derive(Clone, Debug, Default)]
pub(super) struct Sql {
    /// In the order in which they were inserted.
    pub(super) rows: Vec<Id>,
    pub(super) lanes: [Option<i64>; MOST],
    /// By partition.
    pub(super) journal: Vec<(usize, StoredVerdict)>,
    /// Partition, offset, path.
    pub(super) dead: Vec<(usize, i64, String)>,
}

/// A server that keeps documents.
#[derive(Clone, Debug, Default)]
pub(super) struct Documents {
    pub(super) inserted: Vec<Id>,
    /// By key: the value, and per partition what was written last.
    pub(super) keyed: [Option<Keyed>; 2],
}

#[derive(Clone, Debug, Default)]
pub(super) struct Keyed {
    pub(super) value: Id,
    pub(super) guards: [Option<(i64, usize)>; MOST],
}

impl Documents {
    pub(super) fn insert(&mut self, id: Id) {
        if mutant!(MongoRandId) || !self.inserted.contains(&id) {
            self.inserted.push(id);
        }
    }

    /// Writes unless something newer of the same partition was written.
    pub(super) fn upsert(&mut self, key: usize, id: Id) {
        let keyed = self.keyed[key].get_or_insert_default();
        let guard = &mut keyed.guards[id.0];
        if mutant!(MongoNoGuard) || guard.is_none_or(|written| written < (id.1, id.2)) {
            *guard = Some((id.1, id.2));
            keyed.value = id;
        }
    }
}
