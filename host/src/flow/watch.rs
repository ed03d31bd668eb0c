//! Tells when a flow's topics are missing or the cluster does not answer. The client itself waits in silence. Takes up
//! the topic of redriven records once it is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use tracing::{info, warn};

use super::Shared;
use crate::redrive;
use crate::source::topics;

/// Between two looks while everything is well.
const CALM: Duration = Duration::from_secs(10);
/// Between two looks while something is missing.
const EAGER: Duration = Duration::from_secs(1);

/// Starts the look-out; it ends soon after `stop` is set or what is returned is dropped.
pub fn start(shared: &Arc<Shared>, wanted: &[String], redriven: bool, stop: Arc<AtomicBool>) -> Arc<()> {
    let alive = Arc::new(());
    let (token, shared, wanted) = (Arc::downgrade(&alive), shared.clone(), wanted.to_vec());
    std::thread::spawn(move || {
        let key = format!("flow {} source", shared.name);
        let mut told = None;
        let mut redriven = redriven;
        while token.strong_count() > 0 && !stop.load(Ordering::Relaxed) {
            let problem = look(&shared, &wanted, &mut redriven);
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

/// Whether there are redriven records to read.
pub fn is_redriven(shared: &Shared) -> bool {
    let topic = redrive::topic(&shared.group);
    topics::partition_counts(&shared.consumer, std::slice::from_ref(&topic)).is_ok_and(|found| !found.is_empty())
}

/// Subscribes to the flow's topics, and where it exists to that of its redriven records.
pub fn subscribe(shared: &Shared, wanted: &[String], redriven: bool) -> Result<(), String> {
    let redrive = redrive::topic(&shared.group);
    let names: Vec<&str> = wanted.iter().map(String::as_str).chain(redriven.then_some(redrive.as_str())).collect();
    let subscribed = shared.consumer.subscribe(&names);
    subscribed.map_err(|cause| format!("could not subscribe to {}: {cause}", names.join(", ")))
}

/// Notices that the topic of redriven records has come or gone.
fn look_for_redriven(shared: &Shared, wanted: &[String], exists: bool, redriven: &mut bool) {
    if exists == *redriven {
        return;
    }
    match subscribe(shared, wanted, exists) {
        Ok(()) => {
            *redriven = exists;
            let reads = if exists { "reads" } else { "does not read any more" };
            info!(flow = %shared.name, "{reads} redriven records from {}", redrive::topic(&shared.group));
        }
        Err(words) => warn!(flow = %shared.name, "{words}"),
    }
}

fn look(shared: &Shared, wanted: &[String], redriven: &mut bool) -> Option<String> {
    let redrive = redrive::topic(&shared.group);
    let names: Vec<String> = wanted.iter().chain([&redrive]).cloned().collect();
    let mut found = match topics::partition_counts(&shared.consumer, &names) {
        Ok(found) => found,
        Err(cause) => {
            return Some(format!("{cause}; check that [kafka] brokers = \"{}\" is right and up", shared.brokers));
        }
    };
    look_for_redriven(shared, wanted, found.remove(&redrive).is_some(), redriven);
    let missing: Vec<&str> =
        wanted.iter().filter(|name| !name.starts_with('^') && !found.contains_key(*name)).map(String::as_str).collect();
    match (missing.is_empty(), found.is_empty()) {
        (false, _) => Some(format!(
            "source topic {} does not exist; it is waited for: create it, correct the name, or grant Read and Describe on it",
            missing.join(", ")
        )),
        (true, true) => Some(format!("no topic matches {}; one is waited for", wanted.join(", "))),
        (true, false) => None,
    }
}
