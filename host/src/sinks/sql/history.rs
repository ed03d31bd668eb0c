//! Which modules made what: beside the progress a SQL sink keeps from which offset on other modules were in force. A row
//! is written only with a change, in the transaction that makes it true, and nothing is ever decided by it.

use crate::commit::lanes;
use crate::sinks::{Lane, Span};

/// Where other modules come into force with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<'s> {
    pub span: &'s Span,
    /// The first offset that this sink has from them.
    pub from: i64,
}

/// The changes that a batch brings, whose lanes were `found`.
pub fn changes<'s>(spans: &'s [Span], found: &[Lane]) -> Vec<Change<'s>> {
    let is_new = |(span, lane): &(&Span, &Lane)| {
        *span.digest != *lane.digest && lanes::advanced(span, lane.next_offset).is_some()
    };
    let change = |(span, lane): (&'s Span, &Lane)| Change { span, from: lane.next_offset };
    spans.iter().zip(found).filter(is_new).map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_modules_that_write_something_are_a_change() {
        let span = |start: i64, end: i64, digest: &str| Span {
            topic: "t".into(),
            topic_id: "id".into(),
            partition: 0,
            start,
            end,
            digest: digest.into(),
        };
        let lane = |next_offset: i64, digest: &str| Lane { next_offset, digest: digest.into() };
        let spans = [span(5, 9, "b"), span(5, 9, "b"), span(5, 9, "b"), span(5, 9, "b"), span(5, 9, "b")];
        let found = [lane(5, "a"), lane(5, "b"), lane(7, "a"), lane(9, "a"), lane(5, "")];
        let changes: Vec<i64> = changes(&spans, &found).into_iter().map(|change| change.from).collect();
        assert_eq!(changes, [5, 7, 5], "the one before has the same, the one at its end writes nothing");
    }
}
