//! Listening to a flow: a few records per second with what became of them. While nobody listens a batch pays for one
//! atomic load. What is not shown is counted, never silently left out.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::payload::Payload;

/// Records that are shown per second at most, and that a listener may be behind.
pub const PER_SECOND: u32 = 50;
/// Records that are looked into for a text per second, over all listeners of a flow: a few per cent of a core.
const SEARCHED: f64 = 4_000.0;
/// Bytes of a key or value that are shown.
const SHOWN: usize = 4 << 10;

/// What a listener wants to see.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only records in which, or in whose outputs, this text occurs.
    pub grep: Option<String>,
    /// Only records that were refused, or of which an output was.
    pub dead: bool,
}

/// A record with what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tapped {
    pub flow: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Payload>,
    pub value: Option<Payload>,
    pub headers: Vec<(String, Option<String>)>,
    pub outputs: Vec<TappedOutput>,
    /// Why it, or an output of it, became a dead letter.
    pub dead: Vec<TappedVerdict>,
}

/// An output of a record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TappedOutput {
    pub sink: String,
    pub target: String,
    pub operation: String,
    pub key: Option<Payload>,
    pub value: Option<Payload>,
}

/// A decision not to write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TappedVerdict {
    pub code: String,
    pub message: String,
    pub module: String,
    /// Empty where the module decided.
    pub sink: String,
    pub target: String,
}

/// A committed batch as the tap sees it.
pub trait Batch {
    /// Records in it.
    fn records(&self) -> usize;
    /// Numbers of the records that were refused, or of which an output was; ascending.
    fn dead(&self) -> Vec<usize>;
    fn record(&self, number: usize) -> Tapped;
}

/// How much a listener has seen.
#[derive(Debug, Default)]
pub struct Counts {
    /// Records that went through the flow since it listens.
    seen: AtomicU64,
    /// Records that were sent to it.
    shown: AtomicU64,
    /// Records that are certainly not wanted.
    unwanted: AtomicU64,
}

/// The ear of one flow.
#[derive(Debug, Default)]
pub struct Tap {
    listening: AtomicUsize,
    listeners: Mutex<Vec<Listener>>,
}

#[derive(Debug)]
struct Listener {
    wanted: Wanted,
    sender: mpsc::Sender<Arc<Tapped>>,
    counts: Arc<Counts>,
    /// Records that may be shown and looked into now; both grow with the time.
    may_show: f64,
    may_search: f64,
    filled: Instant,
}

/// A listener's end. Dropping it ends the listening.
pub struct Listening {
    tap: Arc<Tap>,
    pub records: mpsc::Receiver<Arc<Tapped>>,
    pub counts: Arc<Counts>,
}

impl Tap {
    /// Whether anybody listens: the one thing that is looked at per batch.
    pub fn is_wanted(&self) -> bool {
        self.listening.load(Ordering::Relaxed) > 0
    }

    pub fn listen(self: &Arc<Self>, wanted: Wanted) -> Listening {
        let (sender, records) = mpsc::channel(PER_SECOND as usize);
        let counts = Arc::new(Counts::default());
        let (may_show, filled) = (f64::from(PER_SECOND), Instant::now());
        let listener = Listener { wanted, sender, counts: counts.clone(), may_show, may_search: SEARCHED, filled };
        self.listeners().push(listener);
        self.listening.fetch_add(1, Ordering::Relaxed);
        Listening { tap: self.clone(), records, counts }
    }

    /// Shows a batch to those who listen.
    pub fn show(&self, batch: &dyn Batch) {
        let mut listeners = self.listeners();
        let share = SEARCHED / listeners.len().max(1) as f64;
        listeners.iter_mut().for_each(|listener| listener.show(batch, share));
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.tap.listening.fetch_sub(1, Ordering::Relaxed);
        self.tap.listeners().retain(|listener| !Arc::ptr_eq(&listener.counts, &self.counts));
    }
}

impl Counts {
    /// Records that went by unseen although they may have been wanted.
    pub fn not_shown(&self) -> u64 {
        let known = self.shown.load(Ordering::Relaxed) + self.unwanted.load(Ordering::Relaxed);
        self.seen.load(Ordering::Relaxed).saturating_sub(known)
    }

    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    pub fn shown(&self) -> u64 {
        self.shown.load(Ordering::Relaxed)
    }
}

impl Listener {
    fn show(&mut self, batch: &dyn Batch, share: f64) {
        let seconds = self.filled.elapsed().as_secs_f64();
        let filled = |budget: f64, most: f64| (budget + seconds * most).min(most);
        self.may_show = filled(self.may_show, f64::from(PER_SECOND));
        self.may_search = filled(self.may_search, share);
        self.filled = Instant::now();
        self.counts.seen.fetch_add(batch.records() as u64, Ordering::Relaxed);
        let candidates = self.candidates(batch);
        for number in candidates {
            if self.may_show < 1.0 || self.may_search < 1.0 {
                break;
            }
            self.may_search -= 1.0;
            let record = batch.record(number);
            if self.wanted.grep.as_ref().is_some_and(|text| !record.contains(text)) {
                self.counts.unwanted.fetch_add(1, Ordering::Relaxed);
            } else if self.sender.try_send(Arc::new(record)).is_ok() {
                self.counts.shown.fetch_add(1, Ordering::Relaxed);
                self.may_show -= 1.0;
            }
        }
    }

    /// Records that are looked into: spread over the batch where they cannot be all.
    fn candidates(&self, batch: &dyn Batch) -> Vec<usize> {
        let all: Vec<usize> = match self.wanted.dead {
            true => {
                let dead = batch.dead();
                self.counts.unwanted.fetch_add((batch.records() - dead.len()) as u64, Ordering::Relaxed);
                dead
            }
            false => (0..batch.records()).collect(),
        };
        let most = match self.wanted.grep {
            Some(_) => self.may_search,
            None => self.may_show.min(self.may_search),
        };
        let step = all.len().div_ceil((most as usize).max(1)).max(1);
        all.into_iter().step_by(step).collect()
    }
}

impl Tapped {
    fn contains(&self, text: &str) -> bool {
        let within = |payload: &Option<Payload>| payload.as_ref().is_some_and(|payload| payload.text.contains(text));
        within(&self.key)
            || within(&self.value)
            || self.outputs.iter().any(|o| within(&o.key) || within(&o.value) || o.target.contains(text))
            || self.dead.iter().any(|verdict| verdict.code == text || verdict.message.contains(text))
    }
}

/// What is shown of a key or value.
pub fn shown(bytes: Option<&[u8]>) -> Option<Payload> {
    bytes.map(|bytes| Payload::of(bytes, SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers(usize);

    impl Batch for Numbers {
        fn records(&self) -> usize {
            self.0
        }

        fn dead(&self) -> Vec<usize> {
            (0..self.0).step_by(1_000).collect()
        }

        fn record(&self, number: usize) -> Tapped {
            Tapped {
                flow: "f".into(),
                topic: "t".into(),
                partition: 0,
                offset: number as i64,
                timestamp: -1,
                key: None,
                value: shown(Some(format!("record {number}!").as_bytes())),
                headers: Vec::new(),
                outputs: Vec::new(),
                dead: Vec::new(),
            }
        }
    }

    fn offsets(listening: &mut Listening) -> Vec<i64> {
        std::iter::from_fn(|| listening.records.try_recv().ok()).map(|record| record.offset).collect()
    }

    #[test]
    fn a_small_batch_is_shown_whole_and_a_large_one_is_sampled_and_counted() {
        let tap = Arc::new(Tap::default());
        assert!(!tap.is_wanted());
        let mut listening = tap.listen(Wanted::default());
        assert!(tap.is_wanted());
        tap.show(&Numbers(3));
        assert_eq!(offsets(&mut listening), [0, 1, 2]);
        tap.show(&Numbers(100_000));
        let shown = offsets(&mut listening);
        assert!((40..=50).contains(&shown.len()) && shown.last() > Some(&90_000), "{shown:?}");
        assert_eq!(listening.counts.not_shown(), 100_000 - shown.len() as u64);
        drop(listening);
        assert!(!tap.is_wanted());
    }

    #[test]
    fn only_what_is_wanted_is_shown_and_the_rest_is_not_called_hidden() {
        let tap = Arc::new(Tap::default());
        let mut dead = tap.listen(Wanted { dead: true, grep: None });
        let mut seven = tap.listen(Wanted { dead: false, grep: Some("record 7!".into()) });
        tap.show(&Numbers(800));
        assert_eq!((offsets(&mut dead), dead.counts.not_shown()), (vec![0], 0));
        assert_eq!((offsets(&mut seven), seven.counts.not_shown()), (vec![7], 0));
    }
}
