//! The tables. Times are medians; a ratio compares with the first candidate of the scenario. With the variable
//! `RESULTS` every row is also appended to that file as a line of JSON.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::load::Load;
use crate::measure::Figures;
use crate::scenario::{Scenario, Who};
use crate::stats::{is_void, least_share, median};

pub(crate) fn head(load: &Load, rounds: usize) {
    let Load { records, partitions, size, .. } = load;
    say(&format!("{records} records of {size} bytes, {partitions} partitions, medians of {rounds} runs in turns\n"));
    say("| scenario | who | records/s | ratio | CPU s per 10⁶ | ratio | of it after start | peak MB | remarks |");
    say("|---|---|---:|---:|---:|---:|---:|---:|---|");
}

pub(crate) fn rows(scenario: &Scenario, load: &Load, figures: &BTreeMap<Who, Vec<Figures>>) {
    let records = (load.records / load.topics * load.topics) as f64;
    let of = |who: Who, what: fn(&Figures) -> f64| median(figures.get(&who).into_iter().flatten().map(what));
    let rate = |who: Who| records / of(who, |f| f.seconds);
    let cpu = |who: Who| of(who, |f| f.cpu_seconds) * 1e6 / records;
    let first = scenario.candidates[0];
    for who in scenario.rota(true).filter(|who| figures.contains_key(who)) {
        let after_start = of(who, |f| f.cpu_after_start) * 1e6 / records;
        let (name, what, memory) = (scenario.name, scenario.what, of(who, |f| f.memory));
        let remarks = remarks(scenario, who, rate(first), rate(Who::ConsumeOnly));
        let (rate, times, cpu, cpu_times) = (rate(who), rate(who) / rate(first), cpu(who), cpu(who) / cpu(first));
        say(&format!(
            "| {name} {what} | {} | {rate:.0} | {times:.2} | {cpu:.2} | {cpu_times:.2} | {after_start:.2} | {memory:.0} | {remarks} |",
            who.name()
        ));
        keep(&json!({
            "scenario": name, "who": who.name(), "records": records, "runs": figures[&who].len(), "records_per_second": rate,
            "ratio": times, "cpu_seconds_per_million": cpu, "cpu_ratio": cpu_times, "peak_mb": memory, "remarks": remarks,
        }));
    }
}

/// What takes a row's worth away.
fn remarks(scenario: &Scenario, who: Who, native: f64, reading: f64) -> String {
    if scenario.discounts(who) {
        return "does not count: rows and documents may come twice".into();
    }
    if who.peer().is_some() && scenario.to.contains("row") {
        return "rows may come twice".into();
    }
    match scenario.known {
        Some(known) if who == scenario.candidates[0] => {
            let void = if is_void(native, reading, known) { "VOID: " } else { "" };
            format!("{void}{:.2} of reading only, at least {:.2}", native / reading, least_share(known))
        }
        _ => String::new(),
    }
}

/// A line of a measurement that is not a race.
pub(crate) fn line(name: &str, who: &str, what: &str, values: &[(&str, f64)]) {
    let words: Vec<String> = values.iter().map(|(label, value)| format!("{label} {value:.1}")).collect();
    say(&format!("| {name} {what} | {who} | {} |", words.join(", ")));
    let mut row = json!({ "scenario": name, "who": who, "what": what });
    values.iter().for_each(|(label, value)| row[*label] = json!(value));
    keep(&row);
}

pub(crate) fn lines_head() {
    say("\n| measurement | who | |\n|---|---|---|");
}

fn keep(row: &Value) {
    let Some(file) = std::env::var_os("RESULTS") else { return };
    let appended = std::fs::OpenOptions::new().create(true).append(true).open(&file);
    let written = appended.and_then(|mut file| writeln!(file, "{row}"));
    written.unwrap_or_else(|cause| panic!("{} cannot be written: {cause}", file.display()));
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads on: nothing to tell.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
