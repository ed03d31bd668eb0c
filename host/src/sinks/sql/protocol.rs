//! What the SQL sinks say about progress in the same words: a database that went back, and the verdicts to keep.

use crate::commit::decisions::is_journalled;
use crate::commit::lanes;
use crate::sinks::{Class, Refusal, SinkBatch, SinkError, StoredVerdict};

/// A database that was restored from a backup knows less than was committed to Kafka.
pub fn check_rewind(sink: &str, batch: &SinkBatch, found: &[i64]) -> Result<(), SinkError> {
    let behind = batch.spans.iter().zip(found).find(|(span, cur)| lanes::went_back(span, **cur));
    let Some((span, cur)) = behind else { return Ok(()) };
    let message = format!(
        "sink {sink} has stored offset {cur} for partition {} of topic {}, but the batch begins at {}: the database went back, the source has to as well",
        span.partition, span.topic, span.start
    );
    Err(SinkError { class: Class::Rewind, message })
}

/// What has to be kept of this batch: the sink's own refusals and what was decided before.
pub fn verdicts(sink: &str, batch: &SinkBatch, refused: &[Refusal], found: &[i64]) -> Vec<StoredVerdict> {
    let before = batch.verdicts.iter().filter(|v| is_journalled(v, found));
    let own = refused.iter().map(|refusal| {
        let item = &batch.items[refusal.item];
        StoredVerdict {
            span: item.span,
            offset: item.offset,
            path: item.output.path.to_string(),
            stage: "sink".into(),
            code: refusal.code.clone(),
            message: refusal.message.clone(),
            module: String::new(),
            sink: sink.to_owned(),
            target: item.output.destination().into_owned(),
        }
    });
    before.cloned().chain(own).collect()
}
