//! More instances of one flow under load, then fewer: how fast it is with 1, 2 and 4, how long it takes until the partitions
//! are dealt out anew, and how long the committed offset of a partition stands still meanwhile, beside how long it does
//! at any other time. Once with a cap of rows per instance, which stands for a sink or transform that is the bottleneck of each
//! instance, and once without, where the instances of one machine share its cores.

use std::time::{Duration, Instant};

use wasmill_tests::host::Host;
use wasmill_tests::{case, kafka, wait_for, wait_until};

use crate::place::{Place, Setup};
use crate::stats::median;
use crate::watch::Watch;
use crate::{knob, report};

const PARTITIONS: i32 = 12;
/// A host that dies without a word is noticed after this time.
const SESSION: &str = "\"session.timeout.ms\" = \"6000\"\n\"heartbeat.interval.ms\" = \"500\"";

/// The instances of a flow.
struct Instances {
    place: Place,
    config: String,
    watch: Watch,
    steady: Duration,
    label: String,
}

pub(crate) fn run() {
    // One that writes 500 rows at a time commits four times a second.
    for (cap, batch) in [(Some(knob("SCALE_ROWS", 2000)), Some(500)), (None, None)] {
        let place = Place::new(None);
        let topic = case::unique("bench-scale");
        kafka::create_topic(&topic, PARTITIONS);
        let topics = std::slice::from_ref(&topic);
        let setup =
            Setup { topics, to: "row", delivery: "idempotent", cap, batch, properties: SESSION, ..Setup::default() };
        let config = place.configure(&setup).display().to_string();
        let watch = Watch::new(topic.clone(), place.group(0, 1), PARTITIONS);
        let label = cap.map_or("no cap".to_owned(), |rows| format!("{rows} rows/s each"));
        let instances =
            Instances { place, config, watch, steady: Duration::from_secs(knob("SCALE_SECONDS", 10)), label };
        instances.watch.during(|| instances.measure());
    }
}

impl Instances {
    fn measure(&self) {
        let mut hosts = vec![self.start()];
        wait_until("records flow", 60, || self.watch.committed() > 0 && owned(&hosts[0]) == PARTITIONS as usize);
        self.steady("1 instance");
        self.change("1 → 2", &mut hosts, |hosts| hosts.push(self.start()));
        self.steady("2 instances");
        self.change("2 → 4", &mut hosts, |hosts| hosts.extend([self.start(), self.start()]));
        self.steady("4 instances");
        self.change("4 → 3, stopped", &mut hosts, |hosts| _ = hosts.remove(0).stop());
        self.change("3 → 2, kill -9", &mut hosts, |hosts| hosts.remove(0).kill());
    }

    fn start(&self) -> Host {
        Host::spawn(&["run", "-c", &self.config], self.place.path(), &[])
    }

    /// Records per second while nothing changes, and how long a partition stands still then.
    fn steady(&self, what: &str) {
        let (begun, before) = (Instant::now(), self.watch.committed());
        std::thread::sleep(self.steady);
        let end = Instant::now();
        let rate = (self.watch.committed() - before) as f64 / (end - begun).as_secs_f64();
        let pauses = self.watch.longest_of_each(begun, end);
        let values = [
            ("records/s", rate),
            ("longest pause of a partition, median ms", median(pauses.values().copied())),
            ("worst ms", pauses.values().copied().fold(0.0, f64::max)),
        ];
        report::line("SCALE", &self.label, what, &values);
    }

    /// The time until each instance has its share of the partitions, and the pauses until then.
    fn change(&self, what: &str, hosts: &mut Vec<Host>, change: impl FnOnce(&mut Vec<Host>)) {
        let begun = Instant::now();
        change(hosts);
        let share = PARTITIONS as usize / hosts.len();
        let moved = wait_for("each instance has its share", 120, || {
            hosts.iter().all(|host| owned(host) == share).then(Instant::now)
        });
        wait_until("every partition moves on", 60, || self.watch.all_moved_since(moved));
        let pauses = self.watch.longest_of_each(begun, Instant::now());
        let values = [
            ("all partitions have their place after s", (moved - begun).as_secs_f64()),
            ("longest pause of a partition, median ms", median(pauses.values().copied())),
            ("worst ms", pauses.values().copied().fold(0.0, f64::max)),
        ];
        report::line("SCALE", &self.label, what, &values);
    }
}

/// Partitions that a host has: only for those there is a lag. None while it does not listen yet.
fn owned(host: &Host) -> usize {
    let (_, page) = host.get("/metrics");
    page.lines().filter(|line| line.starts_with("wasmill_consumer_lag{")).count()
}
