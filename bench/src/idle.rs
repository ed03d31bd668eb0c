//! What a flow costs that has nothing to do: resident memory, threads and processor time of a host with one flow and with a
//! hundred.

use std::time::Duration;

use wasmill_tests::{case, kafka};

use crate::measure::{books, megabytes, start, wasmill};
use crate::place::{Place, Setup};
use crate::report;

const FLOWS: usize = 100;
/// Memory is settled when it moves less than this in a second.
const STILL: f64 = 0.5;
/// How long the processor time is watched.
const WATCHED: Duration = Duration::from_secs(10);

struct Idle {
    megabytes: f64,
    threads: f64,
    /// Of one core.
    percent: f64,
}

pub(crate) fn run() {
    let topics: Vec<String> = (0..FLOWS).map(|_| case::unique("bench-idle")).collect();
    topics.iter().for_each(|topic| kafka::create_topic(topic, 1));
    for (what, to) in [("reading only", ""), ("with a producer", "record")] {
        let one = measure(&topics[..1], to);
        let all = measure(&topics, to);
        let others = FLOWS as f64 - 1.0;
        let values = [
            ("MB with 1 flow", one.megabytes),
            ("MB with 100", all.megabytes),
            ("MB per further flow", (all.megabytes - one.megabytes) / others),
            ("threads per further flow", (all.threads - one.threads) / others),
            ("% of a core with 1 flow", one.percent),
            ("% of a core with 100", all.percent),
        ];
        report::line("IDLE", "wasmill idempotent", what, &values);
    }
}

/// When everything is quiet.
fn measure(topics: &[String], to: &str) -> Idle {
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
            break;
        }
        before = now;
    }
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs").count() as f64;
    let (cpu_before, _) = books(pid);
    std::thread::sleep(WATCHED);
    let (cpu, _) = books(pid);
    let percent = (cpu - cpu_before) / WATCHED.as_secs_f64() * 100.0;
    Idle { megabytes: megabytes(pid, "VmRSS:"), threads, percent }
}
