//! The workers: plain threads that transform slices, shared by all flows. Each keeps its own instances, so no store is
//! ever shared; a worker that ends takes the process with it, because a pipeline that is half dead must not look alive.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::instance::Instance;
use super::lanes::{Lanes, Next};
use super::step::Instances;
use super::transform::transform;
use super::{Chain, Runtime};
use crate::outcome::Transformed;
use crate::record::Slice;

/// Four times what `max_wasm_stack` needs at least: a guest's overflow must be a trap, never an abort.
const STACK: usize = 4 << 20;
/// How soon an idle worker lets go of the instances of replaced modules.
const SWEEP: Duration = Duration::from_secs(5);
/// How soon an idle worker notices that the pool stops.
const STOPS: Duration = Duration::from_millis(100);

/// A slice on its way through a chain.
pub struct Job {
    pub slice: Slice,
    pub chain: Arc<Chain>,
    /// Handed back with the result.
    pub index: usize,
    /// Gets the result; a receiver that is gone is not an error.
    pub reply: Sender<(usize, Transformed)>,
}

/// How often workers are looked at that have been busy for long.
const LOOK: Duration = Duration::from_millis(20);

/// The worker threads.
pub struct Pool {
    shared: Arc<Shared>,
    /// Looks for slices that take long.
    watch: Option<JoinHandle<()>>,
}

struct Shared {
    runtime: Arc<Runtime>,
    lanes: Lanes,
    stopping: AtomicBool,
    died: Arc<dyn Fn(String) + Send + Sync>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    started: AtomicUsize,
}

impl Pool {
    /// Starts `workers` threads. `died` is called when one of them ends although it was not told to.
    pub fn start(runtime: Arc<Runtime>, workers: usize, died: Arc<dyn Fn(String) + Send + Sync>) -> Pool {
        let workers = workers.max(1);
        let shared = Arc::new(Shared {
            runtime,
            lanes: Lanes::new(workers),
            stopping: AtomicBool::new(false),
            died,
            threads: Mutex::default(),
            started: AtomicUsize::new(0),
        });
        (0..workers).for_each(|_| shared.start_worker());
        let watching = shared.clone();
        let watch = std::thread::Builder::new().name("wasm-watch".into()).spawn(move || watching.watch());
        let watch = watch.map_err(|cause| (shared.died)(format!("the workers cannot be watched: {cause}"))).ok();
        Pool { shared, watch }
    }

    /// Queues a slice. A flow has at most one slice of a partition in flight, so the queue stays short.
    pub fn submit(&self, job: Job) {
        self.shared.lanes.submit(job);
    }

    /// Ends the workers: slices in the queue are dropped, the ones being transformed are finished.
    pub fn stop(mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // The watch starts workers: nobody is started after it has ended.
        drop(self.watch.take().map(JoinHandle::join));
        let threads = std::mem::take(&mut *self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic was reported where it happened.
            drop(thread.join());
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn start_worker(self: &Arc<Self>) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let shared = self.clone();
        let run = move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| shared.work())) {
                (shared.died)(format!("worker {number} of the modules panicked: {}", panic_words(panic.as_ref())));
            }
        };
        let started = std::thread::Builder::new().name(format!("wasm-{number}")).stack_size(STACK).spawn(run);
        match started {
            Ok(thread) => {
                let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
                threads.retain(|thread| !thread.is_finished());
                threads.push(thread);
            }
            Err(cause) => (self.died)(format!("worker {number} of the modules cannot be started: {cause}")),
        }
    }

    fn watch(self: &Arc<Self>) {
        while !self.stopping.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
            (0..self.lanes.look()).for_each(|_| self.start_worker());
        }
    }

    fn work(&self) {
        let place = self.lanes.join();
        let mut kept = Kept::new(self.runtime.clone(), || self.lanes.wait_for_turn(&place));
        let mut idle = Duration::ZERO;
        while !self.stopping.load(Ordering::Relaxed) {
            match self.lanes.next(&place, STOPS) {
                Next::Work(job) => {
                    let transformed = transform(&mut kept, &job.chain, &job.slice);
                    self.lanes.done(&place);
                    drop(job.reply.send((job.index, transformed)));
                    idle = Duration::ZERO;
                }
                Next::Idle => {
                    idle += STOPS;
                    if idle >= SWEEP {
                        kept.sweep();
                        idle = Duration::ZERO;
                    }
                }
                Next::End => return,
            }
        }
    }
}

/// The instances of one worker.
pub(super) struct Kept<F> {
    runtime: Arc<Runtime>,
    /// By chain and step. The weak reference keeps the address from being used again for another chain.
    instances: HashMap<(usize, usize), (Weak<Chain>, Instance)>,
    /// What goes before every call.
    wait: F,
}

impl<F: Fn()> Kept<F> {
    pub(super) fn new(runtime: Arc<Runtime>, wait: F) -> Self {
        Kept { runtime, instances: HashMap::new(), wait }
    }

    fn sweep(&mut self) {
        self.instances.retain(|_, (chain, _)| chain.strong_count() > 0);
    }
}

impl<F: Fn()> Instances for Kept<F> {
    fn take(&mut self, chain: &Arc<Chain>, step: usize) -> Result<Instance, String> {
        (self.wait)();
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
        (self.wait)();
        self.runtime.metered_instance(chain, step)
    }
}

/// What a panic said.
pub(super) fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
