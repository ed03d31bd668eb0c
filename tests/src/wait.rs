//! Waiting for facts.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time between two looks.
const STEP: Duration = Duration::from_millis(25);

/// Waits until `fact` holds; panics with `what` after `seconds`.
#[track_caller]
pub fn wait_until(what: &str, seconds: u64, mut fact: impl FnMut() -> bool) {
    wait_for(what, seconds, || fact().then_some(()));
}

/// Waits until `look` finds something; panics with `what` after `seconds`.
#[track_caller]
pub fn wait_for<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {seconds} s in vain for: {what}");
        sleep(STEP);
    }
}
