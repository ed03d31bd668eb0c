//! Every metric of the host, with the values that its labels take; docs/metrics.md is held to it. Counted per batch or per
//! call of a module, never per record: a flow keeps the handles that it needs.

mod guest;
mod labels;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

pub use self::labels::*;

/// A gauge of floats.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// What a metric is, for its reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// With prefix and, for counters, `_total`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    pub labels: &'static [&'static str],
    pub help: String,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    described: Mutex<Vec<Described>>,
    /// Records read from Kafka and handed to the modules.
    pub records_in: Family<ByTopic, Counter>,
    /// Records that no output came of, by reason.
    pub records_filtered: Family<ByReason, Counter>,
    /// Records or outputs that were refused, by code.
    pub records_dead: Family<ByCode, Counter>,
    /// Outputs written.
    pub outputs: Family<BySink, Counter>,
    /// Records between the committed position and the end of the partition.
    pub consumer_lag: Family<ByPartition, Gauge>,
    /// Seconds since the last commit of a partition that has something to commit.
    pub commit_age: Family<ByPartition, FloatGauge>,
    /// Offsets that a sink has passed already and that a group moved by another tool goes through again.
    pub records_suppressed: Family<ByPartition, Counter>,
    /// Replays for which the modules of then were not at hand.
    pub replays_with_other_module: Family<ByFlow, Counter>,
    /// Repetitions of a write or commit after an error.
    pub retries: Family<BySink, Counter>,
    /// Time of one write to a sink, of a whole batch.
    pub sink_write_seconds: Family<BySink, Histogram>,
    /// Batches committed.
    pub batches: Family<ByFlow, Counter>,
    /// Records per committed batch.
    pub batch_records: Family<ByFlow, Histogram>,
    /// From a record's timestamp to its commit, for the first record of each slice.
    pub end_to_end_seconds: Family<ByFlow, Histogram>,
    /// Time of one call of a module, of at most 512 records.
    pub transform_seconds: Family<ByGuest, Histogram>,
    /// 1 while intake is paused because a sink or the modules are behind.
    pub backpressure: Family<ByFlow, Gauge>,
    /// 1 while an operator has paused the flow.
    pub flow_paused: Family<ByFlow, Gauge>,
    /// Modules put in place or refused.
    pub module_swaps: Family<BySwap, Counter>,
    /// From the decision to swap modules to the first batch that can use them.
    pub module_swap_seconds: Family<ByFlow, Histogram>,
    /// Traps, whether or not they ended in a dead letter.
    pub module_traps: Family<ByGuest, Counter>,
    /// Records that needed more than their time and were finished on the metered engine.
    pub records_slow: Family<ByFlow, Counter>,
    /// 1 while `/health/ready` says yes.
    pub ready: Gauge,
    guest: Mutex<guest::Guest>,
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let metrics = Metrics {
            registry: Mutex::new(Registry::with_prefix(PREFIX)),
            described: Mutex::default(),
            records_in: Family::default(),
            records_filtered: Family::default(),
            records_dead: Family::default(),
            outputs: Family::default(),
            consumer_lag: Family::default(),
            commit_age: Family::default(),
            records_suppressed: Family::default(),
            replays_with_other_module: Family::default(),
            retries: Family::default(),
            sink_write_seconds: Family::new_with_constructor(write_times as fn() -> Histogram),
            batches: Family::default(),
            batch_records: Family::new_with_constructor(batch_sizes as fn() -> Histogram),
            end_to_end_seconds: Family::new_with_constructor(latencies as fn() -> Histogram),
            transform_seconds: Family::new_with_constructor(call_times as fn() -> Histogram),
            backpressure: Family::default(),
            flow_paused: Family::default(),
            module_swaps: Family::default(),
            module_swap_seconds: Family::new_with_constructor(write_times as fn() -> Histogram),
            module_traps: Family::default(),
            records_slow: Family::default(),
            ready: Gauge::default(),
            guest: Mutex::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&self) {
        self.add("records_in", "Records read from Kafka and handed to the modules", &self.records_in);
        self.add("records_filtered", "Records without output, by reason", &self.records_filtered);
        self.add("records_dead", "Refused records and outputs, by code", &self.records_dead);
        self.add("records_slow", "Records finished on the metered engine", &self.records_slow);
        self.add("records_suppressed", "Offsets of a group that another tool moved back", &self.records_suppressed);
        let replays = "Replays by other modules than at first";
        self.add("replays_with_other_module", replays, &self.replays_with_other_module);
        self.add("outputs", "Outputs written, by sink", &self.outputs);
        self.add("sink_retries", "Repeated writes and commits", &self.retries);
        self.add("sink_write_seconds", "Time to write a batch to a sink", &self.sink_write_seconds);
        self.add("batches", "Batches committed", &self.batches);
        self.add("batch_records", "Records per committed batch", &self.batch_records);
        let end_to_end = "From a record's timestamp to its commit, for the first record of each slice";
        self.add("end_to_end_seconds", end_to_end, &self.end_to_end_seconds);
        self.add("consumer_lag", "Records not yet committed", &self.consumer_lag);
        self.add("commit_age_seconds", "Time since the last commit, 0 without lag", &self.commit_age);
        self.add("backpressure_paused", "1 while intake is paused because sinks are behind", &self.backpressure);
        self.add("flow_paused", "1 while an operator has paused the flow", &self.flow_paused);
        self.add("transform_seconds", "Time of a call of a module, at most 512 records", &self.transform_seconds);
        self.add("module_swaps", "Modules put in place or refused", &self.module_swaps);
        self.add("module_swap_seconds", "From seeing new modules to using them", &self.module_swap_seconds);
        self.add("module_traps", "Traps", &self.module_traps);
        self.describe("ready", "1 while the host is ready", "gauge", &[]);
        self.registry().register("ready", "1 while the host is ready", self.ready.clone());
    }

    fn add<S, M>(&self, name: &str, help: &str, family: &Family<S, M>)
    where
        S: Labels,
        M: TypedMetric,
        Family<S, M>: Metric + Clone,
    {
        self.describe(name, help, M::TYPE.as_str(), S::NAMES);
        self.registry().register(name, help, family.clone());
    }

    fn describe(&self, name: &str, help: &str, kind: &str, labels: &'static [&'static str]) {
        let total = if kind == "counter" { "_total" } else { "" };
        let name = format!("{PREFIX}_{name}{total}");
        let described = Described { name, kind: kind.into(), labels, help: help.into() };
        self.described.lock().unwrap_or_else(PoisonError::into_inner).push(described);
    }

    /// Every metric but those of the modules.
    pub fn described(&self) -> Vec<Described> {
        self.described.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The page `/metrics`.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        encode(&mut page, &self.registry()).map_or_else(|_| String::new(), |()| page)
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every name begins with.
const PREFIX: &str = "wasmill";

fn call_times() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 3.0, 10))
}

fn write_times() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.5, 10))
}

fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.5, 12))
}

fn batch_sizes() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 4.0, 8))
}
