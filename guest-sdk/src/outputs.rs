//! Where a transform puts what it makes. Outputs are encoded into the output frame as they are made; nothing is
//! allocated per record, and nothing is sent before the whole batch is done.

mod document;
mod message;
mod row;

use std::borrow::Cow;

use serde::Serialize;

use crate::error::{Error, Result, describe_json};
use crate::frame::{self, NULL, UNCHANGED};
use crate::json;
use crate::manifest::{Table, Target};

pub use document::Document;
pub use message::{AsField, Message};
pub use row::Row;

/// Index that stands for a destination that the manifest does not have; the suffix then names it.
const UNKNOWN: u32 = u32::MAX;
/// Bytes of an output before its key.
const HEAD: usize = 20;

/// What a sink does with an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Insert, or what the host's configuration says for the table (`mode`).
    Write,
    /// Insert, or update the row or document with the same key.
    Upsert,
    /// Replace the document with the same `_id`, or insert it.
    Replace,
    /// Update the row or document with the same key; nothing happens where there is none.
    Update,
    /// Insert unless a row with the same key exists.
    Ignore,
    /// Delete the row or document with this key.
    Delete,
}

impl Operation {
    /// In the order of the frame's numbers.
    #[cfg(any(not(target_arch = "wasm32"), feature = "typed"))]
    pub(crate) const ALL: [Operation; 6] =
        [Self::Write, Self::Upsert, Self::Replace, Self::Update, Self::Ignore, Self::Delete];
}

/// The outputs of the record that is being processed.
///
/// A destination is named as it is declared in `#[transform]`. A name without a sink means the sink `postgres`,
/// `mongodb` or `kafka`; `"sink:name"` means another one. A name that is not declared makes the whole record a dead
/// letter with the code `unknown-target`. If the transform returns an error, what the record has put here is dropped.
#[derive(Debug)]
pub struct Outputs {
    targets: &'static [Target],
    frame: Vec<u8>,
    count: u32,
    source: u32,
    /// Length of the frame and count of items before the present record.
    start: (usize, u32),
    /// Key and headers of the output that is being built; kept to be used again.
    key: Vec<u8>,
    headers: Vec<u8>,
}

impl Outputs {
    /// Writes a row into its table on the sink `postgres`: inserted, or what the host's configuration says for the
    /// table (`mode`).
    ///
    /// ```
    /// # use wasmill_sdk::{prelude::*, testing};
    /// #[derive(Serialize, Table)]
    /// #[table(name = "people")]
    /// struct Person<'a> { name: &'a str, age: Option<i32> }
    ///
    /// #[transform(topics = ["in"], postgres = [Person])]
    /// fn people(record: &Record, out: &mut Outputs) -> Result<()> {
    ///     out.postgres(&Person { name: record.text()?, age: None })
    /// }
    /// # let ran = testing::run::<people>(testing::record().value("Ada"));
    /// # assert_eq!(ran.outputs[0].json(), json!({"name": "Ada", "age": null}));
    /// ```
    ///
    /// # Errors
    /// A reject where the row cannot be serialised.
    pub fn postgres<R: Table + ?Sized>(&mut self, row: &R) -> Result<()> {
        Row::new(self, ("postgres", R::TABLE.name)).insert(row)
    }

    /// A table by name, for the other operations: `out.postgres_at("schema.table").upsert(&row)`, or with the sink's
    /// name `out.postgres_at("sink:schema.table")`, whichever SQL database that is.
    pub fn postgres_at<'o>(&'o mut self, table: &'o str) -> Row<'o> {
        Row::new(self, split(table, "postgres"))
    }

    /// A collection, as `database.collection`.
    pub fn mongodb<'o>(&'o mut self, collection: &'o str) -> Document<'o> {
        Document::new(self, split(collection, "mongodb"))
    }

    /// A topic.
    pub fn kafka<'o>(&'o mut self, topic: &'o str) -> Message<'o> {
        Message::new(self, split(topic, "kafka"))
    }

    /// The following module of the chain; what is built becomes one of its records.
    #[allow(clippy::should_implement_trait, reason = "the name of the sink; outputs are not iterated")]
    pub fn next(&mut self) -> Message<'_> {
        Message::new(self, ("next", "next"))
    }

    /// How many outputs the record has so far.
    pub fn len(&self) -> usize {
        (self.count - self.start.1) as usize
    }

    /// Whether the record has no outputs so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What surrounds the present record; for the generated code and the tests.
impl Outputs {
    pub(crate) fn new(targets: &'static [Target], capacity: usize) -> Self {
        let mut frame = Vec::with_capacity(capacity.max(64));
        frame.extend_from_slice(&frame::VERSION.to_le_bytes());
        frame.extend_from_slice(&[0; 4]);
        let start = (frame.len(), 0);
        Outputs { targets, frame, count: 0, source: 0, start, key: Vec::new(), headers: Vec::new() }
    }

    pub(crate) fn begin(&mut self, source: u32) {
        self.source = source;
        self.start = (self.frame.len(), self.count);
    }

    /// Drops the outputs of the present record and notes its fate instead.
    pub(crate) fn fail(&mut self, error: &Error) {
        self.frame.truncate(self.start.0);
        let message = error.message().as_bytes();
        self.frame.extend_from_slice(&[1, error.fate() as u8, 0, 0]);
        self.frame.extend_from_slice(&self.source.to_le_bytes());
        self.frame.extend_from_slice(&(message.len() as u32).to_le_bytes());
        self.frame.extend_from_slice(message);
        self.count = self.start.1 + 1;
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.frame[4..8].copy_from_slice(&self.count.to_le_bytes());
        self.frame
    }

    /// Encodes one output. `value` writes the payload behind what is already in the buffer.
    fn push(&mut self, output: &Draft<'_>, value: impl FnOnce(&mut Vec<u8>) -> Result<Part>) -> Result<()> {
        let at = self.frame.len();
        let result = self.encode(at, output, value);
        match result {
            Ok(()) => self.count += 1,
            // A transform may go on after an error: half an output must not stay.
            Err(_) => self.frame.truncate(at),
        }
        result
    }

    fn encode(
        &mut self,
        at: usize,
        output: &Draft<'_>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<Part>,
    ) -> Result<()> {
        let (target, suffix) = self.find(output.sink, output.name);
        let mut flags = 0;
        let frame = &mut self.frame;
        frame.extend_from_slice(&[0; HEAD]);
        if output.key == Part::Data {
            frame.extend_from_slice(&self.key);
        }
        let (key, from) = (length(output.key, self.key.len())?, frame.len());
        let part = value(frame)?;
        let value = length(part, frame.len() - from)?;
        if let Some(suffix) = suffix {
            flags |= frame::SUFFIX;
            frame.extend_from_slice(&(suffix.len() as u32).to_le_bytes());
            frame.extend_from_slice(suffix.as_bytes());
        }
        if let Some(timestamp) = output.timestamp {
            flags |= frame::TIMESTAMP;
            frame.extend_from_slice(&timestamp.to_le_bytes());
        }
        if let Some(partition) = output.partition {
            flags |= frame::PARTITION;
            frame.extend_from_slice(&partition.to_le_bytes());
        }
        if let Some(count) = output.headers {
            flags |= frame::HEADERS;
            frame.extend_from_slice(&count.to_le_bytes());
            frame.extend_from_slice(&self.headers);
        }
        let head = &mut frame[at..at + HEAD];
        head[1] = output.operation as u8;
        head[2] = flags;
        head[4..8].copy_from_slice(&self.source.to_le_bytes());
        head[8..12].copy_from_slice(&target.to_le_bytes());
        head[12..16].copy_from_slice(&key.to_le_bytes());
        head[16..20].copy_from_slice(&value.to_le_bytes());
        Ok(())
    }

    /// The index of a destination in the manifest and, where that ends in `*`, the rest of the name.
    fn find<'n>(&self, sink: &str, name: &'n str) -> (u32, Option<Cow<'n, str>>) {
        let of_sink = || (0u32..).zip(self.targets).filter(|(_, target)| target.sink == sink);
        if let Some((index, _)) = of_sink().find(|(_, target)| target.name == name) {
            return (index, None);
        }
        let rest = |target: &Target| target.name.strip_suffix('*').and_then(|prefix| name.strip_prefix(prefix));
        match of_sink().find_map(|(index, target)| Some((index, rest(target)?))) {
            Some((index, rest)) => (index, Some(Cow::Borrowed(rest))),
            None => (UNKNOWN, Some(Cow::Owned(format!("{sink}:{name}")))),
        }
    }
}

/// Where the bytes of a key or value come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Null,
    Unchanged,
    Data,
}

/// An output without its payload. The bytes of key and headers are in [`Outputs`].
#[derive(Debug)]
struct Draft<'o> {
    sink: &'o str,
    name: &'o str,
    operation: Operation,
    key: Part,
    headers: Option<u32>,
    timestamp: Option<i64>,
    partition: Option<i32>,
}

impl<'o> Draft<'o> {
    fn new((sink, name): (&'o str, &'o str)) -> Self {
        let (key, operation) = (Part::Unchanged, Operation::Write);
        Draft { sink, name, operation, key, headers: None, timestamp: None, partition: None }
    }
}

fn split<'n>(target: &'n str, default: &'n str) -> (&'n str, &'n str) {
    target.split_once(':').unwrap_or((default, target))
}

fn length(part: Part, bytes: usize) -> Result<i32> {
    match part {
        Part::Null => Ok(NULL),
        Part::Unchanged => Ok(UNCHANGED),
        Part::Data => i32::try_from(bytes).map_err(|_| Error::reject("an output is larger than 2 GiB")),
    }
}

/// Appends JSON. An error of a `Serialize` implementation is a reject.
fn put_json<T: Serialize + ?Sized>(buffer: &mut Vec<u8>, value: &T) -> Result<Part> {
    json::put(buffer, value).map_err(|error| Error::reject(describe_json(&error)))?;
    Ok(Part::Data)
}

/// Appends bytes as they are.
fn put_bytes(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) -> Part {
    buffer.extend_from_slice(bytes.unwrap_or_default());
    if bytes.is_some() { Part::Data } else { Part::Null }
}
