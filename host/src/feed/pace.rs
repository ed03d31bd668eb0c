//! A rate of records: spread evenly over time, without an allowance that could be saved up while nothing came.

use std::time::{Duration, Instant};

/// A feed that was late by more than this does not hurry to catch up.
const FORGIVEN: Duration = Duration::from_millis(100);

/// When the next record may go.
#[derive(Debug)]
pub struct Pace {
    step: Duration,
    next: Instant,
}

impl Pace {
    /// `rate` records per second; it is positive.
    pub fn new(rate: f64, now: Instant) -> Self {
        Pace { step: Duration::from_secs_f64(1.0 / rate), next: now }
    }

    /// The moment at which a record may go that is ready now.
    pub fn turn(&mut self, now: Instant) -> Instant {
        let turn = self.next.max(now.checked_sub(FORGIVEN).unwrap_or(now));
        self.next = turn + self.step;
        turn
    }
}

/// A rate: `500`, `0.5`, at most a million.
pub fn parse(text: &str) -> Result<f64, String> {
    let rate = text.trim_end_matches("/s").parse::<f64>().ok();
    rate.filter(|rate| (0.001..=1e6).contains(rate))
        .ok_or_else(|| "write records per second, such as 500 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_over_time_also_after_a_pause() {
        let start = Instant::now();
        let mut pace = Pace::new(100.0, start);
        let last = (0..=100).map(|_| pace.turn(start)).last().expect("there are some");
        assert!((last - start).abs_diff(Duration::from_secs(1)) < Duration::from_millis(1), "{:?}", last - start);
        let later = last + Duration::from_secs(60);
        let second = (0..110).map(|_| pace.turn(later)).filter(|turn| *turn <= later).count();
        assert!(second <= 12, "{second} at once after a pause");
    }

    #[test]
    fn rates_are_checked() {
        assert_eq!((parse("500"), parse("0.5"), parse("10/s")), (Ok(500.0), Ok(0.5), Ok(10.0)));
        for wrong in ["0", "-1", "NaN", "inf", "x", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
