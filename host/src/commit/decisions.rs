//! The decisions not to write, and which of them count when a batch is repeated. What a verdict says is not looked at.

use std::collections::HashSet;

use super::lanes::{decided, is_due};
use crate::sinks::{Span, StoredVerdict};

/// The decisions not to write, of the modules and of the sinks, for one batch.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    verdicts: Vec<StoredVerdict>,
}

impl Decisions {
    pub fn new(verdicts: Vec<StoredVerdict>) -> Self {
        Decisions { verdicts }
    }

    pub fn all(&self) -> &[StoredVerdict] {
        &self.verdicts
    }

    /// Adds a sink's refusal.
    pub fn add(&mut self, verdict: StoredVerdict) {
        self.verdicts.push(verdict);
    }

    /// Takes what a SQL sink found decided by an earlier attempt: its progress per span, its entries below.
    pub fn learn(&mut self, journal: bool, spans: &[Span], found: &[i64], journalled: Vec<StoredVerdict>) {
        match journal {
            true => self.adopt(spans, found, journalled),
            // What this sink refused of records that it has already passed.
            false => self.verdicts.extend(journalled),
        }
    }

    /// Replaces what was decided now by what was decided then for offsets that the journal's sink has already
    /// passed: `found` is its progress per span, `journalled` its entries below. A replay must not contradict what
    /// is written, whatever a timeout or another module says today.
    fn adopt(&mut self, spans: &[Span], found: &[i64], journalled: Vec<StoredVerdict>) {
        let passed = |verdict: &StoredVerdict| {
            decided(&spans[verdict.span], found[verdict.span]).is_some_and(|range| range.contains(&verdict.offset))
        };
        self.verdicts.retain(|verdict| !passed(verdict));
        self.verdicts.extend(journalled);
    }

    /// The records, by span and offset, that were condemned as a whole; their outputs must go nowhere.
    pub fn condemned(&self) -> HashSet<(usize, i64)> {
        self.verdicts.iter().filter(|v| v.path.is_empty()).map(|v| (v.span, v.offset)).collect()
    }
}

/// Whether the journal takes a verdict along with the rows: what its sink has passed before is decided already.
pub fn is_journalled(verdict: &StoredVerdict, found: &[i64]) -> bool {
    is_due(verdict.offset, found[verdict.span])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Code;

    #[test]
    fn the_journal_wins_below_the_progress_it_was_written_with() {
        let span =
            Span { topic: "t".into(), topic_id: "id".into(), partition: 0, start: 10, end: 20, digest: "d".into() };
        let verdict = |offset, code: &str| StoredVerdict {
            span: 0,
            offset,
            path: String::new(),
            stage: "transform".into(),
            code: Code::from_stored(code.into()),
            message: String::new(),
            module: String::new(),
            sink: String::new(),
            target: String::new(),
        };
        let mut decisions = Decisions::new(vec![verdict(11, "deadline"), verdict(16, "trap")]);
        decisions.learn(true, &[span], &[15], vec![verdict(12, "reject")]);
        let codes: Vec<_> = decisions.all().iter().map(|v| (v.offset, v.code.as_str())).collect();
        assert_eq!(codes, [(16, "trap"), (12, "reject")]);
        assert_eq!(decisions.condemned(), HashSet::from([(0, 12), (0, 16)]));
    }
}
