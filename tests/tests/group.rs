//! Several hosts with one configuration share the partitions of a topic.

use std::collections::{BTreeMap, BTreeSet};

use wasmill_tests::samples::{self, Kind, Sample};
use wasmill_tests::{Case, Host, kafka, mongo, services, wait_until};

const PARTITIONS: i32 = 12;
const RECORDS: usize = 100_000;

#[test]
fn three_hosts_write_exactly_the_expected_set_in_order() {
    let mut case = Case::new("group");
    case.mongodb_url = services::mongodb_volume_url();
    let topic = case.topic("in", PARTITIONS);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let hosts: Vec<Host> = (0..3).map(|_| case.start()).collect();
    // A host is ready before it has partitions, and one of them alone would soon have read everything.
    hosts.iter().for_each(|host| host.runs(&flow));

    let samples = samples::quotes(&topic, PARTITIONS, RECORDS, 3);
    let records: Vec<kafka::Outgoing> = samples.iter().map(|s| s.record.clone()).collect();
    let places = kafka::produce(&records);
    case.wait_until_committed(&flow, &topic, 180);

    let expected: BTreeSet<&str> = quotes(&samples).map(|(_, s)| s.quote.as_str()).collect();
    let rows = case.database.column("SELECT quotes FROM quotes ORDER BY quote_id");
    assert_same(&expected, rows.iter().map(String::as_str));
    let documents = mongo::documents_of(&case.mongodb_url, "simpson_db.quotes", &flow);
    assert_same(&expected, documents.iter().filter_map(|d| d["quote"].as_str()));
    assert_ids_follow_offsets(&samples, &places, &rows);
    assert_everyone_worked(&hosts, &flow);
}

#[test]
fn a_killed_host_is_replaced_by_the_others() {
    let mut case = Case::new("killed");
    case.mongodb_url = services::mongodb_volume_url();
    case.tables
        .push_str("[kafka.properties]\n\"session.timeout.ms\" = \"6000\"\n\"heartbeat.interval.ms\" = \"500\"\n");
    let topic = case.topic("in", 4);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let (first, second) = (case.start(), case.start());
    first.ready();
    second.ready();
    let samples = samples::quotes(&topic, 4, 20_000, 4);
    let records: Vec<kafka::Outgoing> = samples.iter().map(|s| s.record.clone()).collect();
    kafka::produce(&records[..10_000]);
    wait_until("some rows are written", 60, || case.database.count("quotes") > 0);
    first.kill();
    kafka::produce(&records[10_000..]);
    case.wait_until_committed(&flow, &topic, 120);
    let expected: BTreeSet<&str> = quotes(&samples).map(|(_, s)| s.quote.as_str()).collect();
    let rows = case.database.column("SELECT quotes FROM quotes");
    assert_same(&expected, rows.iter().map(String::as_str));
    let documents = mongo::documents_of(&case.mongodb_url, "simpson_db.quotes", &flow);
    assert_same(&expected, documents.iter().filter_map(|d| d["quote"].as_str()));
}

#[test]
fn of_two_hosts_with_one_name_one_ends_and_the_other_writes_everything() {
    let mut case = Case::new("one_name");
    // Who was displaced learns that from a heartbeat; ending takes two times within a minute.
    case.tables.push_str("[host]\ninstance = \"twin\"\n[kafka.properties]\n\"heartbeat.interval.ms\" = \"500\"\n");
    let topic = case.topic("in", 2);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let first = case.start();
    first.ready();
    let hosts = [first, case.start()];
    wait_until("one of the two ends", 120, || hosts.iter().any(|host| host.exited().is_some()));
    let (mut ended, mut left): (Vec<Host>, Vec<Host>) = hosts.into_iter().partition(|host| host.exited().is_some());
    assert_eq!((ended.len(), left.len()), (1, 1));
    assert_eq!(ended.remove(0).finish().code, 78);
    let samples = samples::quotes(&topic, 2, 1000, 5);
    kafka::produce(&samples.iter().map(|s| s.record.clone()).collect::<Vec<_>>());
    case.wait_until_committed(&flow, &topic, 60);
    let expected: BTreeSet<&str> = quotes(&samples).map(|(_, s)| s.quote.as_str()).collect();
    let rows = case.database.column("SELECT quotes FROM quotes");
    assert_same(&expected, rows.iter().map(String::as_str));
    assert_eq!(left.remove(0).stop().code, 0);
}

fn quotes(samples: &[Sample]) -> impl Iterator<Item = (usize, &Sample)> {
    samples.iter().enumerate().filter(|(_, s)| s.kind == Kind::Quote)
}

/// Neither lost nor doubled; the message stays short where thousands differ.
#[track_caller]
fn assert_same<'a>(expected: &BTreeSet<&str>, found: impl Iterator<Item = &'a str>) {
    let (mut seen, mut total) = (BTreeSet::new(), 0);
    for quote in found {
        seen.insert(quote);
        total += 1;
    }
    let missing: Vec<_> = expected.iter().filter(|q| !seen.contains(**q)).take(3).collect();
    let foreign: Vec<_> = seen.iter().filter(|q| !expected.contains(**q)).take(3).collect();
    assert!(missing.is_empty() && foreign.is_empty(), "missing {missing:?}, not expected {foreign:?}");
    assert_eq!(total, expected.len(), "{} records were doubled", total - expected.len());
}

fn assert_ids_follow_offsets(samples: &[Sample], places: &[(i32, i64)], rows: &[String]) {
    let place: BTreeMap<&str, (i32, i64)> = quotes(samples).map(|(i, s)| (s.quote.as_str(), places[i])).collect();
    let mut last = BTreeMap::new();
    for row in rows {
        let (partition, offset) = place[row.as_str()];
        let before = last.insert(partition, offset);
        assert!(before < Some(offset), "partition {partition}: offset {offset} was written after {before:?}");
    }
}

fn assert_everyone_worked(hosts: &[Host], flow: &str) {
    let read =
        || -> Vec<f64> { hosts.iter().map(|h| h.metric("wasmill_records_in_total", &[("flow", flow)])).collect() };
    // A batch is counted after its commit.
    wait_until("every record is counted", 60, || read().iter().sum::<f64>() >= RECORDS as f64);
    let read = read();
    assert!(read.iter().all(|n| *n > 0.0), "records read by each host: {read:?}");
    assert_eq!(read.iter().sum::<f64>(), RECORDS as f64);
}
