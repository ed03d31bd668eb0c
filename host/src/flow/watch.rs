//! Tells when a flow's topics are missing or the cluster does not answer. The client itself waits in silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::{info, warn};

use super::Shared;
use crate::source::topics;

/// Between two looks while everything is well.
const CALM: Duration = Duration::from_secs(10);
/// Between two looks while something is missing.
const EAGER: Duration = Duration::from_secs(1);

/// Starts the look-out; it ends soon after `stop` is set or what is returned is dropped.
pub fn start(shared: &Arc<Shared>, wanted: &[String], stop: Arc<AtomicBool>) -> Arc<()> {
    let alive = Arc::new(());
    let (token, shared, wanted) = (Arc::downgrade(&alive), shared.clone(), wanted.to_vec());
    std::thread::spawn(move || {
        let key = format!("flow {} source", shared.name);
        let mut told = None;
        while token.strong_count() > 0 && !stop.load(Ordering::Relaxed) {
            let problem = look(&shared, &wanted);
            match (&problem, &told) {
                (Some(words), told) if told.as_ref() != Some(words) => {
                    warn!(flow = %shared.name, "{words}");
                    shared.health.problem(&key, words.clone());
                }
                (None, Some(_)) => {
                    info!(flow = %shared.name, "the source is there");
                    shared.health.solved(&key);
                }
                _ => {}
            }
            let calm = if problem.is_some() { EAGER } else { CALM };
            told = problem;
            let mut waited = Duration::ZERO;
            while waited < calm && token.strong_count() > 0 && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
                waited += Duration::from_millis(100);
            }
        }
        shared.health.solved(&key);
    });
    alive
}

fn look(shared: &Shared, wanted: &[String]) -> Option<String> {
    let found = match topics::partition_counts(&shared.consumer, wanted) {
        Ok(found) => found,
        Err(cause) => {
            return Some(format!("{cause}; check that [kafka] brokers = \"{}\" is right and up", shared.brokers));
        }
    };
    let missing: Vec<&str> =
        wanted.iter().filter(|name| !name.starts_with('^') && !found.contains_key(*name)).map(String::as_str).collect();
    match (missing.is_empty(), found.is_empty()) {
        (false, _) => Some(format!(
            "source topic {} does not exist; it is waited for: create it, or correct the name",
            missing.join(", ")
        )),
        (true, true) => Some(format!("no topic matches {}; one is waited for", wanted.join(", "))),
        (true, false) => None,
    }
}
