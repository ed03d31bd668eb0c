//! `wasmill flow reset`: moves the consumer group and what the sinks keep of its progress together. Moving only one of
//! them has no effect: what a sink has passed it does not write again. Deletes nobody's rows, documents or records.

mod report;

use std::path::Path;
use std::sync::Arc;

use crate::cli::check::plans;
use crate::cli::{Failure, tokio_runtime};
use crate::config::{Config, Start, start};
use crate::sinks::{self, Lane, Sink, Span};
use crate::source::group::{Group, MoveError, Standing};

pub(super) const EXAMPLES: &str = "\
Examples:
  wasmill flow reset quotes --to earliest                      everything once more
  wasmill flow reset quotes --to timestamp:2026-01-31T00:00:00Z
  wasmill flow reset quotes --to offset:42 --only topic_quotes/0
  wasmill flow reset quotes --to latest --dry-run              shows what would be skipped";

#[derive(clap::Args, Debug)]
pub(super) struct ResetArgs {
    /// The flow; of a dropped module its file stem
    #[arg(value_name = "NAME")]
    flow: String,
    /// earliest, latest, offset:N or timestamp:T (2026-01-31T00:00:00Z or milliseconds)
    #[arg(long, value_name = "PLACE", value_parser = start::parse)]
    to: Start,
    /// Only this topic or partition; may be repeated
    #[arg(long, value_name = "TOPIC[/PARTITION]")]
    only: Vec<String>,
    /// Show what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// What the command needs to know of a flow.
struct Flow {
    group: String,
    topics: Vec<String>,
    /// Sinks that may hold progress or guards.
    sinks: Vec<String>,
    /// Destinations as people know them.
    targets: Vec<String>,
}

/// A partition on its way.
struct Move {
    standing: Standing,
    /// How far group and sinks were; none where nothing was read.
    old: Option<i64>,
    new: i64,
}

impl Move {
    fn again(&self) -> i64 {
        self.old.map_or(0, |old| (old - self.new).max(0))
    }

    /// What will not be read; without an old place nothing was about to be.
    fn skipped(&self) -> i64 {
        self.old.map_or(0, |old| (self.new - old).max(0))
    }
}

pub(super) fn run(args: &ResetArgs, file: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let flow = flow(&config, &args.flow)?;
    let group = Group::open(&config.kafka, &flow.group).map_err(Failure::environment)?;
    refuse_running(&group, args, &flow)?;
    let tokio = tokio_runtime()?;
    let sinks = open_sinks(&config, &flow)?;
    let mut standings = group.standings(&flow.topics).map_err(Failure::environment)?;
    standings.retain(|standing| is_meant(&args.only, standing));
    if standings.is_empty() {
        return Err(Failure::runtime(format!(
            "flow {}: there is no such partition of {}; nothing was changed",
            args.flow,
            flow.topics.join(", ")
        )));
    }
    let lanes = tokio.block_on(lanes(&sinks, &flow.group, &standings))?;
    let mut moves = Vec::with_capacity(standings.len());
    for (index, standing) in standings.into_iter().enumerate() {
        let new = group.find(&standing, &args.to).map_err(Failure::environment)?;
        let stored = lanes.iter().filter_map(|lanes| lanes[index].as_ref()).map(|lane| lane.next_offset);
        let old = standing.committed.as_ref().map(|(offset, _)| *offset).into_iter().chain(stored).max();
        moves.push(Move { standing, old, new });
    }
    if !args.dry_run {
        carry_out(args, &flow, &group, &sinks, &moves, &tokio)?;
    }
    report::tell(args, &flow, &moves);
    Ok(())
}

/// The flow as a host would run it; where its modules are gone, as the configuration names it.
fn flow(config: &Config, name: &str) -> Result<Flow, Failure> {
    let plans = plans(config)?;
    if let Some(plan) = plans.iter().find(|plan| *plan.name == *name) {
        return Ok(Flow {
            group: plan.group.to_string(),
            topics: plan.topics.clone(),
            sinks: plan.sinks.clone(),
            targets: plan.targets.iter().map(|target| target.label()).collect(),
        });
    }
    let configured = config.flow.get(name).and_then(|flow| Some((flow, flow.topics.clone()?)));
    if let Some((flow, topics)) = configured {
        let group = flow.group.clone().unwrap_or_else(|| format!("wasmill.{name}"));
        let sinks = config.sinks.keys().cloned().collect();
        return Ok(Flow { group, topics, sinks, targets: Vec::new() });
    }
    let known: Vec<&str> = plans.iter().map(|plan| &*plan.name).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(Failure::config(format!(
        "there is no flow {name}: {} holds no module of that name that could run, and no [flow.{name}] names topics; \
         flows: {known} (wasmill check says more)",
        config.base.join(&config.modules.dir).display()
    )))
}

fn refuse_running(group: &Group, args: &ResetArgs, flow: &Flow) -> Result<(), Failure> {
    let members = group.members().map_err(Failure::environment)?;
    if members.is_empty() {
        return Ok(());
    }
    Err(in_use(args, flow, &format!("{} ({})", members.len(), members.join(", "))))
}

fn in_use(args: &ResetArgs, flow: &Flow, members: &str) -> Failure {
    Failure::runtime(format!(
        "flow {} is running: its consumer group {} has members: {members}; stop the hosts that run it, or take its module \
         out of their folder, and try again; a killed host is a member until its session has timed out",
        args.flow, flow.group
    ))
}

fn open_sinks(config: &Config, flow: &Flow) -> Result<Vec<Arc<dyn Sink>>, Failure> {
    let used = config.sinks.iter().filter(|(name, _)| flow.sinks.contains(name));
    used.map(|(name, sink)| sinks::open(name, sink, &config.base)).collect::<Result<_, _>>().map_err(Failure::config)
}

/// Whether `--only` names the partition, or nothing is excluded.
fn is_meant(only: &[String], standing: &Standing) -> bool {
    let (topic, number) = &standing.partition;
    let whole = format!("{topic}/{number}");
    only.is_empty() || only.iter().any(|name| **name == **topic || *name == whole)
}

fn span(standing: &Standing, start: i64) -> Span {
    let (topic, partition) = standing.partition.clone();
    Span { topic, topic_id: standing.topic_id.clone(), partition, start, end: start, digest: "".into() }
}

async fn lanes(
    sinks: &[Arc<dyn Sink>],
    group: &str,
    standings: &[Standing],
) -> Result<Vec<Vec<Option<Lane>>>, Failure> {
    let spans: Vec<Span> = standings.iter().map(|standing| span(standing, 0)).collect();
    let mut lanes = Vec::new();
    for sink in sinks {
        lanes.push(sink.lanes(group, &spans).await.map_err(|error| Failure::environment(error.message))?);
    }
    Ok(lanes)
}

/// The sinks first, the group last: it refuses where a host has started meanwhile, and until it has moved a repetition
/// of the command does the same again.
fn carry_out(
    args: &ResetArgs,
    flow: &Flow,
    group: &Group,
    sinks: &[Arc<dyn Sink>],
    moves: &[Move],
    tokio: &tokio::runtime::Runtime,
) -> Result<(), Failure> {
    let again = "the flow was moved in part: run the same command again before it starts";
    let spans: Vec<Span> = moves.iter().map(|m| span(&m.standing, m.new)).collect();
    for sink in sinks {
        let reset = tokio.block_on(sink.reset(&flow.group, &spans));
        reset.map_err(|error| Failure::environment(format!("{}; {again}", error.message)))?;
    }
    let places: Vec<(&Standing, i64)> = moves.iter().map(|m| (&m.standing, m.new)).collect();
    group.move_to(&places).map_err(|error| match error {
        MoveError::InUse => in_use(args, flow, "one has joined just now; then run the same command again"),
        MoveError::Other(words) => Failure::environment(format!("{words}; {again}")),
    })
}
