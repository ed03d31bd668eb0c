//! `wasmill doctor`: what this machine, Kafka and the databases lack for the flows that are configured, each with its fix.
//! Writes nothing that stays: topics are created only for show, folders and ports are tried and given back.

mod machine;
mod servers;

use std::path::Path;

use super::check::{self, Lines, offline, online};
use super::{Failure, tokio_runtime};
use crate::config::Config;
use crate::config::load::file_to_read;

#[derive(clap::Args, Debug)]
pub(super) struct DoctorArgs {
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DoctorArgs, file: Option<&Path>) -> Result<(), Failure> {
    let mut lines = Lines::default();
    machine::toolchain(&mut lines);
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(report) => {
            lines.problems(&report);
            return check::finish(&lines, args.json);
        }
    };
    let source = file_to_read(file).map_or("environment variables".into(), |file| file.display().to_string());
    lines.fine("configuration", source);
    machine::cache(&config, &mut lines);
    machine::folder(&config, &mut lines);
    machine::port(&config, &mut lines);
    let flows = offline::check(&config, &mut lines)?;
    if !online::plaintext(&config, &mut lines) {
        return check::finish(&lines, args.json);
    }
    if online::kafka(&config, &flows, &mut lines) {
        servers::kafka(&config, &flows, &mut lines);
    }
    tokio_runtime()?.block_on(servers::sinks(&config, &flows, &mut lines));
    check::finish(&lines, args.json)
}
