//! From outputs and dead letters to messages: headers, sizes, cuts. Pure.

use std::borrow::Cow;

use bytes::Bytes;
use rdkafka::message::{Header, OwnedHeaders};

use super::{Publish, RECORD_OVERHEAD};
use crate::outcome::Operation;
use crate::record::decode_headers;
use crate::sinks::dead_letter::DeadLetter;
use crate::sinks::{Item, SinkBatch};

/// The header with the source id.
const ID: &str = "wasmill-id";

/// A record to produce.
pub(super) struct Message<'a> {
    pub(super) topic: Cow<'a, str>,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: OwnedHeaders,
    pub(super) timestamp: Option<i64>,
    pub(super) partition: Option<i32>,
    /// What tells it from the batch's other messages: index of the item, or none for a dead letter.
    pub(super) item: Option<usize>,
    /// Source offset and path, to recognise it when the batch is published again.
    pub(super) identity: (usize, i64, String),
}

/// The messages of a batch: outputs in order, then dead letters.
pub(super) fn messages<'a>(publish: &'a Publish<'_>, limit: impl Fn(&str) -> usize) -> Vec<Message<'a>> {
    let outputs = publish.batch.items.iter().enumerate().map(|(index, item)| output(publish.batch, index, item));
    let letters = publish.dead_letters.iter().map(|(topic, letter)| dead(topic, letter, limit(topic)));
    outputs.chain(letters).collect()
}

fn output<'a>(batch: &SinkBatch, index: usize, item: &'a Item) -> Message<'a> {
    let output = &item.output;
    let given = decode_headers(output.headers.count, &output.headers.encoded).unwrap_or_default();
    let mut headers = OwnedHeaders::new_with_capacity(given.len() + 1);
    for (key, value) in given.into_iter().filter(|(name, _)| *name != ID) {
        headers = headers.insert(Header { key, value });
    }
    let id = batch.source_id(item);
    headers = headers.insert(Header { key: ID, value: Some(&id) });
    Message {
        topic: output.destination(),
        key: output.key.clone(),
        value: output.value.clone().filter(|_| output.operation != Operation::Delete),
        headers,
        timestamp: (output.timestamp >= 0).then_some(output.timestamp),
        partition: output.partition,
        item: Some(index),
        identity: (item.span, item.offset, output.path.to_string()),
    }
}

fn dead<'a>(topic: &'a str, letter: &DeadLetter, max_bytes: usize) -> Message<'a> {
    let record = letter.record(max_bytes.saturating_sub(RECORD_OVERHEAD));
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for (key, value) in &record.headers {
        headers = headers.insert(Header { key, value: value.as_deref() });
    }
    // What was cut is the front of the original, so it shares its memory.
    let front = |field: &Option<Bytes>, kept: Option<&[u8]>| Some(field.as_ref()?.slice(..kept?.len()));
    Message {
        topic: Cow::Borrowed(topic),
        key: front(&letter.key, record.key),
        value: front(&letter.value, record.value),
        headers,
        timestamp: (letter.timestamp >= 0).then_some(letter.timestamp),
        partition: None,
        item: None,
        identity: (usize::MAX, letter.offset, letter.id.clone()),
    }
}
