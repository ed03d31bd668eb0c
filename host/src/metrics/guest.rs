//! Metrics that modules define themselves.

use std::collections::HashMap;
use std::sync::PoisonError;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::{ByGuest, FloatGauge, Metrics};

#[derive(Debug, Default)]
pub(super) struct Guest {
    counters: HashMap<String, Family<ByGuest, Counter>>,
    gauges: HashMap<String, Family<ByGuest, FloatGauge>>,
    histograms: HashMap<String, Family<ByGuest, Histogram>>,
}

impl Metrics {
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
