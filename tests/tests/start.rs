//! Where a flow begins that has no offsets yet: `start`, which counts for the partitions of that moment only.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, samples};

/// The timestamp of record `n`: seconds apart, and young enough that no broker deletes it.
fn time(n: i64) -> i64 {
    static FIRST: LazyLock<i64> = LazyLock::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
        now.as_millis() as i64 - 3_600_000
    });
    *FIRST + 1000 * n
}

fn quote(topic: &str, n: usize) -> Outgoing {
    let value = samples::quote_json(&format!("quote {n}"), "Homer", "");
    Outgoing::to(topic).partition(0).timestamp(time(n as i64)).value(value)
}

fn rows(case: &Case) -> Vec<String> {
    case.database.column("SELECT quotes FROM quotes ORDER BY quote_id")
}

fn named(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|n| format!("quote {n}")).collect()
}

/// The rows of a flow that begins with this `start` in a topic of 20 records and sees 5 more later.
fn rows_from(name: &str, start: &str) -> Vec<String> {
    let mut case = Case::new(name);
    let topic = case.topic("in", 1);
    let flow = case.named("flow");
    case.flow(&flow, &format!("modules = [\"quotes\"]\ntopics = [\"{topic}\"]\nstart = {start}"));
    case.install("quotes");
    kafka::produce(&(0..20).map(|n| quote(&topic, n)).collect::<Vec<_>>());
    let host = case.start();
    // The position is taken when the partition is assigned; only then are later records later ones.
    case.wait_until_committed(&flow, &topic, 60);
    kafka::produce(&(20..25).map(|n| quote(&topic, n)).collect::<Vec<_>>());
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(host.stop().code, 0);
    // A second host begins where the first one stopped, whatever `start` says.
    let host = case.start();
    kafka::produce(&[quote(&topic, 25)]);
    case.wait_until_committed(&flow, &topic, 60);
    drop(host);
    rows(&case)
}

#[test]
fn a_flow_that_starts_at_the_end_writes_what_comes_after_its_first_assignment() {
    assert_eq!(rows_from("start_latest", "\"latest\""), named(20..26));
}

#[test]
fn a_flow_that_starts_at_an_offset_writes_from_there() {
    assert_eq!(rows_from("start_offset", "\"offset:17\""), named(17..26));
}

#[test]
fn a_flow_that_starts_at_a_point_in_time_writes_what_was_produced_since() {
    let start = format!("{{ timestamp = {} }}", time(12));
    assert_eq!(rows_from("start_timestamp", &start), named(12..26));
}

#[test]
fn a_point_in_time_behind_the_last_record_is_the_end() {
    assert_eq!(rows_from("start_future", &format!("{{ timestamp = {} }}", time(1000))), named(20..26));
}
