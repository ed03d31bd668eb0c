//! `make chaos`: see `wasmill_tests::chaos`. Knobs come from the environment: SEED, SECONDS_OF_FAULTS, RATE.

use std::process::ExitCode;

use wasmill_tests::chaos::{Knobs, run, within_rig};

fn main() -> ExitCode {
    within_rig(|| run(Knobs::of_environment()))
}
