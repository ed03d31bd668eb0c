//! A flow's life: prepare its sinks, start reader and writer, swap modules, stop. Everything that may take long
//! happens on the flow's own threads; who starts or stops a flow never waits for a server.

mod prepare;
mod read;
mod swap;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::info;

use super::breaker::Breaker;
use super::drive::Drive;
use super::finish::Finish;
use super::plan::Plan;
use super::stages::Stages;
use super::writer::{self, Writer};
use super::{Shared, watch};
use crate::board::builds::OfSinks;
use crate::board::{Board, FlowBoard};
use crate::config::{Config, Delivery};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::runtime::{Chain, Pool};
use crate::sinks::Sink;
use crate::sinks::kafka::{KafkaSink, Settings};
use crate::source::chains::Chains;
use crate::source::ownership::Ownership;
use crate::source::pace::Pace;
use crate::source::reader;

/// What every flow of the process shares.
#[derive(Clone)]
pub struct Process {
    pub config: Arc<Config>,
    /// Name of this instance: configured, or random.
    pub instance: Arc<str>,
    /// Whether the name was configured.
    pub named: bool,
    pub metrics: Arc<Metrics>,
    pub board: Arc<Board>,
    pub health: Arc<Health>,
    pub tokio: tokio::runtime::Handle,
    pub pool: Arc<Pool>,
    pub once: bool,
    /// Flows that are running, for the share of the prefetch that each may have.
    pub flows: usize,
}

/// How a flow ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// `--once`, and everything is committed.
    Done,
    /// It waits for an operator.
    Halted(String),
    /// The group gave its place to another member of the same instance.
    Displaced(String),
    /// The process has to end.
    Failed { fenced: bool, reason: String },
}

/// A flow that was started.
pub struct Running {
    pub plan: Mutex<Arc<Plan>>,
    chains: Arc<Chains>,
    sinks: Vec<Arc<dyn Sink>>,
    stop: Arc<AtomicBool>,
    abandon: Arc<AtomicBool>,
    end: Arc<Mutex<Option<End>>>,
    board: Arc<FlowBoard>,
    /// Number of the last swap that was begun.
    swaps: Arc<Mutex<u64>>,
    process: Process,
}

impl Running {
    /// Starts a flow. Errors are mistakes of the configuration; servers that are down are waited for.
    /// `before` are the modules that ran here earlier, for what has to be repeated.
    pub fn start(
        plan: Arc<Plan>,
        before: Option<Arc<Chain>>,
        sinks: Vec<Arc<dyn Sink>>,
        process: Process,
    ) -> Result<Running, String> {
        let running = Running {
            chains: Arc::new(Chains::new(plan.chain.clone(), before)),
            plan: Mutex::new(plan.clone()),
            sinks: sinks.clone(),
            stop: Arc::default(),
            abandon: Arc::default(),
            end: Arc::default(),
            board: process.board.flow(&plan.name),
            swaps: Arc::default(),
            process: process.clone(),
        };
        let builds = OfSinks { flow: plan.name.clone(), group: plan.group.clone(), sinks: sinks.clone() };
        let kinds: Vec<(String, &'static str)> = sinks.iter().map(|s| (s.name().to_owned(), s.kind())).collect();
        let parts = Parts::build(&plan, sinks, &process, &running)?;
        let end = running.end.clone();
        let thread = std::thread::Builder::new().name(format!("flow {}", plan.name));
        let run = move || {
            let ended = parts.run();
            *end.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        };
        thread.spawn(run).map_err(|cause| format!("could not start a thread for flow {}: {cause}", plan.name))?;
        running.board.started(&plan, kinds.into_iter());
        running.board.tells_builds(Arc::new(builds));
        Ok(running)
    }

    /// Asks the flow to end: no more records are read; batches on their way are finished unless `abandon` follows.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Gives up batches that are not through.
    pub fn abandon(&self) {
        self.abandon.store(true, Ordering::Relaxed);
    }

    pub fn ended(&self) -> Option<End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn plan(&self) -> Arc<Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        self.abandon();
    }
}

/// What the flow's thread works with.
struct Parts {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    rebalances: crossbeam_channel::Receiver<crate::source::consumer::Rebalance>,
    chains: Arc<Chains>,
    stop: Arc<AtomicBool>,
    pace: Arc<Pace>,
    process: Process,
}

impl Parts {
    fn build(
        plan: &Arc<Plan>,
        sinks: Vec<Arc<dyn Sink>>,
        process: &Process,
        running: &Running,
    ) -> Result<Parts, String> {
        let ownership = Arc::new(Ownership::default());
        let (events, rebalances) = crossbeam_channel::unbounded();
        let consumer = Arc::new(read::consumer(plan, process, ownership.clone(), events)?);
        let kafka = &process.config.kafka;
        let transactional = plan.delivery == Delivery::Transactional;
        let settings = Settings {
            brokers: kafka.brokers.clone(),
            properties: kafka.properties.iter().map(|(key, value)| (key.clone(), value.to_string())).collect(),
            create_topics: kafka.create_topics,
            transactional_id: transactional.then(|| format!("wasmill.{}.{}", plan.name, process.instance)),
        };
        let shared = Shared {
            name: plan.name.clone(),
            group: plan.group.clone(),
            delivery: plan.delivery,
            on_error: plan.on_error,
            dead_letters: plan.dead_letters.clone(),
            sinks,
            kafka: KafkaSink::open(settings)?,
            consumer,
            ownership,
            metrics: process.metrics.clone(),
            board: running.board.clone(),
            health: process.health.clone(),
            tokio: process.tokio.clone(),
            brokers: kafka.brokers.clone(),
            abandon: running.abandon.clone(),
        };
        Ok(Parts {
            plan: plan.clone(),
            shared: Arc::new(shared),
            rebalances,
            chains: running.chains.clone(),
            stop: running.stop.clone(),
            pace: Arc::new(Pace::new(plan.records)),
            process: process.clone(),
        })
    }

    /// The flow's thread: prepares, then reads until the end.
    fn run(self) -> End {
        let beat = self.process.health.beat(&format!("flow {} reader", self.plan.name));
        if !self.prepare(&beat) {
            return End::Stopped;
        }
        // The look-out subscribes to redriven records as well, but with `--once` all may be over before.
        let redriven = self.process.once && watch::is_redriven(&self.shared);
        if let Err(words) = watch::subscribe(&self.shared, &self.plan.topics, redriven) {
            return End::Halted(words);
        }
        let watched = watch::start(&self.shared, &self.plan.topics, redriven, self.stop.clone());
        let (sealed_tx, sealed) = crossbeam_channel::unbounded();
        let (requests_tx, requests) = crossbeam_channel::unbounded();
        let writer = Writer {
            sealed,
            pool: self.process.pool.clone(),
            chains: self.chains.clone(),
            drive: Drive { shared: self.shared.clone(), requests: requests_tx, stages: Stages::default() },
            finish: Finish::new(self.shared.clone(), Breaker::new(self.plan.breaker), self.pace.clone()),
        };
        let writer = self.spawn_writer(writer);
        let reader = self.reader(sealed_tx, requests);
        let ended = reader.run(&beat);
        self.stop.store(true, Ordering::Relaxed);
        let written = writer.and_then(|writer| writer.join().ok());
        drop(watched);
        info!(flow = %self.plan.name, "flow ended");
        end_of(&self.plan.name, ended, written)
    }

    fn spawn_writer(&self, writer: Writer) -> Option<std::thread::JoinHandle<writer::End>> {
        let health = self.process.health.clone();
        let name = format!("flow {} writer", self.plan.name);
        let stop = self.stop.clone();
        let thread = std::thread::Builder::new().name(name.clone());
        let spawned = thread.spawn(move || {
            let end = writer.run(&health.beat(&name));
            // Without a writer nothing may be read.
            stop.store(true, Ordering::Relaxed);
            end
        });
        spawned.ok()
    }
}

fn end_of(flow: &str, read: Result<reader::End, String>, written: Option<writer::End>) -> End {
    match (read, written) {
        (_, Some(writer::End::Fenced(reason))) => End::Failed { fenced: true, reason },
        (_, Some(writer::End::Stopped(reason))) => End::Halted(reason),
        (_, None) => End::Failed { fenced: false, reason: format!("flow {flow}: the writer's thread died") },
        (Err(reason), _) if reason.contains("fenced") => End::Displaced(reason),
        (Err(reason), _) => End::Failed { fenced: false, reason },
        (Ok(reader::End::Done), Some(writer::End::Drained)) => End::Done,
        (Ok(reader::End::Stopped), Some(writer::End::Drained)) => End::Stopped,
    }
}
