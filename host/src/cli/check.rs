//! `wasmill check`: what a start would trip over, one line each, with what to do. Writes nothing anywhere: topics and
//! tables are only looked at.

pub(super) mod offline;
pub(super) mod online;

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{Failure, out, tokio_runtime};
use crate::config::Config;
use crate::config::load::file_to_read;
use crate::config::report::Report;
use crate::flow::plan::Plan;

/// Longest wait for a sink's answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Args, Debug)]
pub(super) struct CheckArgs {
    /// Look at configuration and modules only
    #[arg(long)]
    offline: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// The flows of a configuration that could run, for other commands.
pub(super) fn plans(config: &Config) -> Result<Vec<Plan>, Failure> {
    offline::check(config, &mut Lines::default())
}

/// One line of the result.
#[derive(Debug)]
pub(super) struct Line {
    /// 0 fine, 1 worth knowing; otherwise the exit code that it asks for.
    code: u8,
    what: String,
    /// What was found, or what is wrong.
    found: String,
    /// What to do.
    help: String,
}

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<Line>);

impl Lines {
    pub(super) fn fine(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.add(0, what, found, "");
    }

    /// Nothing to stop for.
    pub(super) fn note(&mut self, what: impl Into<String>, found: impl Into<String>, help: impl Into<String>) {
        self.add(1, what, found, help);
    }

    pub(super) fn config(&mut self, what: impl Into<String>, wrong: impl Into<String>, help: impl Into<String>) {
        self.add(2, what, wrong, help);
    }

    pub(super) fn environment(&mut self, what: impl Into<String>, wrong: impl Into<String>, help: impl Into<String>) {
        self.add(3, what, wrong, help);
    }

    /// What is wrong in a configuration that does not load.
    pub(super) fn problems(&mut self, report: &Report) {
        for problem in &report.problems {
            self.config(&problem.key, &problem.message, problem.help.clone().unwrap_or_default());
        }
    }

    fn add(&mut self, code: u8, what: impl Into<String>, found: impl Into<String>, help: impl Into<String>) {
        self.0.push(Line { code, what: what.into(), found: found.into(), help: help.into() });
    }

    /// The exit code: the configuration's problems come first.
    fn code(&self) -> u8 {
        self.0.iter().map(|line| line.code).filter(|code| *code > 1).min().unwrap_or(0)
    }
}

pub(super) fn run(args: &CheckArgs, file: Option<&Path>) -> Result<(), Failure> {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(report) if args.json => {
            let mut lines = Lines::default();
            lines.problems(&report);
            return finish(&lines, true);
        }
        Err(report) => return Err(report.into()),
    };
    let mut lines = Lines::default();
    let source = file_to_read(file).map_or("environment variables".into(), |file| file.display().to_string());
    lines.fine("configuration", source);
    let flows = offline::check(&config, &mut lines)?;
    if !args.offline && online::plaintext(&config, &mut lines) {
        online::kafka(&config, &flows, &mut lines);
        tokio_runtime()?.block_on(online::sinks(&config, &mut lines));
    }
    finish(&lines, args.json)
}

/// Prints the lines; an error carries the exit code.
pub(super) fn finish(lines: &Lines, as_json: bool) -> Result<(), Failure> {
    let code = lines.code();
    if as_json {
        let checks = lines.0.iter().map(|line| {
            let state = match line.code {
                0 => "ok",
                1 => "note",
                _ => "failed",
            };
            json!({ "state": state, "what": line.what, "found": line.found, "help": line.help })
        });
        out::data(&json!({ "ok": code == 0, "exit": code, "checks": checks.collect::<Vec<_>>() }).to_string());
    } else {
        lines.0.iter().for_each(print);
        let wrong = lines.0.iter().filter(|line| line.code > 1).count();
        match wrong {
            0 => out::say("nothing wrong"),
            1 => out::say("1 thing is wrong"),
            n => out::say(&format!("{n} things are wrong")),
        }
    }
    if code == 0 { Ok(()) } else { Err(Failure { code, message: String::new() }) }
}

fn print(line: &Line) {
    let style = out::Style::of(&std::io::stdout());
    let mark = match line.code {
        0 => style.good("✓"),
        1 => style.warn("!"),
        _ => style.bad("✗"),
    };
    out::data(&format!("{mark} {}: {}", style.bold(&line.what), line.found));
    if !line.help.is_empty() {
        out::data(&format!("  {} {}", style.dim("→"), line.help));
    }
}
