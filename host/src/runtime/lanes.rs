//! Which worker gets which slice. A slice that keeps its worker for long must not hold up other flows: its worker goes on
//! at a lower priority, another one takes its place, and what else that flow sends goes to the slow workers until it is
//! quick again. Verdicts do not depend on it: those come from counted instructions. What counts is the processor's time: on
//! a machine that is busy with other things, or a process that stood still, every slice would seem slow.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::apart;
use super::pool::Job;

/// A slice that takes more of a processor's time than this is slow. Slices are cut so that ordinary ones take a few milliseconds.
const QUICK: Duration = Duration::from_millis(100);
/// The priority of slow workers: a third of what others get where all want to run. Less would starve a transform that is
/// only expensive beside the databases of a small machine.
const NICE: i32 = 5;
/// While other flows were at work this lately, slow workers leave them half of the processors.
const RECENT: Duration = Duration::from_secs(1);
/// How soon a slow worker that waits for its turn sees that the others are gone.
const TURN: Duration = Duration::from_millis(50);
/// So many quick slices in a row, and a flow is served like the others again.
const REDEEMED: u32 = 32;

/// The two queues and who serves them.
pub(super) struct Lanes {
    /// Of both kinds each.
    workers: usize,
    start: Instant,
    quick: (Sender<Job>, Receiver<Job>),
    slow: (Sender<Job>, Receiver<Job>),
    /// Slow flows, to be read without the lock.
    slow_flows: AtomicUsize,
    /// When a quick worker began a slice last, in milliseconds after the start.
    quick_at: AtomicU64,
    state: Mutex<State>,
    /// Slow workers in the order of their calls, by the addresses of their places: the foremost may run.
    turns: Mutex<VecDeque<usize>>,
    turned: Condvar,
}

#[derive(Default)]
struct State {
    places: Vec<Arc<Place>>,
    /// Slow flows, with the quick slices that they have had since.
    flows: HashMap<Arc<str>, u32>,
    slow_workers: usize,
}

/// What one worker does.
#[derive(Default)]
pub(super) struct Place {
    /// When its slice was begun, in milliseconds after the start and at least 1; 0 while it has none.
    begun: AtomicU64,
    flow: Mutex<Option<Arc<str>>>,
    /// The slice that was looked at, by `begun`, and the processor's time of the thread then.
    seen: Mutex<(u64, Duration)>,
    /// The system's number of its thread.
    thread: AtomicI32,
    /// Set once: nobody can give a thread its priority back.
    slow: std::sync::atomic::AtomicBool,
}

/// What a worker is to do next.
pub(super) enum Next {
    Work(Job),
    /// Nothing came for a while.
    Idle,
    /// There are enough others, or no more work.
    End,
}

impl Lanes {
    pub(super) fn new(workers: usize) -> Self {
        Lanes {
            workers,
            start: Instant::now(),
            quick: unbounded(),
            slow: unbounded(),
            slow_flows: AtomicUsize::new(0),
            quick_at: AtomicU64::new(0),
            turns: Mutex::default(),
            turned: Condvar::new(),
            state: Mutex::default(),
        }
    }

    pub(super) fn submit(&self, job: Job) {
        // The receiver is here as well: it cannot fail.
        drop(self.quick.0.send(job));
    }

    /// A worker begins; called on its thread.
    pub(super) fn join(&self) -> Arc<Place> {
        let place = Arc::<Place>::default();
        place.thread.store(apart::own_thread(), Ordering::Relaxed);
        self.state().places.push(place.clone());
        place
    }

    pub(super) fn next(&self, place: &Arc<Place>, patience: Duration) -> Next {
        let slow = place.slow.load(Ordering::Relaxed);
        if slow && self.may_end(place, false) {
            return Next::End;
        }
        let queue = if slow { &self.slow.1 } else { &self.quick.1 };
        match queue.recv_timeout(patience) {
            Ok(job) if slow => self.begin(place, job),
            Ok(job) => match self.divert(job) {
                Some(job) => self.begin(place, job),
                None => self.next(place, patience),
            },
            Err(RecvTimeoutError::Timeout) if slow && self.may_end(place, true) => Next::End,
            Err(RecvTimeoutError::Timeout) => Next::Idle,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// Hands a slow flow's slice to the slow workers.
    fn divert(&self, job: Job) -> Option<Job> {
        if self.slow_flows.load(Ordering::Relaxed) == 0 {
            return Some(job);
        }
        let state = self.state();
        if !state.flows.contains_key(&job.chain.flow) {
            return Some(job);
        }
        // Under the lock: the last slow worker does not leave before it has looked for this.
        drop(self.slow.0.send(job));
        None
    }

    fn begin(&self, place: &Place, job: Job) -> Next {
        *place.flow.lock().unwrap_or_else(PoisonError::into_inner) = Some(job.chain.flow.clone());
        let begun = self.now();
        match place.slow.load(Ordering::Relaxed) {
            true => drop(self.look_at(place, begun)),
            false => self.quick_at.store(begun, Ordering::Relaxed),
        }
        place.begun.store(begun, Ordering::Relaxed);
        Next::Work(job)
    }

    /// Called before every call of a module: a slow worker waits where it would take more of the processors than is left for
    /// the likes of it. A call is bounded by its deadline, so each has its turn soon.
    pub(super) fn wait_for_turn(&self, place: &Place) {
        if !place.slow.load(Ordering::Relaxed) {
            return;
        }
        self.leave_turn(place);
        let mut turns = self.turns();
        turns.push_back(address(place));
        while turns.iter().position(|turn| *turn == address(place)).is_some_and(|ahead| ahead >= self.slow_share()) {
            turns = self.turned.wait_timeout(turns, TURN).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn leave_turn(&self, place: &Place) {
        self.turns().retain(|turn| *turn != address(place));
        self.turned.notify_all();
    }

    /// How many slow workers may run at once.
    fn slow_share(&self) -> usize {
        let since = self.now().saturating_sub(self.quick_at.load(Ordering::Relaxed));
        if Duration::from_millis(since) < RECENT { (self.workers / 2).max(1) } else { self.workers }
    }

    /// A worker is done with its slice.
    pub(super) fn done(&self, place: &Place) {
        if place.slow.load(Ordering::Relaxed) {
            self.leave_turn(place);
        }
        let begun = place.begun.swap(0, Ordering::Relaxed);
        let Some(flow) = place.flow.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if self.slow_flows.load(Ordering::Relaxed) == 0 {
            return;
        }
        let took = self.look_at(place, begun);
        let mut state = self.state();
        let Some(quick) = state.flows.get_mut(&flow) else { return };
        *quick = if took < QUICK { *quick + 1 } else { 0 };
        if *quick >= REDEEMED {
            state.flows.remove(&flow);
            tracing::debug!(%flow, "the flow's slices are quick again");
        }
        self.slow_flows.store(state.flows.len(), Ordering::Relaxed);
    }

    /// Looks for workers that have been busy for too long. Returns how many are to be replaced.
    pub(super) fn look(&self) -> usize {
        let mut state = self.state();
        let State { places, flows, slow_workers } = &mut *state;
        let mut replaced = 0;
        for place in places.iter().filter(|place| !place.slow.load(Ordering::Relaxed)) {
            let begun = place.begun.load(Ordering::Relaxed);
            if begun == 0 || self.look_at(place, begun) < QUICK {
                continue;
            }
            let Some(flow) = place.flow.lock().unwrap_or_else(PoisonError::into_inner).clone() else { continue };
            place.slow.store(true, Ordering::Relaxed);
            apart::make_polite(place.thread.load(Ordering::Relaxed), NICE);
            if flows.insert(flow.clone(), 0).is_none() {
                tracing::debug!(%flow, "the flow's slices take long; it is served at a lower priority meanwhile");
            }
            *slow_workers += 1;
            replaced += 1;
        }
        self.slow_flows.store(flows.len(), Ordering::Relaxed);
        replaced
    }

    /// Whether a slow worker is one too many: beyond their number, or idle while no flow is slow.
    fn may_end(&self, place: &Arc<Place>, idle: bool) -> bool {
        let mut state = self.state();
        let useless = idle && state.flows.is_empty() && self.slow.1.is_empty();
        let ends = state.slow_workers > self.workers || useless;
        if ends {
            state.slow_workers -= 1;
            state.places.retain(|other| !Arc::ptr_eq(other, place));
        }
        ends
    }

    /// The processor's time that the slice has taken since it was first looked at; where the system does not tell, the
    /// time since it was begun.
    fn look_at(&self, place: &Place, begun: u64) -> Duration {
        let Some(spent) = apart::processor_time(place.thread.load(Ordering::Relaxed)) else {
            return Duration::from_millis(self.now().saturating_sub(begun));
        };
        let mut seen = place.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != begun {
            *seen = (begun, spent);
        }
        spent.saturating_sub(seen.1)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64 + 1
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, VecDeque<usize>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address(place: &Place) -> usize {
    std::ptr::from_ref(place).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow() -> Arc<Place> {
        let place = Arc::<Place>::default();
        place.slow.store(true, Ordering::Relaxed);
        place
    }

    #[test]
    fn slow_workers_take_turns_while_others_are_at_work_and_none_is_left_out() {
        let lanes = Lanes::new(3);
        let places = [slow(), slow(), slow()];
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        // Others are at work all the time, also while this process stands still.
        lanes.quick_at.store(u64::MAX, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for place in &places {
                scope.spawn(|| {
                    for _ in 0..50 {
                        lanes.wait_for_turn(place);
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                    }
                    lanes.done(place);
                });
            }
        });
        assert_eq!((most.into_inner(), lanes.turns().len()), (1, 0));
    }

    #[test]
    fn slow_workers_have_all_processors_while_nobody_else_wants_them() {
        let mut lanes = Lanes::new(2);
        lanes.start -= 2 * RECENT;
        let places = [slow(), slow()];
        places.iter().for_each(|place| lanes.wait_for_turn(place));
        assert_eq!(lanes.turns().len(), 2);
    }
}
