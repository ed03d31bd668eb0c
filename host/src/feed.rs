//! Filling topics: a *source* reads somewhere and hands records on, the publisher sends them and knows which are
//! acknowledged. A source runs on a thread of its own and is never waited for when the feed stops: what it had handed on
//! by then is flushed, what is acknowledged is known, and from that follows where to go on. Nothing is kept on disk.
//!
//! ```text
//! source ─ records, in order ─► pace ─► producer ─► acknowledged without a gap ─► where to go on
//! ```

pub mod csv;
pub mod file;
pub mod generate;
pub mod hosted;
pub mod http;
pub mod json;
pub mod lines;
pub mod pace;
pub mod postgres;
pub mod publish;
pub mod seat;
pub mod share;
pub mod window;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::shutdown::Shutdown;

/// One record on its way into the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    /// Its place in the source, from 1: the line of a file, the number of a generated record.
    pub number: u64,
    /// Where the source goes on once everything up to here is acknowledged, where its number does not say it.
    pub mark: Option<Arc<str>>,
}

/// What a source says of itself.
#[derive(Clone, Debug)]
pub struct About {
    /// For messages, such as `quotes.jsonl`.
    pub name: String,
    /// What its numbers count: `line`, `element`, `row`, `record`.
    pub unit: &'static str,
    pub resume: Resume,
    /// It ends only when it is stopped; then it waits for brokers that are away, however long.
    pub endless: bool,
}

/// How a source is told where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// By `--after` and the number of the last record.
    Number,
    /// By this option and the last mark.
    Mark(&'static str),
}

/// Where records come from.
pub trait Source: Send {
    fn about(&self) -> About;
    /// Hands on everything that there is, or until the outlet is closed.
    fn run(self: Box<Self>, out: &Outlet) -> Result<(), Trouble>;
}

/// Why a feed ends before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody takes records any more: the feed stops.
    Closed,
    /// The user has to change what was asked for.
    Request(String),
    /// What was read cannot be used.
    Data(String),
    /// Something outside is missing or does not answer.
    Environment(String),
}

/// What comes out of a source.
#[derive(Debug)]
pub enum Event {
    Record(Record),
    /// Words for people: what is being retried, and why.
    Note(String),
}

/// Where a source hands its records to.
#[derive(Clone, Debug)]
pub struct Outlet {
    events: Sender<Event>,
    shutdown: Arc<Shutdown>,
}

impl Outlet {
    pub fn new(events: Sender<Event>, shutdown: Arc<Shutdown>) -> Self {
        Outlet { events, shutdown }
    }

    /// Waits for room.
    pub fn send(&self, record: Record) -> Result<(), Trouble> {
        self.events.send(Event::Record(record)).map_err(|_| Trouble::Closed)
    }

    pub fn note(&self, words: String) -> Result<(), Trouble> {
        self.events.send(Event::Note(words)).map_err(|_| Trouble::Closed)
    }

    /// Waits so long, or until the feed stops.
    pub fn wait(&self, time: Duration) -> Result<(), Trouble> {
        if self.shutdown.wait_timeout(time) { Err(Trouble::Closed) } else { Ok(()) }
    }
}

/// Bytes as text, or what is wrong with them.
fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|cause| format!("not UTF-8 at byte {}", cause.valid_up_to()))
}
