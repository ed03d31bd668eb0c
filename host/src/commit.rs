//! The commit protocol as pure decisions: which stage of a batch runs next, whatever happened to the last one, where a
//! partition begins, what a sink still lacks, which verdicts count, whose batch it is.
//! No I/O, no clock, no randomness: `flow`, `source` and `sinks` ask, a simulator does the same.
//!
//! ```text
//! SQL sinks by name ─► document sinks ─► dead-letter table ─► Kafka outputs and dead letters ─► offsets
//! ```
//!
//! Every stage before the last may be repeated: SQL sinks compare-and-set their progress, documents have
//! deterministic ids, Kafka outputs are numbered by their source id or belong to one transaction with the offsets.
//! The offsets are the single point where the input counts as consumed, so they come last.

#[cfg(not(test))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}
/// Whether a rule is broken on purpose: only in tests, which prove that the simulator would notice.
#[cfg(test)]
macro_rules! mutant {
    ($name:ident) => {
        $crate::commit::sim::mutants::is_on($crate::commit::sim::mutants::Mutant::$name)
    };
}

pub mod begin;
pub mod decisions;
pub mod epochs;
pub mod lanes;
#[cfg(test)]
pub(crate) mod sim;
pub mod stages;

pub use decisions::Decisions;
pub use stages::{Abandon, Action, Commit, Event, Stage, event_of};
