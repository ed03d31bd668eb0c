//! Hosts at work while everything around them fails, from a seed. `make chaos` runs it; `tests/chaos.rs` runs a short
//! version. The checker knows what was produced and reads topics and databases only.

mod check;
mod faults;
mod load;
mod plan;
mod rig;
mod run;

pub use rig::within_rig;
pub use run::{Knobs, run};
