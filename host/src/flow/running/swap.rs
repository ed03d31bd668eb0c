//! Other modules for a flow that runs: put in place between two batches, the newest swap last.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::info;

use super::prepare::prepare;
use super::{Process, Running};
use crate::board::FlowBoard;
use crate::flow::plan::Plan;
use crate::metrics::ByFlow;
use crate::source::chains::Chains;

impl Running {
    /// Puts other modules in place for the next batch, once their tables are prepared. The running ones go on until
    /// then, and a later swap overtakes this one.
    pub fn swap(&self, plan: Arc<Plan>) {
        let begun = Instant::now();
        let number = self.next_swap(&plan);
        let (place, sinks, stop) = (self.place(number), self.sinks.clone(), self.stop.clone());
        let process = self.process.clone();
        std::thread::spawn(move || {
            let key = format!("flow {} swap", plan.name);
            let overtaken = || place.is_overtaken() || stop.load(Ordering::Relaxed);
            if prepare(&plan, &sinks, &process, &key, &overtaken) && place.put(&plan, &process, begun) {
                info!(flow = %plan.name, digest = %plan.chain.digest, "modules in place for the next batch");
            }
        });
    }

    /// Puts modules back in place that ran here before, so that their tables need no preparation.
    pub fn swap_back(&self, plan: Arc<Plan>, begun: Instant) {
        let number = self.next_swap(&plan);
        if self.place(number).put(&plan, &self.process, begun) {
            info!(flow = %plan.name, digest = %plan.chain.digest, "the modules of before are in place for the next batch");
        }
    }

    fn next_swap(&self, plan: &Arc<Plan>) -> u64 {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan.clone();
        let mut last = self.swaps.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        *last
    }

    fn place(&self, number: u64) -> Place {
        Place { chains: self.chains.clone(), board: self.board.clone(), swaps: self.swaps.clone(), number }
    }
}

/// Where the modules of a swap are put, unless a later swap was begun meanwhile.
struct Place {
    chains: Arc<Chains>,
    board: Arc<FlowBoard>,
    swaps: Arc<Mutex<u64>>,
    number: u64,
}

impl Place {
    fn is_overtaken(&self) -> bool {
        *self.swaps.lock().unwrap_or_else(PoisonError::into_inner) != self.number
    }

    /// The next batch is sealed with these modules; false where the swap was overtaken.
    fn put(&self, plan: &Plan, process: &Process, begun: Instant) -> bool {
        let last = self.swaps.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != self.number {
            return false;
        }
        self.chains.swap(plan.chain.clone());
        let took = begun.elapsed();
        let labels = ByFlow { flow: plan.name.to_string() };
        process.metrics.module_swap_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.board.swapped(plan, took);
        true
    }
}
