//! Everything is killed, stopped, cut and replaced while records flow, and nothing is lost, doubled or out of order.
//! The short version of `make chaos`, on services of its own.

use std::time::Duration;

use wasmill_tests::chaos::{self, Settings};

/// Another seed is another mix of faults; this one has at least one of each kind in its time.
const SEED: u64 = 1;
const LENGTH: Duration = Duration::from_secs(50);
/// Where nothing more is committed for so long, it never will be.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn nothing_is_lost_doubled_or_out_of_order_whatever_is_killed() {
    let directory = tempfile::TempDir::with_prefix("wasmill-chaos-").expect("a temporary directory");
    let directory = directory.path().into();
    let settings = Settings { seed: SEED, length: LENGTH, patience: PATIENCE, directory, ..Settings::default() };
    let outcome = chaos::run(&settings).expect("the run comes to its end");
    assert!(outcome.report.is_well(), "{}\n{}", outcome.row, outcome.words);
}
