//! `wasmill flow reset`: group and progress move together, so that what was deleted comes back and nothing else does.

use serde_json::Value;
use wasmill_tests::host::{Finished, wasmill};
use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, mongo, samples, wait_until};

const DOCUMENTS: &str = "simpson_db.quotes";

fn quotes(topic: &str, from: usize, to: usize) -> Vec<Outgoing> {
    (from..to)
        .map(|n| {
            Outgoing::to(topic).partition(n as i32 % 2).value(samples::quote_json(&format!("quote {n}"), "Homer", ""))
        })
        .collect()
}

fn reset(case: &Case, arguments: &[&str]) -> Finished {
    let file = case.path().join("wasmill.toml");
    std::fs::write(&file, case.config()).expect("written");
    wasmill(&[&["flow", "reset"], arguments, &["-c", &file.to_string_lossy()]].concat(), case.path(), &case.env)
}

/// Only a group without members can be moved.
fn wait_until_empty(flow: &str) {
    let group = format!("wasmill.{flow}");
    wait_until("the group is empty", 60, || kafka::members(&group) == 0);
}

fn rows(case: &Case) -> Vec<String> {
    case.database.column("SELECT quotes FROM quotes ORDER BY split_part(quotes, ' ', 2)::int")
}

#[test]
fn an_emptied_table_is_full_again_after_a_reset() {
    let mut case = Case::new("reset");
    let topic = case.topic("in", 2);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    kafka::produce(&quotes(&topic, 0, 100));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    let documents = mongo::documents_of(&case.mongodb_url, DOCUMENTS, &flow);
    let running = reset(&case, &[&flow, "--to", "earliest"]);
    assert_eq!(running.code, 1, "{}", running.stderr);
    assert!(running.stderr.contains("is running") && running.stdout.is_empty(), "{}{}", running.stderr, running.stdout);
    assert_eq!(host.stop().code, 0);
    wait_until_empty(&flow);

    case.database.execute("TRUNCATE quotes");
    let shown = reset(&case, &[&flow, "--to", "earliest", "--dry-run", "--json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("one JSON object");
    assert_eq!((&shown["changed"], &shown["partitions"][1]["old"]), (&false.into(), &50.into()));
    assert_eq!(kafka::lag(&format!("wasmill.{flow}"), &topic), 0);
    let moved = reset(&case, &[&flow, "--to", "earliest"]);
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    assert!(moved.stdout.contains(&format!("{topic}/0  50 → 0  50 offsets again")), "{}", moved.stdout);
    assert!(moved.stderr.contains("postgres:quotes") && moved.stderr.contains("twice"), "{}", moved.stderr);
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    let all: Vec<String> = (0..100).map(|n| format!("quote {n}")).collect();
    assert_eq!(rows(&case), all);
    assert_eq!(mongo::documents_of(&case.mongodb_url, DOCUMENTS, &flow), documents);
    assert_eq!(host.metric("wasmill_records_suppressed_total", &[]), 0.0);
}

#[test]
fn one_partition_moves_alone_and_skips_what_it_is_told_to() {
    let mut case = Case::new("reset_one");
    let topic = case.topic("in", 2);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    kafka::produce(&quotes(&topic, 0, 20));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(host.stop().code, 0);
    wait_until_empty(&flow);
    kafka::produce(&quotes(&topic, 20, 40));
    let only = format!("{topic}/1");
    let moved = reset(&case, &[&flow, "--to", "offset:15", "--only", &only]);
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    assert_eq!(moved.stdout, format!("{topic}/1  10 → 15  5 offsets skipped\n"));
    let _host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    let expected: Vec<String> =
        (0..40).filter(|n| n % 2 == 0 || !(20..30).contains(n)).map(|n| format!("quote {n}")).collect();
    assert_eq!(rows(&case), expected);
}

#[test]
fn a_dropped_module_is_reset_by_its_file_name_and_a_wrong_name_is_an_error() {
    let case = Case::new("reset_adopted");
    let unknown = reset(&case, &["nobody", "--to", "earliest"]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
    assert!(unknown.stderr.contains("there is no flow nobody"), "{}", unknown.stderr);
    assert_eq!(reset(&case, &["quotes", "--to", "yesterday"]).code, 2);
    let elsewhere = case.config().replace(&wasmill_tests::services::brokers(), "127.0.0.1:9");
    let file = case.path().join("elsewhere.toml");
    case.install("quotes");
    std::fs::write(&file, elsewhere).expect("written");
    let arguments = ["flow", "reset", "quotes", "--to", "latest", "-c", &file.to_string_lossy()];
    let unreachable = wasmill(&arguments, case.path(), &[]);
    assert_eq!(unreachable.code, 3, "{}", unreachable.stderr);
}
