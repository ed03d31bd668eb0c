//! `make bench`: wasmill and the native program in turns in one run, medians and ratios; then latency, cold start, swaps,
//! more instances and what an idle flow costs. The knobs are environment variables, listed in bench/README.md. It needs the services
//! that the tests use.

mod idle;
mod latency;
mod load;
mod measure;
mod onlooker;
mod place;
mod report;
mod scaling;
mod scenario;
mod starting;
mod stats;
mod swapping;
mod watch;

use std::collections::BTreeMap;

use load::{Load, Loads};
use measure::Figures;
use scenario::{Scenario, Who};

/// A measurement that is not a race.
struct Other {
    name: &'static str,
    run: fn(),
}

const OTHERS: [Other; 5] = [
    Other { name: "L", run: latency::run },
    Other { name: "COLD", run: starting::run },
    Other { name: "SWAP", run: swapping::run },
    Other { name: "SCALE", run: scaling::run },
    Other { name: "IDLE", run: idle::run },
];

/// What a variable of the environment says, else the default.
fn knob<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let wanted: Option<Vec<String>> =
        std::env::var("SCENARIOS").ok().map(|text| text.split([',', ' ']).map(str::to_owned).collect());
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|names| names.iter().any(|n| n == name));
    let chosen: Vec<&Scenario> = scenario::ALL.iter().filter(|s| is_wanted(s.name)).collect();
    if !chosen.is_empty() {
        race(&chosen);
    }
    let chosen: Vec<&Other> = OTHERS.iter().filter(|other| is_wanted(other.name)).collect();
    if !chosen.is_empty() {
        report::lines_head();
        chosen.iter().for_each(|other| (other.run)());
    }
}

fn race(scenarios: &[&Scenario]) {
    let (rounds, peers) = (knob("ROUNDS", 5), knob("PEERS", 0) == 1);
    let load = Load {
        records: knob("RECORDS", 1_000_000),
        partitions: knob("PARTITIONS", 4),
        size: knob("SIZE", 219),
        topics: 1,
        repeats: false,
    };
    let mut loads = Loads::default();
    report::head(&load, rounds);
    for scenario in scenarios {
        let load = (scenario.shape)(load);
        let topics = loads.topics(load);
        // Not counted: servers compile their code, too, and fill their caches.
        measure::run(scenario, scenario.candidates[0], load, &topics[..]);
        let mut figures: BTreeMap<Who, Vec<Figures>> = BTreeMap::new();
        for _ in 0..rounds {
            for who in scenario.rota(peers) {
                figures.entry(who).or_default().push(measure::run(scenario, who, load, &topics));
            }
        }
        report::rows(scenario, &load, &figures);
    }
}
