//! The decisions not to write, and which of them count when a batch is repeated. What a verdict says is not looked at.

use std::collections::HashSet;

use super::Event;
use super::epochs::renumber;
use super::lanes::{decided, is_due};
use crate::router::KAFKA;
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

    /// Adds a sink's refusal, which may be known from the journal.
    pub fn add(&mut self, verdict: StoredVerdict) {
        if !self.verdicts.iter().any(|known| same(known, &verdict)) {
            self.verdicts.push(verdict);
        }
    }

    /// Prepares for beginning again with the spans that have a new number. What sinks refused is forgotten, they are
    /// asked again; condemned records and refused Kafka outputs have left the batch, so their verdicts stay.
    pub fn begin_again(&mut self, numbers: &[Option<usize>]) {
        let stays = |v: &StoredVerdict| v.path.is_empty() || (v.sink == KAFKA && !mutant!(ForgetsRefusals));
        self.verdicts.retain_mut(|verdict| stays(verdict) && renumber(&mut verdict.span, numbers));
    }

    /// Takes what a SQL sink found decided by an earlier attempt: its progress per span, its entries below. `passed`
    /// says per span what was known to be passed when the batch was read.
    pub fn learn(
        &mut self,
        journal: bool,
        spans: &[Span],
        passed: &[i64],
        found: &[i64],
        journalled: Vec<StoredVerdict>,
    ) -> Option<Event> {
        if mutant!(AdoptIgnored) {
            return None;
        }
        let late = journal && self.forget_passed(spans, passed, found, &journalled);
        journalled.into_iter().for_each(|verdict| self.add(verdict));
        late.then_some(Event::Late)
    }

    /// Drops what was decided now of records that the journal's sink has already passed: a replay must not contradict
    /// what is written, whatever a time-out or another module says today. True where a record is condemned that went
    /// through then: its outputs are wanted by the sinks that lack them, so it has to be tried again. One that was
    /// tried again already stays condemned, or it would be lost there without a word.
    fn forget_passed(&mut self, spans: &[Span], passed: &[i64], found: &[i64], journalled: &[StoredVerdict]) -> bool {
        let mut late = false;
        self.verdicts.retain(|verdict| {
            let range = decided(&spans[verdict.span], found[verdict.span]);
            let is_passed = range.is_some_and(|range| range.contains(&verdict.offset));
            let known = journalled.iter().any(|other| same(other, verdict));
            let final_one = is_late(verdict.offset, passed[verdict.span]);
            late |= is_passed && !known && !final_one && !mutant!(LateVerdict);
            !is_passed || (!known && final_one)
        });
        late
    }

    /// The records, by span and offset, that were condemned as a whole; their outputs must go nowhere.
    pub fn condemned(&self) -> HashSet<(usize, i64)> {
        self.verdicts
            .iter()
            .filter(|v| v.path.is_empty() || mutant!(SkipRefusedSiblings))
            .map(|v| (v.span, v.offset))
            .collect()
    }
}

/// Whether the journal takes a verdict along with the rows: what its sink has passed before is decided already.
pub fn is_journalled(verdict: &StoredVerdict, found: &[i64]) -> bool {
    is_due(verdict.offset, found[verdict.span]) && !mutant!(NoJournal)
}

/// Whether a module's verdict comes after some sink has passed the record: it is no verdict before the record was
/// tried again.
pub fn is_late(offset: i64, passed: i64) -> bool {
    offset < passed && !mutant!(LateVerdict)
}

/// Whether a SQL sink is told the verdicts of the stages before it, to keep them with its rows.
pub fn is_told(first: bool) -> bool {
    first || !mutant!(JournalNotPerSink)
}

fn same(one: &StoredVerdict, other: &StoredVerdict) -> bool {
    let key = |v: &StoredVerdict| (v.span, v.offset);
    key(one) == key(other) && one.path == other.path && one.sink == other.sink
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
        let learned = decisions.learn(true, std::slice::from_ref(&span), &[10], &[15], vec![verdict(12, "reject")]);
        assert_eq!(learned, Some(Event::Late), "11 went through then");
        let codes: Vec<_> = decisions.all().iter().map(|v| (v.offset, v.code.as_str())).collect();
        assert_eq!(codes, [(16, "trap"), (12, "reject")]);
        assert_eq!(decisions.condemned(), HashSet::from([(0, 12), (0, 16)]));
    }
}
