//! From a decision not to write to the dead letter that tells of it: pure, nothing is decided here.

use crate::outcome::Headers;
use crate::router::{Slices, locate};
use crate::sinks::dead_letter::DeadLetter;
use crate::sinks::{Span, StoredVerdict, source_id};

/// Longest message; sinks quote servers, and servers can be talkative.
const MESSAGE_BYTES: usize = 1024;

/// The dead letters for the verdicts of a batch, in order of (span, offset, path). A verdict whose record is not in
/// the batch any more has none.
pub fn dead_letters(flow: &str, spans: &[Span], slices: &Slices, verdicts: &[StoredVerdict]) -> Vec<DeadLetter> {
    let mut ordered: Vec<&StoredVerdict> = verdicts.iter().collect();
    ordered.sort_by(|a, b| (a.span, a.offset, &a.path, &a.sink).cmp(&(b.span, b.offset, &b.path, &b.sink)));
    ordered.into_iter().filter_map(|verdict| dead_letter(flow, spans, slices, verdict)).collect()
}

fn dead_letter(flow: &str, spans: &[Span], slices: &Slices, verdict: &StoredVerdict) -> Option<DeadLetter> {
    let span = &spans[verdict.span];
    let (slice, record) = locate(slices, verdict.span, verdict.offset)?;
    let slice = &slices[slice].1;
    let (count, encoded) = slice.encoded_headers(record);
    let redriven = slice.redriven();
    let id = match redriven {
        None => source_id(flow, span, verdict.offset, &verdict.path),
        Some(redriven) => redriven.letter_id(&verdict.path),
    };
    // What is written the next time stays what was refused the first time.
    let wanted = redriven.and_then(|redriven| redriven.wanted.as_ref()).filter(|_| verdict.sink.is_empty());
    Some(DeadLetter {
        id,
        flow: flow.to_owned(),
        topic: slice.topic.to_string(),
        partition: slice.partition,
        offset: slice.offset(record),
        timestamp: slice.timestamp(record),
        stage: verdict.stage.clone(),
        code: verdict.code.clone(),
        message: shortened(&verdict.message),
        module: verdict.module.clone(),
        sink: wanted.map_or_else(|| verdict.sink.clone(), |wanted| wanted.sink.clone()),
        target: wanted.map_or_else(|| verdict.target.clone(), |wanted| wanted.target.clone()),
        redriven: redriven.map_or(0, |redriven| redriven.times),
        key: slice.key(record),
        value: slice.value(record),
        headers: Headers { count, encoded },
    })
}

fn shortened(message: &str) -> String {
    let mut end = message.len().min(MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}
