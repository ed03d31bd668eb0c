//! Runs transforms natively, on the path that a module runs: through both frames.
//!
//! ```
//! use wasmill_sdk::{prelude::*, testing};
//! #[transform(topics = ["in"], kafka = ["out"])]
//! fn shout(record: &Record, out: &mut Outputs) -> Result<()> {
//!     out.kafka("out").bytes(record.text()?.to_uppercase())
//! }
//! // the whole way; the type that `run` wants has the function's name
//! let ran = testing::run::<shout>(testing::record().value("hey"));
//! assert_eq!(ran.outputs[0].text(), "HEY");
//! // or the function itself
//! let mut out = testing::outputs::<shout>();
//! assert!(shout(&testing::record().as_record(), &mut out).is_err());
//! ```

mod base64;
mod samples;

use std::fmt;

use serde_json::Value;

pub use crate::codec::Field;
use crate::codec::{FrameBuilder, Item, decode};
use crate::error::{Error, Fate};
use crate::frame::put_header;
use crate::log::Level;
use crate::manifest::Transform;
use crate::outputs::{AsField, Operation, Outputs};
use crate::process::process;
use crate::record::{Headers, Record};

pub use samples::check_samples;

/// A record to run a transform on; made by [`record`].
#[derive(Clone, Debug)]
pub struct TestRecord {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: (u32, Vec<u8>),
}

/// A record with NULL key, NULL value, no headers, at offset 0 of partition 0 of the topic `test`.
pub fn record() -> TestRecord {
    TestRecord {
        topic: "test".to_owned(),
        partition: 0,
        offset: 0,
        timestamp: -1,
        key: None,
        value: None,
        headers: (0, Vec::new()),
    }
}

impl TestRecord {
    /// The key: text or bytes; `None` is NULL.
    pub fn key(mut self, key: impl AsField) -> Self {
        self.key = key.as_field().map(<[u8]>::to_vec);
        self
    }

    /// The value: text or bytes; `None` is NULL.
    pub fn value(mut self, value: impl AsField) -> Self {
        self.value = value.as_field().map(<[u8]>::to_vec);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsField) -> Self {
        put_header(&mut self.headers.1, name, value.as_field());
        self.headers.0 += 1;
        self
    }

    /// The source topic.
    pub fn topic(mut self, topic: &str) -> Self {
        self.topic = topic.to_owned();
        self
    }

    /// The source partition.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = partition;
        self
    }

    /// The offset.
    pub fn offset(mut self, offset: i64) -> Self {
        self.offset = offset;
        self
    }

    /// The timestamp in milliseconds since 1970-01-01 UTC.
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.timestamp = milliseconds;
        self
    }

    /// The record as a transform gets it, to call one directly.
    pub fn as_record(&self) -> Record<'_> {
        Record {
            topic: &self.topic,
            partition: self.partition,
            index: 0,
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::new(self.headers.0, &self.headers.1),
        }
    }
}

/// What a transform made of one record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ran {
    /// The outputs in their order; none where the record failed.
    pub outputs: Vec<Output>,
    /// Why the record was not processed.
    pub failure: Option<Error>,
}

impl Ran {
    /// The reason where the record was skipped.
    pub fn skipped(&self) -> Option<&str> {
        self.failed(Fate::Skip)
    }

    /// The reason where the record was rejected.
    pub fn rejected(&self) -> Option<&str> {
        self.failed(Fate::Reject)
    }

    fn failed(&self, fate: Fate) -> Option<&str> {
        self.failure.as_ref().filter(|error| error.fate() == fate).map(Error::message)
    }
}

/// An output as the host sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The sink, or `next`; empty where the destination is not declared.
    pub sink: String,
    /// Table, `db.collection` or topic in full; `sink:name` where it is not declared.
    pub name: String,
    /// What the sink does.
    pub operation: Operation,
    /// The key, or for databases the JSON of the key or `_id`.
    pub key: Field,
    /// The payload.
    pub value: Field,
    /// The headers; `None` where they are the input record's.
    pub headers: Option<Vec<(String, Option<Vec<u8>>)>>,
    /// The timestamp; `None` where it is the input record's.
    pub timestamp: Option<i64>,
    /// The partition; `None` where the partitioner chooses.
    pub partition: Option<i32>,
}

impl Output {
    /// The payload as JSON.
    ///
    /// # Panics
    /// Where it is not JSON, NULL or unchanged.
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.bytes()).unwrap_or_else(|error| panic!("the payload is not JSON: {error}"))
    }

    /// The payload as text.
    ///
    /// # Panics
    /// Where it is not UTF-8, NULL or unchanged.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or_else(|error| panic!("the payload is not UTF-8: {error}"))
    }

    fn bytes(&self) -> &[u8] {
        match &self.value {
            Field::Data(bytes) => bytes,
            other => panic!("the payload is {other:?}, not data"),
        }
    }
}

/// `sink:name`, or `next`.
impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sink == "next" {
            return f.write_str("next");
        }
        write!(f, "{}:{}", self.sink, self.name)
    }
}

/// Runs a transform on one record.
pub fn run<T: Transform>(record: TestRecord) -> Ran {
    run_all::<T>(&[record]).pop().unwrap_or_default()
}

/// Runs a transform on several records in one call. Topic and partition are the first one's, as in a real batch.
///
/// # Panics
/// Where the transform panics.
pub fn run_all<T: Transform>(records: &[TestRecord]) -> Vec<Ran> {
    let Some(first) = records.first() else { return Vec::new() };
    crate::host::recorder(|r| r.seed = seed(records));
    let mut frame = FrameBuilder::new(&first.topic, first.partition);
    for record in records {
        let headers = Headers::new(record.headers.0, &record.headers.1);
        frame.push(record.offset, record.timestamp, record.key.as_deref(), record.value.as_deref(), headers);
    }
    let mut ran = vec![Ran::default(); records.len()];
    for item in decode(&process::<T>(&frame.finish())).expect("the output frame was written here") {
        match item {
            Item::Output(item) => ran[item.source as usize].outputs.push(output::<T>(item)),
            Item::Failure { source, fate, message } => ran[source as usize].failure = Some(Error::new(fate, message)),
        }
    }
    ran
}

/// Outputs to call a transform with directly.
pub fn outputs<T: Transform>() -> Outputs {
    Outputs::new(T::TARGETS, 0)
}

/// Sets a variable of the flow for this thread, which is this test.
pub fn set_var(name: &str, value: &str) {
    crate::vars::set(name, value);
}

/// The log lines of this thread so far.
pub fn logs() -> Vec<(Level, String)> {
    crate::host::recorder(|recorder| recorder.logs.clone())
}

/// What a counter of this thread has reached after the last batch.
pub fn counter(name: &str) -> u64 {
    crate::host::recorder(|r| r.counters.iter().find(|(n, _)| n == name).map_or(0, |(_, sum)| *sum))
}

/// What a gauge or histogram of this thread was given, in order.
pub fn values(name: &str) -> Vec<f64> {
    crate::host::recorder(|r| r.values.iter().filter(|(n, _)| n == name).flat_map(|(_, v)| v.clone()).collect())
}

fn seed(records: &[TestRecord]) -> Vec<(String, i32, i64)> {
    records.iter().map(|record| (record.topic.clone(), record.partition, record.offset)).collect()
}

fn output<T: Transform>(item: crate::codec::Output) -> Output {
    let target = T::TARGETS.get(item.target as usize);
    let suffix = item.suffix.unwrap_or_default();
    Output {
        sink: target.map(|target| target.sink.to_owned()).unwrap_or_default(),
        name: target.map_or("", |target| target.name.trim_end_matches('*')).to_owned() + &suffix,
        operation: item.operation,
        key: item.key,
        value: item.value,
        headers: item.headers,
        timestamp: item.timestamp,
        partition: item.partition,
    }
}
