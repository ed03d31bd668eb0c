//! Before a flow reads: its sinks and its producer are made ready, for as long as that takes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::warn;

use super::{Parts, Process};
use crate::flow::plan::Plan;
use crate::health::Beat;
use crate::router::KAFKA;
use crate::sinks::{Sink, SinkError, backoff};

impl Parts {
    /// Makes sinks and producer ready, for as long as it takes; false where the flow is stopped meanwhile.
    pub(super) fn prepare(&self, beat: &Beat) -> bool {
        let stopped = || {
            beat.tick();
            self.stop.load(Ordering::Relaxed)
        };
        let key = format!("flow {} start", self.plan.name);
        prepare(&self.plan, &self.shared.sinks, &self.process, &key, &stopped) && self.init_producer(&stopped)
    }

    /// Ends what a predecessor of the same name left open, before the first offset is read.
    fn init_producer(&self, stopped: &dyn Fn() -> bool) -> bool {
        let key = format!("flow {} sink {KAFKA}", self.plan.name);
        let mut attempt = 0;
        while !stopped() {
            match self.shared.kafka.init(Duration::from_secs(10)) {
                Ok(()) => {
                    self.process.health.solved(&key);
                    return true;
                }
                Err(error) => {
                    attempt += 1;
                    let words = error.words();
                    warn!(flow = %self.plan.name, "{words}");
                    self.process.health.problem(&key, words);
                    pause(backoff::next(attempt), stopped);
                }
            }
        }
        false
    }
}

/// Prepares every sink, again and again; false where `stopped` says so first.
pub(super) fn prepare(
    plan: &Plan,
    sinks: &[Arc<dyn Sink>],
    process: &Process,
    key: &str,
    stopped: &dyn Fn() -> bool,
) -> bool {
    let mut attempt = 0;
    'again: while !stopped() {
        for sink in sinks {
            let targets: Vec<_> = plan.targets.iter().filter(|target| target.sink == sink.name()).cloned().collect();
            if let Err(error) = block_on_unless(&process.tokio, stopped, sink.prepare(&targets)) {
                attempt += 1;
                warn!(flow = %plan.name, sink = sink.name(), "{error}");
                process.health.problem(key, error.to_string());
                pause(backoff::next(attempt), stopped);
                continue 'again;
            }
        }
        process.health.solved(key);
        return true;
    }
    process.health.solved(key);
    false
}

/// Waits for a sink until a stop is asked for.
fn block_on_unless(
    tokio: &tokio::runtime::Handle,
    stopped: &dyn Fn() -> bool,
    work: impl Future<Output = Result<(), SinkError>>,
) -> Result<(), SinkError> {
    let told = async {
        while !stopped() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(SinkError::wait("the flow stops and does not wait for the sink any longer"))
    };
    tokio.block_on(async {
        tokio::select! { done = work => done, broken_off = told => broken_off }
    })
}

/// Sleeps in short steps, so that a stop is noticed.
fn pause(time: Duration, stopped: &dyn Fn() -> bool) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline && !stopped() {
        std::thread::sleep(Duration::from_millis(50).min(deadline.saturating_duration_since(Instant::now())));
    }
}
