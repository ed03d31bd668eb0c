//! The first flow of everyone: quotes go to Postgres and MongoDB, everything else goes where it belongs.

use serde_json::Value;
use wasmill_tests::host::wasmill;
use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, Host, mongo, samples, services};

const DOCUMENTS: &str = "simpson_db.quotes";

/// Lines of a file: quotes, one in twenty not JSON, one in twenty of another shape.
fn line(n: usize) -> String {
    match n % 20 {
        7 => format!("Service Unavailable {n}"),
        13 => format!("{{\"quote\": {n}, \"character\": \"Homer Simpson\"}}"),
        _ => samples::quote_json(&format!("quote {n}"), "Homer Simpson", &format!("https://images.example/{n}.png")),
    }
}

fn is_quote(n: usize) -> bool {
    ![7, 13].contains(&(n % 20))
}

/// A counter, its labels and its value when everything is counted.
type Count<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

#[track_caller]
fn assert_counted(host: &Host, counts: &[Count<'_>]) {
    counts.iter().for_each(|(name, labels, value)| host.counts(name, labels, *value));
}

#[test]
fn a_file_of_a_thousand_records_ends_in_both_databases() {
    let mut case = Case::new("quotes");
    let topic = case.topic("in", 3);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let file = case.path().join("thousand.jsonl");
    let lines: Vec<String> = (0..1000).map(line).collect();
    std::fs::write(&file, lines.join("\n") + "\n").expect("written");
    let brokers = services::brokers();
    let arguments = ["feed", "file", &file.to_string_lossy(), "--topic", &topic, "--brokers", &brokers];
    let fed = wasmill(&arguments, case.path(), &[]);
    assert_eq!(fed.code, 0, "{}", fed.stderr);

    let host = case.start();
    host.ready();
    case.wait_until_committed(&flow, &topic, 60);
    let mut expected: Vec<String> = (0..1000).filter(|n| is_quote(*n)).map(|n| format!("quote {n}")).collect();
    expected.sort();
    assert_eq!(case.database.column("SELECT quotes FROM quotes ORDER BY quotes COLLATE \"C\""), expected);
    let documents = mongo::documents_of(&case.mongodb_url, DOCUMENTS, &flow);
    let mut quotes: Vec<&str> = documents.iter().filter_map(|d| d["quote"].as_str()).collect();
    quotes.sort_unstable();
    assert_eq!(quotes, expected);
    assert!(documents.iter().all(|d| d["characterDirection"] == "Left"), "the whole message is kept");
    assert_counted(
        &host,
        &[
            ("wasmill_records_in_total", &[("flow", &flow)], 1000.0),
            ("wasmill_records_filtered_total", &[("flow", &flow), ("reason", "not JSON")], 50.0),
            ("wasmill_records_dead_total", &[("flow", &flow), ("code", "reject")], 50.0),
        ],
    );
    let stopped = host.stop();
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);

    let letters = kafka::consume(&format!("{topic}.dlq"));
    let dead: Vec<String> = letters.iter().map(kafka::Incoming::text).collect();
    let expected: Vec<&String> = lines.iter().filter(|l| l.starts_with("{\"quote\": ")).collect();
    assert!(dead.len() == 50 && expected.iter().all(|line| dead.contains(line)), "{dead:?}");
}

#[test]
fn the_table_has_the_declared_shape() {
    let mut case = Case::new("shape");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    kafka::produce(&[Outgoing::to(&topic).value(samples::quote_json("D'oh!", "Homer Simpson", ""))]);
    let _host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    let columns = case.database.rows(
        "SELECT column_name, data_type, character_maximum_length, column_default IS NOT NULL FROM information_schema.columns \
         WHERE table_name = 'quotes' ORDER BY ordinal_position",
    );
    let text: Vec<String> = columns
        .iter()
        .map(|row| row.iter().map(|v| v.as_deref().unwrap_or("-")).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        text,
        [
            "quote_id integer - t",
            "quotes character varying 500 f",
            "charact character varying 500 f",
            "imag character varying 500 f"
        ]
    );
    let rows = case.database.rows("SELECT quote_id, quotes, charact, imag FROM quotes");
    assert_eq!(rows, [["1", "D'oh!", "Homer Simpson", ""].map(|v| Some(v.to_owned())).to_vec()]);
    let key = case.database.column(
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) \
         WHERE i.indrelid = 'quotes'::regclass AND i.indisprimary",
    );
    assert_eq!(key, ["quote_id"]);
}

#[test]
fn a_key_a_null_and_an_empty_value_are_told_apart() {
    let mut case = Case::new("three");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let json = samples::quote_json("kept", "Lisa Simpson", "");
    kafka::produce(&[
        Outgoing::to(&topic).key("poller").value(json.clone()),
        Outgoing::to(&topic).key("").value(json.clone()),
        Outgoing::to(&topic).key("poller"),
        Outgoing::to(&topic),
        Outgoing::to(&topic).value(""),
        Outgoing::to(&topic).value(json),
    ]);
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(case.database.column("SELECT quotes FROM quotes"), ["kept"]);
    let documents = mongo::documents_of(&case.mongodb_url, DOCUMENTS, &flow);
    assert_eq!(documents.iter().map(|d| d["quote"].clone()).collect::<Vec<Value>>(), ["kept"]);
    assert!(documents[0]["_id"].as_str().is_some_and(|id| id.ends_with("/0/5/1")), "{}", documents[0]["_id"]);
    assert_counted(
        &host,
        &[
            ("wasmill_records_filtered_total", &[("flow", &flow), ("reason", "has a key")], 3.0),
            ("wasmill_records_filtered_total", &[("flow", &flow), ("reason", "not JSON")], 2.0),
            ("wasmill_records_dead_total", &[("flow", &flow)], 0.0),
        ],
    );
}
