//! A flow at work: what its threads share. The reader (`source`) fills batches, the workers (`runtime`) transform
//! them, the writer takes them through the stages of `commit`.

pub mod breaker;
pub mod drive;
pub mod finish;
pub mod letters;
pub mod plan;
pub mod running;
mod shown;
pub mod stages;
pub mod watch;
pub mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use crate::board::FlowBoard;
use crate::config::{Delivery, OnError};
use crate::health::Health;
use crate::metrics::{ByCode, ByFlow, ByReason, BySink, ByTopic, Metrics};
use crate::sinks::kafka::KafkaSink;
use crate::sinks::{Sink, SinkError};
use crate::source::consumer::FlowConsumer;
use crate::source::ownership::Ownership;

/// Where dead letters go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// `<topic>.dlq` of each source topic.
    PerTopic,
    /// One topic.
    Topic(String),
    /// A table in the first SQL sink by name.
    Table(String),
}

impl DeadLetters {
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            None => DeadLetters::PerTopic,
            Some(text) => match text.strip_prefix("table:") {
                Some(table) => DeadLetters::Table(table.into()),
                None => DeadLetters::Topic(text.into()),
            },
        }
    }

    /// The topic for a record of `source`; `None` where dead letters are rows.
    pub fn topic(&self, source: &str) -> Option<String> {
        match self {
            DeadLetters::PerTopic => Some(format!("{source}.dlq")),
            DeadLetters::Topic(topic) => Some(topic.clone()),
            DeadLetters::Table(_) => None,
        }
    }
}

/// What the threads of a flow share.
pub struct Shared {
    pub name: Arc<str>,
    pub group: Arc<str>,
    pub delivery: Delivery,
    pub on_error: OnError,
    pub dead_letters: DeadLetters,
    /// SQL sinks by name, then document sinks by name.
    pub sinks: Vec<Arc<dyn Sink>>,
    pub kafka: KafkaSink,
    pub consumer: Arc<FlowConsumer>,
    pub ownership: Arc<Ownership>,
    pub metrics: Arc<Metrics>,
    /// What operators see of the flow.
    pub board: Arc<FlowBoard>,
    pub health: Arc<Health>,
    pub tokio: tokio::runtime::Handle,
    /// As configured, for words about an outage.
    pub brokers: String,
    /// Set when nothing may be waited for any more.
    pub abandon: Arc<AtomicBool>,
}

impl Shared {
    /// Waits for a sink, unless the host must end first: what the sink was doing is broken off then.
    pub fn wait_for<T>(&self, work: impl Future<Output = Result<T, SinkError>>) -> Result<T, SinkError> {
        let given_up = async {
            while !self.abandon.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(SinkError::wait("the host stops and does not wait for the sink any longer"))
        };
        self.tokio.block_on(async {
            tokio::select! { done = work => done, broken_off = given_up => broken_off }
        })
    }

    /// Indices of the SQL sinks and of the document sinks.
    pub fn sinks_by_kind(&self) -> (Vec<usize>, Vec<usize>) {
        (0..self.sinks.len()).partition(|&index| self.sinks[index].is_sql())
    }

    pub fn filtered(&self, reason: &str) -> Counter {
        let labels = ByReason { flow: self.name.to_string(), reason: reason.into() };
        self.metrics.records_filtered.get_or_create(&labels).clone()
    }

    pub fn dead(&self, code: &str) -> Counter {
        self.metrics.records_dead.get_or_create(&ByCode { flow: self.name.to_string(), code: code.into() }).clone()
    }

    pub fn retried(&self, sink: &str) -> Counter {
        self.metrics.retries.get_or_create(&BySink { flow: self.name.to_string(), sink: sink.into() }).clone()
    }

    /// A write to a sink took so long and brought so many outputs.
    pub fn wrote(&self, sink: &str, outputs: u64, took: Duration) {
        let labels = BySink { flow: self.name.to_string(), sink: sink.into() };
        self.metrics.outputs.get_or_create(&labels).inc_by(outputs);
        self.metrics.sink_write_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.board.wrote(sink, outputs, took);
    }

    pub fn read(&self, topic: &str) -> Counter {
        self.metrics.records_in.get_or_create(&ByTopic { flow: self.name.to_string(), topic: topic.into() }).clone()
    }

    pub fn by_flow(&self) -> ByFlow {
        ByFlow { flow: self.name.to_string() }
    }
}

/// For what is consistent after every statement, so that a panic elsewhere does not spoil it.
fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
