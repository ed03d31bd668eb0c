//! `[feed.NAME]`: the host fills topics itself, one host at a time, and goes on where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use wasmill_tests::kafka::{self, Incoming};
use wasmill_tests::stub::{Answer, Stub};
use wasmill_tests::{Case, wait_until};

fn sequence(records: &[Incoming]) -> Vec<u64> {
    let number = |record: &Incoming| serde_json::from_str::<Value>(&record.text()).ok()?["seq"].as_u64();
    let mut numbers: Vec<u64> = records.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_feed_of_the_host_ends_in_the_databases_and_goes_on_after_a_restart() {
    let mut case = Case::new("hosted");
    let topic = case.topic("in", 3);
    let flow = case.flow_of("log-data", &topic);
    case.install("log-data");
    let name = case.named("feed");
    case.tables.push_str(&format!(
        "\n[feed.{name}]\ntopic = \"{topic}\"\ngenerate = \"logs\"\nseed = 7\nrate = 500.0\ncount = 2500\n"
    ));
    let host = case.start();
    wait_until("rows of the feed arrive", 60, || case.database.count("log_data") > 600);
    let stopped = host.stop();
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
    let first = sequence(&kafka::consume(&topic)).len() as u64;
    assert!(first < 2_500, "{first}");

    let host = case.start();
    wait_until("the feed comes to its end", 60, || host.stderr().contains("the feed has come to its end"));
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(sequence(&kafka::consume(&topic)), (1..=2_500).collect::<Vec<u64>>(), "without a gap or a double");
    assert_eq!(case.database.count("log_data"), 2_500);
    assert!(
        host.stderr().contains(&format!("after=\"{first}\"")) || host.stderr().contains(&format!("after={first}")),
        "{}",
        host.stderr()
    );
}

#[test]
fn of_two_hosts_one_polls_and_the_other_takes_over() {
    let mut case = Case::new("seat");
    let topic = case.topic("in", 2);
    let given = Arc::new(AtomicUsize::new(0));
    let count = given.clone();
    let stub = Stub::new(move |_, _| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        Answer::new(200, format!("[{{\"seq\": {number}}}]"))
    });
    case.tables.push_str(&format!(
        "\n[feed.{}]\ntopic = \"{topic}\"\nhttp = \"{}/x\"\nevery = \"50ms\"\n",
        case.named("feed"),
        stub.url
    ));
    case.tables.push_str("[kafka.properties]\n\"session.timeout.ms\" = \"6000\"\n");
    let polls = || stub.requests().len();
    let one = case.start();
    wait_until("the first host polls", 60, || polls() > 3);
    let two = case.start();
    wait_until("the second host waits for its turn", 60, || {
        kafka::members(&format!("wasmill.feed.{}", case.named("feed"))) == 2
    });
    let feeding = |host: &wasmill_tests::Host| host.stderr().contains("feeding");
    let before = polls();
    wait_until("polling goes on", 60, || polls() > before + 3);
    // What a host has not been told to have arrived goes with it; the first answers wait for the producer to be ready.
    wait_until("what was polled arrives", 60, || {
        let asked = polls();
        kafka::consume(&topic).len() + 3 >= asked
    });
    one.kill();
    wait_until("the second host takes over", 60, || feeding(&two));
    let before = polls();
    wait_until("and polls", 60, || polls() > before + 3);
    assert_eq!(two.stop().code, 0);
    let fed = sequence(&kafka::consume(&topic));
    let mut unique = fed.clone();
    unique.dedup();
    assert_eq!(fed, unique, "no answer is fed twice");
    assert!(fed.len() + 4 >= given.load(Ordering::Relaxed), "{} of {} answers", fed.len(), polls());
}

#[test]
fn a_feed_that_cannot_work_is_said_in_health_and_mends_itself() {
    let mut case = Case::new("ill");
    let topic = case.topic("in", 1);
    let stub = Stub::new(|_, number| match number {
        0..3 => Answer::new(403, "not yet"),
        _ => Answer::new(200, "{\"seq\": 1}"),
    });
    let name = case.named("feed");
    case.tables.push_str(&format!("\n[feed.{name}]\ntopic = \"{topic}\"\nhttp = \"{}\"\nevery = \"1s\"\n", stub.url));
    let host = case.start();
    wait_until("the refusal is a problem", 60, || host.get("/health/ready").1.contains("403"));
    wait_until("records come", 60, || !kafka::consume(&topic).is_empty());
    wait_until("and it is none any more", 60, || !host.get("/health/ready").1.contains("403"));
}
