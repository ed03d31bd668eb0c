//! One snapshot of everything: what the page, `ls`, `inspect` and `top` show, and what `/api/state` answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::flow::{FlowBoard, Inner, Status};
use super::history::Point;
use super::letters::Letter;
use super::{Board, ModuleFile};
use crate::health::BEAT_LIMIT;

/// The host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostState {
    pub version: String,
    /// Name of this instance: configured, or random.
    pub instance: String,
    /// When this was taken, in milliseconds since 1970.
    pub at: i64,
    pub uptime_seconds: f64,
    pub ready: bool,
    /// The host is stopping.
    pub draining: bool,
    pub problems: Vec<Problem>,
    /// Threads that show no sign of life.
    pub late: Vec<String>,
    pub flows: Vec<FlowState>,
    /// Files of the modules folder.
    pub modules: Vec<FileState>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    pub name: String,
    pub reason: String,
}

/// One flow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowState {
    pub name: String,
    /// `running`, `starting`, `paused`, `failing`, `stopped`, `refused` or `draining`.
    pub state: String,
    /// Why, where it is not running; empty otherwise.
    pub reason: String,
    pub group: String,
    pub topics: Vec<String>,
    pub targets: Vec<String>,
    pub delivery: String,
    pub on_error: String,
    pub dead_letters: String,
    pub modules: Vec<ModuleState>,
    /// When these modules came into place, in milliseconds since 1970.
    pub modules_since: i64,
    pub swaps: u64,
    pub last_swap_ms: Option<f64>,
    /// Digest of the modules that a rollback brings back.
    pub before: Option<String>,
    /// The modules of before run although the folder holds others.
    pub rolled_back: bool,
    /// Intake is held back because a sink or the modules are behind.
    pub behind: bool,
    pub now: Rates,
    pub totals: Totals,
    pub lag: i64,
    pub sinks: Vec<SinkState>,
    pub partitions: Vec<PartitionState>,
    pub dead: Vec<DeadState>,
}

/// A module of a flow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModuleState {
    pub name: String,
    pub digest: String,
}

/// Per second, over the last few.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rates {
    pub records_in: f64,
    pub outputs: f64,
    pub dead: f64,
    /// From the oldest record's timestamp to its commit.
    pub latency_ms: Option<f64>,
}

/// Counts since the host began.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    pub records_in: u64,
    pub filtered: u64,
    pub dead: u64,
    pub outputs: u64,
    pub batches: u64,
    pub traps: u64,
}

/// A sink of a flow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SinkState {
    pub name: String,
    pub kind: String,
    /// `ok`, `failing` or `idle` (nothing was written yet).
    pub state: String,
    pub last_error: Option<String>,
    /// In milliseconds since 1970.
    pub last_error_at: Option<i64>,
    pub outputs: u64,
    /// Outputs per second.
    pub rate: f64,
    pub retries: u64,
    pub last_write_ms: Option<f64>,
}

/// A partition that this host owns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartitionState {
    pub topic: String,
    pub partition: i32,
    /// The offset that is read next after a restart.
    pub committed: i64,
    pub end: i64,
    pub lag: i64,
    pub commit_age_seconds: f64,
    /// Why it is not read, where it is stopped.
    pub stopped: Option<String>,
}

/// Dead letters of one code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadState {
    pub code: String,
    pub count: u64,
    /// The newest one, without its payload.
    pub last: Option<Letter>,
}

/// A file of the modules folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileState {
    pub name: String,
    pub digest: Option<String>,
    pub since: i64,
    /// Why the file as it is now was not taken.
    pub refused: Option<String>,
}

impl Board {
    /// What is the case now.
    pub fn state(&self) -> HostState {
        let problems: BTreeMap<String, String> = self.health.problems().into_iter().collect();
        HostState {
            version: env!("CARGO_PKG_VERSION").into(),
            instance: self.instance().to_string(),
            at: super::now(),
            uptime_seconds: self.health.uptime().as_secs_f64(),
            ready: self.health.ready(),
            draining: self.health.is_draining(),
            late: self.health.late(BEAT_LIMIT),
            flows: self.all().iter().map(|flow| flow_state(flow, &problems)).collect(),
            modules: self.modules().iter().map(file_state).collect(),
            problems: problems.into_iter().map(|(name, reason)| Problem { name, reason }).collect(),
        }
    }
}

fn file_state((name, file): (&String, &ModuleFile)) -> FileState {
    FileState {
        name: name.clone(),
        digest: file.digest.as_ref().map(ToString::to_string),
        since: file.since,
        refused: file.refused.clone(),
    }
}

fn flow_state(flow: &FlowBoard, problems: &BTreeMap<String, String>) -> FlowState {
    let inner = flow.inner();
    let (state, reason) = standing(flow, &inner, problems);
    let (about, now, totals) = (&inner.about, inner.history.now(), &inner.totals);
    FlowState {
        name: flow.name.to_string(),
        state: state.into(),
        reason,
        group: about.group.to_string(),
        topics: about.topics.clone(),
        targets: about.targets.clone(),
        delivery: about.delivery.into(),
        on_error: about.on_error.into(),
        dead_letters: about.dead_letters.clone(),
        modules: about.modules.iter().map(module_state).collect(),
        modules_since: inner.modules_since,
        swaps: inner.swaps,
        last_swap_ms: inner.last_swap.map(|took| took.as_secs_f64() * 1e3),
        before: inner.before.as_ref().map(ToString::to_string),
        rolled_back: inner.rolled_back,
        behind: inner.behind,
        now: rates(&now),
        totals: Totals {
            records_in: totals.records_in,
            filtered: totals.filtered,
            dead: totals.dead,
            outputs: totals.outputs,
            batches: totals.batches,
            traps: totals.traps,
        },
        lag: inner.partitions.values().map(super::flow::Standing::lag).sum(),
        sinks: sinks(&inner),
        partitions: partitions(flow, &inner, problems),
        dead: dead(&inner),
    }
}

/// State and reason. What a person has to mend goes before what a person has done.
fn standing(flow: &FlowBoard, inner: &Inner, problems: &BTreeMap<String, String>) -> (&'static str, String) {
    let own = format!("flow {}", flow.name);
    let whole = problems.get(&own).cloned();
    let part = problems.range(format!("{own} ")..).next().filter(|(key, _)| key.starts_with(&format!("{own} ")));
    match inner.status {
        Status::Refused => ("refused", whole.unwrap_or_default()),
        Status::Stopped => ("stopped", whole.unwrap_or_default()),
        Status::Draining => ("draining", "finishes what is on its way".into()),
        Status::Running => match (part, whole.as_ref()) {
            (Some((_, words)), _) | (None, Some(words)) if flow.is_paused() => {
                ("failing", format!("{words} (and paused by an operator)"))
            }
            (Some((_, words)), _) => ("failing", words.clone()),
            // New modules are refused; the ones of before go on.
            (None, Some(words)) => ("failing", words.clone()),
            (None, None) if flow.is_paused() => ("paused", "paused by an operator".into()),
            (None, None) if inner.partitions.is_empty() => ("starting", "waits for partitions of the group".into()),
            (None, None) => ("running", String::new()),
        },
    }
}

fn module_state((name, digest): &(std::sync::Arc<str>, std::sync::Arc<str>)) -> ModuleState {
    ModuleState { name: name.to_string(), digest: digest.to_string() }
}

fn rates(now: &Point) -> Rates {
    Rates { records_in: now.records_in, outputs: now.outputs, dead: now.dead, latency_ms: now.latency_ms }
}

fn sinks(inner: &Inner) -> Vec<SinkState> {
    let sink = |(name, figures): (&String, &super::flow::SinkFigures)| SinkState {
        name: name.clone(),
        kind: figures.kind.into(),
        state: match (figures.failing, figures.writes) {
            (true, _) => "failing",
            (false, 0) => "idle",
            (false, _) => "ok",
        }
        .into(),
        last_error: figures.error.as_ref().map(|(words, _)| words.clone()),
        last_error_at: figures.error.as_ref().map(|(_, at)| *at),
        outputs: figures.outputs,
        rate: figures.rate,
        retries: figures.retries,
        last_write_ms: figures.last_write.map(|took| took.as_secs_f64() * 1e3),
    };
    inner.sinks.iter().map(sink).collect()
}

fn partitions(flow: &FlowBoard, inner: &Inner, problems: &BTreeMap<String, String>) -> Vec<PartitionState> {
    let partition = |((topic, number), standing): (&crate::source::Partition, &super::flow::Standing)| PartitionState {
        topic: topic.to_string(),
        partition: *number,
        committed: standing.committed,
        end: standing.end,
        lag: standing.lag(),
        commit_age_seconds: standing.age().as_secs_f64(),
        stopped: problems.get(&format!("flow {} {topic}/{number}", flow.name)).cloned(),
    };
    inner.partitions.iter().map(partition).collect()
}

fn dead(inner: &Inner) -> Vec<DeadState> {
    let newest = |code: &str| {
        let letter = inner.letters.last().find(|letter| letter.code == code)?;
        Some(Letter { key: None, value: None, ..letter.clone() })
    };
    let counts = inner.letters.counts().iter();
    let mut dead: Vec<DeadState> =
        counts.map(|(code, count)| DeadState { code: code.clone(), count: *count, last: newest(code) }).collect();
    dead.sort_by_key(|dead| std::cmp::Reverse(dead.count));
    dead
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use crate::logs::recent::Recent;
    use crate::metrics::Metrics;

    #[test]
    fn a_flow_is_what_its_worst_problem_makes_it() {
        let board = Board::new(Metrics::new(), Health::new(), Recent::new());
        let flow = board.flow("quotes");
        let of = |board: &Board| {
            let state = board.state();
            (state.flows[0].state.clone(), state.flows[0].reason.clone())
        };
        board.health.problem("flow quotes", "module quotes is not in the modules folder");
        assert_eq!(of(&board), ("refused".into(), "module quotes is not in the modules folder".into()));
        board.health.solved("flow quotes");
        flow.set_status(Status::Running);
        assert_eq!(of(&board).0, "starting");
        flow.stands(&("t".into(), 0), Some((1, 4)));
        board.health.problem("flow quotes_2 sink postgres", "of another flow");
        assert_eq!(of(&board), ("running".into(), String::new()));
        flow.pause(true);
        assert_eq!(of(&board).0, "paused");
        board.health.problem("flow quotes sink postgres", "connection refused");
        let (state, reason) = of(&board);
        assert!(
            state == "failing" && reason.starts_with("connection refused") && reason.contains("paused"),
            "{reason}"
        );
        let state = board.state();
        assert_eq!((state.flows[0].lag, state.flows[0].partitions[0].committed), (3, 1));
    }
}
