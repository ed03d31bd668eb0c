//! An outage holds records up; it never makes dead letters of them.

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::proxy::Proxy;
use wasmill_tests::{Case, Host, mongo, samples, wait_until};

const DOCUMENTS: &str = "simpson_db.quotes";

fn quotes(topic: &str, from: usize, to: usize) -> Vec<Outgoing> {
    (from..to).map(|n| Outgoing::to(topic).value(samples::quote_json(&format!("quote {n}"), "Homer", ""))).collect()
}

/// Feeds before, during and after an outage that `proxy` makes, and checks that nothing is lost, doubled or dead.
fn survive(case: &Case, host: &Host, proxy: &Proxy, flow: &str, topic: &str, sink: &str) {
    host.ready();
    kafka::produce(&quotes(topic, 0, 100));
    case.wait_until_committed(flow, topic, 60);
    proxy.cut();
    kafka::produce(&quotes(topic, 100, 200));
    wait_until("the host says that it is not ready, and names the sink", 60, || {
        let (status, body) = host.get("/health/ready");
        status == 503 && body.contains(sink)
    });
    assert_eq!(host.get("/health/live").0, 200, "an outage is no reason for a restart");
    proxy.restore();
    case.wait_until_committed(flow, topic, 60);
    host.ready();
    assert_eq!(host.metric("wasmill_records_dead_total", &[("flow", flow)]), 0.0);
    assert!(host.metric("wasmill_sink_retries_total", &[("flow", flow), ("sink", sink)]) > 0.0);
    let expected: Vec<String> = (0..200).map(|n| format!("quote {n}")).collect();
    assert_eq!(case.database.column("SELECT quotes FROM quotes ORDER BY quote_id"), expected);
    assert_eq!(mongo::documents_of(&case.mongodb_url, DOCUMENTS, flow).len(), 200);
    assert_eq!(kafka::consume(&format!("{topic}.dlq")), []);
}

#[test]
fn while_postgres_is_away_records_wait() {
    let mut case = Case::new("no_postgres");
    let (proxy, url) = Proxy::before(&case.database.url);
    case.postgres_url = url;
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let host = case.start();
    survive(&case, &host, &proxy, &flow, &topic, "postgres");
}

#[test]
fn while_mongodb_is_away_records_wait() {
    let mut case = Case::new("no_mongodb");
    let direct = case.mongodb_url.clone();
    let (proxy, url) = Proxy::before(&direct);
    case.mongodb_url = url;
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let host = case.start();
    survive(&case, &host, &proxy, &flow, &topic, "mongodb");
}

#[test]
fn postgres_goes_ahead_of_mongodb_by_two_batches_at_most() {
    let mut case = Case::new("ahead");
    let (proxy, url) = Proxy::before(&case.mongodb_url.clone());
    let direct = std::mem::replace(&mut case.mongodb_url, url);
    let topic = case.topic("in", 1);
    let flow = case.named("flow");
    case.flow(&flow, &format!("modules = [\"quotes\"]\ntopics = [\"{topic}\"]\nbatch = {{ records = 10 }}"));
    case.install("quotes");
    let host = case.start();
    kafka::produce(&quotes(&topic, 0, 10));
    case.wait_until_committed(&flow, &topic, 60);
    proxy.cut();
    kafka::produce(&quotes(&topic, 10, 100));
    // The first batch may be as small as one record; the one after it is full.
    wait_until("the second batch is in Postgres", 60, || case.database.count("quotes") > 20);
    wait_until("intake is paused", 60, || host.metric("wasmill_backpressure_paused", &[("flow", &flow)]) == 1.0);
    assert!(case.database.count("quotes") <= 30);
    assert_eq!(mongo::documents_of(&direct, DOCUMENTS, &flow).len(), 10);
    proxy.restore();
    case.wait_until_committed(&flow, &topic, 60);
    let expected: Vec<String> = (0..100).map(|n| format!("quote {n}")).collect();
    assert_eq!(case.database.column("SELECT quotes FROM quotes ORDER BY quote_id"), expected);
    assert_eq!(mongo::documents_of(&direct, DOCUMENTS, &flow).len(), 100);
}

#[test]
fn a_flow_whose_database_is_away_does_not_hold_up_another() {
    let mut case = Case::new("held_up");
    let (proxy, url) = Proxy::before(&case.database.url);
    case.postgres_url = url;
    let (stuck, free) = (case.topic("stuck", 1), case.topic("free", 1));
    let (stuck_flow, free_flow) = (case.named("stuck_flow"), case.named("free_flow"));
    case.install("quotes");
    case.install("route");
    case.flow(&stuck_flow, &format!("modules = [\"quotes\"]\ntopics = [\"{stuck}\"]"));
    case.flow(&free_flow, &format!("modules = [\"route\"]\ntopics = [\"{free}\"]"));
    proxy.cut();
    kafka::produce(&quotes(&stuck, 0, 10));
    kafka::produce(&[Outgoing::to(&free).value(r#"{"id": "A-1", "region": "EU", "total": 20}"#)]);
    let _host = case.start();
    case.wait_until_committed(&free_flow, &free, 60);
    assert_eq!(kafka::lag(&format!("wasmill.{stuck_flow}"), &stuck), 10);
    proxy.restore();
    case.wait_until_committed(&stuck_flow, &stuck, 60);
    assert_eq!(case.database.count("quotes"), 10);
}

#[test]
fn an_outage_needs_no_more_memory_however_much_is_waiting() {
    let mut case = Case::new("outage_memory");
    let (proxy, url) = Proxy::before(&case.database.url);
    case.postgres_url = url;
    let topic = case.topic("in", 4);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let host = case.start();
    kafka::produce(&quotes(&topic, 0, 100));
    case.wait_until_committed(&flow, &topic, 60);
    proxy.cut();
    let quote = samples::quote_json(&"x".repeat(450), "Homer", &"y".repeat(450));
    let records: Vec<Outgoing> =
        (0..300_000).map(|n| Outgoing::to(&topic).partition(n % 4).value(quote.as_str())).collect();
    for chunk in records.chunks(50_000) {
        kafka::produce(chunk);
    }
    wait_until("intake is paused", 60, || host.metric("wasmill_backpressure_paused", &[("flow", &flow)]) == 1.0);
    let (peak, _) = host.size();
    assert!(peak < 256.0, "{peak:.0} MiB with 300 MB waiting");
    assert_eq!(host.metric("wasmill_records_dead_total", &[("flow", &flow)]), 0.0);
    assert_eq!(kafka::members(&format!("wasmill.{flow}")), 1, "the host is still a member of its group");
}
