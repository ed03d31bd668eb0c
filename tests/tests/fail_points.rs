//! The process is killed at every step of the protocol, and delayed at each, with two flows at work: `quotes` into
//! Postgres and MongoDB, and `numbered` into Postgres and a topic, with transactions. Both have dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;

use wasmill_tests::kafka::{self, Incoming, Outgoing};
use wasmill_tests::samples::quote_json;
use wasmill_tests::{Case, Host, mongo, wait_until};

/// In the order that a batch passes them.
const STEPS: [&str; 20] = [
    "assign.resolved",
    "assign.begun",
    "batch.sealed",
    "batch.transformed",
    "sql.before",
    "postgres.locked",
    "postgres.written",
    "postgres.committed",
    "sql.after",
    "documents.before",
    "documents.after",
    "publish.before",
    "transaction.offsets",
    "transaction.sent",
    "transaction.committed",
    "publish.after",
    "dead-table.before",
    "dead-table.after",
    "offsets.before",
    "offsets.after",
];
const PARTITIONS: i32 = 2;
/// Records per step and flow; one in ten becomes a dead letter.
const RECORDS: usize = 40;

/// One flow's input and what must become of it.
struct Stream {
    topic: String,
    flow: String,
    good: BTreeSet<String>,
    bad: BTreeSet<String>,
}

#[test]
fn a_kill_or_a_delay_at_any_step_loses_doubles_and_reorders_nothing() {
    let mut case = Case::new("steps");
    case.tables.push_str(
        "[host]\ninstance = \"steps\"\n[kafka.properties]\n\"session.timeout.ms\" = \"6000\"\n\
         \"heartbeat.interval.ms\" = \"500\"\n",
    );
    let [mut quotes, mut numbered] = ["quotes", "numbered"].map(|module| {
        let topic = case.topic(module, PARTITIONS);
        let flow = case.named(module);
        case.flow(&flow, &format!("modules = [\"{module}\"]\ntopics = [\"{topic}\"]"));
        case.install(module);
        Stream { topic, flow, good: BTreeSet::new(), bad: BTreeSet::new() }
    });
    for (round, step) in STEPS.iter().enumerate() {
        produce(round, &mut quotes, &mut numbered);
        let before = round.checked_sub(1).map_or(String::new(), |last| format!(";{}=3*sleep(100)->off", STEPS[last]));
        case.env = vec![("FAILPOINTS".into(), format!("{step}=return{before}"))];
        let host = case.spawn(&case.config());
        wait_until(&format!("the host dies at {step}"), 60, || host.exited().is_some());
        let status = host.exited().expect("it has ended");
        assert_eq!(status.signal(), Some(libc::SIGKILL), "at {step}: {}", host.stderr());
    }
    case.env = vec![("FAILPOINTS".into(), format!("{}=3*sleep(100)->off", STEPS[STEPS.len() - 1]))];
    produce(STEPS.len(), &mut quotes, &mut numbered);
    let host = case.start();
    for stream in [&quotes, &numbered] {
        case.wait_until_committed(&stream.flow, &stream.topic, 90);
    }
    check(&case, &quotes, &numbered, &host);
}

/// A safeguard is switched off, and what it is there for happens: otherwise the test above would show nothing.
#[test]
fn without_the_compare_and_set_rows_are_doubled_and_without_the_journal_a_refusal_is_lost() {
    let with = after_a_kill("");
    assert_eq!((with.rows, with.letters), (9, 1), "with both safeguards");
    let without_journal = after_a_kill("sql.no-journal=return");
    assert_eq!((without_journal.rows, without_journal.letters), (9, 0), "without the journal");
    let without_cas = after_a_kill("sql.no-cas=return");
    assert_eq!(without_cas.rows, 18, "without compare-and-set");
}

/// What is there at the end.
struct Outcome {
    rows: i64,
    letters: usize,
}

/// Nine quotes and one that Postgres refuses; the host is killed between Postgres and the offsets, and started again.
fn after_a_kill(switched: &str) -> Outcome {
    let mut case = Case::new("switched");
    case.tables.push_str("[host]\ninstance = \"switched\"\n");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let quote = |n: usize| if n == 5 { "too long ".repeat(60) } else { format!("quote {n}") };
    let record = |n| Outgoing::to(&topic).value(quote_json(&quote(n), "Homer", "image"));
    kafka::produce(&(0..10).map(record).collect::<Vec<_>>());
    case.env = vec![("FAILPOINTS".into(), "sql.after=return".into())];
    let host = case.spawn(&case.config());
    wait_until("the host dies after Postgres", 60, || host.exited().is_some());
    assert_eq!(case.database.count("quotes"), 9);
    case.env = vec![("FAILPOINTS".into(), switched.into())];
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(host.exited(), None);
    Outcome { rows: case.database.count("quotes"), letters: kafka::consume(&format!("{topic}.dlq")).len() }
}

fn produce(round: usize, quotes: &mut Stream, numbered: &mut Stream) {
    let mut records = Vec::new();
    for n in 0..RECORDS {
        let (name, partition) = (format!("{round}-{n}"), n as i32 % PARTITIONS);
        let bad = n % 10 == 9;
        let (quote, plain): (String, Vec<u8>) = if bad {
            quotes.bad.insert(format!("[\"{name}\"]"));
            let bytes = [name.as_bytes(), b"\xff"].concat();
            numbered.bad.insert(String::from_utf8_lossy(&bytes).into_owned());
            (format!("[\"{name}\"]"), bytes)
        } else {
            quotes.good.insert(name.clone());
            numbered.good.insert(name.clone());
            (quote_json(&name, "Homer", "image"), name.into_bytes())
        };
        records.push(Outgoing::to(&quotes.topic).partition(partition).value(quote));
        records.push(Outgoing::to(&numbered.topic).partition(partition).value(plain));
    }
    kafka::produce(&records);
}

fn check(case: &Case, quotes: &Stream, numbered: &Stream, host: &Host) {
    let rows = case.database.column("SELECT quotes FROM quotes ORDER BY quote_id");
    exactly("rows of quotes", &quotes.good, rows.iter().cloned());
    let documents = mongo::documents_of(&case.mongodb_url, "simpson_db.quotes", &quotes.flow);
    let texts = documents.iter().map(|d| d["quote"].as_str().unwrap_or_default().to_owned());
    exactly("documents", &quotes.good, texts);
    exactly("rows of numbered", &numbered.good, case.database.column("SELECT value FROM numbered").into_iter());
    let own = format!("{}/", numbered.flow);
    let outputs: Vec<Incoming> = kafka::consume_settled("numbered_out")
        .into_iter()
        .filter(|r| r.header("wasmill-id").starts_with(&own))
        .collect();
    let value = |record: &Incoming| -> String {
        let row: serde_json::Value = serde_json::from_str(&record.text()).expect("a row");
        row["value"].as_str().unwrap_or_default().to_owned()
    };
    exactly("records", &numbered.good, outputs.iter().map(value));
    in_order(&outputs);
    let letters = |stream: &Stream| kafka::consume_settled(&format!("{}.dlq", stream.topic));
    exactly("dead letters of numbered", &numbered.bad, letters(numbered).iter().map(Incoming::text));
    // Without transactions a dead letter may repeat, under the same id.
    let by_id: BTreeMap<String, String> =
        letters(quotes).iter().map(|letter| (letter.header("wasmill-id"), letter.text())).collect();
    exactly("dead letters of quotes", &quotes.bad, by_id.into_values());
    assert_eq!(host.exited(), None);
}

#[track_caller]
fn exactly(what: &str, expected: &BTreeSet<String>, found: impl Iterator<Item = String>) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    found.for_each(|text| *counts.entry(text).or_default() += 1);
    let lost: Vec<_> = expected.iter().filter(|text| !counts.contains_key(*text)).take(5).collect();
    let foreign: Vec<_> = counts.keys().filter(|text| !expected.contains(*text)).take(5).collect();
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).take(5).collect();
    assert!(
        lost.is_empty() && foreign.is_empty() && doubled.is_empty(),
        "{what}: lost {lost:?}, not expected {foreign:?}, doubled {doubled:?}"
    );
}

/// Outputs of one source partition follow its offsets, within each partition of the output topic.
#[track_caller]
fn in_order(outputs: &[Incoming]) {
    let mut last: BTreeMap<(i32, i32), i64> = BTreeMap::new();
    for record in outputs {
        let id = record.header("wasmill-id");
        let parts: Vec<&str> = id.rsplitn(4, '/').collect();
        let place = |text: &str| text.parse::<i64>().expect("a number");
        let (offset, source) = (place(parts[1]), place(parts[2]) as i32);
        let before = last.insert((record.partition, source), offset);
        assert!(before < Some(offset), "{id} came after offset {before:?}");
    }
}
