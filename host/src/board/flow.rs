//! What is known of one flow. Written once per batch, per write and per second; locked for a moment each time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;

use super::builds::AskBuilds;
use super::history::{History, Point};
use super::letters::{Letter, Letters};
use super::now;
use super::tap::Tap;
use crate::config::{Delivery, OnError};
use crate::flow::DeadLetters;
use crate::flow::plan::Plan;
use crate::router::KAFKA;
use crate::source::Partition;

/// The part of one flow.
pub struct FlowBoard {
    pub name: Arc<str>,
    pub tap: Arc<Tap>,
    paused: AtomicBool,
    paused_gauge: Gauge,
    /// Where the builds of its modules are asked for, while it runs.
    builds: Mutex<Option<Arc<dyn AskBuilds>>>,
    inner: Mutex<Inner>,
}

/// Where a flow is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Not running; the health of the host says why.
    #[default]
    Refused,
    Running,
    /// Finishes what is on its way.
    Draining,
    /// Stopped by itself and waits for an operator.
    Stopped,
}

/// What a flow is, as planned.
#[derive(Clone, Debug, Default)]
pub struct About {
    pub group: Arc<str>,
    pub topics: Vec<String>,
    pub delivery: &'static str,
    pub on_error: &'static str,
    pub dead_letters: String,
    /// Name and digest, first to last.
    pub modules: Vec<(Arc<str>, Arc<str>)>,
    pub targets: Vec<String>,
}

/// Figures of a committed batch.
#[derive(Debug, Default)]
pub struct BatchFigures {
    pub records: u64,
    pub filtered: u64,
    pub traps: u64,
    /// From the oldest record's timestamp to the commit.
    pub latency: Option<Duration>,
    /// The last few dead letters, and all of them by code.
    pub letters: Vec<Letter>,
    pub dead: BTreeMap<String, u64>,
}

/// Counts since the host began.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) records_in: u64,
    pub(super) filtered: u64,
    pub(super) dead: u64,
    pub(super) outputs: u64,
    pub(super) batches: u64,
    pub(super) traps: u64,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) status: Status,
    pub(super) about: About,
    /// When these modules came into place, in milliseconds since 1970.
    pub(super) modules_since: i64,
    pub(super) swaps: u64,
    pub(super) last_swap: Option<Duration>,
    /// Digest of the modules before, while they are at hand.
    pub(super) before: Option<Arc<str>>,
    pub(super) rolled_back: bool,
    pub(super) totals: Totals,
    pub(super) sinks: BTreeMap<String, SinkFigures>,
    pub(super) partitions: BTreeMap<Partition, Standing>,
    pub(super) letters: Letters,
    pub(super) history: History,
    pub(super) behind: bool,
    /// Worst latency since the last point of the history.
    latency: Option<Duration>,
}

/// One sink as this flow sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct SinkFigures {
    pub(super) kind: &'static str,
    pub(super) outputs: u64,
    pub(super) writes: u64,
    pub(super) retries: u64,
    pub(super) last_write: Option<Duration>,
    pub(super) failing: bool,
    /// Last error with its time.
    pub(super) error: Option<(String, i64)>,
    before: u64,
    pub(super) rate: f64,
}

/// How far a partition is.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) committed: i64,
    pub(super) end: i64,
    moved: Instant,
}

impl Standing {
    pub(super) fn lag(&self) -> i64 {
        (self.end - self.committed).max(0)
    }

    /// Time since the last commit; none where everything is committed.
    pub(super) fn age(&self) -> Duration {
        if self.lag() == 0 { Duration::ZERO } else { self.moved.elapsed() }
    }
}

impl FlowBoard {
    pub(super) fn new(name: &str, paused_gauge: Gauge) -> Self {
        let tap = Arc::new(Tap::default());
        let (builds, inner) = (Mutex::default(), Mutex::default());
        FlowBoard { name: name.into(), tap, paused: AtomicBool::new(false), paused_gauge, builds, inner }
    }

    /// Whether an operator holds the flow.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Holds the flow or lets it go on; true where it was otherwise before.
    pub fn pause(&self, paused: bool) -> bool {
        self.paused_gauge.set(i64::from(paused));
        self.paused.swap(paused, Ordering::Relaxed) != paused
    }

    pub fn status(&self) -> Status {
        self.inner().status
    }

    pub fn set_status(&self, status: Status) {
        let mut inner = self.inner();
        inner.status = status;
        if status != Status::Running {
            inner.partitions.clear();
            inner.behind = false;
        }
    }

    /// The flow starts, with these sinks by name and kind.
    pub fn started(&self, plan: &Plan, sinks: impl Iterator<Item = (String, &'static str)>) {
        let mut inner = self.inner();
        let known: BTreeMap<_, _> = std::mem::take(&mut inner.sinks);
        inner.sinks = sinks
            .map(|(name, kind)| {
                let figures = known.get(&name).cloned().unwrap_or_default();
                (name, SinkFigures { kind, ..figures })
            })
            .collect();
        if plan.targets.iter().any(|target| target.sink == KAFKA) {
            inner.sink(KAFKA);
        }
        inner.status = Status::Running;
        inner.take(plan);
    }

    /// Where the builds of the modules can be asked for.
    pub fn tells_builds(&self, builds: Arc<dyn AskBuilds>) {
        *self.builds.lock().unwrap_or_else(PoisonError::into_inner) = Some(builds);
    }

    /// Who can be asked for the builds; nobody where the flow has not run yet.
    pub fn builds(&self) -> Option<Arc<dyn AskBuilds>> {
        self.builds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other modules are in place for the next batch.
    pub fn swapped(&self, plan: &Plan, took: Duration) {
        let mut inner = self.inner();
        inner.swaps += 1;
        inner.last_swap = Some(took);
        inner.take(plan);
    }

    /// Which modules a rollback would bring back, and whether one is in force.
    pub fn note_before(&self, before: Option<Arc<str>>, rolled_back: bool) {
        let mut inner = self.inner();
        (inner.before, inner.rolled_back) = (before, rolled_back);
    }

    /// A batch is committed.
    pub fn through(&self, figures: BatchFigures) {
        let mut inner = self.inner();
        let totals = &mut inner.totals;
        totals.batches += 1;
        totals.records_in += figures.records;
        totals.filtered += figures.filtered;
        totals.traps += figures.traps;
        totals.dead += figures.dead.values().sum::<u64>();
        inner.latency = inner.latency.max(figures.latency);
        inner.letters.add(figures.letters, figures.dead.into_iter());
    }

    /// A sink has taken outputs.
    pub fn wrote(&self, sink: &str, outputs: u64, took: Duration) {
        let mut inner = self.inner();
        inner.totals.outputs += outputs;
        let figures = inner.sink(sink);
        figures.outputs += outputs;
        figures.writes += 1;
        figures.last_write = Some(took);
    }

    /// A write or commit failed and will be tried again.
    pub fn failed(&self, sink: &str, words: &str) {
        let mut inner = self.inner();
        let figures = inner.sink(sink);
        figures.retries += 1;
        figures.failing = true;
        figures.error = Some((words.to_owned(), now()));
    }

    pub fn works_again(&self, sink: &str) {
        self.inner().sink(sink).failing = false;
    }

    pub fn behind(&self, behind: bool) {
        self.inner().behind = behind;
    }

    /// How far a partition is; `None` where it is not ours any more. Returns the time since its last commit.
    pub fn stands(&self, partition: &Partition, standing: Option<(i64, i64)>) -> Duration {
        let mut inner = self.inner();
        let Some((committed, end)) = standing else {
            inner.partitions.remove(partition);
            return Duration::ZERO;
        };
        let fresh = || Standing { committed, end, moved: Instant::now() };
        let known = inner.partitions.entry(partition.clone()).or_insert_with(fresh);
        if known.committed != committed || known.lag() == 0 {
            known.moved = Instant::now();
        }
        (known.committed, known.end) = (committed, end);
        known.age()
    }

    /// Takes the point of this second.
    pub fn sample(&self) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let lag = inner.partitions.values().map(Standing::lag).sum();
        let latency = inner.latency.take().map(|latency| latency.as_secs_f64() * 1e3);
        inner.history.sample(&inner.totals, lag, latency);
        for sink in inner.sinks.values_mut() {
            // About the same smoothing as for the flow's rates.
            sink.rate = sink.rate * 0.6 + sink.outputs.saturating_sub(sink.before) as f64 * 0.4;
            if sink.rate < 0.05 {
                sink.rate = 0.0;
            }
            sink.before = sink.outputs;
        }
    }

    /// Ten minutes, a point per second.
    pub fn history(&self) -> Vec<Point> {
        self.inner().history.points().cloned().collect()
    }

    /// The last dead letters that satisfy `wanted`, newest first.
    pub fn letters(&self, most: usize, wanted: impl Fn(&Letter) -> bool) -> Vec<Letter> {
        self.inner().letters.last().filter(|letter| wanted(letter)).take(most).cloned().collect()
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        // Counts are consistent after every statement, so a panic elsewhere does not spoil them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn sink(&mut self, name: &str) -> &mut SinkFigures {
        if !self.sinks.contains_key(name) {
            self.sinks.insert(name.to_owned(), SinkFigures { kind: "kafka", ..SinkFigures::default() });
        }
        self.sinks.get_mut(name).expect("was just put there")
    }

    fn take(&mut self, plan: &Plan) {
        self.about = About {
            group: plan.group.clone(),
            topics: plan.topics.clone(),
            delivery: match plan.delivery {
                Delivery::Idempotent => "idempotent",
                Delivery::Transactional => "transactional",
                Delivery::AtLeastOnce => "at-least-once",
            },
            on_error: match plan.on_error {
                OnError::DeadLetter => "dead-letter",
                OnError::Skip => "skip",
                OnError::Stop => "stop",
            },
            dead_letters: match &plan.dead_letters {
                DeadLetters::PerTopic => "<topic>.dlq".into(),
                DeadLetters::Topic(topic) => topic.clone(),
                DeadLetters::Table(table) => format!("table:{table}"),
            },
            modules: plan.chain.steps.iter().map(|s| (s.module.name.clone(), s.module.digest.clone())).collect(),
            targets: plan.targets.iter().map(|target| target.label()).collect(),
        };
        self.modules_since = now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> FlowBoard {
        FlowBoard::new("f", Gauge::default())
    }

    #[test]
    fn a_partition_without_lag_has_no_age_and_one_that_stands_still_has() {
        let (board, partition) = (board(), (Arc::from("t"), 0));
        assert_eq!(board.stands(&partition, Some((5, 5))), Duration::ZERO);
        board.stands(&partition, Some((5, 9)));
        std::thread::sleep(Duration::from_millis(2));
        let age = board.stands(&partition, Some((5, 9)));
        assert!(age >= Duration::from_millis(2));
        assert!(board.stands(&partition, Some((6, 9))) < age);
        assert_eq!(board.stands(&partition, None), Duration::ZERO);
        assert!(board.inner().partitions.is_empty());
    }

    #[test]
    fn a_sink_that_failed_keeps_its_last_error_when_it_works_again() {
        let board = board();
        board.failed("postgres", "no answer");
        assert!(board.inner().sinks["postgres"].failing);
        board.works_again("postgres");
        board.wrote("postgres", 7, Duration::from_millis(3));
        let inner = board.inner();
        let sink = &inner.sinks["postgres"];
        assert!(!sink.failing && sink.retries == 1 && sink.outputs == 7);
        assert_eq!(sink.error.as_ref().map(|(words, _)| words.as_str()), Some("no answer"));
    }

    #[test]
    fn pausing_twice_is_told_from_pausing_once() {
        let board = board();
        assert!(board.pause(true) && board.is_paused());
        assert!(!board.pause(true));
        assert!(board.pause(false) && !board.is_paused());
    }
}
