//! The harness: one file per thing that a test touches. Everything here waits for observable facts with a deadline and
//! names what it waited for; nothing sleeps for luck, nothing is mocked.

pub mod browser;
pub mod case;
pub mod chaos;
pub mod engine;
pub mod guests;
pub mod hands;
pub mod host;
pub mod kafka;
pub mod mongo;
pub mod own;
pub mod postgres;
pub mod proxy;
pub mod samples;
pub mod secured;
pub mod services;
pub mod stub;
pub mod wait;

pub use case::Case;
pub use host::Host;
pub use wait::{wait_for, wait_until};
