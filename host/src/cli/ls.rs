//! `wasmill ls` and `wasmill inspect`: the running host's flows in a table, and one of them in full.

use std::io::stdout;
use std::path::Path;

use super::Failure;
use super::ask::{AdminArgs, Ask, encoded};
use super::out::{self, Style};
use crate::board::builds::Builds;
use crate::board::state::{FlowState, HostState};

/// Builds of a flow's history that are shown, and places of each.
const BUILDS: usize = 10;
const PLACES: usize = 4;

#[derive(clap::Args, Debug)]
pub(super) struct LsArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the host's state as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
pub(super) struct InspectArgs {
    /// The flow
    #[arg(value_name = "FLOW")]
    flow: String,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the flow's state as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &LsArgs, file: Option<&Path>) -> Result<(), Failure> {
    let state = Ask::new(&args.admin, file)?.state()?;
    match args.json {
        true => out::data(&json(&state)),
        false => overview(&state, Style::of(&stdout())).iter().for_each(|line| out::data(line)),
    }
    Ok(())
}

pub(super) fn inspect(args: &InspectArgs, file: Option<&Path>) -> Result<(), Failure> {
    let ask = Ask::new(&args.admin, file)?;
    let state = ask.state()?;
    let Some(flow) = state.flows.iter().find(|flow| flow.name == args.flow) else {
        let names: Vec<&str> = state.flows.iter().map(|flow| flow.name.as_str()).collect();
        return Err(Failure::runtime(format!("there is no flow {}; this host has: {}", args.flow, names.join(", "))));
    };
    // A sink that is down must not hide what is known without it.
    let builds = ask.get_json::<Builds>(&format!("/api/module-history?flow={}", encoded(&flow.name)));
    let builds = builds.map_err(|failure| failure.message);
    if args.json {
        let mut told = serde_json::to_value(flow).unwrap_or_default();
        told["module_history"] = serde_json::to_value(builds.as_ref().ok()).unwrap_or_default();
        out::data(&json(&told));
        return Ok(());
    }
    let style = Style::of(&stdout());
    details(flow, state.at, style).iter().chain(&history(&builds, state.at, style)).for_each(|line| out::data(line));
    Ok(())
}

/// What is wrong first, then the flows, the broken ones first, then files that are not taken.
pub(super) fn overview(state: &HostState, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    let ready = match (state.ready, state.draining) {
        (_, true) => style.warn("stopping"),
        (true, _) => style.good("ready"),
        (false, _) => style.bad("not ready"),
    };
    lines.push(format!("wasmill {} {}: {ready}, up {}", state.version, state.instance, time(state.uptime_seconds)));
    lines.extend(state.problems.iter().map(|p| format!("  {} {}: {}", style.bad("✗"), p.name, p.reason)));
    lines.push(String::new());
    let mut rows =
        vec![["FLOW", "STATE", "IN/S", "OUT/S", "DEAD", "LAG", "LATENCY", "MODULES"].map(str::to_owned).to_vec()];
    let mut flows: Vec<&FlowState> = state.flows.iter().collect();
    flows.sort_by_key(|flow| (rank(&flow.state), flow.name.clone()));
    rows.extend(flows.iter().map(|flow| row(flow)));
    let colour = |line: usize, text: &str| match line {
        0 => style.dim(text),
        line => painted(style, &flows[line - 1].state, text),
    };
    lines.extend(table(&rows).iter().enumerate().map(|(line, text)| colour(line, text)));
    if flows.is_empty() {
        lines.push("no flow: put a module into the modules folder".into());
    }
    let refused = state.modules.iter().filter_map(|file| Some((file, file.refused.as_ref()?)));
    lines.extend(refused.map(|(file, why)| format!("{} {}.wasm: {why}", style.bad("✗"), file.name)));
    lines
}

fn row(flow: &FlowState) -> Vec<String> {
    let modules: Vec<String> = flow.modules.iter().map(|m| format!("{} {}", m.name, short(&m.digest))).collect();
    let back = if flow.rolled_back { " (rolled back)" } else { "" };
    vec![
        flow.name.clone(),
        flow.state.clone(),
        rate(flow.now.records_in),
        rate(flow.now.outputs),
        out::number(flow.totals.dead),
        out::number(flow.lag.max(0) as u64),
        flow.now.latency_ms.map_or_else(|| "-".into(), millis),
        format!("{}{back}", modules.join(" → ")),
    ]
}

/// Everything about one flow.
fn details(flow: &FlowState, at: i64, style: Style) -> Vec<String> {
    let mut lines = vec![format!("{} {}", style.bold(&flow.name), painted(style, &flow.state, &flow.state))];
    if !flow.reason.is_empty() {
        lines.push(format!("  {}", flow.reason));
    }
    let modules: Vec<String> = flow.modules.iter().map(|m| format!("{} {}", m.name, short(&m.digest))).collect();
    lines.push(format!("  {} → {} → {}", flow.topics.join(", "), modules.join(" → "), flow.targets.join(", ")));
    let policy = format!("delivery {}, on_error {}, dead letters {}", flow.delivery, flow.on_error, flow.dead_letters);
    lines.push(format!("  group {}, {policy}", flow.group));
    let since = time((at - flow.modules_since) as f64 / 1e3);
    let swap = flow.last_swap_ms.map_or_else(String::new, |ms| format!(", last in {}", millis(ms)));
    let back = match (&flow.before, flow.rolled_back) {
        (_, true) => ", rolled back until the module is replaced".to_owned(),
        (Some(before), _) => format!(", `flow rollback` brings back {}", short(before)),
        (None, _) => String::new(),
    };
    lines.push(format!("  modules in place for {since}, {} swaps{swap}{back}", flow.swaps));
    let t = &flow.totals;
    lines.push(format!(
        "  {} in ({}/s), {} out ({}/s), {} filtered, {} dead, {} traps, {} batches, latency {}",
        out::number(t.records_in),
        rate(flow.now.records_in),
        out::number(t.outputs),
        rate(flow.now.outputs),
        out::number(t.filtered),
        out::number(t.dead),
        out::number(t.traps),
        out::number(t.batches),
        flow.now.latency_ms.map_or_else(|| "-".into(), millis)
    ));
    lines.push(String::new());
    lines.extend(sinks(flow, at, style));
    lines.extend(partitions(flow, style));
    lines.extend(dead(flow));
    lines
}

fn sinks(flow: &FlowState, at: i64, style: Style) -> Vec<String> {
    let mut rows = vec![["SINK", "STATE", "OUTPUTS", "OUT/S", "RETRIES", "LAST WRITE"].map(str::to_owned).to_vec()];
    rows.extend(flow.sinks.iter().map(|sink| {
        let last = sink.last_write_ms.map_or_else(|| "-".into(), millis);
        vec![
            sink.name.clone(),
            sink.state.clone(),
            out::number(sink.outputs),
            rate(sink.rate),
            out::number(sink.retries),
            last,
        ]
    }));
    let mut lines = table(&rows);
    for sink in &flow.sinks {
        if let (Some(error), Some(since)) = (&sink.last_error, sink.last_error_at) {
            lines.push(format!("  {} {} ago: {error}", style.warn(&sink.name), time((at - since) as f64 / 1e3)));
        }
    }
    lines.push(String::new());
    lines
}

fn partitions(flow: &FlowState, style: Style) -> Vec<String> {
    let mut rows = vec![["PARTITION", "COMMITTED", "END", "LAG", "LAST COMMIT"].map(str::to_owned).to_vec()];
    rows.extend(flow.partitions.iter().map(|p| {
        let age = if p.lag == 0 { "-".into() } else { format!("{} ago", time(p.commit_age_seconds)) };
        let number = |n: i64| out::number(n.max(0) as u64);
        vec![format!("{}/{}", p.topic, p.partition), number(p.committed), number(p.end), number(p.lag), age]
    }));
    let mut lines = table(&rows);
    let stopped = flow.partitions.iter().filter_map(|p| Some((p, p.stopped.as_ref()?)));
    lines.extend(stopped.map(|(p, why)| format!("  {} {}/{}: {why}", style.bad("✗"), p.topic, p.partition)));
    lines.push(String::new());
    lines
}

fn dead(flow: &FlowState) -> Vec<String> {
    if flow.dead.is_empty() {
        return vec!["no dead letters since the host began".into()];
    }
    let mut rows = vec![["CODE", "COUNT", "NEWEST"].map(str::to_owned).to_vec()];
    rows.extend(flow.dead.iter().map(|dead| {
        let newest = dead.last.as_ref();
        let newest = newest.map(|l| format!("{}/{}/{} {}", l.topic, l.partition, l.offset, l.message));
        vec![dead.code.clone(), out::number(dead.count), newest.unwrap_or_default()]
    }));
    table(&rows)
}

/// Which builds were in force from where on.
fn history(builds: &Result<Builds, String>, at: i64, style: Style) -> Vec<String> {
    let builds = match builds {
        Ok(builds) => builds,
        Err(words) => return vec![String::new(), format!("  {} history of modules: {words}", style.warn("!"))],
    };
    let Some(sink) = builds.sink.as_ref().filter(|_| !builds.builds.is_empty()) else { return Vec::new() };
    let mut rows = vec![["MODULES", "SINCE", "FROM OFFSET"].map(str::to_owned).to_vec()];
    rows.extend(builds.builds.iter().take(BUILDS).map(|build| {
        let from: Vec<String> =
            build.from.iter().map(|p| format!("{}/{}/{}", p.topic, p.partition, p.offset)).collect();
        let more = from.len().saturating_sub(PLACES);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let shown = from.iter().take(PLACES).cloned().collect::<Vec<_>>().join(", ");
        let since = format!("{} ago", time((at - build.since) as f64 / 1e3));
        vec![short(&build.digest), since, format!("{shown}{more}")]
    }));
    let mut lines = vec![String::new()];
    lines.extend(table(&rows));
    let left = builds.builds.len().saturating_sub(BUILDS);
    let left = if left == 0 { String::new() } else { format!(", {left} older ones in `inspect --json`") };
    lines.push(format!("  as sink {sink} has it{left}"));
    lines
}

/// What a person should look at first.
fn rank(state: &str) -> usize {
    let order = ["refused", "stopped", "failing", "starting", "draining", "paused"];
    order.iter().position(|one| *one == state).unwrap_or(order.len())
}

fn painted(style: Style, state: &str, text: &str) -> String {
    match state {
        "running" => style.good(text),
        "paused" | "starting" | "draining" => style.warn(text),
        _ => style.bad(text),
    }
}

/// Columns as wide as their widest cell.
fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let cell = |(text, width): (&String, &usize)| format!("{text}{}", " ".repeat(width - text.chars().count()));
    let line =
        |row: &Vec<String>| row.iter().zip(&widths).map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned();
    rows.iter().map(line).collect()
}

/// The beginning of a digest.
pub(super) fn short(digest: &str) -> String {
    digest.split('+').map(|one| &one[..one.len().min(8)]).collect::<Vec<_>>().join("+")
}

fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.1}") } else { out::number(per_second as u64) }
}

fn millis(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        ms => time(ms / 1e3),
    }
}

fn time(seconds: f64) -> String {
    match seconds.max(0.0) as u64 {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    // Strings and numbers always become JSON.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{Board, Status};
    use crate::health::Health;
    use crate::logs::recent::Recent;
    use crate::metrics::Metrics;

    #[test]
    fn what_is_broken_stands_first_with_its_reason() {
        let board = Board::new(Metrics::new(), Health::new(), Recent::new());
        for name in ["a_fine_one", "broken"] {
            let flow = board.flow(name);
            flow.set_status(Status::Running);
            flow.stands(&("t".into(), 3), Some((10, 12)));
        }
        board.health.problem("flow broken sink postgres", "connection refused");
        board.flow("broken").failed("postgres", "connection refused");
        let state = board.state();
        let lines = overview(&state, Style::plain());
        assert!(lines[0].contains("not ready") && lines[1].contains("connection refused"), "{lines:#?}");
        let place = |name: &str| lines.iter().position(|line| line.starts_with(name));
        assert!(place("broken") < place("a_fine_one"), "{lines:#?}");
        let lines = details(&state.flows[1], state.at, Style::plain()).join("\n");
        for words in ["broken failing", "connection refused", "t/3", "no dead letters"] {
            assert!(lines.contains(words), "`{words}` is missing:\n{lines}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["A", "B"], ["long → cell", "x"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), ["A            B", "long → cell  x"]);
    }
}
