//! Stops a flow in which nearly everything is refused: a module that does not fit its topic would make dead letters of
//! all of it. Pure counting; a few bad records, or a small topic of nothing else, never stop anything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::sinks::StoredVerdict;

/// Records that are looked at: the last ones. A flow that has seen fewer is never stopped.
const WINDOW: u64 = 1_000;
/// Refused of ten, of the last `WINDOW`.
const NEARLY_ALL: u64 = 9;
/// The same for modules that have just replaced others under which more was accepted.
const TRIAL: u64 = 100;
/// Refused of ten in the first `TRIAL` records of such modules.
const MOST: u64 = 5;

/// Counts what is refused.
#[derive(Debug)]
pub struct Breaker {
    active: bool,
    digest: Arc<str>,
    /// Whether the modules before accepted most of what they got.
    replaced_better: bool,
    /// The latest batches under the same modules, newest last.
    batches: VecDeque<Batch>,
    /// Number of the last batch.
    last: u64,
}

#[derive(Debug, Default)]
struct Batch {
    number: u64,
    records: u64,
    refused: u64,
    codes: BTreeMap<String, u64>,
}

impl Breaker {
    pub fn new(active: bool) -> Self {
        Breaker { active, digest: "".into(), replaced_better: false, batches: VecDeque::new(), last: 0 }
    }

    /// Takes a batch of `records` with what the modules condemned of it, before anything of it is written, and gives it
    /// a number. The error says why the flow is to stop.
    pub fn judge(&mut self, digest: &Arc<str>, records: u64, condemned: &[StoredVerdict]) -> Result<u64, String> {
        if *digest != self.digest {
            let (seen, refused) = self.sums();
            self.replaced_better = seen >= TRIAL && refused * 10 <= seen * MOST;
            self.digest = digest.clone();
            self.batches.clear();
        }
        self.last += 1;
        self.batches.push_back(Batch { number: self.last, records, ..Batch::default() });
        self.add_refused(self.last, condemned);
        while self.batches.len() > 1 && self.sums().0 - self.batches[0].records >= WINDOW {
            self.batches.pop_front();
        }
        self.reason().filter(|_| self.active).map_or(Ok(self.last), Err)
    }

    /// Takes what was refused of a batch up to now, by modules and sinks.
    pub fn add_refused(&mut self, number: u64, verdicts: &[StoredVerdict]) {
        let Some(batch) = self.batches.iter_mut().rfind(|batch| batch.number == number) else { return };
        *batch = Batch { number, records: batch.records, ..Batch::default() };
        // A record of several refused outputs is refused once.
        let records: BTreeSet<(usize, i64)> = verdicts.iter().map(|verdict| (verdict.span, verdict.offset)).collect();
        batch.refused = (records.len() as u64).min(batch.records);
        for verdict in verdicts {
            *batch.codes.entry(verdict.code.as_str().to_owned()).or_default() += 1;
        }
    }

    /// Takes a batch back: it was given up and comes again.
    pub fn forget(&mut self, number: u64) {
        self.batches.retain(|batch| batch.number != number);
    }

    fn sums(&self) -> (u64, u64) {
        self.batches.iter().fold((0, 0), |(records, refused), b| (records + b.records, refused + b.refused))
    }

    fn reason(&self) -> Option<String> {
        let (records, refused) = self.sums();
        let nearly_all = records >= WINDOW && refused * 10 >= records * NEARLY_ALL;
        let new_ones_fail = self.replaced_better && records >= TRIAL && refused * 10 > records * MOST;
        if !nearly_all && !new_ones_fail {
            return None;
        }
        let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
        for (code, count) in self.batches.iter().flat_map(|batch| &batch.codes) {
            *codes.entry(code).or_default() += count;
        }
        let codes: Vec<String> = codes.iter().map(|(code, count)| format!("{code}: {count}")).collect();
        let digests: Vec<&str> = self.digest.split('+').map(|digest| digest.get(..12).unwrap_or(digest)).collect();
        Some(format!(
            "breaker: {refused} of the last {records} records were refused ({}) under the modules {}; the last batch is not \
             committed and nothing of it is a dead letter yet; put modules in place that take these records, or set \
             breaker = false in the flow's configuration and restart to have them all as dead letters",
            codes.join(", "),
            digests.join("+")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Code;

    fn refused(count: u64) -> Vec<StoredVerdict> {
        let verdict = |offset| StoredVerdict {
            span: 0,
            offset: offset as i64,
            path: String::new(),
            stage: "transform".into(),
            code: Code::from_stored("trap".into()),
            message: String::new(),
            module: String::new(),
            sink: String::new(),
            target: String::new(),
        };
        (0..count).map(verdict).collect()
    }

    #[test]
    fn a_batch_that_comes_again_is_counted_once() {
        let mut breaker = Breaker::new(true);
        for _ in 0..3 {
            let number = breaker.judge(&"a".into(), 600, &refused(600)).expect("too few to judge");
            breaker.forget(number);
        }
        assert!(breaker.judge(&"a".into(), 600, &refused(600)).is_ok());
        assert!(breaker.judge(&"a".into(), 600, &refused(600)).is_err());
    }

    #[test]
    fn a_flood_stops_the_flow_before_it_is_written() {
        let (mut breaker, digest) = (Breaker::new(true), Arc::from("a"));
        assert!(breaker.judge(&digest, 600, &refused(600)).is_ok());
        let reason = breaker.judge(&digest, 400, &refused(400)).expect_err("it must stop");
        assert!(reason.contains("1000 of the last 1000") && reason.contains("trap: 1000"), "{reason}");
        assert!(Breaker::new(false).judge(&digest, 100_000, &refused(100_000)).is_ok());
    }

    #[test]
    fn bad_records_among_good_ones_stop_nothing() {
        let (mut breaker, digest) = (Breaker::new(true), Arc::from("a"));
        for _ in 0..1000 {
            assert!(breaker.judge(&digest, 1_000, &refused(850)).is_ok());
        }
        // Only the latest count.
        assert!(breaker.judge(&digest, 100_000, &[]).is_ok());
        assert!(breaker.judge(&digest, 2_000, &refused(2_000)).is_err());
    }

    #[test]
    fn a_small_topic_of_nothing_else_ends_as_dead_letters() {
        let mut breaker = Breaker::new(true);
        assert!((0..9).all(|_| breaker.judge(&Arc::from("a"), 100, &refused(100)).is_ok()));
    }

    #[test]
    fn modules_that_replace_better_ones_are_stopped_sooner() {
        let mut breaker = Breaker::new(true);
        assert!(breaker.judge(&Arc::from("a"), 500, &refused(10)).is_ok());
        assert!(breaker.judge(&Arc::from("b"), 60, &refused(60)).is_ok());
        assert!(breaker.judge(&Arc::from("b"), 60, &refused(20)).is_err());
        let mut as_bad_before = Breaker::new(true);
        assert!(as_bad_before.judge(&Arc::from("a"), 500, &refused(300)).is_ok());
        assert!(as_bad_before.judge(&Arc::from("b"), 500, &refused(300)).is_ok());
    }

    #[test]
    fn what_sinks_refuse_counts_as_well() {
        let (mut breaker, digest) = (Breaker::new(true), Arc::from("a"));
        assert!(breaker.judge(&digest, 2_000, &[]).is_ok());
        breaker.add_refused(1, &refused(2_000));
        assert!(breaker.judge(&digest, 10, &[]).is_err());
    }

    #[test]
    fn what_is_refused_late_counts_for_its_own_batch() {
        let (mut breaker, digest) = (Breaker::new(true), Arc::from("a"));
        let first = breaker.judge(&digest, 600, &[]).expect("all taken");
        let second = breaker.judge(&digest, 600, &refused(600)).expect("half of them taken");
        breaker.add_refused(first, &refused(600));
        assert!(breaker.judge(&digest, 10, &[]).is_err());
        breaker.forget(second);
        assert!(breaker.judge(&digest, 10, &[]).is_ok(), "too few are left");
    }
}
