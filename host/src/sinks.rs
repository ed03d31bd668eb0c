//! Where outputs go. Each sink has the same order of items: its struct, how it connects, `prepare`, `write`, how it
//! sorts errors. A sink never decides what happens to a refused output; it says which and why.

pub mod backoff;
pub mod dead_letter;
pub mod kafka;
pub mod limiter;
pub mod mongodb;
pub mod postgres;
pub mod sql;
pub mod sqlite;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;

use crate::commit::lanes;
use crate::outcome::{Code, Output};
use crate::redrive::{Redriven, Redrives};

/// A range of one source partition that a batch covers: offsets `start..end`, where `end` is the next offset to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub topic: Arc<str>,
    /// Kafka's topic id as text; a recreated topic has another one. Empty where the broker has none.
    pub topic_id: Arc<str>,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
    /// sha256 of the modules that transformed it, joined by `+` in a chain.
    pub digest: Arc<str>,
}

/// One output on its way to a sink.
#[derive(Clone, Debug)]
pub struct Item {
    /// Index into the batch's spans.
    pub span: usize,
    /// Offset of the source record.
    pub offset: i64,
    pub output: Output,
}

/// Everything of one batch that goes to one sink, in order of (offset, path) per span.
#[derive(Clone, Debug)]
pub struct SinkBatch {
    pub flow: Arc<str>,
    /// The consumer group: progress is keyed by it.
    pub group: Arc<str>,
    pub spans: Arc<[Span]>,
    pub items: Vec<Item>,
    /// Verdicts made before this sink, to be kept with its rows.
    pub verdicts: Vec<StoredVerdict>,
    /// Whether this sink holds the journal, which decides what counts: the first SQL sink by name.
    pub journal: bool,
    /// Whether the sink keeps its own progress (false for `at-least-once`).
    pub progress: bool,
    /// A refused output rolls the whole batch back: the flow stops before it (`on_error = "stop"`).
    pub strict: bool,
    /// Records in it that were dead letters before.
    pub redriven: Option<Arc<Redrives>>,
    /// Per span what the group has committed; empty where no batch before this one is on its way.
    pub settled: Vec<i64>,
}

impl SinkBatch {
    /// Per span the offset below which no replay can begin, so that verdicts there are asked for no more.
    pub fn settled(&self) -> Vec<i64> {
        let of = |(index, span): (usize, &Span)| lanes::settled(span, self.settled.get(index).copied());
        self.spans.iter().enumerate().map(of).collect()
    }

    /// `flow/topic-id/partition/offset/path`: the `_id` of a document whose author gave none and the `wasmill-id` header.
    pub fn source_id(&self, item: &Item) -> String {
        if let Some(redriven) = self.redriven_at(item) {
            return format!("{}/{}", redriven.record_id, item.output.path);
        }
        source_id(&self.flow, &self.spans[item.span], item.offset, &item.output.path.to_string())
    }

    fn redriven_at(&self, item: &Item) -> Option<&Redriven> {
        self.redriven.as_ref()?.get(item.span, item.offset)
    }

    /// What the places of outputs refer to: the spans, then the partitions that redriven records come from.
    pub fn places(&self) -> Cow<'_, [Span]> {
        match &self.redriven {
            None => Cow::Borrowed(&*self.spans),
            Some(redriven) => Cow::Owned([&*self.spans, redriven.partitions()].concat()),
        }
    }

    /// Where the record of an output stands for those who compare it with others of its partition: at its origin.
    pub fn place(&self, item: &Item) -> (usize, i64) {
        let origin = self.redriven.as_ref().and_then(|redriven| redriven.place(item.span, item.offset));
        origin.map_or((item.span, item.offset), |(partition, offset)| (self.spans.len() + partition, offset))
    }
}

/// The source id of an output, or with an empty path of a record.
pub fn source_id(flow: &str, span: &Span, offset: i64, path: &str) -> String {
    let partition = partition_id(flow, span);
    match path {
        "" => format!("{partition}/{offset}"),
        path => format!("{partition}/{offset}/{path}"),
    }
}

fn partition_id(flow: &str, span: &Span) -> String {
    let topic = if span.topic_id.is_empty() { &span.topic } else { &span.topic_id };
    format!("{flow}/{topic}/{}", span.partition)
}

/// Makes the source ids of a whole batch, without an allocation for each.
pub struct SourceIds {
    /// What the ids of a span begin with.
    partitions: Vec<String>,
    redriven: Option<Arc<Redrives>>,
    id: String,
}

impl SourceIds {
    pub fn of(batch: &SinkBatch) -> Self {
        let partitions = batch.spans.iter().map(|span| partition_id(&batch.flow, span)).collect();
        SourceIds { partitions, redriven: batch.redriven.clone(), id: String::new() }
    }

    /// As [`SinkBatch::source_id`].
    pub fn id(&mut self, item: &Item) -> &str {
        self.id.clear();
        let redriven = self.redriven.as_ref().and_then(|redriven| redriven.get(item.span, item.offset));
        if let Some(redriven) = redriven {
            write!(self.id, "{}/{}", redriven.record_id, item.output.path).expect("a string takes everything");
            return &self.id;
        }
        self.id.push_str(&self.partitions[item.span]);
        write!(self.id, "/{}/{}", item.offset, item.output.path).expect("a string takes everything");
        &self.id
    }
}

/// A verdict as the journal keeps it: the decision for an offset that a replay must repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVerdict {
    pub span: usize,
    pub offset: i64,
    /// Empty for a transform verdict, which covers the whole record; else the output that a sink refused.
    pub path: String,
    /// `transform` or `sink`.
    pub stage: String,
    pub code: Code,
    pub message: String,
    pub module: String,
    /// The sink and target that refused, empty for a transform verdict.
    pub sink: String,
    pub target: String,
}

/// What a sink did with a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Outputs that are now in the sink through this call (not counting those that were there before).
    pub outputs: u64,
    /// Outputs that the sink refused for what is in them.
    pub refused: Vec<Refusal>,
    /// Per span where the sink's progress stood before this batch; empty where the sink keeps none.
    pub found: Vec<i64>,
    /// What an earlier attempt decided for offsets below `found`: the sink's own refusals and what was handed to it in
    /// `verdicts`.
    pub journalled: Vec<StoredVerdict>,
}

/// A refused output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Index into the batch's items.
    pub item: usize,
    pub code: Code,
    /// The server's own words, without payload or secrets.
    pub message: String,
}

/// Whose move it is after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An outage: pause, retry for ever.
    Wait,
    /// A person must act (missing right, incompatible table): retried as well, but not ready, and named.
    Operator,
    /// The stored progress is behind the batch: the database was restored. The source has to go back.
    Rewind,
}

/// Why a sink could not take a batch as a whole. Data errors are not here: they are [`Refusal`]s.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    pub class: Class,
    /// What was attempted, on what, the cause, and what to do.
    pub message: String,
}

impl SinkError {
    pub fn wait(message: impl Into<String>) -> Self {
        SinkError { class: Class::Wait, message: message.into() }
    }

    pub fn operator(message: impl Into<String>) -> Self {
        SinkError { class: Class::Operator, message: message.into() }
    }
}

/// How far a SQL sink has got in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    pub next_offset: i64,
    pub digest: String,
}

/// Which modules were in force in a partition, and from which offset on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
    /// The first offset that the sink has from them.
    pub from: i64,
    /// sha256 of the modules, joined by `+` in a chain.
    pub digest: String,
    /// When their first batch was written, in milliseconds since 1970.
    pub since: i64,
}

/// Opens a sink by the scheme of its URL; connects to nothing. Relative SQLite files lie under `base`.
pub fn open(name: &str, config: &crate::config::Sink, base: &std::path::Path) -> Result<Arc<dyn Sink>, String> {
    match scheme(config.url.expose()) {
        "postgres" | "postgresql" => postgres::open(name, config),
        "mongodb" | "mongodb+srv" => mongodb::open(name, config),
        "sqlite" => sqlite::open(name, config, base),
        other => Err(format!("sink {name}: `{other}://` is no kind of sink; use postgres://, mongodb:// or sqlite://")),
    }
}

/// Whether the URL names a SQL database.
pub fn is_sql(url: &str) -> bool {
    matches!(scheme(url), "postgres" | "postgresql" | "sqlite")
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

/// What `wasmill doctor` tells of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Product and version, and who we are there.
    pub product: String,
    /// What is missing for the flows.
    pub lacks: Vec<Lack>,
}

/// Something that is missing, and how to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    pub found: String,
    pub help: String,
}

impl Lack {
    pub fn new(found: impl Into<String>, help: impl Into<String>) -> Self {
        Lack { found: found.into(), help: help.into() }
    }
}

/// A destination server. Kafka is not behind this trait: its writes, dead letters and offsets are one step (`kafka`).
#[async_trait]
pub trait Sink: Send + Sync {
    /// The name in the configuration.
    fn name(&self) -> &str;

    /// `postgres`, `mongodb` or `sqlite`.
    fn kind(&self) -> &'static str;

    /// Whether it keeps progress and the journal.
    fn is_sql(&self) -> bool;

    /// Answers where the server does.
    async fn ping(&self) -> Result<(), SinkError>;

    /// Which server it is, and what its user lacks to write these targets. Changes nothing.
    async fn examine(&self, targets: &[Arc<crate::manifest::TargetSpec>]) -> Result<Examined, SinkError>;

    /// Creates what is missing for these targets and checks what exists. Called when a flow starts or its module
    /// changes; wildcard targets are prepared at first use instead. Must be repeatable.
    async fn prepare(&self, targets: &[Arc<crate::manifest::TargetSpec>]) -> Result<(), SinkError>;

    /// Progress per span (only topic, topic id and partition of the span count); `None` where none is stored.
    async fn lanes(&self, group: &str, spans: &[Span]) -> Result<Vec<Option<Lane>>, SinkError>;

    /// From where on which modules were in force for the group: the newest changes, newest first. None where no progress
    /// is kept, or the sink's user may not keep this.
    async fn module_history(&self, group: &str, most: usize) -> Result<Vec<InForce>, SinkError>;

    /// Writes a batch: all or, after an error, nothing that a repetition would double.
    async fn write(&self, batch: &SinkBatch) -> Result<Written, SinkError>;

    /// For `flow reset`: what is kept for the group moves to `start` of each span, as if nothing behind had been written,
    /// and verdicts at and behind it are forgotten. Only while no host runs the flow.
    async fn reset(&self, group: &str, spans: &[Span]) -> Result<(), SinkError>;

    /// Writes dead letters as rows of `table`; a row whose `id` is there already is left alone, unless its record was
    /// redriven since. SQL sinks only.
    async fn write_dead_letters(&self, table: &str, letters: &[dead_letter::DeadLetter]) -> Result<(), SinkError>;

    /// The next dead letters of `table` by id, none where it does not exist or holds no id behind `after`. SQL sinks only.
    async fn read_dead_letters(&self, table: &str, after: &str) -> Result<Vec<dead_letter::DeadLetter>, SinkError>;
}
