//! The table. Times are medians; a ratio compares with the first candidate of the scenario.

use std::collections::BTreeMap;
use std::io::Write as _;

use crate::measure::Figures;
use crate::scenario::{Scenario, Setting, Who};

pub(crate) fn head(setting: &Setting, rounds: usize) {
    let Setting { records, partitions, .. } = setting;
    say(&format!("{records} records, {partitions} partitions, medians of {rounds} runs in turns\n"));
    say("| scenario | who | records/s | ratio | CPU s per 10⁶ | ratio | peak MB |");
    say("|---|---|---:|---:|---:|---:|---:|");
}

pub(crate) fn row(scenario: &Scenario, setting: &Setting, figures: &BTreeMap<Who, Vec<Figures>>) {
    let records = setting.records as f64;
    let first = &figures[&scenario.candidates[0]];
    let base = (records / median(first, |f| f.seconds), median(first, |f| f.cpu_seconds) * 1e6 / records);
    for who in scenario.candidates {
        let runs = &figures[who];
        let rate = records / median(runs, |f| f.seconds);
        let cpu = median(runs, |f| f.cpu_seconds) * 1e6 / records;
        say(&format!(
            "| {} {} | {} | {rate:.0} | {:.2} | {cpu:.2} | {:.2} | {:.0} |",
            scenario.name,
            scenario.what,
            who.name(),
            rate / base.0,
            cpu / base.1,
            median(runs, |f| f.memory),
        ));
    }
}

fn median(runs: &[Figures], of: fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads on: nothing to tell.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
