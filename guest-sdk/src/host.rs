//! What the host offers, behind one seam: on wasm32 the imports of the contract, elsewhere a recorder per thread, so
//! that transforms run under plain `cargo test`.

use std::cell::{Cell, RefCell};

pub(crate) use backend::*;

thread_local! {
    /// The record that is being processed and how many random numbers it has drawn.
    static DRAWN: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    static METRICS: RefCell<Metrics> = const { RefCell::new(Metrics { counters: Vec::new(), gauges: Vec::new(), histograms: Vec::new() }) };
}

/// Handles by name. Counters are added up here and handed over once per batch: a host call costs more than a record.
struct Metrics {
    counters: Vec<(String, u32, u64)>,
    gauges: Vec<(String, u32)>,
    histograms: Vec<(String, u32)>,
}

/// A counter of the module; see [`counter`].
#[derive(Clone, Copy, Debug)]
pub struct Counter<'n>(&'n str);

/// A gauge of the module; see [`gauge`].
#[derive(Clone, Copy, Debug)]
pub struct Gauge<'n>(&'n str);

/// A histogram of the module; see [`histogram`].
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'n>(&'n str);

/// A counter, published as `wasmill_guest_<name>_total{flow,module}`. Adding is cheap: the host hears of it once per
/// batch.
///
/// ```
/// use wasmill_sdk::{prelude::*, testing};
/// #[transform(topics = ["in"])]
/// fn count(record: &Record, _: &mut Outputs) -> Result<()> {
///     counter("bytes").add(record.value().map_or(0, |value| value.len() as u64));
///     gauge("last_offset").set(record.offset() as f64);
///     histogram("size").observe(1.0);
///     skip("only counted")
/// }
/// testing::run::<count>(testing::record().value("four"));
/// assert_eq!(testing::counter("bytes"), 4);
/// ```
pub fn counter(name: &str) -> Counter<'_> {
    Counter(name)
}

/// A gauge, published as `wasmill_guest_<name>{flow,module}`.
pub fn gauge(name: &str) -> Gauge<'_> {
    Gauge(name)
}

/// A histogram, published as `wasmill_guest_<name>{flow,module}`. Each observation is a call of the host.
pub fn histogram(name: &str) -> Histogram<'_> {
    Histogram(name)
}

impl Counter<'_> {
    /// Adds `n`.
    pub fn add(self, n: u64) {
        METRICS.with_borrow_mut(|metrics| match metrics.counters.iter_mut().find(|(name, ..)| name == self.0) {
            Some((_, _, pending)) => *pending = pending.saturating_add(n),
            None => metrics.counters.push((self.0.to_owned(), register_counter(self.0), n)),
        });
    }
}

impl Gauge<'_> {
    /// Sets the value.
    pub fn set(self, value: f64) {
        let handle = METRICS.with_borrow_mut(|metrics| handle(&mut metrics.gauges, self.0, register_gauge));
        set(handle, value);
    }
}

impl Histogram<'_> {
    /// Observes a value.
    pub fn observe(self, value: f64) {
        let handle = METRICS.with_borrow_mut(|metrics| handle(&mut metrics.histograms, self.0, register_histogram));
        observe(handle, value);
    }
}

/// A pseudo-random number. It depends on nothing but topic, partition, offset and how many the record has drawn
/// before, so that a repetition sees the same ones. Not for secrets.
///
/// ```
/// use wasmill_sdk::{prelude::*, testing};
/// #[transform(topics = ["in"], kafka = ["sample"])]
/// fn sample(_: &Record, out: &mut Outputs) -> Result<()> {
///     if random() % 100 != 0 { return skip("not sampled"); }
///     out.kafka("sample").unchanged()
/// }
/// let at = |offset| testing::run::<sample>(testing::record().offset(offset));
/// assert_eq!(at(7), at(7));
/// ```
pub fn random() -> u64 {
    let (source, nth) = DRAWN.get();
    DRAWN.set((source, nth.wrapping_add(1)));
    draw(source, nth)
}

/// Called before each record.
pub(crate) fn begin(source: u32) {
    DRAWN.set((source, 0));
}

/// Hands the sums of the batch over.
pub(crate) fn flush() {
    METRICS.with_borrow_mut(|metrics| {
        for (_, handle, pending) in metrics.counters.iter_mut().filter(|(_, _, pending)| *pending > 0) {
            add(*handle, std::mem::take(pending));
        }
    });
}

fn handle(known: &mut Vec<(String, u32)>, name: &str, register: fn(&str) -> u32) -> u32 {
    if let Some((_, handle)) = known.iter().find(|(known, _)| known == name) {
        return *handle;
    }
    let handle = register(name);
    known.push((name.to_owned(), handle));
    handle
}

#[cfg(target_arch = "wasm32")]
mod backend {
    use crate::bindings::wasmill::transform::host;
    use crate::log::Level;

    pub(crate) use host::{
        add, counter as register_counter, gauge as register_gauge, histogram as register_histogram, observe,
        random as draw, set,
    };

    pub(crate) fn log(level: Level, message: &str) {
        let level = match level {
            Level::Trace => host::Level::Trace,
            Level::Debug => host::Level::Debug,
            Level::Info => host::Level::Info,
            Level::Warn => host::Level::Warn,
            Level::Error => host::Level::Error,
        };
        host::log(level, message);
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod backend {
    use std::cell::RefCell;
    use std::hash::{DefaultHasher, Hash, Hasher};

    use crate::log::Level;

    /// What the host would have heard, in order of registration.
    #[derive(Debug, Default)]
    pub(crate) struct Recorder {
        /// Coordinates of the batch's records.
        pub(crate) seed: Vec<(String, i32, i64)>,
        pub(crate) logs: Vec<(Level, String)>,
        pub(crate) counters: Vec<(String, u64)>,
        pub(crate) values: Vec<(String, Vec<f64>)>,
    }

    thread_local! {
        static RECORDER: RefCell<Recorder> = RefCell::default();
    }

    pub(crate) fn recorder<T>(access: impl FnOnce(&mut Recorder) -> T) -> T {
        RECORDER.with_borrow_mut(access)
    }

    pub(crate) fn log(level: Level, message: &str) {
        recorder(|r| r.logs.push((level, message.to_owned())));
    }

    pub(crate) fn register_counter(name: &str) -> u32 {
        recorder(|r| register(&mut r.counters, name))
    }

    pub(crate) fn add(handle: u32, n: u64) {
        recorder(|r| r.counters[handle as usize].1 += n);
    }

    pub(crate) fn register_gauge(name: &str) -> u32 {
        recorder(|r| register(&mut r.values, name))
    }

    pub(crate) fn set(handle: u32, value: f64) {
        recorder(|r| r.values[handle as usize].1.push(value));
    }

    pub(crate) fn register_histogram(name: &str) -> u32 {
        register_gauge(name)
    }

    pub(crate) fn observe(handle: u32, value: f64) {
        set(handle, value);
    }

    /// Other numbers than the host's, but as constant.
    pub(crate) fn draw(source: u32, nth: u32) -> u64 {
        let mut hasher = DefaultHasher::new();
        recorder(|r| (r.seed.get(source as usize), nth).hash(&mut hasher));
        hasher.finish()
    }

    fn register<T: Default>(known: &mut Vec<(String, T)>, name: &str) -> u32 {
        known.push((name.to_owned(), T::default()));
        known.len() as u32 - 1
    }
}
