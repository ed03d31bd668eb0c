//! `make chaos`: one run of the chaos driver, a table row on stdout, exit code 0 where nothing is wrong.
//!
//! `wasmill-chaos DIR [--seed N] [--seconds S] [--rate N] [--backlog N] [--without journal|compare-and-set]`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use wasmill_tests::chaos::report::Report;
use wasmill_tests::chaos::{self, Settings};

const USAGE: &str = "usage: wasmill-chaos DIR [--seed N] [--seconds S] [--rate N] [--backlog N] \
                     [--without journal|compare-and-set]";

fn main() -> anyhow::Result<ExitCode> {
    let settings = settings(std::env::args().skip(1))?;
    writeln!(std::io::stderr(), "seed {}: files in {}", settings.seed, settings.directory.display())?;
    let outcome = chaos::run(&settings)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n{}\n\n{}", Report::head(), outcome.row, outcome.words)?;
    Ok(if outcome.report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Settings> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let mut settings = Settings {
        seed: now % 1_000_000,
        directory: arguments.next().filter(|name| !name.starts_with('-')).map(PathBuf::from).context(USAGE)?,
        ..Settings::default()
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().context(USAGE)?;
        match name.as_str() {
            "--seed" => settings.seed = value.parse()?,
            "--seconds" => settings.length = Duration::from_secs(value.parse()?),
            "--rate" => settings.rate = value.parse()?,
            "--backlog" => settings.backlog = value.parse()?,
            "--without" => settings.switches = switch(&value)?,
            _ => bail!("{name} is not known\n{USAGE}"),
        }
    }
    Ok(settings)
}

fn switch(safeguard: &str) -> anyhow::Result<String> {
    match safeguard {
        "journal" => Ok("sql.no-journal=return".into()),
        "compare-and-set" => Ok("sql.no-cas=return".into()),
        _ => bail!("{safeguard} cannot be switched off\n{USAGE}"),
    }
}
