//! Cold start: from starting the process to the first committed record, with compiled modules at hand.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use wasmill_tests::kafka::Outgoing;
use wasmill_tests::{case, kafka, samples};

use crate::measure::{other, start, wasmill};
use crate::place::{Place, Setup};
use crate::scenario::Who;
use crate::stats::{median, percentile};
use crate::{knob, report};

const PARTITIONS: i32 = 4;
const RECORDS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run() {
    let topic = case::unique("bench-cold");
    kafka::create_topic(&topic, PARTITIONS);
    let samples = samples::quotes(&topic, PARTITIONS, RECORDS, 1);
    kafka::produce(&samples.into_iter().map(|sample| sample.record).collect::<Vec<Outgoing>>());
    let cache = std::env::temp_dir().join(case::unique("bench-cache"));
    std::fs::create_dir(&cache).expect("a directory for compiled modules");
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    once(Who::Wasmill, &topic, &cache);
    for who in [Who::Native, Who::Wasmill] {
        let runs: Vec<f64> = (0..knob("ROUNDS", 5)).map(|_| once(who, &topic, &cache)).collect();
        let largest = percentile(runs.iter().copied(), 100.0);
        let values = [("median ms", median(runs)), ("max ms", largest)];
        report::line("COLD", who.name(), "→ Postgres, start to first commit", &values);
    }
    std::fs::remove_dir_all(&cache).ok();
}

/// Milliseconds of one start.
fn once(who: Who, topic: &String, cache: &Path) -> f64 {
    let place = Place::new(None);
    let ends = kafka::ends(topic);
    let group = kafka::Group::new(&place.group(0, 1));
    // The observer's own connection is not to count.
    assert_eq!(group.committed(topic, &ends), 0);
    let topics = std::slice::from_ref(topic);
    let command = match who.is_wasmill() {
        true => {
            let delivery = who.delivery();
            wasmill(&place, &Setup { topics, to: "row", delivery, cache: Some(cache), ..Setup::default() })
        }
        false => other(who, &place, "row", topic),
    };
    let begun = Instant::now();
    let (_running, _words) = start(command);
    while group.committed(topic, &ends) == 0 {
        assert!(begun.elapsed() < PATIENCE, "nothing was committed in {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(1));
    }
    begun.elapsed().as_secs_f64() * 1e3
}
