//! The steps of the delivery protocol by name (`tests/tests/fail_points.rs` lists them), so that a test can end or delay the process at each of them. Without the
//! feature `failpoints` everything here compiles to nothing; with it, `FAILPOINTS` in the environment decides, in the
//! words of the crate `fail`: `sql.after=3*off->return` kills at the fourth passage, `sql.after=sleep(300)` delays each.

/// A step is reached. `return` kills the process as `kill -9` does: nothing is flushed, closed or said.
#[cfg(feature = "failpoints")]
pub fn step(name: &str) {
    fail::fail_point!(name, |_| kill());
}

#[cfg(not(feature = "failpoints"))]
pub fn step(_: &str) {}

/// Whether a test has switched a safeguard off, to see that its own checks notice.
#[cfg(feature = "failpoints")]
pub fn switched(name: &str) -> bool {
    fail::fail_point!(name, |_| true);
    false
}

#[cfg(not(feature = "failpoints"))]
pub fn switched(_: &str) -> bool {
    false
}

/// Reads `FAILPOINTS`; before any thread is started.
pub fn setup() {
    #[cfg(feature = "failpoints")]
    std::mem::forget(fail::FailScenario::setup());
}

#[cfg(feature = "failpoints")]
#[allow(unsafe_code, reason = "a signal to the own process, which ends here")]
fn kill() {
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}
