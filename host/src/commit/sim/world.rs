//! Everything outside the hosts: the cluster, the databases, and what goes wrong with them.

use super::kafka::{Group, Kafka};
use super::plan::{LAST, MOST, Plan};
use super::rng::Rng;
use super::sinks::{Documents, Sql};

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) plan: Plan,
    pub(super) kafka: Kafka,
    pub(super) group: Group,
    pub(super) sql: Vec<Sql>,
    pub(super) documents: Vec<Documents>,
    /// Things go wrong.
    pub(super) faults: bool,
    /// Records that had a time-out, by partition and offset.
    pub(super) timed_out: Vec<(usize, i64)>,
    /// What is not as promised.
    pub(super) broken: Vec<String>,
    /// A database was restored.
    pub(super) restored: bool,
    /// The version of the modules in the folder.
    pub(super) version: u32,
    /// Prints each step.
    pub(super) trace: bool,
    now: usize,
    snapshots: Vec<Option<Sql>>,
}

/// Steps by which records arrive before the end of the faults.
const ARRIVE_EARLY: usize = 40;

impl World {
    pub(super) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        World {
            kafka: Kafka::default(),
            group: Group::new(plan.partitions()),
            sql: vec![Sql::default(); plan.sql],
            documents: vec![Documents::default(); plan.documents],
            faults: true,
            timed_out: Vec::new(),
            broken: Vec::new(),
            restored: false,
            version: 0,
            trace,
            now: 0,
            snapshots: vec![None; plan.sql],
            rng,
            plan,
        }
    }

    /// The end of a partition's log.
    pub(super) fn end(&self, partition: usize) -> i64 {
        let all = self.plan.records[partition].len();
        let arrived = || (all - LAST) * (self.now + ARRIVE_EARLY).min(self.plan.steps) / self.plan.steps;
        (if self.faults { arrived() } else { all }) as i64
    }

    /// A fault, so many times out of a thousand.
    pub(super) fn fails(&mut self, chance: usize) -> bool {
        self.faults && self.rng.chance(chance)
    }

    /// Looks whether offsets might be committed over those from `before`.
    pub(super) fn check_commit(&mut self, offsets: &[(usize, i64)], before: [Option<i64>; MOST]) {
        for (partition, offset) in offsets {
            // Only what is sent in the generation that it was decided in is sure not to come late.
            let sealed = self.plan.transactional || !self.plan.late_commits;
            if sealed && before[*partition].is_some_and(|committed| committed > *offset) {
                self.broken.push(format!("the committed offset of partition {partition} goes back to {offset}"));
            }
        }
        if self.restored {
            return;
        }
        for (partition, offset) in offsets {
            let behind = |sql: &Sql| sql.lanes[*partition].is_none_or(|lane| lane < *offset);
            // A partition that was not written yet is only begun.
            let begun = before[*partition].is_some();
            if begun && self.sql.iter().any(behind) {
                self.broken.push(format!("offset {offset} of partition {partition} is committed above a lane"));
            }
        }
    }

    /// What may happen at any time.
    pub(super) fn happen(&mut self) {
        self.now += 1;
        match self.rng.below(1000 * self.plan.mildness) {
            0..25 => {
                let partition = self.rng.below(self.plan.partitions());
                self.say("rebalance");
                self.group.hand_over(partition, &mut self.rng);
            }
            25..40 => {
                let host = self.rng.below(self.plan.hosts);
                self.say("session over");
                self.group.expire(host, &mut self.rng);
            }
            40..45 => {
                self.say("transactions time out");
                self.kafka.time_out();
            }
            50..60 => self.version += 1,
            60..160 if self.plan.restores => self.snapshot(),
            160..220 if self.plan.restores => self.restore(),
            _ => {}
        }
    }

    /// Ends the faults.
    pub(super) fn calm(&mut self) {
        self.say("faults are over");
        self.faults = false;
        self.kafka.time_out();
    }

    pub(super) fn say(&self, what: &str) {
        if self.trace {
            eprintln!("       {what}");
        }
    }

    /// A copy from before a partition's first batch would not know that there is anything to go back to.
    fn snapshot(&mut self) {
        let sink = self.rng.below(self.sql.len());
        if self.snapshots[sink].is_none() && self.sql[sink].lanes[..self.plan.partitions()].iter().all(Option::is_some)
        {
            self.snapshots[sink] = Some(self.sql[sink].clone());
        }
    }

    fn restore(&mut self) {
        let sink = self.rng.below(self.sql.len());
        if let Some(snapshot) = self.snapshots[sink].take() {
            self.say("database restored");
            self.sql[sink] = snapshot;
            self.restored = true;
        }
    }
}
