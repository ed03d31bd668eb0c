//! The commit protocol as a pure state machine: which stage of a batch runs next, whatever happened to the last one.
//! No I/O, no clock, no randomness: `flow::writer` runs the stages and reports events, a simulator can do the same.
//!
//! ```text
//! SQL sinks by name ─► document sinks ─► Kafka outputs and dead letters ─► dead-letter table ─► offsets
//! ```
//!
//! Every stage before the last may be repeated: SQL sinks compare-and-set their progress, documents have
//! deterministic ids, Kafka outputs are numbered by their source id or belong to one transaction with the offsets.
//! The offsets are the single point where the input counts as consumed, so they come last.

use crate::sinks::Class;
use crate::sinks::{SinkError, Span, StoredVerdict};

/// A step of a batch towards its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A SQL sink, by index among the flow's sinks. The first holds the verdict journal.
    Sql(usize),
    /// A document sink, by index among the flow's sinks.
    Documents(usize),
    /// Kafka outputs and dead letters; in a transaction the offsets as well.
    Publish,
    /// Dead letters as rows.
    DeadTable,
    /// The group's offsets.
    Offsets,
}

/// What became of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Done,
    /// The stage committed the offsets along with its outputs.
    DoneWithOffsets,
    /// An outage, or something a person has to mend: the same stage again, for ever.
    Failed,
    /// The sink's progress is behind the batch: it was restored from a backup.
    WentBack,
    /// Nobody knows whether a transaction was committed: the committed offset must be read again.
    Unknown,
    /// Some partitions of the batch are no longer ours; others are.
    SomeRevoked,
    /// No partition of the batch is ours any more.
    AllRevoked,
    /// The flow is to stop, and this stage did not get through.
    Stop,
    /// Another process runs under our name.
    Fenced,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Run(Stage),
    /// The same stage after a back-off, the how-many-th in a row.
    RetryLater(Stage, u32),
    Finished,
    Abandon(Abandon),
}

/// Why a batch is given up. Its records are not lost: nothing of them was committed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandon {
    /// The partitions went to another member.
    Revoked,
    /// The source reads the committed offsets and progress again and goes there.
    Reread,
    /// Shutdown.
    Stopped,
    /// Exit: a twin took over.
    Fenced,
}

/// The progress of one batch through its stages.
#[derive(Clone, Debug)]
pub struct Commit {
    stages: Vec<Stage>,
    at: usize,
    attempt: u32,
}

impl Commit {
    /// `sql` and `documents` are the sinks that the flow may write, in their order.
    pub fn new(sql: &[usize], documents: &[usize]) -> Self {
        let stages = sql.iter().map(|&sink| Stage::Sql(sink));
        let stages = stages.chain(documents.iter().map(|&sink| Stage::Documents(sink)));
        let stages = stages.chain([Stage::Publish, Stage::DeadTable, Stage::Offsets]).collect();
        Commit { stages, at: 0, attempt: 0 }
    }

    /// The stage to run first.
    pub fn start(&self) -> Action {
        Action::Run(self.stages[0])
    }

    /// Takes what became of the current stage.
    pub fn on(&mut self, event: Event) -> Action {
        match event {
            Event::Done => self.advance(1),
            // A transaction holds the dead letters of a topic, so only the offsets are left out.
            Event::DoneWithOffsets => match self.stages[self.at + 1] {
                Stage::DeadTable => {
                    self.stages.truncate(self.at + 2);
                    self.advance(1)
                }
                _ => Action::Finished,
            },
            Event::Failed => {
                self.attempt += 1;
                Action::RetryLater(self.stages[self.at], self.attempt)
            }
            // Each stage is repeatable, and the verdicts of the part that is left may differ: begin again.
            Event::SomeRevoked => {
                (self.at, self.attempt) = (0, 0);
                self.start()
            }
            Event::AllRevoked => Action::Abandon(Abandon::Revoked),
            Event::WentBack | Event::Unknown => Action::Abandon(Abandon::Reread),
            Event::Stop => Action::Abandon(Abandon::Stopped),
            Event::Fenced => Action::Abandon(Abandon::Fenced),
        }
    }

    fn advance(&mut self, by: usize) -> Action {
        self.at += by;
        self.attempt = 0;
        self.stages.get(self.at).map_or(Action::Finished, |&stage| Action::Run(stage))
    }
}

/// The event for a sink's error.
pub fn event_of(error: &SinkError) -> Event {
    match error.class {
        Class::Wait | Class::Operator => Event::Failed,
        Class::Rewind => Event::WentBack,
    }
}

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

    /// Replaces what was decided now by what was decided then for offsets that the journal's sink has already
    /// passed: `found` is its progress per span, `journalled` its entries below. A replay must not contradict what
    /// is written, whatever a timeout or another module says today.
    pub fn adopt(&mut self, spans: &[Span], found: &[i64], journalled: Vec<StoredVerdict>) {
        let passed = |verdict: &StoredVerdict| verdict.offset < found[verdict.span].min(spans[verdict.span].end);
        self.verdicts.retain(|verdict| !passed(verdict));
        self.verdicts.extend(journalled);
    }

    /// Whether the whole record was condemned; its outputs must go nowhere.
    pub fn condemns(&self, span: usize, offset: i64) -> bool {
        self.verdicts.iter().any(|v| v.span == span && v.offset == offset && v.path.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Code;
    use proptest::prelude::*;

    fn all_events() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => Just(Event::Done),
            3 => Just(Event::Failed),
            1 => Just(Event::SomeRevoked),
            1 => Just(Event::AllRevoked),
            1 => Just(Event::WentBack),
            1 => Just(Event::Unknown),
            1 => Just(Event::Stop),
        ]
    }

    proptest! {
        /// The offsets are committed only after every other stage got through since the last restart.
        #[test]
        fn offsets_come_after_every_sink(
            events in proptest::collection::vec(all_events(), 1..60),
            sql in 0usize..3,
            documents in 0usize..3,
        ) {
            let sql: Vec<usize> = (0..sql).collect();
            let documents: Vec<usize> = (sql.len()..sql.len() + documents).collect();
            let mut commit = Commit::new(&sql, &documents);
            let mut done = Vec::new();
            let mut action = commit.start();
            for event in events {
                let (Action::Run(stage) | Action::RetryLater(stage, _)) = action else { break };
                if stage == Stage::Offsets {
                    prop_assert_eq!(done.len(), sql.len() + documents.len() + 2);
                }
                match event {
                    Event::Done => done.push(stage),
                    Event::SomeRevoked => done.clear(),
                    _ => {}
                }
                action = commit.on(event);
                if action == Action::Finished {
                    prop_assert_eq!(done.last(), Some(&Stage::Offsets));
                }
            }
        }
    }

    #[test]
    fn a_transaction_with_offsets_leaves_out_the_plain_commit() {
        let mut commit = Commit::new(&[], &[]);
        assert_eq!(commit.start(), Action::Run(Stage::Publish));
        assert_eq!(commit.on(Event::DoneWithOffsets), Action::Run(Stage::DeadTable));
        assert_eq!(commit.on(Event::Done), Action::Finished);
    }

    #[test]
    fn attempts_count_per_stage() {
        let mut commit = Commit::new(&[0], &[]);
        assert_eq!(commit.on(Event::Failed), Action::RetryLater(Stage::Sql(0), 1));
        assert_eq!(commit.on(Event::Failed), Action::RetryLater(Stage::Sql(0), 2));
        assert_eq!(commit.on(Event::Done), Action::Run(Stage::Publish));
        assert_eq!(commit.on(Event::Failed), Action::RetryLater(Stage::Publish, 1));
    }

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
        decisions.adopt(&[span], &[15], vec![verdict(12, "reject")]);
        let codes: Vec<_> = decisions.all().iter().map(|v| (v.offset, v.code.as_str())).collect();
        assert_eq!(codes, [(16, "trap"), (12, "reject")]);
        assert!(decisions.condemns(0, 12) && !decisions.condemns(0, 11));
    }
}
