//! Replacing the module under full load: how long nothing is committed around a swap, beside how long nothing is at any other
//! time. The difference is what a swap costs.

use std::time::{Duration, Instant};

use wasmill_tests::host::Host;
use wasmill_tests::{case, kafka, wait_until};

use crate::place::{Place, Setup, guest};
use crate::stats::percentile;
use crate::watch::{LAG, Watch};
use crate::{knob, report};

const PARTITIONS: i32 = 4;
/// Small batches: offsets move every few milliseconds, and whoever produces beside the host keeps up with it.
const BATCH: usize = 500;
/// What is watched after a swap, and as long again without one.
const AFTER: Duration = Duration::from_millis(200);

pub(crate) fn run() {
    let swaps: u32 = knob("SWAPS", 200);
    let place = Place::new(Some(PARTITIONS));
    let topic = case::unique("bench-swap");
    kafka::create_topic(&topic, PARTITIONS);
    let topics = std::slice::from_ref(&topic);
    let setup = Setup { topics, to: "record", delivery: "idempotent", batch: Some(BATCH), ..Setup::default() };
    let config = place.configure(&setup);
    let host = Host::spawn(&["run", "-c", &config.to_string_lossy()], place.path(), &[]);
    let watch = Watch::new(topic, place.group(0, 1), PARTITIONS);
    let (around, between) = watch.during(|| measure(swaps, &place, &host, &watch));
    let at = |values: &[f64], percent| percentile(values.iter().copied(), percent);
    let values = [
        ("p50 ms", at(&around, 50.0)),
        ("p99 ms", at(&around, 99.0)),
        ("without a swap p50 ms", at(&between, 50.0)),
        ("p99 ms without", at(&between, 99.0)),
    ];
    report::line("SWAP", "wasmill idempotent", &format!("longest pause, {swaps} swaps"), &values);
}

/// The longest pause in milliseconds around each swap, and in as long a time after it.
fn measure(swaps: u32, place: &Place, host: &Host, watch: &Watch) -> (Vec<f64>, Vec<f64>) {
    let taken = || host.metric("wasmill_module_swaps_total", &[]);
    wait_until("records flow", 60, || watch.committed() > LAG / 3);
    let (mut around, mut between) = (Vec::new(), Vec::new());
    for number in 0..swaps {
        wait_until("records wait", 60, || watch.lag() > LAG / 3);
        let before = taken();
        let begun = Instant::now();
        place.install("bench", &marked(number));
        wait_until("the module is in place", 60, || taken() > before);
        std::thread::sleep(AFTER);
        let length = begun.elapsed();
        std::thread::sleep(length);
        around.push(watch.longest(begun, begun + length));
        between.push(watch.longest(begun + length, begun + 2 * length));
    }
    (around, between)
}

/// The module with a custom section: other bytes, the same code.
fn marked(number: u32) -> Vec<u8> {
    let mut bytes = guest("bench-guest");
    bytes.extend_from_slice(&[0, 9, 4, b's', b'w', b'a', b'p']);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}
