//! The cap `max_rows_per_second` of a sink, shared by all flows. Rows are paced, not counted per second: there is no
//! allowance that could be saved up and spent at once. Batches are not split here; a caller that hands in at most a
//! tenth of the cap per batch never shows more than the cap and that tenth within any second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Paces writes to one server.
#[derive(Debug)]
pub struct Limiter {
    pace: Option<Mutex<Pace>>,
}

/// When the next rows may go.
#[derive(Debug)]
struct Pace {
    rows_per_second: u32,
    next: Instant,
}

impl Limiter {
    /// `None` lets everything pass at once; 0 is taken as 1.
    pub fn new(max_rows_per_second: Option<u32>) -> Self {
        let pace = |cap: u32| Mutex::new(Pace { rows_per_second: cap.max(1), next: Instant::now() });
        Limiter { pace: max_rows_per_second.map(pace) }
    }

    /// Waits until `rows` more rows may be written. Call it right before the write, once per attempt; the rows count
    /// from then on, even when the future is dropped.
    pub async fn take(&self, rows: usize) {
        let Some(pace) = &self.pace else { return };
        if rows == 0 {
            return;
        }
        let turn = pace.lock().unwrap_or_else(PoisonError::into_inner).reserve(Instant::now(), rows);
        tokio::time::sleep_until(turn).await;
    }

    /// The largest batch that keeps the cap smooth: a tenth of it, at least one row. `None` without a cap.
    pub fn smooth_batch(&self) -> Option<usize> {
        let pace = self.pace.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some((pace.rows_per_second / 10).max(1) as usize)
    }
}

impl Pace {
    /// The moment at which these rows may go; the following ones have to leave them their share of time.
    fn reserve(&mut self, now: Instant, rows: usize) -> Instant {
        let turn = self.next.max(now);
        self.next = turn + Duration::from_secs_f64(rows as f64 / f64::from(self.rows_per_second));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_second_shows_more_than_the_cap_and_a_tenth(
            cap in 10u32..20_000,
            calls in proptest::collection::vec((0u64..500, 0.0..1.0), 1..200),
        ) {
            let mut now = Instant::now();
            let mut pace = Pace { rows_per_second: cap, next: now };
            let mut shown = Vec::new();
            for (pause, share) in calls {
                now += Duration::from_millis(pause);
                let rows = ((f64::from(cap / 10) * share) as usize).max(1);
                now = pace.reserve(now, rows);
                shown.push((now, rows));
            }
            for (i, (from, _)) in shown.iter().enumerate() {
                let window = shown[i..].iter().take_while(|(at, _)| at.duration_since(*from) < Duration::from_secs(1));
                let rows: usize = window.map(|(_, rows)| rows).sum();
                // Durations are rounded to nanoseconds: one row of slack.
                prop_assert!(rows as f64 <= f64::from(cap) * 1.1 + 1.0, "{rows} rows at a cap of {cap}");
            }
        }

        #[test]
        fn a_busy_caller_gets_the_whole_cap(cap in 10u32..20_000) {
            let start = Instant::now();
            let mut pace = Pace { rows_per_second: cap, next: start };
            let rows = (cap / 10) as usize;
            let batches = 50;
            let last = (0..=batches).map(|_| pace.reserve(start, rows)).last().expect("there is one");
            let rate = (batches * rows) as f64 / last.duration_since(start).as_secs_f64();
            prop_assert!((rate / f64::from(cap) - 1.0).abs() < 0.001, "{rate} of {cap}");
        }
    }

    #[tokio::test]
    async fn without_a_cap_nothing_waits() {
        let limiter = Limiter::new(None);
        let start = Instant::now();
        limiter.take(usize::MAX).await;
        assert!(start.elapsed() < Duration::from_secs(60));
        assert_eq!(limiter.smooth_batch(), None);
    }
}
