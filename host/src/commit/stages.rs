//! Which stage of a batch runs next, whatever became of the last one. Runs nothing itself.

use crate::sinks::kafka::PublishError;
use crate::sinks::{Class, SinkError};

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
    /// What an earlier attempt or another host did since the batch was read is not to be contradicted.
    Late,
    /// Kafka does not take some outputs; they are dead letters now.
    Refused,
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
    /// So many stages the next batch must wait for.
    first: usize,
}

impl Commit {
    /// `sql` and `documents` are the sinks that the flow may write, in their order.
    pub fn new(sql: &[usize], documents: &[usize]) -> Self {
        let stages = sql.iter().map(|&sink| Stage::Sql(sink));
        let stages = stages.chain(documents.iter().map(|&sink| Stage::Documents(sink)));
        let stages = stages.chain([Stage::DeadTable, Stage::Publish, Stage::Offsets]);
        let mut stages: Vec<Stage> = stages.collect();
        let last = stages.len() - 1;
        match () {
            () if mutant!(KafkaFirst) => stages[..last].rotate_right(1),
            () if mutant!(OffsetsBeforeSinks) => stages.rotate_right(1),
            () if mutant!(DeadTableLast) => stages[last - 2..].rotate_left(1),
            () => {}
        }
        Commit { stages, at: 0, attempt: 0, first: sql.len() }
    }

    /// The stage to run first.
    pub fn start(&self) -> Action {
        Action::Run(self.stages[0])
    }

    /// Whether the stages that are left may run beside the first ones of the next batch: the SQL sinks have this one. Their
    /// progress then tells everything about the order, and what is left can be repeated whatever the next one has done.
    /// Where there is no SQL sink, nothing would tell.
    pub fn lets_next_begin(&self) -> bool {
        self.first > 0 && self.at >= self.first
    }

    /// Takes what became of the current stage.
    pub fn on(&mut self, event: Event) -> Action {
        match event {
            Event::Done => self.advance(1),
            // Nothing is left but the offsets.
            Event::DoneWithOffsets => {
                self.stages.retain(|stage| *stage != Stage::Offsets);
                self.advance(1)
            }
            // The dead letters that come of it may be rows, and rows come before the offsets.
            Event::Refused => {
                self.at = self.stages.iter().position(|stage| *stage == Stage::DeadTable).unwrap_or(self.at);
                self.attempt = 0;
                Action::Run(self.stages[self.at])
            }
            Event::Failed => {
                self.attempt += 1;
                Action::RetryLater(self.stages[self.at], self.attempt)
            }
            // Each stage is repeatable, and the verdicts of the part that is left may differ: begin again.
            Event::SomeRevoked => {
                (self.at, self.attempt) = (if mutant!(GoesOnWhenRevoked) { self.at } else { 0 }, 0);
                Action::Run(self.stages[self.at])
            }
            Event::AllRevoked => Action::Abandon(Abandon::Revoked),
            Event::WentBack | Event::Unknown | Event::Late => Action::Abandon(Abandon::Reread),
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

/// How a batch reaches Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// There is nothing to publish.
    Nothing,
    /// Outputs and dead letters by themselves.
    Plain,
    /// Outputs, dead letters and offsets in one transaction.
    Transaction,
}

/// How a batch with so many outputs and dead letters is published.
pub fn publication(transactional: bool, outputs: usize, letters: usize) -> Publication {
    match transactional {
        // Offsets without a transaction carry no generation that is sealed: one that comes late would put back what
        // tells which outputs are published.
        true if outputs + letters > 0 || !mutant!(PlainCommit) => Publication::Transaction,
        false if outputs + letters > 0 => Publication::Plain,
        _ => Publication::Nothing,
    }
}

/// The event for a sink's error.
pub fn event_of(error: &SinkError) -> Event {
    match error.class {
        Class::Wait | Class::Operator => Event::Failed,
        Class::Rewind => Event::WentBack,
    }
}

/// The event for what Kafka could not publish.
pub fn event_of_publish(error: &PublishError) -> Event {
    match error {
        PublishError::Refused(_) => Event::Refused,
        PublishError::Unknown(_) if mutant!(KafkaBlindRetry) => Event::Failed,
        PublishError::Wait(_) | PublishError::Operator(_) => Event::Failed,
        // The rebalance that made it stale is on its way to us; what is left of the batch is read again.
        PublishError::StaleGeneration(_) | PublishError::Unknown(_) => Event::Unknown,
        PublishError::Fenced(_) => Event::Fenced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(commit.start(), Action::Run(Stage::DeadTable));
        assert_eq!(commit.on(Event::Done), Action::Run(Stage::Publish));
        assert_eq!(commit.on(Event::DoneWithOffsets), Action::Finished);
    }

    #[test]
    fn attempts_count_per_stage() {
        let mut commit = Commit::new(&[0], &[]);
        assert_eq!(commit.on(Event::Failed), Action::RetryLater(Stage::Sql(0), 1));
        assert_eq!(commit.on(Event::Failed), Action::RetryLater(Stage::Sql(0), 2));
        assert_eq!(commit.on(Event::Done), Action::Run(Stage::DeadTable));
        assert_eq!(commit.on(Event::Failed), Action::RetryLater(Stage::DeadTable, 1));
    }
}
