//! `make bench`: wasmill and the native program in turns in one run, medians and ratios. Knobs, from the environment:
//! `RECORDS` (default 1,000,000), `ROUNDS` (5), `PARTITIONS` (4), `SCENARIOS` (names, default all), `SIZE` (bytes of a
//! record, default 219). It needs the services that the tests use.

mod measure;
mod report;
mod scenario;

use std::collections::BTreeMap;

use measure::Figures;
use scenario::{Scenario, Setting, Who};
use wasmill_tests::samples;
use wasmill_tests::{case, kafka};

/// Where records go that a knob does not say otherwise.
fn knob<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let (records, rounds, partitions) = (knob("RECORDS", 1_000_000), knob("ROUNDS", 5), knob("PARTITIONS", 4));
    let setting = Setting { topic: preload(records, partitions), records, partitions };
    let wanted: Option<Vec<String>> =
        std::env::var("SCENARIOS").ok().map(|text| text.split([',', ' ']).map(str::to_owned).collect());
    let chosen: Vec<&Scenario> = scenario::ALL
        .iter()
        .filter(|s| wanted.as_ref().is_none_or(|names| names.iter().any(|n| n == s.name)))
        .collect();
    report::head(&setting, rounds);
    for scenario in chosen {
        let mut figures: BTreeMap<Who, Vec<Figures>> = BTreeMap::new();
        for _ in 0..rounds {
            for who in scenario.candidates {
                figures.entry(*who).or_default().push(scenario.run(*who, &setting));
            }
        }
        report::row(scenario, &setting, &figures);
    }
}

/// The same records for every run: 2 % are not JSON, 2 % have a key.
fn preload(records: usize, partitions: i32) -> String {
    let topic = case::unique("bench-in");
    kafka::create_topic(&topic, partitions);
    let size: usize = knob("SIZE", 219);
    let samples = samples::quotes(&topic, partitions, records, 1);
    for chunk in samples.chunks(100_000) {
        let padded = chunk.iter().map(|sample| {
            let mut record = sample.record.clone();
            let length = record.value.as_ref().map_or(0, Vec::len);
            if let Some(value) = record.value.as_mut().filter(|value| value.last() == Some(&b'}') && length + 12 < size)
            {
                value.pop();
                value.extend_from_slice(format!(",\"padding\":\"{}\"}}", "x".repeat(size - length - 13)).as_bytes());
            }
            record
        });
        kafka::produce(&padded.collect::<Vec<_>>());
    }
    topic
}
