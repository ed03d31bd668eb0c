//! Every metric of the host, with the values that its labels take. Counted per batch, never per record: a flow keeps
//! the handles that it needs.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// A gauge of floats.
pub type FloatGauge = Gauge<f64, AtomicU64>;

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($field:ident),+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
        pub struct $name { $(pub $field: String),+ }
    )+};
}

labels! {
    /// One flow.
    ByFlow { flow }
    /// One topic of a flow.
    ByTopic { flow, topic }
    /// Why records were filtered: the module's own reason, or `no output`.
    ByReason { flow, reason }
    /// Code of a dead letter.
    ByCode { flow, code }
    /// One sink of a flow.
    BySink { flow, sink }
    /// One partition of a flow.
    ByPartition { flow, topic, partition }
    /// One module.
    ByModule { module }
    /// One module with the result of a swap: `ok` or `refused`.
    BySwap { module, result }
    /// A guest's own metric.
    ByGuest { flow, module }
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
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
    /// Offsets that a sink has passed already and that a group moved by another tool goes through again.
    pub records_suppressed: Family<ByPartition, Counter>,
    /// Replays for which the modules of then were not at hand.
    pub replays_with_other_module: Family<ByFlow, Counter>,
    /// Repetitions of a write or commit after an error.
    pub retries: Family<BySink, Counter>,
    /// Batches committed.
    pub batches: Family<ByFlow, Counter>,
    /// 1 while intake is paused because a sink or the modules are behind.
    pub backpressure: Family<ByFlow, Gauge>,
    /// Modules put in place or refused.
    pub module_swaps: Family<BySwap, Counter>,
    /// Traps, whether or not they ended in a dead letter.
    pub module_traps: Family<ByFlow, Counter>,
    /// Records that needed more than their time and were finished on the metered engine.
    pub records_slow: Family<ByFlow, Counter>,
    guest: Mutex<Guest>,
}

#[derive(Debug, Default)]
struct Guest {
    counters: HashMap<String, Family<ByGuest, Counter>>,
    gauges: HashMap<String, Family<ByGuest, FloatGauge>>,
    histograms: HashMap<String, Family<ByGuest, Histogram>>,
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let metrics = Metrics {
            registry: Mutex::new(Registry::with_prefix("wasmill")),
            records_in: Family::default(),
            records_filtered: Family::default(),
            records_dead: Family::default(),
            outputs: Family::default(),
            consumer_lag: Family::default(),
            records_suppressed: Family::default(),
            replays_with_other_module: Family::default(),
            retries: Family::default(),
            batches: Family::default(),
            backpressure: Family::default(),
            module_swaps: Family::default(),
            module_traps: Family::default(),
            records_slow: Family::default(),
            guest: Mutex::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register("records_in", "Records read from Kafka and handed to the modules", self.records_in.clone());
        registry.register("records_filtered", "Records without output, by reason", self.records_filtered.clone());
        registry.register("records_dead", "Refused records and outputs, by code", self.records_dead.clone());
        registry.register("outputs", "Outputs written, by sink", self.outputs.clone());
        registry.register("consumer_lag", "Records not yet committed", self.consumer_lag.clone());
        let suppressed = self.records_suppressed.clone();
        registry.register("records_suppressed", "Offsets of a group that another tool moved back", suppressed);
        let replays = self.replays_with_other_module.clone();
        registry.register("replays_with_other_module", "Replays by other modules than at first", replays);
        registry.register("sink_retries", "Repeated writes and commits", self.retries.clone());
        registry.register("batches", "Batches committed", self.batches.clone());
        registry.register("backpressure_paused", "1 while intake is paused", self.backpressure.clone());
        registry.register("module_swaps", "Modules put in place or refused", self.module_swaps.clone());
        registry.register("module_traps", "Traps", self.module_traps.clone());
        registry.register("records_slow", "Records finished on the metered engine", self.records_slow.clone());
    }

    /// A guest's counter, published as `wasmill_guest_<name>_total`.
    pub fn guest_counter(&self, flow: &str, module: &str, name: &str) -> Counter {
        let mut guest = self.guest.lock().unwrap_or_else(PoisonError::into_inner);
        let name = metric_name(name);
        let family = guest.counters.entry(name.clone()).or_insert_with(|| self.publish(&name, Family::default()));
        family.get_or_create(&by_guest(flow, module)).clone()
    }

    /// A guest's gauge, published as `wasmill_guest_<name>`.
    pub fn guest_gauge(&self, flow: &str, module: &str, name: &str) -> FloatGauge {
        let mut guest = self.guest.lock().unwrap_or_else(PoisonError::into_inner);
        let name = metric_name(name);
        let family = guest.gauges.entry(name.clone()).or_insert_with(|| self.publish(&name, Family::default()));
        family.get_or_create(&by_guest(flow, module)).clone()
    }

    /// A guest's histogram, published as `wasmill_guest_<name>`.
    pub fn guest_histogram(&self, flow: &str, module: &str, name: &str) -> Histogram {
        let mut guest = self.guest.lock().unwrap_or_else(PoisonError::into_inner);
        let name = metric_name(name);
        let family = guest.histograms.entry(name.clone()).or_insert_with(|| {
            let family = Family::new_with_constructor(histogram as fn() -> Histogram);
            let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
            registry.register(format!("guest_{name}"), "A module's own histogram", family.clone());
            family
        });
        family.get_or_create(&by_guest(flow, module)).clone()
    }

    /// The page `/metrics`.
    pub fn page(&self) -> String {
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        encode(&mut page, &registry).map_or_else(|_| String::new(), |()| page)
    }

    fn publish<M>(&self, name: &str, family: Family<ByGuest, M>) -> Family<ByGuest, M>
    where
        M: prometheus_client::encoding::EncodeMetric + prometheus_client::metrics::TypedMetric + Default,
        Family<ByGuest, M>: prometheus_client::registry::Metric + Clone,
    {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register(format!("guest_{name}"), "A module's own metric", family.clone());
        family
    }
}

fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 12))
}

fn by_guest(flow: &str, module: &str) -> ByGuest {
    ByGuest { flow: flow.into(), module: module.into() }
}

/// Letters, digits and `_`; everything else becomes `_`.
fn metric_name(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
