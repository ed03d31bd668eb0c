//! `wasmill run`: configuration, logs, signals, HTTP server, then the supervisor until the end.

use std::path::Path;

use super::{Failure, out, tokio_runtime};
use crate::board::Board;
use crate::config::load::file_to_read;
use crate::config::{Config, plaintext};
use crate::feed::hosted::Hosted;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::supervisor::{self, Settings};
use crate::{admin, logs, reach};

#[derive(clap::Args, Debug)]
pub(super) struct RunArgs {
    /// Stop when each partition has passed the end that it had at its first assignment
    #[arg(long)]
    once: bool,
}

pub(super) fn run(args: &RunArgs, file: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let logs = logs::start(&config.log).map_err(Failure::environment)?;
    let shutdown =
        Shutdown::listen().map_err(|error| Failure::environment(format!("cannot listen for signals: {error}")))?;
    for open in plaintext::check(&config, reach::find)? {
        let (key, host) = (open.key(), &open.host);
        tracing::warn!(
            "{key}: {host} has no address now, so nobody can tell whether it is private; what is sent there is not encrypted"
        );
    }
    let tokio = tokio_runtime()?;
    let board = Board::new(Metrics::new(), Health::new(), logs.recent());
    match file_to_read(file) {
        Some(file) => tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %file.display(), "starting"),
        None => tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting from environment variables"),
    }
    supervisor::not_ready_yet(&board.health);
    let server = admin::start(&config.admin, &board, tokio.handle()).map_err(Failure::environment)?;
    // With --once nothing new is wanted.
    let feeds = match args.once {
        true => None,
        false => Some(Hosted::start(&config, &board.health, &shutdown).map_err(Failure::environment)?),
    };
    let settings =
        Settings { config, once: args.once, board, shutdown: shutdown.clone(), tokio: tokio.handle().clone() };
    let result = supervisor::run(settings);
    shutdown.request();
    feeds.into_iter().for_each(Hosted::join);
    drop(server);
    // Nothing that still runs there is worth waiting for: everything to be kept is committed.
    tokio.shutdown_background();
    let lost = logs.dropped().lines();
    drop(logs);
    if lost > 0 {
        out::say(&format!("{lost} log lines were dropped because the console or the file was too slow"));
    }
    result.map_err(|failure| Failure { code: failure.code, message: failure.message })
}
