//! What a schedule works with, drawn from its seed: records, what the modules make of them, which sinks there are.

use std::sync::Arc;

use super::rng::Rng;
use crate::source::Partition;

/// Most partitions, hosts.
pub(super) const MOST: usize = 3;
/// Records that arrive when the faults are over: a restored database is noticed by the next batch.
pub(super) const LAST: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dest {
    Sql(usize),
    /// A document under its source id.
    Insert,
    /// A document under a key.
    Upsert(usize),
    Kafka,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    pub(super) dest: Dest,
    /// The sink does not take it.
    pub(super) refused: bool,
}

/// Whether the module condemns a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reject {
    Never,
    Always,
    /// The modules from this version on.
    Since(u32),
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) outs: Vec<Out>,
    pub(super) reject: Reject,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) names: Vec<Partition>,
    pub(super) id: Arc<str>,
    pub(super) records: Vec<Vec<Record>>,
    pub(super) hosts: usize,
    pub(super) sql: usize,
    pub(super) documents: usize,
    pub(super) transactional: bool,
    /// There are outputs to Kafka; without transactions they may repeat.
    pub(super) publishes: bool,
    /// Dead letters are rows of the first SQL sink.
    pub(super) table: bool,
    /// Transactional ids outlive the process.
    pub(super) named: bool,
    /// Chance of a time-out per record, of a thousand.
    pub(super) flaky: usize,
    /// Databases are restored; then modules do not change their minds.
    pub(super) restores: bool,
    pub(super) steps: usize,
    /// A commit without a transaction may be sent in a later generation than it was decided in. It puts the group back,
    /// to where verdicts are deleted: harmless only where each attempt would decide the same.
    pub(super) late_commits: bool,
    /// A batch is begun before the last one is through.
    pub(super) overlaps: bool,
    /// By how much faults are rarer than they could be.
    pub(super) mildness: usize,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let topic: Arc<str> = "t".into();
        let partitions = 1 + rng.below(MOST);
        let transactional = rng.chance(600);
        let sql = [0, 1, 1, 1, 2, 2][rng.below(6)];
        let documents = if sql == 0 && !transactional { 1 } else { rng.below(2) };
        let table = sql > 0 && rng.chance(200);
        // A copy may be from between a batch and its dead letters; then those are gone.
        let restores = sql > 0 && !table && rng.chance(500);
        let mut plan = Plan {
            names: (0..partitions as i32).map(|number| (topic.clone(), number)).collect(),
            id: "id".into(),
            records: Vec::new(),
            hosts: 2 + rng.below(MOST - 1),
            sql,
            documents,
            transactional,
            publishes: transactional || rng.chance(200),
            table,
            named: rng.chance(500),
            // Without a journal only verdicts that every attempt repeats are final.
            flaky: if sql > 0 && rng.chance(600) { 250 } else { 0 },
            restores,
            steps: 60 + rng.below(340),
            late_commits: false,
            overlaps: sql > 0 && rng.chance(700),
            mildness: 1 + rng.below(4),
        };
        // A host that wakes after a restore may write a verdict that only it has, to where dead letters are out already.
        if plan.restores && plan.flaky > 0 {
            plan.hosts = 1;
        }
        plan.late_commits = transactional || plan.flaky == 0;
        for _ in 0..partitions {
            let count = 4 + rng.below(4) + LAST;
            let mut records: Vec<Record> = (0..count).map(|_| plan.record(rng)).collect();
            // What is stale must stay visible.
            let last = records.iter_mut().skip(count - LAST);
            last.for_each(|record| record.outs.retain(|out| !matches!(out.dest, Dest::Upsert(_))));
            plan.records.push(records);
        }
        plan
    }

    fn record(&self, rng: &mut Rng) -> Record {
        let outs = (0..rng.below(4)).map(|_| Out { dest: self.dest(rng), refused: rng.chance(120) }).collect();
        let reject = match rng.below(20) {
            0 | 1 => Reject::Always,
            2 if !self.restores => Reject::Since(1),
            _ => Reject::Never,
        };
        Record { outs, reject }
    }

    fn dest(&self, rng: &mut Rng) -> Dest {
        let kafka = usize::from(self.publishes);
        let choice = rng.below(self.sql + 2 * self.documents + kafka);
        if choice < self.sql {
            Dest::Sql(choice)
        } else if choice < self.sql + kafka {
            Dest::Kafka
        } else if rng.chance(500) {
            Dest::Insert
        } else {
            Dest::Upsert(rng.below(2))
        }
    }

    pub(super) fn partitions(&self) -> usize {
        self.names.len()
    }
}
