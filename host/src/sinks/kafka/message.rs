//! From outputs and dead letters to messages: headers, sizes, cuts. Pure.

use super::destinations::Destinations;
use super::queue::Headers;
use super::{Publish, RECORD_OVERHEAD};
use crate::outcome::{Operation, Path};
use crate::record::decode_headers;
use crate::sinks::dead_letter::{DeadLetter, LetterHeader};
use crate::sinks::{Item, SourceIds};

/// The header with the source id.
const ID: &str = "wasmill-id";

/// A record to produce; the bytes are those of the batch.
pub(super) struct Message<'a> {
    pub(super) topic: &'a str,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) timestamp: Option<i64>,
    pub(super) partition: Option<i32>,
    what: What<'a>,
}

enum What<'a> {
    /// With the index of the item.
    Output(usize, &'a Item),
    Letter(&'a DeadLetter, Vec<LetterHeader<'a>>),
}

/// What tells a message from the others of its batch, also when that is published again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// Span, offset of the source record, path.
    Output(usize, i64, Path),
    /// Source id.
    Letter(String),
}

/// The messages of a batch: outputs in order, then dead letters. `limit` is the largest record of a topic.
pub(super) fn messages<'a>(
    publish: &'a Publish<'_>,
    destinations: &'a Destinations,
    limit: impl Fn(&str) -> usize,
) -> Vec<Message<'a>> {
    let outputs = publish.batch.items.iter().enumerate();
    let outputs = outputs.map(|(index, item)| output(index, item, &destinations.names()[destinations.topic(index)]));
    let letters = publish.dead_letters.iter().map(|(topic, letter)| dead(topic, letter, limit(topic)));
    outputs.chain(letters).collect()
}

impl Message<'_> {
    /// Index of the item; none for a dead letter.
    pub(super) fn item(&self) -> Option<usize> {
        match self.what {
            What::Output(index, _) => Some(index),
            What::Letter(..) => None,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        match &self.what {
            What::Output(_, item) => Identity::Output(item.span, item.offset, item.output.path.clone()),
            What::Letter(letter, _) => Identity::Letter(letter.id.clone()),
        }
    }

    /// The headers, made for the client to keep.
    pub(super) fn headers(&self, ids: &mut SourceIds) -> Headers {
        match &self.what {
            What::Output(_, item) => output_headers(item, ids.id(item)),
            What::Letter(_, headers) => {
                let mut made = Headers::with_room_for(headers.len());
                headers.iter().for_each(|(name, value)| made.add(name, value.as_deref()));
                made
            }
        }
    }
}

fn output<'a>(index: usize, item: &'a Item, topic: &'a str) -> Message<'a> {
    let output = &item.output;
    Message {
        topic,
        key: output.key.as_deref(),
        value: output.value.as_deref().filter(|_| output.operation != Operation::Delete),
        timestamp: (output.timestamp >= 0).then_some(output.timestamp),
        partition: output.partition,
        what: What::Output(index, item),
    }
}

fn output_headers(item: &Item, id: &str) -> Headers {
    let headers = &item.output.headers;
    let mut made = Headers::with_room_for(headers.count as usize + 1);
    if headers.count > 0 {
        let given = decode_headers(headers.count, &headers.encoded).unwrap_or_default();
        given.into_iter().filter(|(name, _)| *name != ID).for_each(|(name, value)| made.add(name, value));
    }
    made.add(ID, Some(id.as_bytes()));
    made
}

fn dead<'a>(topic: &'a str, letter: &'a DeadLetter, max_bytes: usize) -> Message<'a> {
    let record = letter.record(max_bytes.saturating_sub(RECORD_OVERHEAD));
    Message {
        topic,
        key: record.key,
        value: record.value,
        // The record's own may be older than the topic's retention, or further ahead than brokers allow; a header has it.
        timestamp: None,
        partition: None,
        what: What::Letter(letter, record.headers),
    }
}
