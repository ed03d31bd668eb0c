//! Makes the faults of a plan happen and undoes them, one thread per lane. A fault counts where records are in flight
//! at its moment; the others are told apart.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::HOSTS;
use super::host::Slot;
use super::load::Load;
use super::plan::{Fault, Lane, Plan, Step};
use super::rig::Rig;
use crate::proxy::Proxy;

/// The session's time-out of the hosts: who stands still for longer loses its partitions.
pub const SESSION: Duration = Duration::from_secs(6);
/// A host listens by then; until it does, SIGTERM may find no handler.
const LISTENING: Duration = Duration::from_secs(60);
/// For so long after it was killed or came back, Kafka may be slow to tell the offsets of now.
const SHAKEN: Duration = Duration::from_secs(60);
/// A break that was ordered at a byte happens within this time or is called off.
const BREAK: Duration = Duration::from_secs(3);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    HostKills,
    /// Stood still, for longer than the session in the second.
    Freezes,
    Zombies,
    Visits,
    KafkaKills,
    PostgresStops,
    MongoKills,
    Cuts,
    Stalls,
    Slow,
    Swaps,
    /// Happened while nothing was in flight, or hit nothing.
    Idle,
}

const COUNTS: usize = Count::Idle as usize + 1;

/// What has happened so far.
pub struct Tally {
    began: Instant,
    counts: [AtomicU64; COUNTS],
    journal: Mutex<File>,
    last: Mutex<Instant>,
    /// When Kafka was killed or came back.
    kafka: Mutex<Option<Instant>>,
    findings: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Tally {
    /// Begins now; `journal` gets a line for everything that happens.
    pub fn new(journal: File) -> Self {
        let now = Instant::now();
        Tally {
            began: now,
            counts: Default::default(),
            journal: Mutex::new(journal),
            last: Mutex::new(now),
            kafka: Mutex::default(),
            findings: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Writes a line with the time since the beginning.
    pub fn say(&self, words: impl fmt::Display) {
        let line = format!("{:8.3} {words}", self.began.elapsed().as_secs_f64());
        eprintln!("{line}");
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(journal, "{line}").ok();
    }

    /// Something that must not be: the run has failed.
    pub fn find(&self, words: String) {
        self.say(format_args!("FOUND: {words}"));
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(words);
    }

    pub fn findings(&self) -> Vec<String> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn count(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Ordering::SeqCst)
    }

    /// When the last fault was undone.
    pub fn last_fault(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether Kafka is away or was until a moment ago.
    pub fn kafka_is_shaken(&self) -> bool {
        let at = *self.kafka.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| at.elapsed() < SHAKEN)
    }

    fn shake(&self, count: Count) {
        if count == Count::KafkaKills {
            *self.kafka.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    fn add(&self, count: Count) {
        self.counts[count as usize].fetch_add(1, Ordering::SeqCst);
    }

    fn undone(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn wait_until(&self, at: Duration) {
        while self.began.elapsed() < at && !self.over.load(Ordering::SeqCst) {
            sleep((at - self.began.elapsed().min(at)).min(Duration::from_millis(50)));
        }
    }
}

/// Runs the whole plan; returns when `length` is over and every fault is undone.
pub fn run(rig: &Rig, plan: &Plan, length: Duration, load: &Load, tally: &Tally) {
    let build = AtomicU32::new(1);
    let faults = Faults { rig, load, tally, build };
    thread::scope(|scope| {
        for (lane, steps) in &plan.lanes {
            let faults = &faults;
            scope.spawn(move || faults.lane(*lane, steps, length));
        }
    });
    tally.wait_until(length);
}

struct Faults<'a> {
    rig: &'a Rig,
    load: &'a Load,
    tally: &'a Tally,
    build: AtomicU32,
}

impl Faults<'_> {
    fn lane(&self, lane: Lane, steps: &[Step], length: Duration) {
        for step in steps {
            self.tally.wait_until(step.at);
            if self.tally.began.elapsed() > length {
                return;
            }
            if let Err(cause) = self.happen(lane, step.fault) {
                self.tally.find(format!("{lane:?}: the fault could not be made or undone: {cause:#}"));
            }
            self.tally.undone();
        }
    }

    fn happen(&self, lane: Lane, fault: Fault) -> anyhow::Result<()> {
        match (lane, fault) {
            (Lane::Host(number), Fault::Kill { down }) => self.kill_host(&self.rig.hosts[number], down),
            (Lane::Host(number), Fault::Freeze { lasts }) => {
                self.freeze(&self.rig.hosts[number], lasts);
                Ok(())
            }
            (Lane::Visitor, Fault::Visit { lasts }) => self.visit(&self.rig.hosts[HOSTS], lasts),
            (Lane::Kafka, Fault::Kill { down }) => self.kill_service("kafka1", Count::KafkaKills, down),
            (Lane::Postgres, Fault::Kill { down }) => self.kill_service("postgres", Count::PostgresStops, down),
            (Lane::Mongo, Fault::Kill { down }) => self.kill_service("ferretdb", Count::MongoKills, down),
            (Lane::Modules, Fault::Swap) => self.swap(),
            (Lane::PostgresWire, fault) => {
                self.on_the_wire("postgres", |host| &host.to_postgres, fault);
                Ok(())
            }
            (Lane::MongoWire, fault) => {
                self.on_the_wire("mongodb", |host| &host.to_mongodb, fault);
                Ok(())
            }
            other => anyhow::bail!("{other:?} is no fault of this lane"),
        }
    }

    /// Counts a fault where it hits something; whether it does.
    fn counted(&self, count: Count, hit: bool, words: impl fmt::Display) -> bool {
        let in_flight = self.load.in_flight();
        let counts = hit && in_flight > 0;
        self.tally.add(if counts { count } else { Count::Idle });
        self.tally.say(format_args!("{words}{}", if counts { "" } else { " (not counted)" }));
        counts
    }

    fn kill_host(&self, host: &Slot, down: Duration) -> anyhow::Result<()> {
        self.counted(Count::HostKills, true, format_args!("kill -9 {} for {down:?}", host.name));
        host.kill();
        sleep(down);
        host.start()
    }

    fn freeze(&self, host: &Slot, lasts: Duration) {
        host.freeze(true);
        let counts = self.counted(Count::Freezes, true, format_args!("stop {} for {lasts:?}", host.name));
        if counts && lasts > SESSION {
            self.tally.add(Count::Zombies);
        }
        sleep(lasts);
        host.freeze(false);
    }

    fn visit(&self, host: &Slot, lasts: Duration) -> anyhow::Result<()> {
        self.counted(Count::Visits, true, format_args!("{} joins for {lasts:?}", host.name));
        host.start()?;
        host.wait_until_listening(LISTENING)?;
        sleep(lasts);
        host.stop()
    }

    fn kill_service(&self, service: &str, count: Count, down: Duration) -> anyhow::Result<()> {
        self.counted(count, true, format_args!("kill {service} for {down:?}"));
        self.tally.shake(count);
        self.rig.kill(service)?;
        sleep(down);
        self.rig.revive(service).with_context(|| format!("{service} did not come back"))?;
        self.tally.shake(count);
        self.tally.say(format_args!("{service} is back"));
        Ok(())
    }

    fn swap(&self) -> anyhow::Result<()> {
        let build = self.build.fetch_add(1, Ordering::SeqCst) + 1;
        self.counted(Count::Swaps, true, format_args!("build {build} of the modules"));
        self.rig.install(build)
    }

    fn on_the_wire(&self, sink: &str, proxy: impl Fn(&Slot) -> &Proxy, fault: Fault) {
        let hosts = &self.rig.hosts;
        match fault {
            Fault::Cut { host: None, .. } => {
                let broken: usize = hosts.iter().map(|host| proxy(host).snap()).sum();
                self.counted(Count::Cuts, broken > 0, format_args!("cut {broken} connections to {sink}"));
            }
            Fault::Cut { host: Some(host), after: None } => {
                let broken = proxy(&hosts[host]).snap();
                self.counted(Count::Cuts, broken > 0, format_args!("cut {broken} connections to {sink} of host{host}"));
            }
            Fault::Cut { host: Some(host), after: Some(bytes) } => {
                proxy(&hosts[host]).snap_after(bytes);
                sleep(BREAK);
                let hit = !proxy(&hosts[host]).call_off();
                self.counted(
                    Count::Cuts,
                    hit,
                    format_args!("cut host{host} from {sink} within an answer, after {bytes} bytes"),
                );
            }
            Fault::Stall { host, lasts } => {
                proxy(&hosts[host]).stall(true);
                self.counted(Count::Stalls, true, format_args!("stall host{host} to {sink} for {lasts:?}"));
                sleep(lasts);
                proxy(&hosts[host]).stall(false);
            }
            Fault::Slow { host, delay, lasts } => {
                proxy(&hosts[host]).slow(delay);
                self.counted(Count::Slow, true, format_args!("{sink} answers host{host} {delay:?} late for {lasts:?}"));
                sleep(lasts);
                proxy(&hosts[host]).slow(Duration::ZERO);
            }
            _ => {}
        }
    }
}
