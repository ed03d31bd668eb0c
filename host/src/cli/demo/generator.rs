//! Makes quotes at the pace of their consumption: 2 % are not JSON, 2 % have a key, 1 % are JSON of another shape.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, PARTITIONS};
use super::view::Counts;
use super::{Failure, TOPIC};
use crate::metrics::Metrics;

/// Most records on their way: far below what the mock cluster keeps.
const AHEAD: u64 = 15_000;
/// Records between two looks at how far the host is.
const STEP: u64 = 500;
/// Full speed ends here, so that a demo that is left alone does not fill the disk.
const SPRINT: Duration = Duration::from_secs(30);
/// Records per second afterwards.
const STROLL: u64 = 1_000;

const QUOTES: [(&str, &str); 6] = [
    ("The mill grinds what the river brings.", "Ada"),
    ("Measure twice, commit once.", "Grace"),
    ("There is no cloud, only somebody else's queue.", "Edsger"),
    ("A lag that is watched still grows.", "Barbara"),
    ("\"Exactly once\" is said more than once.", "Leslie"),
    ("Naïve retries are how outages breed: 再試行!", "Tony"),
];

/// What a record is meant to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Quote,
    NotJson,
    Keyed,
    OtherShape,
}

/// One record as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) kind: Kind,
    pub(super) partition: i32,
    pub(super) key: Option<String>,
    pub(super) value: String,
    /// What finds it in the database again.
    pub(super) text: String,
}

pub(super) struct Generator {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    made: AtomicU64,
    examples: Mutex<Vec<Sample>>,
}

impl Generator {
    pub(super) fn start(cluster: Arc<Cluster>, metrics: Arc<Metrics>) -> Result<Self, Failure> {
        let shared = Arc::<Shared>::default();
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("generator".into())
            .spawn(move || theirs.run(&cluster, &metrics))
            .map_err(|error| Failure::environment(format!("cannot start a thread: {error}")))?;
        Ok(Generator { shared, thread })
    }

    /// The first record of each kind.
    pub(super) fn examples(&self) -> Vec<Sample> {
        self.shared.examples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes no more records; returns how many there were.
    pub(super) fn stop(self) -> u64 {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // Its panic has ended the process already.
        self.thread.join().ok();
        self.shared.made.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn run(&self, cluster: &Cluster, metrics: &Metrics) {
        let start = Instant::now();
        let mut n = 0;
        while !self.stop.load(Ordering::Relaxed) {
            if n >= Counts::of(metrics).records + AHEAD {
                cluster.poll();
                std::thread::park_timeout(Duration::from_millis(2));
                continue;
            }
            for _ in 0..STEP {
                self.send(cluster, n);
                n += 1;
            }
            if start.elapsed() > SPRINT {
                std::thread::park_timeout(Duration::from_millis(1000 * STEP / STROLL));
            }
        }
    }

    fn send(&self, cluster: &Cluster, n: u64) {
        let sample = sample(n);
        while !cluster.send(TOPIC, sample.partition, sample.key.as_deref(), &sample.value) {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            cluster.poll();
            std::thread::park_timeout(Duration::from_millis(1));
        }
        cluster.poll();
        self.made.fetch_add(1, Ordering::Relaxed);
        if n < 100 {
            let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
            if examples.iter().all(|known| known.kind != sample.kind) {
                examples.push(sample);
            }
        }
    }
}

/// The `n`th record: always the same one.
pub(super) fn sample(n: u64) -> Sample {
    let kind = match n % 100 {
        3 | 53 => Kind::NotJson,
        5 | 55 => Kind::Keyed,
        7 => Kind::OtherShape,
        _ => Kind::Quote,
    };
    let (quote, character) = QUOTES[(n % QUOTES.len() as u64) as usize];
    let text = format!("{quote} #{n}");
    let image = format!("https://images.example/{}.png", character.to_lowercase());
    let json = serde_json::json!({ "quote": text, "character": character, "image": image }).to_string();
    let value = match kind {
        Kind::Quote | Kind::Keyed => json,
        Kind::NotJson => format!("<html><body>503 #{n}</body></html>"),
        Kind::OtherShape => serde_json::json!({ "status": "late", "count": n }).to_string(),
    };
    let key = (kind == Kind::Keyed).then(|| format!("poll-{n}"));
    Sample { kind, partition: (n % PARTITIONS as u64) as i32, key, value, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_as_promised() {
        let samples: Vec<Sample> = (0..1000).map(sample).collect();
        let count = |kind| samples.iter().filter(|sample| sample.kind == kind).count();
        assert_eq!((count(Kind::NotJson), count(Kind::Keyed), count(Kind::OtherShape)), (20, 20, 10));
        for sample in &samples {
            let json = serde_json::from_str::<serde_json::Value>(&sample.value).is_ok();
            assert_eq!(json, sample.kind != Kind::NotJson);
            assert_eq!(sample.key.is_some(), sample.kind == Kind::Keyed);
        }
    }
}
