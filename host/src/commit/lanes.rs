//! Offsets compared: what a sink still lacks, how far it is afterwards, what the group commits. A lane is the next
//! offset that its sink needs.

use std::ops::Range;

use crate::sinks::Span;

/// Whether a sink whose lane stands at `lane` still needs what comes from `offset`.
pub fn is_due(offset: i64, lane: i64) -> bool {
    offset >= lane || mutant!(NothingSkipped)
}

/// Whether a sink lacks records before the batch: its database was restored, and the source has to go back as well.
pub fn went_back(span: &Span, found: i64) -> bool {
    found < span.start && !mutant!(NoReconnectCheck)
}

/// Where a lane found at `found` stands after the batch; `None` where another attempt has passed its end already.
pub fn advanced(span: &Span, found: i64) -> Option<i64> {
    (span.end > found).then_some(span.end)
}

/// The offsets of the batch that an earlier attempt has decided; `None` where there are none.
pub fn decided(span: &Span, found: i64) -> Option<Range<i64>> {
    (found > span.start).then(|| span.start..span.end.min(found))
}

/// Whether some sink of an earlier attempt was ahead of the batch, so that its decisions count.
pub fn is_replay(spans: &[Span], found: &[i64]) -> bool {
    spans.iter().zip(found).any(|(span, found)| decided(span, *found).is_some())
}

/// Whether the group is where our own commits cannot have brought it: another host goes on with the partition, and
/// decisions below what it has committed may be deleted.
pub fn moved_on(span: &Span, kafka_lane: i64, committed: Option<i64>) -> bool {
    committed.is_some_and(|committed| committed > span.start.max(kafka_lane)) && !mutant!(JournalTrusted)
}

/// The offset below which no verdict can be asked for any more. Batches before this one may be on their way; they begin
/// where the group is, as far as we know.
pub fn settled(span: &Span, committed: Option<i64>) -> i64 {
    if mutant!(JournalCutShort) {
        span.start
    } else {
        committed.map_or(span.start, |committed| committed.min(span.start))
    }
}

/// The offset to commit: never below what the group has already.
pub fn to_commit(span: &Span, kafka_lane: i64) -> i64 {
    if mutant!(LaneGoesBack) { span.end } else { span.end.max(kafka_lane) }
}
