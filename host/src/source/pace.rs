//! How many records a batch may have now. What is not committed when a host dies is done again by another, so a batch
//! that takes a slow sink a minute might never get through where hosts come and go: the bound follows the time that
//! batches take. It begins small, grows while they are quick, and shrinks when they are slow or given up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The first batch: what the breaker wants to see before it judges.
const FIRST: usize = 1_000;
/// No batch is bounded more tightly than that.
const LEAST: usize = 100;
/// A batch that was written within this time may be followed by one of twice its size.
const QUICK: Duration = Duration::from_millis(500);
/// After one that took longer than this, half is enough.
const SLOW: Duration = Duration::from_secs(2);

/// The bound, shared by the reader, who keeps it, and the writer, who moves it.
#[derive(Debug)]
pub struct Pace {
    most: usize,
    now: AtomicUsize,
}

impl Pace {
    /// `most` is the configured bound, which is never exceeded.
    pub fn new(most: usize) -> Self {
        Pace { most, now: AtomicUsize::new(FIRST.min(most)) }
    }

    /// Records that the next batch may have.
    pub fn records(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// A batch of so many records was written in that time.
    pub fn through(&self, records: usize, took: Duration) {
        let now = self.records();
        if took > SLOW {
            self.set(now / 2);
        } else if took < QUICK && records >= now {
            self.set(now * 2);
        }
    }

    /// A batch was not written to its end.
    pub fn given_up(&self) {
        self.set(self.records() / 2);
    }

    fn set(&self, records: usize) {
        self.now.store(records.max(LEAST).min(self.most), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_batches_grow_to_the_bound_and_slow_ones_shrink_to_the_least() {
        let pace = Pace::new(10_000);
        let mut sizes = vec![pace.records()];
        for _ in 0..5 {
            pace.through(pace.records(), Duration::from_millis(100));
            sizes.push(pace.records());
        }
        assert_eq!(sizes, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        pace.through(10_000, Duration::from_secs(30));
        assert_eq!(pace.records(), 5_000);
        (0..10).for_each(|_| pace.given_up());
        assert_eq!(pace.records(), LEAST);
    }

    #[test]
    fn a_line_that_is_idle_says_nothing_and_a_small_bound_stays() {
        let pace = Pace::new(10_000);
        pace.through(3, Duration::from_millis(1));
        pace.through(FIRST, Duration::from_secs(1));
        assert_eq!(pace.records(), FIRST);
        let small = Pace::new(7);
        small.through(7, Duration::ZERO);
        small.given_up();
        assert_eq!(small.records(), 7);
    }
}
