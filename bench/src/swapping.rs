//! Replacing the module under full load: how long each partition's committed offset stands still around a swap, beside
//! how long it stands still at any other time. The difference is what a swap costs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use wasmill_tests::host::Host;
use wasmill_tests::kafka::{self, Group, Outgoing};
use wasmill_tests::{case, samples, wait_until};

use crate::place::{Place, Setup, guest};
use crate::stats::percentile;
use crate::{knob, report};

const PARTITIONS: i32 = 4;
/// Records that wait at most, so that the host always has work and the disk does not fill up.
const LAG: i64 = 300_000;
const CHUNK: usize = 20_000;
/// What is watched after a swap, and as long again without one.
const AFTER: Duration = Duration::from_millis(200);

/// A partition's committed offset stood still from `begun` on.
#[derive(Clone, Copy, Debug)]
struct Pause {
    begun: Instant,
    length: Duration,
}

/// What the threads share.
struct Shared {
    topic: String,
    group: String,
    /// Sum of the committed offsets.
    committed: AtomicI64,
    pauses: Mutex<Vec<Pause>>,
    done: AtomicBool,
}

pub(crate) fn run() {
    let swaps: u32 = knob("SWAPS", 200);
    let place = Place::new(Some(PARTITIONS));
    let topic = case::unique("bench-swap");
    kafka::create_topic(&topic, PARTITIONS);
    let setup =
        Setup { topics: std::slice::from_ref(&topic), to: "record", delivery: "idempotent", ..Setup::default() };
    let config = place.configure(&setup);
    let host = Host::spawn(&["run", "-c", &config.to_string_lossy()], place.path(), &[]);
    let shared = Shared {
        group: place.group(0, 1),
        topic,
        committed: AtomicI64::new(0),
        pauses: Mutex::default(),
        done: AtomicBool::new(false),
    };
    let (around, between) = std::thread::scope(|scope| {
        scope.spawn(|| shared.load());
        scope.spawn(|| shared.watch());
        // The others end on failure too: the scope would wait for ever.
        let measured =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| measure(swaps, &place, &host, &shared)));
        shared.done.store(true, Ordering::Relaxed);
        measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let at = |values: &[f64], percent| percentile(values.iter().copied(), percent);
    let values = [
        ("p50 ms", at(&around, 50.0)),
        ("p99 ms", at(&around, 99.0)),
        ("without a swap p50 ms", at(&between, 50.0)),
        ("p99 ms without", at(&between, 99.0)),
    ];
    report::line("SWAP", "wasmill idempotent", &format!("longest pause of a partition, {swaps} swaps"), &values);
}

/// The longest pause in milliseconds around each swap, and in as long a time after it.
fn measure(swaps: u32, place: &Place, host: &Host, shared: &Shared) -> (Vec<f64>, Vec<f64>) {
    let taken = || host.metric("wasmill_module_swaps_total", &[]);
    wait_until("records flow", 60, || shared.committed.load(Ordering::Relaxed) > LAG / 3);
    let (mut around, mut between) = (Vec::new(), Vec::new());
    for number in 0..swaps {
        let before = taken();
        let begun = Instant::now();
        place.install("bench", &marked(number));
        wait_until("the module is in place", 60, || taken() > before);
        std::thread::sleep(AFTER);
        let length = begun.elapsed();
        std::thread::sleep(length);
        around.push(shared.longest(begun, begun + length));
        between.push(shared.longest(begun + length, begun + 2 * length));
    }
    (around, between)
}

/// The module with a custom section: other bytes, the same code.
fn marked(number: u32) -> Vec<u8> {
    let mut bytes = guest("bench-guest");
    bytes.extend_from_slice(&[0, 9, 4, b's', b'w', b'a', b'p']);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

impl Shared {
    /// Keeps the flow busy.
    fn load(&self) {
        let quotes = samples::quotes(&self.topic, PARTITIONS, CHUNK, 1);
        let chunk: Vec<Outgoing> = quotes.into_iter().map(|sample| sample.record).collect();
        let mut produced = 0;
        while !self.done.load(Ordering::Relaxed) {
            if produced - self.committed.load(Ordering::Relaxed) < LAG {
                kafka::produce(&chunk);
                produced += CHUNK as i64;
            } else {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Notes whenever a partition's committed offset moves.
    fn watch(&self) {
        let group = Group::new(&self.group);
        let mut last: BTreeMap<i32, (i64, Instant)> = BTreeMap::new();
        while !self.done.load(Ordering::Relaxed) {
            let offsets = group.offsets(&self.topic, PARTITIONS);
            let now = Instant::now();
            self.committed.store(offsets.values().sum(), Ordering::Relaxed);
            for (partition, offset) in offsets {
                let (before, begun) = *last.entry(partition).or_insert((offset, now));
                if offset != before {
                    let pause = Pause { begun, length: now - begun };
                    self.pauses.lock().expect("no thread panicked").push(pause);
                    last.insert(partition, (offset, now));
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn longest(&self, from: Instant, to: Instant) -> f64 {
        let pauses = self.pauses.lock().expect("no thread panicked");
        let within = pauses.iter().filter(|pause| (from..to).contains(&pause.begun));
        within.map(|pause| pause.length.as_secs_f64() * 1e3).fold(0.0, f64::max)
    }
}
