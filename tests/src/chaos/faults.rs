//! Carries the plan out: hosts in their places, services, the network, modules.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::plan::Fault;
use super::rig::Rig;
use crate::proxy::Proxy;
use crate::{Case, Host, guests};

/// Everything that can fail.
pub(super) struct World<'a> {
    pub(super) case: &'a Case,
    pub(super) rig: Rig,
    /// Before Postgres and before the MongoDB server.
    pub(super) proxies: [Proxy; 2],
    /// A configuration per place.
    pub(super) configs: Vec<String>,
    pub(super) hosts: Vec<Mutex<Option<Host>>>,
    pub(super) modules: [&'static str; 2],
    pub(super) counts: Mutex<BTreeMap<&'static str, usize>>,
    /// Services that are being restarted must not be stopped again meanwhile.
    pub(super) broker: Mutex<()>,
    pub(super) postgres: Mutex<()>,
    /// Last words of hosts that ended by themselves.
    pub(super) ended: Mutex<Vec<String>>,
    pub(super) swaps: Mutex<u32>,
    pub(super) peaks: Mutex<(f64, usize)>,
}

impl World<'_> {
    /// Runs through the plan; returns when the last fault is over.
    pub(super) fn suffer(&self, plan: &[(Duration, Fault)]) {
        let begun = Instant::now();
        thread::scope(|scope| {
            for (at, fault) in plan {
                while begun.elapsed() < *at {
                    self.look_after(false);
                    thread::sleep(Duration::from_millis(50).min(at.saturating_sub(begun.elapsed())));
                }
                eprintln!("{:7.2}  {fault:?}", begun.elapsed().as_secs_f64());
                self.strike(scope, *fault);
            }
        });
        self.look_after(true);
    }

    fn strike<'s>(&'s self, scope: &'s Scope<'s, '_>, fault: Fault) {
        match fault {
            Fault::Kill { host, away } => _ = scope.spawn(move || self.kill(host, away)),
            Fault::Stop { host, still } => _ = scope.spawn(move || self.stand_still(host, still)),
            Fault::KillBroker => _ = scope.spawn(|| self.restart_broker()),
            Fault::StopPostgres { away } => _ = scope.spawn(move || self.restart_postgres(away)),
            Fault::Cut { proxy, away } => {
                self.count("cuts");
                self.proxies[proxy].cut();
                scope.spawn(move || self.restore(proxy, away));
            }
            Fault::Stall { proxy, away } => {
                self.count("stalls");
                self.proxies[proxy].stall();
                scope.spawn(move || self.restore(proxy, away));
            }
            Fault::Join { stay } => _ = scope.spawn(move || self.join(stay)),
            Fault::Swap { flow } => self.swap(flow),
        }
    }

    fn kill(&self, place: usize, away: Duration) {
        let mut host = self.host(place);
        if let Some(host) = host.take() {
            self.count("kills");
            self.note_peaks(&host);
            host.kill();
            thread::sleep(away);
        }
        *host = Some(self.case.spawn(&self.configs[place]));
    }

    fn stand_still(&self, place: usize, still: Duration) {
        // Held all the while: a host that stands still is not killed.
        let host = self.host(place);
        if let Some(host) = host.as_ref() {
            self.count("stops");
            host.signal(libc::SIGSTOP);
            thread::sleep(still);
            host.signal(libc::SIGCONT);
        }
    }

    fn restart_broker(&self) {
        let _alone = self.broker.lock().expect("no fault panicked");
        self.count("broker kills");
        self.rig.kill_broker();
        self.rig.start_broker();
        thread::sleep(Duration::from_secs(12));
    }

    fn restart_postgres(&self, away: Duration) {
        let _alone = self.postgres.lock().expect("no fault panicked");
        self.count("postgres stops");
        self.rig.stop_postgres();
        thread::sleep(away);
        self.rig.start_postgres();
    }

    fn restore(&self, proxy: usize, away: Duration) {
        thread::sleep(away);
        self.proxies[proxy].restore();
    }

    fn join(&self, stay: Duration) {
        self.count("joins");
        let host = self.case.spawn(&self.configs[self.hosts.len()]);
        thread::sleep(stay);
        // It leaves in order, or is killed where it cannot within its time.
        host.signal(libc::SIGTERM);
        thread::sleep(Duration::from_secs(7));
        drop(host);
    }

    fn swap(&self, flow: usize) {
        self.count("swaps");
        let mut swaps = self.swaps.lock().expect("no fault panicked");
        *swaps += 1;
        self.case.install_as(self.modules[flow], &guests::with_number("chaos", *swaps));
    }

    /// Puts a host where one has ended by itself (a thread that died, a fence), as a supervisor of processes does.
    fn look_after(&self, last: bool) {
        for (place, host) in self.hosts.iter().enumerate() {
            let Ok(mut host) = host.try_lock() else { continue };
            if let Some(ended) = host.as_ref().and_then(Host::exited) {
                let words = host.as_ref().map(Host::stderr).unwrap_or_default();
                let tail: Vec<&str> = words.lines().rev().take(3).collect();
                let words = format!("host {place} ended with {ended}: {}", tail.join(" | "));
                eprintln!("{words}");
                self.ended.lock().expect("no fault panicked").push(words);
                *host = None;
            }
            if host.is_none() {
                *host = Some(self.case.spawn(&self.configs[place]));
            }
            if let Some(host) = host.as_ref().filter(|_| last) {
                host.signal(libc::SIGCONT);
            }
        }
    }

    pub(super) fn note_peaks(&self, host: &Host) {
        let (memory, files) = host.size();
        let mut peaks = self.peaks.lock().expect("no fault panicked");
        *peaks = (peaks.0.max(memory), peaks.1.max(files));
    }

    fn host(&self, place: usize) -> std::sync::MutexGuard<'_, Option<Host>> {
        self.hosts[place].lock().expect("no fault panicked")
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().expect("no fault panicked").entry(what).or_default() += 1;
    }
}
