//! What a flow costs that has nothing to do: resident memory and threads of a host with one flow and with a hundred.

use std::time::Duration;

use wasmill_tests::{case, kafka};

use crate::measure::{megabytes, start, wasmill};
use crate::place::{Place, Setup};
use crate::report;

const FLOWS: usize = 100;
/// Memory is settled when it moves less than this in a second.
const STILL: f64 = 0.5;

pub(crate) fn run() {
    let topics: Vec<String> = (0..FLOWS).map(|_| case::unique("bench-idle")).collect();
    topics.iter().for_each(|topic| kafka::create_topic(topic, 1));
    for (what, to) in [("reading only", ""), ("with a producer", "record")] {
        let (one, threads_of_one) = measure(&topics[..1], to);
        let (all, threads_of_all) = measure(&topics, to);
        let others = FLOWS as f64 - 1.0;
        let values = [
            ("MB with 1 flow", one),
            ("MB with 100", all),
            ("MB per further flow", (all - one) / others),
            ("threads per further flow", (threads_of_all - threads_of_one) / others),
        ];
        report::line("IDLE", "wasmill idempotent", what, &values);
    }
}

/// Resident memory in MB and threads, when everything is quiet.
fn measure(topics: &[String], to: &str) -> (f64, f64) {
    let place = Place::new((!to.is_empty()).then_some(1));
    let (running, words) = start(wasmill(&place, &Setup { topics, to, delivery: "idempotent", ..Setup::default() }));
    for _ in topics {
        words.recv_timeout(Duration::from_secs(120)).expect("every flow gets its partition");
    }
    let pid = running.0.id();
    let mut before = megabytes(pid, "VmRSS:");
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = megabytes(pid, "VmRSS:");
        if (now - before).abs() < STILL {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
            return (now, tasks.count() as f64);
        }
        before = now;
    }
}
