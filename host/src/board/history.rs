//! Ten minutes of each flow, a point per second.

use std::collections::VecDeque;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::flow::Totals;

/// Points that are kept.
const POINTS: usize = 600;

/// One second of a flow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Point {
    /// Milliseconds since 1970.
    pub at: i64,
    /// Records read per second.
    pub records_in: f64,
    /// Outputs written per second.
    pub outputs: f64,
    /// Records refused per second.
    pub dead: f64,
    /// Records not yet committed.
    pub lag: i64,
    /// Longest time from timestamp to commit in this second, in milliseconds; `None` without a commit.
    pub latency_ms: Option<f64>,
}

/// The points, and what is needed for the next one.
#[derive(Debug, Default)]
pub(super) struct History {
    points: VecDeque<Point>,
    before: Option<(Instant, Totals)>,
}

impl History {
    /// Takes a point of what was counted since the last one.
    pub(super) fn sample(&mut self, totals: &Totals, lag: i64, latency_ms: Option<f64>) {
        let now = Instant::now();
        if let Some((at, before)) = &self.before {
            let seconds = now.duration_since(*at).as_secs_f64().max(0.001);
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
            if self.points.len() == POINTS {
                self.points.pop_front();
            }
            self.points.push_back(Point {
                at: super::now(),
                records_in: rate(totals.records_in, before.records_in),
                outputs: rate(totals.outputs, before.outputs),
                dead: rate(totals.dead, before.dead),
                lag,
                latency_ms,
            });
        }
        self.before = Some((now, totals.clone()));
    }

    pub(super) fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.iter()
    }

    /// The rates now: of the last few seconds, so that batches of a slow sink do not make them jump.
    pub(super) fn now(&self) -> Point {
        let last: Vec<&Point> = self.points.iter().rev().take(3).collect();
        let mean = |of: fn(&Point) -> f64| last.iter().map(|p| of(p)).sum::<f64>() / last.len().max(1) as f64;
        Point {
            at: last.first().map_or(0, |p| p.at),
            records_in: mean(|p| p.records_in),
            outputs: mean(|p| p.outputs),
            dead: mean(|p| p.dead),
            lag: last.first().map_or(0, |p| p.lag),
            latency_ms: last.iter().find_map(|p| p.latency_ms),
        }
    }
}
