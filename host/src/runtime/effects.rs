//! What a guest does beside its outputs: log lines and its own metrics. They are kept back until the call has
//! succeeded, so that a record that is tried again is not logged or counted twice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use tracing::Level;

use crate::metrics::{ByGuest, FloatGauge, Metrics};

/// Longest log line and message of a guest.
pub(super) const LINE_BYTES: usize = 1024;
/// Log bytes that one call may leave behind; the rest of its lines are counted as dropped.
const CALL_LOG_BYTES: usize = 64 << 10;
/// Lines per second and module.
const LINES_PER_SECOND: u32 = 100;
/// Names of metrics per module: each is a series of its own in the metrics page.
const METRIC_NAMES: usize = 100;
/// Values that one call may observe.
const CALL_OBSERVATIONS: usize = 65_536;

/// What all instances of a module share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    window: Mutex<Window>,
    metric_names: Mutex<HashSet<String>>,
    /// Lines that are kept instead of logged, while a module is being tried.
    kept: Mutex<Option<Vec<(Level, String)>>>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    lines: u32,
    dropped: u64,
}

/// The effects of one call.
pub(super) struct Effects {
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
    flow: Arc<str>,
    module: Arc<str>,
    lines: Vec<(Level, String)>,
    line_bytes: usize,
    dropped: u64,
    handles: Vec<Handle>,
    /// Time of the calls; none while a module is being tried.
    times: Option<Histogram>,
}

struct Handle {
    name: String,
    metric: Metric,
}

enum Metric {
    Counter(Counter, u64),
    Gauge(FloatGauge, Option<f64>),
    Histogram(Histogram, Vec<f64>),
}

/// The kinds of metrics that a guest may register.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Effects {
    pub(super) fn new(metrics: Arc<Metrics>, shared: Arc<Shared>, flow: Arc<str>, module: Arc<str>) -> Self {
        let labels = || ByGuest { flow: flow.to_string(), module: module.to_string() };
        let times = (*flow != *super::EXAMPLES).then(|| metrics.transform_seconds.get_or_create_owned(&labels()));
        Effects { metrics, shared, flow, module, lines: vec![], line_bytes: 0, dropped: 0, handles: vec![], times }
    }

    /// A call took so long.
    pub(super) fn took(&self, time: Duration) {
        if let Some(times) = &self.times {
            times.observe(time.as_secs_f64());
        }
    }

    pub(super) fn log(&mut self, level: Level, message: &str) {
        let line = clean(message, LINE_BYTES);
        self.line_bytes += line.len();
        match self.line_bytes <= CALL_LOG_BYTES {
            true => self.lines.push((level, line)),
            // The last error lines are what a trap is explained by: they displace.
            false if level == Level::ERROR && !self.lines.is_empty() => {
                self.dropped += 1;
                self.lines.pop();
                self.lines.push((level, line));
            }
            false => self.dropped += 1,
        }
    }

    /// The last line that was logged as an error: a panic's message, where there was a panic.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.lines.iter().rev().find(|(level, _)| *level == Level::ERROR).map(|(_, line)| line.as_str())
    }

    /// A handle for a metric; one that the host ignores where the module has too many.
    pub(super) fn register(&mut self, kind: Kind, name: &str) -> u32 {
        let known = |h: &Handle| h.name == name && h.metric.is(kind);
        if let Some(index) = self.handles.iter().position(known) {
            return index as u32;
        }
        if !self.shared.admit_name(name) {
            return u32::MAX;
        }
        let (flow, module) = (&self.flow, &self.module);
        let metric = match kind {
            Kind::Counter => Metric::Counter(self.metrics.guest_counter(flow, module, name), 0),
            Kind::Gauge => Metric::Gauge(self.metrics.guest_gauge(flow, module, name), None),
            Kind::Histogram => Metric::Histogram(self.metrics.guest_histogram(flow, module, name), Vec::new()),
        };
        self.handles.push(Handle { name: name.to_owned(), metric });
        (self.handles.len() - 1) as u32
    }

    pub(super) fn add(&mut self, handle: u32, n: u64) {
        if let Some(Handle { metric: Metric::Counter(_, pending), .. }) = self.handles.get_mut(handle as usize) {
            *pending = pending.saturating_add(n);
        }
    }

    pub(super) fn set(&mut self, handle: u32, value: f64) {
        if let Some(Handle { metric: Metric::Gauge(_, pending), .. }) = self.handles.get_mut(handle as usize) {
            *pending = Some(value);
        }
    }

    pub(super) fn observe(&mut self, handle: u32, value: f64) {
        if let Some(Handle { metric: Metric::Histogram(_, pending), .. }) = self.handles.get_mut(handle as usize)
            && pending.len() < CALL_OBSERVATIONS
        {
            pending.push(value);
        }
    }

    /// The call succeeded: its effects become visible.
    pub(super) fn commit(&mut self) {
        self.commit_lines();
        for handle in &mut self.handles {
            match &mut handle.metric {
                Metric::Counter(counter, pending) if *pending > 0 => drop(counter.inc_by(std::mem::take(pending))),
                Metric::Gauge(gauge, pending) => drop(pending.take().map(|value| gauge.set(value))),
                Metric::Histogram(histogram, pending) => pending.drain(..).for_each(|value| histogram.observe(value)),
                Metric::Counter(..) => {}
            }
        }
    }

    /// Logs the lines alone: what a record said before it failed for good.
    pub(super) fn commit_lines(&mut self) {
        for (level, line) in self.lines.drain(..) {
            self.shared.emit(level, &self.flow, &self.module, &line);
        }
        self.shared.count_dropped(std::mem::take(&mut self.dropped));
        self.line_bytes = 0;
    }

    /// The call failed and will be tried again, or was not about records.
    pub(super) fn discard(&mut self) {
        self.lines.clear();
        self.line_bytes = 0;
        self.dropped = 0;
        for handle in &mut self.handles {
            match &mut handle.metric {
                Metric::Counter(_, pending) => *pending = 0,
                Metric::Gauge(_, pending) => *pending = None,
                Metric::Histogram(_, pending) => pending.clear(),
            }
        }
    }
}

impl Metric {
    fn is(&self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Metric::Counter(..), Kind::Counter)
                | (Metric::Gauge(..), Kind::Gauge)
                | (Metric::Histogram(..), Kind::Histogram)
        )
    }
}

impl Shared {
    fn admit_name(&self, name: &str) -> bool {
        let mut names = self.metric_names.lock().unwrap_or_else(PoisonError::into_inner);
        names.contains(name) || (names.len() < METRIC_NAMES && names.insert(name.to_owned()))
    }

    /// From now on lines are kept for [`Shared::kept_lines`] and not logged.
    pub(super) fn keep_lines(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }

    /// The lines since the last call.
    pub(super) fn kept_lines(&self) -> Vec<(Level, String)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn emit(&self, level: Level, flow: &str, module: &str, line: &str) {
        if let Some(kept) = &mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner) {
            return kept.push((level, line.to_owned()));
        }
        let (admitted, dropped) = self.admit_line(Instant::now());
        if dropped > 0 {
            tracing::warn!(target: "wasmill::guest", flow, module, "{dropped} lines dropped");
        }
        if !admitted {
            return;
        }
        match level {
            Level::ERROR => tracing::error!(target: "wasmill::guest", flow, module, "{line}"),
            Level::WARN => tracing::warn!(target: "wasmill::guest", flow, module, "{line}"),
            Level::INFO => tracing::info!(target: "wasmill::guest", flow, module, "{line}"),
            Level::DEBUG => tracing::debug!(target: "wasmill::guest", flow, module, "{line}"),
            _ => tracing::trace!(target: "wasmill::guest", flow, module, "{line}"),
        }
    }

    fn count_dropped(&self, lines: u64) {
        if lines > 0 {
            self.window.lock().unwrap_or_else(PoisonError::into_inner).dropped += lines;
        }
    }

    /// Whether a line may be logged now, and how many were dropped in the windows before.
    fn admit_line(&self, now: Instant) -> (bool, u64) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = 0;
        if window.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            dropped = std::mem::take(&mut window.dropped);
            *window = Window { began: Some(now), lines: 0, dropped: 0 };
        }
        let admitted = window.lines < LINES_PER_SECOND;
        match admitted {
            true => window.lines += 1,
            false => window.dropped += 1,
        }
        (admitted, dropped)
    }
}

/// Text of a guest made fit for logs, headers and terminals: control and direction characters escaped, cut at `limit` bytes.
pub(super) fn clean(text: &str, limit: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(limit));
    for c in text.chars() {
        match c {
            c if c.is_control() => cleaned.extend(c.escape_default()),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => cleaned.extend(c.escape_unicode()),
            c => cleaned.push(c),
        }
        if cleaned.len() > limit {
            cleaned.truncate(cleaned.floor_char_boundary(limit - '…'.len_utf8()));
            cleaned.push('…');
            break;
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects() -> Effects {
        Effects::new(Metrics::new(), Arc::default(), "flow".into(), "module".into())
    }

    #[test]
    fn a_text_is_escaped_and_cut_between_characters() {
        assert_eq!(clean("a\nb\u{1b}[31m\u{202e}", 100), "a\\nb\\u{1b}[31m\\u{202e}");
        let long = clean(&"ü".repeat(2000), LINE_BYTES);
        assert!(long.len() <= LINE_BYTES && long.ends_with('…'), "{} bytes", long.len());
        assert_eq!(clean("short", LINE_BYTES), "short");
    }

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let shared = Shared::default();
        let start = Instant::now();
        let admitted = (0..1000).filter(|_| shared.admit_line(start).0).count();
        assert_eq!(admitted, LINES_PER_SECOND as usize);
        assert_eq!(shared.admit_line(start + Duration::from_secs(1)), (true, 900));
    }

    #[test]
    fn effects_of_a_failed_call_never_happened() {
        let mut effects = effects();
        let counter = effects.register(Kind::Counter, "seen");
        effects.add(counter, 5);
        effects.log(Level::ERROR, "panicked");
        assert_eq!(effects.last_error(), Some("panicked"));
        effects.discard();
        assert_eq!(effects.last_error(), None);
        effects.add(counter, 2);
        effects.commit();
        assert_eq!(effects.metrics.guest_counter("flow", "module", "seen").get(), 2);
    }

    #[test]
    fn a_module_cannot_register_names_without_end() {
        let mut effects = effects();
        let handles: Vec<u32> = (0..500).map(|n| effects.register(Kind::Gauge, &format!("g{n}"))).collect();
        assert_eq!(handles.iter().filter(|h| **h != u32::MAX).count(), METRIC_NAMES);
        effects.set(u32::MAX, 1.0);
        assert_eq!(effects.register(Kind::Gauge, "g7"), handles[7]);
    }
}
