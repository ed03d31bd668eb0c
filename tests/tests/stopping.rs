//! A host stops in bounded time, whatever its sinks do.

use std::time::{Duration, Instant};

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::proxy::Proxy;
use wasmill_tests::{Case, Host, samples, wait_until};

fn quotes(topic: &str, from: usize, to: usize) -> Vec<Outgoing> {
    (from..to).map(|n| Outgoing::to(topic).value(samples::quote_json(&format!("quote {n}"), "Homer", ""))).collect()
}

/// A host whose Postgres has fallen silent with a batch on its way.
fn stuck(what: &str) -> (Case, Proxy, String, String, Host) {
    let mut case = Case::new(what);
    // The next host need not wait for long where the group does not hear that this one has left.
    case.tables.push_str("[kafka.properties]\n\"session.timeout.ms\" = \"6000\"\n");
    let (proxy, url) = Proxy::before(&case.database.url);
    case.postgres_url = url;
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    kafka::produce(&quotes(&topic, 0, 50));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    proxy.stall(true);
    kafka::produce(&quotes(&topic, 50, 100));
    let labels = [("flow", flow.as_str())];
    wait_until("records wait for the database", 30, || host.metric("wasmill_consumer_lag", &labels) == 50.0);
    (case, proxy, flow, topic, host)
}

#[test]
fn a_silent_database_does_not_hold_up_a_stop() {
    let (case, proxy, flow, topic, host) = stuck("stop_silent");
    let asked = Instant::now();
    let stopped = host.stop();
    let took = asked.elapsed();
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
    assert!(took < Duration::from_secs(6), "the stop took {took:?}");
    proxy.stall(false);
    let _host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    let expected: Vec<String> = (0..100).map(|n| format!("quote {n}")).collect();
    assert_eq!(case.database.column("SELECT quotes FROM quotes ORDER BY quote_id"), expected);
}

#[test]
fn a_second_signal_ends_at_once() {
    for (signal, code) in [(libc::SIGTERM, 143), (libc::SIGINT, 130)] {
        let (_case, _proxy, _flow, _topic, host) = stuck("stop_twice");
        host.signal(signal);
        host.wait_for_words("a second signal ends at once");
        let asked = Instant::now();
        host.signal(signal);
        let ended = host.finish();
        assert!(ended.code == code && asked.elapsed() < Duration::from_secs(2), "{} {:?}", ended.code, asked.elapsed());
    }
}
