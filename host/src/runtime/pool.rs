//! The workers: plain threads that transform slices, shared by all flows. Each keeps its own instances, so no store is
//! ever shared; a worker that ends takes the process with it, because a pipeline that is half dead must not look alive.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::instance::Instance;
use super::step::Instances;
use super::transform::transform;
use super::{Chain, Runtime};
use crate::outcome::Transformed;
use crate::record::Slice;

/// Four times what `max_wasm_stack` needs at least: a guest's overflow must be a trap, never an abort.
const STACK: usize = 4 << 20;
/// How soon an idle worker lets go of the instances of replaced modules.
const SWEEP: Duration = Duration::from_secs(5);

/// A slice on its way through a chain.
pub struct Job {
    pub slice: Slice,
    pub chain: Arc<Chain>,
    /// Handed back with the result.
    pub index: usize,
    /// Gets the result; a receiver that is gone is not an error.
    pub reply: Sender<(usize, Transformed)>,
}

/// The worker threads.
pub struct Pool {
    jobs: Sender<Job>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `workers` threads. `died` is called when one of them ends although it was not told to.
    pub fn start(runtime: Arc<Runtime>, workers: usize, died: Arc<dyn Fn(String) + Send + Sync>) -> Pool {
        let (jobs, queue) = unbounded();
        let stopping = Arc::new(AtomicBool::new(false));
        let start = |number: usize| {
            let worker = Worker { queue: queue.clone(), stopping: stopping.clone(), kept: Kept::new(runtime.clone()) };
            let died = died.clone();
            let run = move || {
                let mut worker = worker;
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| worker.run())) {
                    died(format!("worker {number} of the modules panicked: {}", panic_words(panic.as_ref())));
                }
            };
            std::thread::Builder::new()
                .name(format!("wasm-{number}"))
                .stack_size(STACK)
                .spawn(run)
                .map_err(|cause| died_starting(number, &cause))
        };
        let (threads, failed): (Vec<_>, Vec<_>) = (0..workers.max(1)).map(start).partition(Result::is_ok);
        failed.into_iter().filter_map(Result::err).for_each(|message| died(message));
        Pool { jobs, stopping, threads: threads.into_iter().filter_map(Result::ok).collect() }
    }

    /// Queues a slice. A flow has at most one slice of a partition in flight, so the queue stays short.
    pub fn submit(&self, job: Job) {
        // Fails only when all workers are gone, which `died` has been told.
        drop(self.jobs.send(job));
    }

    /// Ends the workers: slices in the queue are dropped, the ones being transformed are finished.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.jobs);
        for thread in self.threads {
            // A panic was reported where it happened.
            drop(thread.join());
        }
    }
}

struct Worker {
    queue: Receiver<Job>,
    stopping: Arc<AtomicBool>,
    kept: Kept,
}

impl Worker {
    fn run(&mut self) {
        loop {
            match self.queue.recv_timeout(SWEEP) {
                Ok(_) if self.stopping.load(Ordering::Relaxed) => {}
                Ok(job) => {
                    let transformed = transform(&mut self.kept, &job.chain, &job.slice);
                    drop(job.reply.send((job.index, transformed)));
                }
                Err(RecvTimeoutError::Timeout) => self.kept.sweep(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// The instances of one worker.
pub(super) struct Kept {
    runtime: Arc<Runtime>,
    /// By chain and step. The weak reference keeps the address from being used again for another chain.
    instances: HashMap<(usize, usize), (Weak<Chain>, Instance)>,
}

impl Kept {
    pub(super) fn new(runtime: Arc<Runtime>) -> Self {
        Kept { runtime, instances: HashMap::new() }
    }

    fn sweep(&mut self) {
        self.instances.retain(|_, (chain, _)| chain.strong_count() > 0);
    }
}

impl Instances for Kept {
    fn take(&mut self, chain: &Arc<Chain>, step: usize) -> Result<Instance, String> {
        if let Some((_, instance)) = self.instances.remove(&(Arc::as_ptr(chain) as usize, step)) {
            return Ok(instance);
        }
        self.sweep();
        self.runtime.instance(chain, step)
    }

    fn keep(&mut self, chain: &Arc<Chain>, step: usize, instance: Instance) {
        if !instance.worn() {
            self.instances.insert((Arc::as_ptr(chain) as usize, step), (Arc::downgrade(chain), instance));
        }
    }

    fn metered(&mut self, chain: &Arc<Chain>, step: usize) -> Result<Instance, String> {
        self.runtime.metered_instance(chain, step)
    }
}

/// What a panic said.
pub(super) fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

fn died_starting(number: usize, cause: &std::io::Error) -> String {
    format!("worker {number} of the modules cannot be started: {cause}")
}
