//! A flow under load, watched from outside: a thread keeps records waiting, another notes how long the committed offset of
//! each partition stands still.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use wasmill_tests::kafka::{self, Group, Outgoing};
use wasmill_tests::samples;

/// Records that wait at most, so that the host always has work and the disk does not fill up.
pub(crate) const LAG: i64 = 300_000;
/// Records of one producer: with fewer of them its start is most of the time, and the host waits for it.
const CHUNK: usize = 100_000;
/// Records beyond which each partition has some that wait.
const BUSY: i64 = 20_000;

/// Stands for the sum of all partitions.
const WHOLE: i32 = -1;

/// A partition's committed offset stood still from `begun` on.
#[derive(Clone, Copy, Debug)]
struct Pause {
    begun: Instant,
    length: Duration,
    /// Whether records waited at its end: without any there is nothing to commit.
    busy: bool,
}

/// What the threads share.
pub(crate) struct Watch {
    topic: String,
    group: String,
    partitions: i32,
    produced: AtomicI64,
    /// Sum of the committed offsets.
    committed: AtomicI64,
    pauses: Mutex<Vec<(i32, Pause)>>,
    done: AtomicBool,
}

impl Watch {
    pub(crate) fn new(topic: String, group: String, partitions: i32) -> Self {
        let [produced, committed] = [0; 2].map(AtomicI64::new);
        Watch { topic, group, partitions, produced, committed, pauses: Mutex::default(), done: AtomicBool::new(false) }
    }

    /// Measures while records flow.
    pub(crate) fn during<T>(&self, measure: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            scope.spawn(|| self.load());
            scope.spawn(|| self.look());
            // The others end on failure too: the scope would wait for ever.
            let measured = catch_unwind(AssertUnwindSafe(measure));
            self.done.store(true, Ordering::Relaxed);
            measured.unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Records that the group has committed.
    pub(crate) fn committed(&self) -> i64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// Records that wait.
    pub(crate) fn lag(&self) -> i64 {
        self.produced.load(Ordering::Relaxed) - self.committed()
    }

    /// Keeps the flow busy.
    fn load(&self) {
        let quotes = samples::quotes(&self.topic, self.partitions, CHUNK, 1);
        let chunk: Vec<Outgoing> = quotes.into_iter().map(|sample| sample.record).collect();
        while !self.done.load(Ordering::Relaxed) {
            if self.lag() < LAG {
                kafka::produce(&chunk);
                self.produced.fetch_add(CHUNK as i64, Ordering::Relaxed);
            } else {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Notes whenever a partition's committed offset moves.
    fn look(&self) {
        let group = Group::new(&self.group);
        let mut last: BTreeMap<i32, (i64, Instant)> = BTreeMap::new();
        while !self.done.load(Ordering::Relaxed) {
            let mut offsets = group.offsets(&self.topic, self.partitions);
            let now = Instant::now();
            let sum = offsets.values().sum();
            self.committed.store(sum, Ordering::Relaxed);
            offsets.insert(WHOLE, sum);
            let busy = self.lag() > BUSY;
            for (partition, offset) in offsets {
                let (before, begun) = *last.entry(partition).or_insert((offset, now));
                if offset != before {
                    let pause = Pause { begun, length: now - begun, busy };
                    self.pauses.lock().expect("no thread panicked").push((partition, pause));
                    last.insert(partition, (offset, now));
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The longest pause of the whole flow that began in this time while records waited, in milliseconds. Partitions take
    /// turns, so that one of them stands still for much longer whatever happens.
    pub(crate) fn longest(&self, from: Instant, to: Instant) -> f64 {
        let pauses = self.pauses.lock().expect("no thread panicked");
        let is_within = |pause: &Pause| pause.busy && (from..to).contains(&pause.begun);
        let within = pauses.iter().filter(|(partition, pause)| *partition == WHOLE && is_within(pause));
        within.map(|(_, pause)| pause.length.as_secs_f64() * 1e3).fold(0.0, f64::max)
    }

    /// The longest pause of each partition, in milliseconds, of those that reach into this time.
    pub(crate) fn longest_of_each(&self, from: Instant, to: Instant) -> BTreeMap<i32, f64> {
        let mut longest = BTreeMap::new();
        for (partition, pause) in self.pauses.lock().expect("no thread panicked").iter() {
            if *partition != WHOLE && pause.begun < to && pause.begun + pause.length > from {
                let most: &mut f64 = longest.entry(*partition).or_default();
                *most = most.max(pause.length.as_secs_f64() * 1e3);
            }
        }
        longest
    }

    /// Whether something was committed of every partition since then.
    pub(crate) fn all_moved_since(&self, then: Instant) -> bool {
        self.longest_of_each(then, Instant::now()).len() == self.partitions as usize
    }
}
