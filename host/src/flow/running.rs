//! A flow's life: prepare its sinks, start reader and writer, swap modules, stop. Everything that may take long
//! happens on the flow's own threads; who starts or stops a flow never waits for a server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use tracing::{info, warn};

use super::breaker::Breaker;
use super::plan::Plan;
use super::stages::Stages;
use super::writer::{self, Silence, Writer};
use super::{Shared, watch};
use crate::board::builds::OfSinks;
use crate::board::{Board, FlowBoard};
use crate::config::{Config, Delivery};
use crate::health::{Beat, Health};
use crate::metrics::{ByFlow, ByPartition, Metrics};
use crate::redrive;
use crate::router::KAFKA;
use crate::runtime::{Chain, Pool};
use crate::sinks::kafka::{KafkaSink, Settings};
use crate::sinks::{Sink, SinkError, Span, backoff};
use crate::source::chains::Chains;
use crate::source::consumer::{Context, FlowConsumer};
use crate::source::inspect::CommandLine;
use crate::source::open_batch::{Bounds, OpenBatch};
use crate::source::ownership::Ownership;
use crate::source::pace::Pace;
use crate::source::reader::{self, Reader};
use crate::source::resolve::Resolver;
use crate::source::{Lanes, SinkLanes};

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

    /// Puts other modules in place for the next batch, once their tables are prepared. The running ones go on until
    /// then, and a later swap overtakes this one.
    pub fn swap(&self, plan: Arc<Plan>) {
        let begun = Instant::now();
        let number = self.next_swap(&plan);
        let (place, sinks, stop) = (self.place(number), self.sinks.clone(), self.stop.clone());
        let process = self.process.clone();
        std::thread::spawn(move || {
            let key = format!("flow {} swap", plan.name);
            let overtaken = || place.is_overtaken() || stop.load(Ordering::Relaxed);
            if prepare(&plan, &sinks, &process, &key, &overtaken) && place.put(&plan, &process, begun) {
                info!(flow = %plan.name, digest = %plan.chain.digest, "modules in place for the next batch");
            }
        });
    }

    /// Puts modules back in place that ran here before, so that their tables need no preparation.
    pub fn swap_back(&self, plan: Arc<Plan>, begun: Instant) {
        let number = self.next_swap(&plan);
        if self.place(number).put(&plan, &self.process, begun) {
            info!(flow = %plan.name, digest = %plan.chain.digest, "the modules of before are in place for the next batch");
        }
    }

    fn next_swap(&self, plan: &Arc<Plan>) -> u64 {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan.clone();
        let mut last = self.swaps.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        *last
    }

    fn place(&self, number: u64) -> Place {
        Place { chains: self.chains.clone(), board: self.board.clone(), swaps: self.swaps.clone(), number }
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

/// Where the modules of a swap are put, unless a later swap was begun meanwhile.
struct Place {
    chains: Arc<Chains>,
    board: Arc<FlowBoard>,
    swaps: Arc<Mutex<u64>>,
    number: u64,
}

impl Place {
    fn is_overtaken(&self) -> bool {
        *self.swaps.lock().unwrap_or_else(PoisonError::into_inner) != self.number
    }

    /// The next batch is sealed with these modules; false where the swap was overtaken.
    fn put(&self, plan: &Plan, process: &Process, begun: Instant) -> bool {
        let last = self.swaps.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != self.number {
            return false;
        }
        self.chains.swap(plan.chain.clone());
        let took = begun.elapsed();
        let labels = ByFlow { flow: plan.name.to_string() };
        process.metrics.module_swap_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.board.swapped(plan, took);
        true
    }
}

/// What the flow's thread works with.
struct Parts {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    rebalances: crossbeam_channel::Receiver<crate::source::consumer::Rebalance>,
    chains: Arc<Chains>,
    stop: Arc<AtomicBool>,
    abandon: Arc<AtomicBool>,
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
        let consumer = Arc::new(consumer(plan, process, ownership.clone(), events)?);
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
            abandon: running.abandon.clone(),
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
            shared: self.shared.clone(),
            sealed,
            requests: requests_tx,
            pool: self.process.pool.clone(),
            abandon: self.abandon.clone(),
            stages: Stages::default(),
            silence: Silence::default(),
            breaker: Breaker::new(self.plan.breaker),
            pace: self.pace.clone(),
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

    /// Makes sinks and producer ready, for as long as it takes; false where the flow is stopped meanwhile.
    fn prepare(&self, beat: &Beat) -> bool {
        let stopped = || {
            beat.tick();
            self.stop.load(Ordering::Relaxed)
        };
        let key = format!("flow {} start", self.plan.name);
        prepare(&self.plan, &self.shared.sinks, &self.process, &key, &stopped) && self.init_producer(&stopped)
    }

    /// Ends what a predecessor of the same name left open, before the first offset is read.
    fn init_producer(&self, stopped: &dyn Fn() -> bool) -> bool {
        let key = format!("flow {} sink {KAFKA}", self.plan.name);
        let mut attempt = 0;
        while !stopped() {
            match self.shared.kafka.init(Duration::from_secs(10)) {
                Ok(()) => {
                    self.process.health.solved(&key);
                    return true;
                }
                Err(error) => {
                    attempt += 1;
                    let words = error.words();
                    warn!(flow = %self.plan.name, "{words}");
                    self.process.health.problem(&key, words);
                    pause(backoff::next(attempt), stopped);
                }
            }
        }
        false
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

    fn reader(
        &self,
        sealed: crossbeam_channel::Sender<crate::source::Sealed>,
        requests: crossbeam_channel::Receiver<reader::Request>,
    ) -> Reader {
        let resolver = Resolver {
            flow: self.plan.name.clone(),
            redrive: redrive::topic(&self.plan.group).into(),
            consumer: self.shared.consumer.clone(),
            lanes: Arc::new(StoredLanes(self.shared.clone())),
            start: self.plan.start.clone(),
            plausible_gap: 4 * self.plan.records as i64,
            group: self.plan.group.clone(),
            command: CommandLine {
                flow: self.plan.name.clone(),
                file: self.process.config.file.clone(),
                brokers: self.shared.brokers.clone(),
            },
            transaction_patience: 2 * transaction_timeout(&self.process.config),
            metrics: self.process.metrics.clone(),
            publishes: self.plan.delivery == Delivery::Transactional,
            highest: Mutex::default(),
            seen: Mutex::default(),
        };
        Reader {
            flow: self.plan.name.clone(),
            redrive: redrive::topic(&self.plan.group).into(),
            consumer: self.shared.consumer.clone(),
            ownership: self.shared.ownership.clone(),
            rebalances: self.rebalances.clone(),
            requests,
            resolver: Arc::new(resolver),
            chains: self.chains.clone(),
            pool: self.process.pool.clone(),
            open: OpenBatch::new(Bounds { records: self.pace.clone(), bytes: self.plan.bytes }),
            sealed,
            transactional: self.plan.delivery == Delivery::Transactional,
            health: self.process.health.clone(),
            board: self.shared.board.clone(),
            on_lag: lag_gauge(&self.shared.board, &self.process.metrics),
            on_pause: pause_gauge(&self.shared.board, &self.process.metrics),
            on_other_module: replay_counter(&self.plan.name, &self.process.metrics),
            stop: self.stop.clone(),
            once: self.process.once,
        }
    }
}

/// Progress as the SQL sinks have it.
struct StoredLanes(Arc<Shared>);

impl Lanes for StoredLanes {
    fn lanes(&self, spans: &[Span]) -> Result<Vec<SinkLanes>, SinkError> {
        if self.0.delivery == Delivery::AtLeastOnce {
            return Ok(Vec::new());
        }
        let sql = self.0.sinks.iter().filter(|sink| sink.is_sql());
        let lanes = |sink: &Arc<dyn Sink>| {
            Ok((sink.name().to_owned(), self.0.tokio.block_on(sink.lanes(&self.0.group, spans))?))
        };
        sql.map(lanes).collect()
    }
}

/// Prepares every sink, again and again; false where `stopped` says so first.
fn prepare(plan: &Plan, sinks: &[Arc<dyn Sink>], process: &Process, key: &str, stopped: &dyn Fn() -> bool) -> bool {
    let mut attempt = 0;
    'again: while !stopped() {
        for sink in sinks {
            let targets: Vec<_> = plan.targets.iter().filter(|target| target.sink == sink.name()).cloned().collect();
            if let Err(error) = block_on_unless(&process.tokio, stopped, sink.prepare(&targets)) {
                attempt += 1;
                warn!(flow = %plan.name, sink = sink.name(), "{error}");
                process.health.problem(key, error.to_string());
                pause(backoff::next(attempt), stopped);
                continue 'again;
            }
        }
        process.health.solved(key);
        return true;
    }
    process.health.solved(key);
    false
}

/// Waits for a sink until a stop is asked for.
fn block_on_unless(
    tokio: &tokio::runtime::Handle,
    stopped: &dyn Fn() -> bool,
    work: impl Future<Output = Result<(), SinkError>>,
) -> Result<(), SinkError> {
    let told = async {
        while !stopped() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(SinkError::wait("the flow stops and does not wait for the sink any longer"))
    };
    tokio.block_on(async {
        tokio::select! { done = work => done, broken_off = told => broken_off }
    })
}

/// Sleeps in short steps, so that a stop is noticed.
fn pause(time: Duration, stopped: &dyn Fn() -> bool) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline && !stopped() {
        std::thread::sleep(Duration::from_millis(50).min(deadline.saturating_duration_since(Instant::now())));
    }
}

fn consumer(
    plan: &Plan,
    process: &Process,
    ownership: Arc<Ownership>,
    events: crossbeam_channel::Sender<crate::source::consumer::Rebalance>,
) -> Result<FlowConsumer, String> {
    let mut settings = crate::config::properties::consumer(&process.config.kafka);
    settings.set("group.id", &*plan.group);
    settings.set("enable.partition.eof", if process.once { "true" } else { "false" });
    let by_pattern = plan.topics.iter().any(|topic| topic.starts_with('^'));
    let foreign = if by_pattern { redrive::foreign_topics(&plan.group) + "," } else { String::new() };
    settings.set("topic.blacklist", format!("^__.*,.*\\.dlq$,{foreign}{}", written_topics(plan)));
    let share = (16_384 / process.flows.max(1)).max(1_024);
    settings.set("queued.max.messages.kbytes", share.to_string());
    if process.named {
        settings.set("group.instance.id", format!("{}.{}", plan.name, process.instance));
    }
    let session = settings.get("session.timeout.ms").and_then(|ms| ms.parse().ok()).unwrap_or(45_000);
    let patience = Duration::from_millis(session / 3).min(Duration::from_secs(10));
    let context = Context { flow: plan.name.clone(), ownership, events, patience, told: Mutex::default() };
    let created: Result<BaseConsumer<Context>, _> = settings.create_with_context(context);
    created.map_err(|cause| format!("could not create the Kafka consumer of flow {}: {cause}", plan.name))
}

/// Topics that the flow writes, as librdkafka's patterns: a regular expression must not subscribe to them.
fn written_topics(plan: &Plan) -> String {
    let kafka = plan.targets.iter().filter(|target| target.sink == KAFKA);
    let patterns = kafka.map(|target| match target.prefix() {
        Some(prefix) => format!("^{}.*", regex::escape(prefix)),
        None => format!("^{}$", regex::escape(&target.name)),
    });
    patterns.collect::<Vec<_>>().join(",")
}

fn lag_gauge(board: &Arc<FlowBoard>, metrics: &Arc<Metrics>) -> reader::TellLag {
    let (flow, board, metrics) = (board.name.to_string(), board.clone(), metrics.clone());
    Box::new(move |partition, standing| {
        let age = board.stands(partition, standing);
        let (topic, partition) = partition;
        let labels = ByPartition { flow: flow.clone(), topic: topic.to_string(), partition: partition.to_string() };
        match standing {
            Some((committed, end)) => {
                metrics.consumer_lag.get_or_create(&labels).set((end - committed).max(0));
                metrics.commit_age.get_or_create(&labels).set(age.as_secs_f64());
            }
            None => {
                metrics.consumer_lag.remove(&labels);
                metrics.commit_age.remove(&labels);
            }
        }
    })
}

/// How long a transaction of ours may be open: others are not expected to take longer than twice that.
fn transaction_timeout(config: &Config) -> Duration {
    let settings = crate::config::properties::producer(&config.kafka);
    let millis = settings.get("transaction.timeout.ms").and_then(|ms| ms.parse().ok()).unwrap_or(15_000);
    Duration::from_millis(millis)
}

fn replay_counter(flow: &str, metrics: &Arc<Metrics>) -> Box<dyn Fn() + Send> {
    let counter = metrics.replays_with_other_module.get_or_create(&ByFlow { flow: flow.to_owned() }).clone();
    Box::new(move || {
        counter.inc();
    })
}

fn pause_gauge(board: &Arc<FlowBoard>, metrics: &Arc<Metrics>) -> Box<dyn Fn(bool) + Send> {
    let gauge = metrics.backpressure.get_or_create(&ByFlow { flow: board.name.to_string() }).clone();
    let board = board.clone();
    Box::new(move |paused| {
        board.behind(paused);
        gauge.set(i64::from(paused));
    })
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
