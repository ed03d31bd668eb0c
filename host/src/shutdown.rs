//! The wish to stop, from a signal or from inside. The first SIGTERM or SIGINT asks; a second one ends the process at
//! once. Stopping itself is everybody's own business: they look here, or wait here.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Shared by all threads and tasks.
#[derive(Debug, Default)]
pub struct Shutdown {
    requested: Mutex<bool>,
    changed: Condvar,
    notify: Notify,
}

impl Shutdown {
    /// One that only [`Shutdown::request`] sets off.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// One that SIGTERM and SIGINT set off. The handlers are in place when this returns, also as process 1.
    pub fn listen() -> std::io::Result<Arc<Self>> {
        let shutdown = Shutdown::new();
        // A runtime of its own: signals must work when all other threads are busy or stuck.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let heard = shutdown.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                loop {
                    let code = tokio::select! { _ = terminate.recv() => 143, _ = interrupt.recv() => 130 };
                    if heard.requested() {
                        std::process::exit(code);
                    }
                    tracing::info!("stopping; a second signal ends at once");
                    heard.request();
                }
            });
        })?;
        Ok(shutdown)
    }

    pub fn requested(&self) -> bool {
        *self.requested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn request(&self) {
        *self.requested.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
        self.notify.notify_waiters();
    }

    /// Waits at most so long; tells whether the process shall stop.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        let mut requested = self.requested.lock().unwrap_or_else(PoisonError::into_inner);
        while !*requested {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            requested = self.changed.wait_timeout(requested, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits until the process shall stop.
    pub async fn wait(&self) {
        loop {
            let notified = self.notify.notified();
            if self.requested() {
                return;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_tasks_both_hear_of_it() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.wait_timeout(Duration::from_millis(1)));
        let thread = std::thread::spawn({
            let shutdown = shutdown.clone();
            move || shutdown.wait_timeout(Duration::from_secs(60))
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let task = runtime.spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.wait().await }
        });
        shutdown.request();
        assert!(thread.join().unwrap());
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), task).await }).unwrap().unwrap();
        assert!(shutdown.requested() && shutdown.wait_timeout(Duration::ZERO));
    }
}
