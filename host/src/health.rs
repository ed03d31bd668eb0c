//! Whether this process works: problems by name, and the heartbeats of its threads. An outage of a sink is a problem
//! (not ready), never a reason to be restarted; only a thread that stopped beating is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a thread may go without a beat before the process is taken for stuck.
pub const BEAT_LIMIT: Duration = Duration::from_secs(30);

/// Shared by all threads of the process.
#[derive(Debug)]
pub struct Health {
    start: Instant,
    draining: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    problems: BTreeMap<String, String>,
    /// Digest of the modules by flow.
    running: BTreeMap<String, Arc<str>>,
    beats: BTreeMap<u64, (String, Arc<AtomicU64>)>,
    next_beat: u64,
}

/// The heartbeat of one thread. Dropping it takes the thread off the list: one that ends must not look stuck.
#[derive(Debug)]
pub struct Beat {
    id: u64,
    /// Milliseconds after the start of `health` of the last beat.
    last: Arc<AtomicU64>,
    health: Arc<Health>,
}

impl Health {
    pub fn new() -> Arc<Self> {
        Arc::new(Health { start: Instant::now(), draining: AtomicBool::new(false), state: Mutex::default() })
    }

    /// Not ready because of `key` (`flow quotes`, `sink postgres`); replaces what was said of it before.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        self.state().problems.insert(key.into(), message.into());
    }

    /// As [`Health::problem`]; tells whether anything else was said of it before.
    pub fn problem_is_new(&self, key: &str, message: &str) -> bool {
        let before = self.state().problems.insert(key.into(), message.into());
        before.as_deref() != Some(message)
    }

    /// The problem of `key` is over.
    pub fn solved(&self, key: &str) {
        self.state().problems.remove(key);
    }

    /// Name and reason, sorted by name.
    pub fn problems(&self) -> Vec<(String, String)> {
        self.state().problems.iter().map(|(key, message)| (key.clone(), message.clone())).collect()
    }

    /// A flow runs with these modules, or (`None`) not any more.
    pub fn runs(&self, flow: &str, digest: Option<Arc<str>>) {
        let mut state = self.state();
        match digest {
            Some(digest) => drop(state.running.insert(flow.into(), digest)),
            None => drop(state.running.remove(flow)),
        }
    }

    /// Digest of the modules that a flow runs with.
    pub fn running(&self, flow: &str) -> Option<Arc<str>> {
        self.state().running.get(flow).cloned()
    }

    /// A heartbeat that begins now.
    pub fn beat(self: &Arc<Self>, name: &str) -> Beat {
        let last = Arc::new(AtomicU64::new(self.now()));
        let mut state = self.state();
        let id = state.next_beat;
        state.next_beat += 1;
        state.beats.insert(id, (name.into(), last.clone()));
        drop(state);
        Beat { id, last, health: self.clone() }
    }

    /// Threads whose last beat is longer ago than `limit`, sorted.
    pub fn late(&self, limit: Duration) -> Vec<String> {
        let limit = millis(limit);
        // Read before the beats: a beat that comes in between is not in the future.
        let now = self.now();
        let state = self.state();
        let late = state.beats.values().filter(|(_, last)| now.saturating_sub(last.load(Ordering::Relaxed)) > limit);
        let mut names: Vec<String> = late.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Whether records flow as they should.
    pub fn ready(&self) -> bool {
        !self.is_draining() && self.state().problems.is_empty()
    }

    /// The process is about to end: not ready any more, but alive.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Time since the process started.
    pub fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beat {
    pub fn tick(&self) {
        self.last.store(self.health.now(), Ordering::Relaxed);
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.health.state().beats.remove(&self.id);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_makes_it_not_ready_until_it_is_solved() {
        let health = Health::new();
        assert!(health.ready());
        health.problem("sink postgres", "no answer");
        health.problem("flow quotes", "waiting");
        health.problem("sink postgres", "wrong password");
        assert!(!health.ready());
        let problems = health.problems();
        assert_eq!(problems[0], ("flow quotes".into(), "waiting".into()));
        assert_eq!(problems[1], ("sink postgres".into(), "wrong password".into()));
        health.solved("sink postgres");
        health.solved("flow quotes");
        assert!(health.ready());
        health.draining();
        assert!(!health.ready());
    }

    #[test]
    fn what_runs_is_known_until_it_stops() {
        let health = Health::new();
        health.runs("quotes", Some("a".into()));
        health.runs("quotes", Some("b".into()));
        assert_eq!(health.running("quotes").as_deref(), Some("b"));
        health.runs("quotes", None);
        assert_eq!(health.running("quotes"), None);
    }

    #[test]
    fn a_thread_that_stops_beating_is_named_and_one_that_ends_is_not() {
        let health = Health::new();
        let (stuck, busy, ended) = (health.beat("stuck"), health.beat("busy"), health.beat("ended"));
        let limit = Duration::from_millis(20);
        let wait = Instant::now();
        drop(ended);
        while health.late(limit).is_empty() && wait.elapsed() < Duration::from_secs(10) {
            busy.tick();
            std::thread::yield_now();
        }
        busy.tick();
        assert!(health.late(limit).contains(&"stuck".to_owned()));
        assert!(!health.late(limit).contains(&"ended".to_owned()));
        stuck.tick();
        assert!(health.late(Duration::from_secs(60)).is_empty());
    }
}
