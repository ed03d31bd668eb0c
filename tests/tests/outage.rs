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
