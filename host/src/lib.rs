//! wasmill: a WebAssembly-scripted processing host for Kafka.
//!
//! The modules are listed in the order that a record travels. ARCHITECTURE.md tells the story.

pub mod admin;
pub mod allocator;
pub(crate) mod base64;
pub mod board;
pub mod cli;
pub mod cluster;
pub mod codes;
pub mod commit;
pub mod config;
pub mod failpoint;
pub mod feed;
pub mod flow;
pub mod health;
pub mod logs;
pub mod manifest;
pub mod metrics;
pub mod modules;
pub mod outcome;
pub mod reach;
pub mod record;
pub mod redrive;
pub mod router;
pub mod runtime;
pub mod samples;
pub mod shutdown;
pub mod sinks;
pub mod source;
pub mod supervisor;
