//! Keeps what runs equal to what is wanted: flows of the configuration and of the dropped modules. Reacts to the
//! modules folder, to flows that end, and to shutdown; a refused module never displaces the one that runs.

mod adopt;
mod kept;
mod rollback;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tracing::{error, info, warn};

use self::rollback::Past;
use crate::board::{Board, Order, Status};
use crate::config::{Config, Limits};
use crate::flow::plan::{Plan, Refusal, plan};
use crate::flow::running::{End, Process, Running};
use crate::health::Health;
use crate::metrics::BySwap;
use crate::modules::store::{Kept, Ran, Store};
use crate::modules::{Event, Folder, FolderSettings};
use crate::runtime::apart::Apart;
use crate::runtime::{Module, Pool, Runtime, cache};
use crate::shutdown::Shutdown;
use crate::sinks::{self, Sink};

/// How often flows and shutdown are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Time for batches on their way after a stop was asked for; then they are given up.
const DRAIN: Duration = Duration::from_secs(4);
/// Time after which the process ends whatever its threads do.
const LEAVE: Duration = Duration::from_secs(5);
/// A flow that loses its place in the group twice within this time has a rival.
const DISPLACED_AGAIN: Duration = Duration::from_secs(60);
/// What the health of the host says of the modules folder as a whole goes by this name.
const FOLDER: &str = "modules";

/// Exit codes of the process.
pub mod exit {
    pub const RUNTIME: u8 = 1;
    pub const CONFIG: u8 = 2;
    pub const THREAD_DIED: u8 = 70;
    pub const FENCED: u8 = 78;
}

/// What the host is started with.
pub struct Settings {
    pub config: Config,
    /// Stop when everything that was there at the start is committed.
    pub once: bool,
    /// What operators see and ask, with the metrics and the health of the process.
    pub board: Arc<Board>,
    pub shutdown: Arc<Shutdown>,
    pub tokio: tokio::runtime::Handle,
}

/// Why the host ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    pub message: String,
}

impl Failure {
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }
}

/// Not ready until the flows have been started. To be said before anybody can ask.
pub fn not_ready_yet(health: &Health) {
    health.problem(FOLDER, "flows start when the modules folder has been looked through");
}

/// Runs the host until it is told to stop, `--once` is done, or it must not go on.
pub fn run(settings: Settings) -> Result<(), Failure> {
    let mut supervisor = Supervisor::start(settings)?;
    let result = supervisor.run();
    supervisor.stop_all();
    result
}

/// The modules and flows of the process.
struct Supervisor {
    process: Process,
    runtime: Arc<Runtime>,
    shutdown: Arc<Shutdown>,
    folder: Option<Folder>,
    events: Receiver<Event>,
    died: Arc<Mutex<Option<String>>>,
    sinks: BTreeMap<String, Arc<dyn Sink>>,
    modules: BTreeMap<String, Arc<Module>>,
    flows: BTreeMap<String, Running>,
    /// Flows that are being stopped, under the name of the flow, and since when.
    leaving: BTreeMap<String, (Running, Instant)>,
    /// Why flows do not run, as it was told.
    refused: BTreeMap<String, String>,
    /// Flows that have ended by themselves, with the digest of the modules that did it and the reason.
    halted: BTreeMap<String, (Arc<str>, String)>,
    /// Flows that lost their place in the group to a member of the same instance, and when.
    displaced: BTreeMap<String, Instant>,
    /// Plans of each flow: what runs, and what ran before.
    past: BTreeMap<String, Past>,
    /// Where builds are kept over restarts.
    store: Option<Arc<Store>>,
    /// What the store says of each flow.
    ran: BTreeMap<String, Ran>,
    /// Modules that ran before this start.
    recalled: BTreeMap<Kept, Arc<Module>>,
    /// Flows of which the store does not know what runs, because it could not be written.
    unsaved: BTreeSet<String>,
    /// Why modules could not be put into the store.
    unkept: Option<String>,
    orders: Receiver<Order>,
    done: BTreeSet<String>,
    /// The folder was looked through at least once.
    scanned: bool,
    dirty: bool,
}

impl Supervisor {
    fn start(settings: Settings) -> Result<Self, Failure> {
        let config = Arc::new(settings.config);
        let died: Arc<Mutex<Option<String>>> = Arc::default();
        let on_death = {
            let died = died.clone();
            let words: Arc<dyn Fn(String) + Send + Sync> = Arc::new(move |words| {
                died.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(words);
            });
            words
        };
        let failed = |cause: anyhow::Error| Failure::new(exit::RUNTIME, format!("{cause:#}"));
        let cache = cache::directory(config.modules.cache.clone());
        let (metrics, health) = (settings.board.metrics.clone(), settings.board.health.clone());
        let runtime = Runtime::new(metrics.clone(), cache, Apart::of(&config.modules)).map_err(failed)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = config.host.workers.unwrap_or(cores).max(1);
        let pool = Arc::new(Pool::start(runtime.clone(), workers, on_death.clone()));
        let sinks = open_sinks(&config)?;
        let store = config.modules.store.as_ref().map(|dir| Arc::new(Store::new(config.base.join(dir))));
        let ran = store.iter().flat_map(|store| store.flows()).map(|ran| (ran.flow.clone(), ran)).collect();
        let folder = FolderSettings {
            dir: config.base.join(&config.modules.dir),
            scan_interval: config.modules.scan_interval.0,
            limits: limits_of(&config),
            store: store.clone(),
            died: on_death,
        };
        let (folder, events) = Folder::start(folder, runtime.clone());
        let named = !config.host.instance.is_empty();
        let instance: Arc<str> = if named { config.host.instance.clone() } else { random_name() }.into();
        settings.board.name_instance(instance.clone());
        let orders = settings.board.orders();
        let process = Process {
            flows: config.flow.len().max(1),
            config,
            instance,
            named,
            metrics,
            health,
            board: settings.board,
            tokio: settings.tokio,
            pool,
            once: settings.once,
        };
        Ok(Supervisor {
            process,
            runtime,
            shutdown: settings.shutdown,
            folder: Some(folder),
            events,
            died,
            sinks,
            modules: BTreeMap::new(),
            flows: BTreeMap::new(),
            leaving: BTreeMap::new(),
            refused: BTreeMap::new(),
            halted: BTreeMap::new(),
            displaced: BTreeMap::new(),
            past: BTreeMap::new(),
            store,
            ran,
            recalled: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            unkept: None,
            orders,
            done: BTreeSet::new(),
            scanned: false,
            dirty: true,
        })
    }

    fn run(&mut self) -> Result<(), Failure> {
        let health = self.process.health.clone();
        let beat = health.beat("supervisor");
        let mut starting = true;
        let (events, orders) = (self.events.clone(), self.orders.clone());
        loop {
            beat.tick();
            crossbeam_channel::select! {
                recv(events) -> event => match event {
                    Ok(event) => self.take(event),
                    Err(_) => return Err(Failure::new(exit::THREAD_DIED, "the thread of the modules folder died")),
                },
                // The board outlives the supervisor, so this channel is never closed.
                recv(orders) -> order => order.into_iter().for_each(|order| self.obey(order)),
                default(LOOK) => {}
            }
            if let Some(words) = self.died.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(Failure::new(exit::THREAD_DIED, words));
            }
            if self.shutdown.requested() {
                return Ok(());
            }
            self.take_ends()?;
            if self.scanned && self.dirty {
                self.dirty = false;
                self.reconcile();
                // Flows that could not be started are problems of their own.
                if std::mem::take(&mut starting) {
                    health.solved(FOLDER);
                }
            }
            if self.process.once
                && let Some(result) = self.once_result()
            {
                return result;
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Loaded(module) => {
                let name = module.name.to_string();
                self.process.health.solved(&module_key(&name));
                self.process.board.module_loaded(&module);
                self.modules.insert(name, module);
                self.dirty = true;
            }
            Event::Recalled(module) => {
                let kept = Kept { name: module.name.to_string(), digest: module.digest.to_string() };
                self.recalled.insert(kept, module);
            }
            Event::Store { problem } => self.tell_store(problem),
            // Logged by the folder; here it becomes visible in the health of the host while it is so.
            Event::Refused { stem, code, message, .. } => {
                let stays = if self.modules.contains_key(&*stem) { "; the one before stays in place" } else { "" };
                let words = format!("{code}: {message}{stays}");
                self.process.board.module_refused(&stem, words.clone());
                self.process.health.problem(&module_key(&stem), words);
                self.count_swap(&stem, "refused");
            }
            Event::Removed { stem } => {
                self.process.board.module_removed(&stem);
                self.process.health.solved(&module_key(&stem));
                self.modules.remove(&*stem);
                self.dirty = true;
            }
            Event::FolderMissing { message, .. } => self.process.health.problem(FOLDER, message),
            Event::FolderFound if self.scanned => self.process.health.solved(FOLDER),
            Event::FolderFound => not_ready_yet(&self.process.health),
            Event::Scanned => {
                self.dirty |= !self.scanned;
                self.scanned = true;
                if !self.unsaved.is_empty() {
                    self.save_past();
                }
            }
        }
    }

    /// Starts, swaps and stops flows until what runs is what is wanted.
    fn reconcile(&mut self) {
        let (plans, refused) = self.wanted();
        let plans = self.as_pinned(plans);
        self.tell_refused(refused);
        let gone: Vec<String> = self.flows.keys().filter(|name| !self.is_wanted(&plans, name)).cloned().collect();
        gone.iter().for_each(|name| self.leave(name));
        for (name, plan) in plans {
            if self.halted.get(&name).is_some_and(|(digest, _)| *digest == plan.chain.digest)
                || self.done.contains(&name)
            {
                continue;
            }
            match self.flows.get(&name).map(|running| running.plan()) {
                Some(current) if current.chain.digest == plan.chain.digest => {}
                Some(current) if current.same_shape(&plan) => {
                    self.count_swap(&name, "ok");
                    self.process.health.runs(&name, Some(plan.chain.digest.clone()));
                    self.note_plan(&plan);
                    match self.past.get(&name).and_then(Past::rolled_back) {
                        Some(asked) => self.flows[&name].swap_back(plan, asked),
                        None => self.flows[&name].swap(plan),
                    }
                }
                Some(_) => self.leave(&name),
                None if self.leaving.contains_key(&name) => {}
                None => self.start_flow(plan),
            }
        }
        self.save_past();
    }

    /// A flow whose modules are refused or missing for a moment keeps running with what it has; one whose own module
    /// was removed does not.
    fn is_wanted(&self, plans: &BTreeMap<String, Arc<Plan>>, name: &str) -> bool {
        let present = |running: &Running| {
            running.plan().chain.steps.iter().all(|step| self.modules.contains_key(&*step.module.name))
        };
        plans.contains_key(name) || self.flows.get(name).is_some_and(present)
    }

    fn start_flow(&mut self, plan: Arc<Plan>) {
        let name = plan.name.to_string();
        let sinks: Vec<Arc<dyn Sink>> = plan.sinks.iter().filter_map(|sink| self.sinks.get(sink).cloned()).collect();
        let modules: Vec<&str> = plan.chain.steps.iter().map(|step| &*step.module.name).collect();
        info!(
            flow = %name, modules = %modules.join(" → "), topics = %plan.topics.join(", "), group = %plan.group,
            delivery = ?plan.delivery, "flow starts"
        );
        if self.halted.remove(&name).is_some() {
            self.process.health.solved(&format!("flow {name}"));
        }
        let digest = plan.chain.digest.clone();
        self.note_plan(&plan);
        let before = self.past.get(&name).and_then(|past| past.before(&plan));
        match Running::start(plan, before, sinks, self.process.clone()) {
            Ok(running) => {
                self.process.health.runs(&name, Some(digest));
                self.flows.insert(name, running);
            }
            Err(words) => {
                let mut refused = self.refused.clone();
                refused.insert(name, words);
                self.tell_refused(refused);
            }
        }
    }

    fn leave(&mut self, name: &str) {
        if let Some(running) = self.flows.remove(name) {
            info!(flow = name, "flow drains and stops");
            running.stop();
            self.process.board.flow(name).set_status(Status::Draining);
            self.process.health.runs(name, None);
            self.leaving.insert(name.to_owned(), (running, Instant::now()));
        }
    }

    /// A flow has drained and is gone, unless it starts again.
    fn left(&mut self, name: &str) {
        self.leaving.remove(name);
        self.process.board.flow(name).set_status(Status::Refused);
        self.forget_unless_here(name);
    }

    fn forget_unless_here(&self, name: &str) {
        let configured = self.process.config.flow.contains_key(name);
        let here = self.flows.contains_key(name) || self.leaving.contains_key(name) || self.halted.contains_key(name);
        if !configured && !here && !self.modules.contains_key(name) {
            self.process.board.forget(name);
        }
    }

    fn take_ends(&mut self) -> Result<(), Failure> {
        let before = self.leaving.len();
        let left: Vec<String> = self
            .leaving
            .iter()
            .filter(|(_, (running, _))| running.ended().is_some())
            .map(|(name, _)| name.clone())
            .collect();
        // What cannot go on, for a sink that is away or a module that asks for another attempt, is read again.
        let late = self.leaving.values().filter(|(_, since)| since.elapsed() > DRAIN);
        late.for_each(|(running, _)| running.abandon());
        left.iter().for_each(|name| self.left(name));
        self.dirty |= self.leaving.len() != before;
        let ended: Vec<(String, End)> =
            self.flows.iter().filter_map(|(name, running)| Some((name.clone(), running.ended()?))).collect();
        for (name, end) in ended {
            let Some(running) = self.flows.remove(&name) else { continue };
            self.process.health.runs(&name, None);
            match end {
                End::Failed { fenced, reason } => {
                    return Err(Failure::new(if fenced { exit::FENCED } else { exit::THREAD_DIED }, reason));
                }
                End::Displaced(reason) => self.join_once_more(name, reason)?,
                End::Halted(reason) => {
                    error!(flow = %name, "flow stopped: {reason}");
                    self.process.health.problem(&format!("flow {name}"), reason.clone());
                    self.process.board.flow(&name).set_status(Status::Stopped);
                    self.halted.insert(name, (running.plan().chain.digest.clone(), reason));
                }
                End::Done | End::Stopped => drop(self.done.insert(name)),
            }
        }
        Ok(())
    }

    /// A coordinator that fails before a new member is on its disk comes back with the one before it, and fences the
    /// new one though nobody else is there: joining again settles that. Another host of our name would displace us again.
    fn join_once_more(&mut self, name: String, reason: String) -> Result<(), Failure> {
        let before = self.displaced.insert(name.clone(), Instant::now());
        if before.is_some_and(|before| before.elapsed() < DISPLACED_AGAIN) {
            return Err(Failure::new(exit::FENCED, reason));
        }
        warn!(flow = %name, "joining the group once more: {reason}");
        self.dirty = true;
        Ok(())
    }

    /// With `--once`: what there is to say when every flow has ended.
    fn once_result(&self) -> Option<Result<(), Failure>> {
        if !self.scanned || !self.flows.is_empty() || !self.leaving.is_empty() || self.dirty {
            return None;
        }
        let bad = self.process.health.problems().into_iter().map(|(key, words)| format!("{key}: {words}"));
        let bad: Vec<String> = bad.collect();
        match (self.done.is_empty(), self.halted.is_empty() && self.refused.is_empty()) {
            (false, true) => Some(Ok(())),
            (_, false) => Some(Err(Failure::new(exit::RUNTIME, bad.join("\n")))),
            (true, true) => {
                let dir = self.process.config.base.join(&self.process.config.modules.dir);
                let words =
                    format!("there is no flow to run: {} holds no module and none is configured", dir.display());
                Some(Err(Failure::new(exit::CONFIG, words)))
            }
        }
    }

    fn tell_refused(&mut self, refused: BTreeMap<String, String>) {
        for name in self.refused.keys().filter(|name| !refused.contains_key(*name)) {
            match self.halted.get(name) {
                // The same modules as when it stopped: they stay stopped.
                Some((_, reason)) => self.process.health.problem(&format!("flow {name}"), reason.clone()),
                None => self.process.health.solved(&format!("flow {name}")),
            }
            self.forget_unless_here(name);
        }
        for (name, words) in &refused {
            if self.refused.get(name) != Some(words) {
                self.process.health.problem(&format!("flow {name}"), words.clone());
                warn!(flow = %name, "{words}");
            }
            // Shows it also where it never ran.
            self.process.board.flow(name);
        }
        self.refused = refused;
    }

    fn count_swap(&self, module: &str, result: &str) {
        let labels = BySwap { module: module.into(), result: result.into() };
        self.process.metrics.module_swaps.get_or_create(&labels).inc();
    }

    /// Ends every flow: first what is on its way is finished, then given up.
    fn stop_all(&mut self) {
        self.process.health.draining();
        let begun = Instant::now();
        let flows: Vec<Running> = std::mem::take(&mut self.flows)
            .into_values()
            .chain(std::mem::take(&mut self.leaving).into_values().map(|(running, _)| running))
            .collect();
        flows.iter().for_each(Running::stop);
        while flows.iter().any(|flow| flow.ended().is_none()) && begun.elapsed() < LEAVE {
            if begun.elapsed() > DRAIN {
                flows.iter().for_each(Running::abandon);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Some(folder) = self.folder.take() {
            folder.stop();
        }
    }
}

fn open_sinks(config: &Config) -> Result<BTreeMap<String, Arc<dyn Sink>>, Failure> {
    let open = |(name, sink): (&String, &crate::config::Sink)| {
        let opened = sinks::open(name, sink, &config.base);
        opened.map(|sink| (name.clone(), sink)).map_err(|words| Failure::new(exit::CONFIG, words))
    };
    config.sinks.iter().map(open).collect()
}

/// Limits under which a module is tried at load: those of the first flow that names it.
fn limits_of(config: &Arc<Config>) -> Box<dyn Fn(&str) -> Limits + Send> {
    let config = config.clone();
    Box::new(move |stem| {
        let names = |(name, flow): &(&String, &crate::config::Flow)| match &flow.modules {
            Some(modules) => modules.iter().any(|module| module == stem),
            None => *name == stem,
        };
        config.flow.iter().find(names).map(|(_, flow)| flow.limits.clone()).unwrap_or_default()
    })
}

fn random_name() -> String {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's hasher is seeded by the system for each process.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{random:016x}")
}

fn module_key(stem: &str) -> String {
    format!("module {stem}")
}

/// Why there is no plan, for [`Supervisor::wanted`].
fn words(refusal: &Refusal) -> String {
    refusal.to_string()
}
