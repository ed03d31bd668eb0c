//! `wasmill top`: the overview of the running host, drawn again every second or two.

use std::io::{IsTerminal as _, stdout};
use std::path::Path;
use std::time::Duration;

use super::ask::{AdminArgs, Ask};
use super::out::{self, Style};
use super::{Failure, ls};
use crate::shutdown::Shutdown;

/// Clears the screen and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(clap::Args, Debug)]
pub(super) struct TopArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = crate::config::units::parse_duration)]
    every: Duration,
    /// End after so many looks [default: at Ctrl-C]
    #[arg(short, value_name = "COUNT")]
    n: Option<u64>,
    /// Print the host's state as one line of JSON per look
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TopArgs, file: Option<&Path>) -> Result<(), Failure> {
    let ask = Ask::new(&args.admin, file)?;
    let shutdown =
        Shutdown::listen().map_err(|error| Failure::environment(format!("cannot listen for signals: {error}")))?;
    let style = Style::of(&stdout());
    let clear = if stdout().is_terminal() && !args.json { CLEAR } else { "" };
    let mut looks = 0;
    loop {
        let state = ask.state()?;
        let text = match args.json {
            // Strings and numbers always become JSON.
            true => serde_json::to_string(&state).unwrap_or_default(),
            false => ls::overview(&state, style).join("\n"),
        };
        out::data(&format!("{clear}{text}"));
        looks += 1;
        if args.n.is_some_and(|n| looks >= n) || shutdown.wait_timeout(args.every) {
            return Ok(());
        }
        if clear.is_empty() && !args.json {
            out::data("");
        }
    }
}
