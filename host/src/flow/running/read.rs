//! The reader of a flow: its consumer, where it asks for stored progress, and what it tells of lag, pauses and replays.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;

use super::{Parts, Process};
use crate::board::FlowBoard;
use crate::config::{Config, Delivery};
use crate::flow::Shared;
use crate::flow::plan::Plan;
use crate::metrics::{ByFlow, ByPartition, Metrics};
use crate::redrive;
use crate::sinks::{Sink, SinkError, Span};
use crate::source::consumer::{Context, FlowConsumer};
use crate::source::inspect::CommandLine;
use crate::source::open_batch::{Bounds, OpenBatch};
use crate::source::ownership::Ownership;
use crate::source::reader::{self, Reader};
use crate::source::resolve::Resolver;
use crate::source::{Lanes, SinkLanes};

impl Parts {
    pub(super) fn reader(
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

pub(super) fn consumer(
    plan: &Plan,
    process: &Process,
    ownership: Arc<Ownership>,
    events: crossbeam_channel::Sender<crate::source::consumer::Rebalance>,
) -> Result<FlowConsumer, String> {
    let mut settings = crate::config::properties::consumer(&process.config.kafka);
    settings.set("group.id", &*plan.group);
    // Only where it is needed: taken in bulk, an end counts as a record for the client, which goes on one behind it
    // after a pause of ours or a rebalance.
    settings.set("enable.partition.eof", if process.once { "true" } else { "false" });
    let unread = plan.unread_topics().unwrap_or_default();
    settings.set("topic.blacklist", format!("^__.*,.*\\.dlq$,{unread}"));
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
