//! `[feed.NAME]`: the host fills topics itself, one host at a time, and goes on where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
        "\n[feed.{name}]\ntopic = \"{topic}\"\ngenerate = \"logs\"\nseed = 7\nrate = 20.0\ncount = 2500\n"
    ));
    let host = case.start();
    wait_until("rows of the feed arrive", 100, || case.database.count("log_data") > 40);
    let stopped = host.stop();
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
    let first = sequence(&kafka::consume(&topic)).len() as u64;
    assert!(first < 2_500, "{first}");

    // At the first one's rate the rest would take two minutes.
    case.tables = case.tables.replace("rate = 20.0", "rate = 1000.0");
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
    let (given, silent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, nothing) = (given.clone(), silent.clone());
    let stub = Stub::new(move |_, _| {
        if nothing.load(Ordering::Relaxed) {
            return Answer::new(200, "[]");
        }
        let number = count.fetch_add(1, Ordering::Relaxed);
        Answer::new(200, format!("[{{\"seq\": {number}}}]"))
    });
    case.tables.push_str(&format!(
        "\n[feed.{}]\ntopic = \"{topic}\"\nhttp = \"{}/x\"\nevery = \"50ms\"\n",
        case.named("feed"),
        stub.url
    ));
    case.tables
        .push_str("[kafka.properties]\n\"session.timeout.ms\" = \"6000\"\n\"heartbeat.interval.ms\" = \"500\"\n");
    let polls = || stub.requests().len();
    let arrived = || kafka::consume(&topic).len();
    // A host that loses its seat to one that joins loses the answer that is on its way.
    let all_but_few = |arrived: usize| arrived + 4 >= given.load(Ordering::Relaxed);
    // Nothing is given any more, and what was given has arrived: what a host has not been told to have arrived would go
    // with it.
    let give_nothing = || {
        silent.store(true, Ordering::Relaxed);
        let (mut before, mut since) = (0, polls());
        wait_until("what was polled arrives", 60, || {
            let now = arrived();
            if now != before {
                (before, since) = (now, polls());
            }
            all_but_few(now) && polls() > since + 10
        });
    };
    let one = case.start();
    wait_until("the first host feeds", 60, || arrived() > 0);
    let two = case.start();
    wait_until("the second host waits for its turn", 60, || {
        kafka::members(&format!("wasmill.feed.{}", case.named("feed"))) == 2
    });
    let feeding = |host: &wasmill_tests::Host| host.stderr().contains("feeding");
    let before = arrived();
    wait_until("feeding goes on", 60, || arrived() > before + 3);
    give_nothing();
    one.kill();
    silent.store(false, Ordering::Relaxed);
    wait_until("the second host takes over", 60, || feeding(&two));
    let before = arrived();
    wait_until("and feeds", 60, || arrived() > before + 3);
    give_nothing();
    assert_eq!(two.stop().code, 0);
    let fed = sequence(&kafka::consume(&topic));
    let mut unique = fed.clone();
    unique.dedup();
    assert_eq!(fed, unique, "no answer is fed twice");
    assert!(all_but_few(fed.len()), "{} of {} answers", fed.len(), given.load(Ordering::Relaxed));
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
