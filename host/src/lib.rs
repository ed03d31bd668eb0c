//! wasmill: a WebAssembly-scripted processing host for Kafka.
//!
//! The modules are listed in the order that a record travels. ARCHITECTURE.md tells the story.

pub mod cli;
pub mod config;
pub mod record;
pub mod outcome;
pub mod manifest;
pub mod source;
pub mod modules;
pub mod runtime;
pub mod router;
pub mod sinks;
pub mod commit;
pub mod flow;
pub mod supervisor;
pub mod admin;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod shutdown;
