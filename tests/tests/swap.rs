//! Replacing a module while records flow: the next batch uses the new one, and nothing else changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;
use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, guests, wait_until};

const PARTITIONS: i32 = 4;
/// Swaps that are waited for, one after the other.
const SINGLE: u32 = 40;
/// Swaps as fast as the folder takes them, of which the last is waited for.
const BURSTS: u32 = 8;
const BURST: u32 = 20;
/// Records that may wait: what is left at the end must not take long.
const BACKLOG: i64 = 5_000;
/// The module that stays.
const LAST: u32 = 1000;

/// Offset and number by partition, as a sink holds them.
type Written = BTreeMap<String, Vec<(i64, i64)>>;

fn record(topic: &str, partition: i32) -> Outgoing {
    let name = format!("p{partition}");
    Outgoing::to(topic).partition(partition).key(name.clone()).value(name)
}

fn records(topic: &str, each: usize) -> Vec<Outgoing> {
    (0..PARTITIONS).flat_map(|p| (0..each).map(move |_| p)).map(|p| record(topic, p)).collect()
}

#[test]
fn a_module_that_asks_for_another_attempt_for_ever_can_be_replaced() {
    let mut case = Case::new("swap_retry");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("retry", &topic);
    case.install("retry");
    let values = |values: [&str; 3]| values.map(|value| Outgoing::to(&topic).value(value));
    kafka::produce(&values(["a", "retry", "b"]));
    let asks = "another attempt of the batch is needed: module retry: not yet";
    let host = case.start();
    host.wait_for_words(asks);
    case.install_as("retry", &guests::with_number("retry", 1));
    case.wait_until_committed(&flow, &topic, 60);
    // One with other sinks takes the flow's place as well. Read while they come, the records could become two batches.
    assert_eq!(host.stop().code, 0);
    case.install("retry");
    kafka::produce(&values(["c", "retry", "d"]));
    let host = case.start();
    host.wait_for_words(asks);
    case.install_as("retry", &guests::numbered(5));
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(case.database.column("SELECT value FROM retry_ok ORDER BY ctid"), ["a", "retry", "b"]);
    assert_eq!(case.database.column("SELECT value FROM numbered ORDER BY n"), ["c", "retry", "d"]);
    wait_until("nothing is wrong any more", 60, || host.get("/health/ready").0 == 200);
}

#[test]
fn numbers_never_fall_and_nothing_is_lost_or_doubled() {
    let mut case = Case::new("swap");
    let topic = case.topic("in", PARTITIONS);
    let flow = case.flow_of("numbered", &topic);
    case.install_as("numbered", &guests::numbered(1));
    let host = case.start();
    host.ready();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (group, ends) = (kafka::Group::new(&format!("wasmill.{flow}")), kafka::ends(&topic));
            let mut produced = 0;
            while !done.load(Ordering::Relaxed) {
                let is_small = || produced - group.committed(&topic, &ends) <= BACKLOG;
                wait_until("the backlog is small", 120, || is_small() || done.load(Ordering::Relaxed));
                produced += kafka::produce(&records(&topic, 50)).len() as i64;
            }
        });
        // Ended on failure too: the scope would wait for ever.
        let swapped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| swap(&case)));
        done.store(true, Ordering::Relaxed);
        load.join().expect("the load was produced");
        swapped.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    case.install_as("numbered", &guests::numbered(LAST));
    wait_for_number(&case, LAST, &topic);
    kafka::produce(&records(&topic, 1));
    case.wait_until_committed(&flow, &topic, 60);
    check(&rows(&case), &topic);
    check(&outputs(&flow), &topic);
    assert_eq!(host.metric("wasmill_records_dead_total", &[("flow", &flow)]), 0.0);
}

fn swap(case: &Case) {
    let place = |number| case.install_as("numbered", &guests::numbered(number));
    let appears = |number| wait_until(&format!("number {number} is written"), 60, || has_number(case, number));
    for number in 2..2 + SINGLE {
        place(number);
        appears(number);
    }
    for burst in 0..BURSTS {
        let first = 2 + SINGLE + burst * BURST;
        (first..first + BURST).for_each(place);
        appears(first + BURST - 1);
    }
}

fn has_number(case: &Case, number: u32) -> bool {
    let rows = case.database.try_rows(&format!("SELECT 1 FROM numbered WHERE number = {number} LIMIT 1"));
    rows.is_ok_and(|rows| !rows.is_empty())
}

fn wait_for_number(case: &Case, number: u32, topic: &str) {
    wait_until("the module that stays is in place", 60, || {
        kafka::produce(&records(topic, 1));
        has_number(case, number)
    });
}

fn rows(case: &Case) -> Written {
    let mut written = Written::new();
    for row in case.database.rows("SELECT value, \"offset\", number FROM numbered ORDER BY n") {
        let text = |n: usize| row[n].as_deref().expect("no NULL is written");
        let number = |n: usize| text(n).parse().expect("a number");
        written.entry(text(0).to_owned()).or_default().push((number(1), number(2)));
    }
    written
}

fn outputs(flow: &str) -> Written {
    let mut written = Written::new();
    let prefix = format!("{flow}/");
    for record in kafka::consume_settled("numbered_out") {
        if record.header("wasmill-id").starts_with(&prefix) {
            let row: Value = serde_json::from_slice(&record.value.expect("a value")).expect("JSON");
            let number = |name: &str| row[name].as_i64().expect("a number");
            let partition = row["value"].as_str().expect("a text").to_owned();
            written.entry(partition).or_default().push((number("offset"), number("number")));
        }
    }
    written
}

/// In the order in which they were written: every offset once and ascending, numbers never falling, the last one last.
fn check(written: &Written, topic: &str) {
    let ends = kafka::ends(topic);
    assert_eq!(written.len(), PARTITIONS as usize, "{:?}", written.keys());
    for (partition, rows) in written {
        let end = ends[&partition[1..].parse().expect("a partition")];
        let offsets: Vec<i64> = rows.iter().map(|(offset, _)| *offset).collect();
        let wrong = (0..end).zip(offsets.iter().copied().chain(std::iter::repeat(-1))).find(|(want, got)| want != got);
        assert!(wrong.is_none() && offsets.len() as i64 == end, "{partition}: {wrong:?} is wrong in 0..{end}");
        let fall = rows.windows(2).find(|pair| pair[0].1 > pair[1].1);
        assert!(fall.is_none(), "{partition}: the number falls: {fall:?}");
        assert_eq!(rows.last().map(|(_, number)| *number), Some(i64::from(LAST)), "{partition}");
    }
}
