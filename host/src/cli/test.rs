//! `wasmill test`: a transform's samples through the compiled module, in the runtime and under the limits of the host. The
//! report is data; the words of cargo and of what cannot be run at all are not.

mod diff;
mod junit;
pub(super) mod show;

use std::path::PathBuf;

use super::modules::{Loader, Subject};
use super::{Failure, out};
use crate::config::Limits;
use crate::samples::check::{Case, Check};

#[derive(clap::Args, Debug)]
pub(super) struct TestArgs {
    /// The crate's folder, or a .wasm file
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Write what came out to expected/*.jsonl, to be read and committed
    #[arg(short, long)]
    update: bool,
    /// The folder that holds samples/ and expected/ [default: the crate's, or the file's]
    #[arg(long, value_name = "DIR")]
    samples: Option<PathBuf>,
    /// Write a report in JUnit's form as well
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TestArgs) -> Result<(), Failure> {
    let loader = Loader::new(None)?;
    let subject = loader.subject(&args.path)?;
    let dir = args.samples.as_deref().unwrap_or(&subject.dir);
    let cases = cases(&loader, &subject, dir, args.update)?;
    if let Some(file) = &args.junit {
        std::fs::write(file, junit::report(&subject.module.name, &cases)).map_err(|error| {
            Failure::environment(format!("cannot write {}: {error}; name another file with --junit", file.display()))
        })?;
    }
    let style = out::Style::of(&std::io::stdout());
    match args.json {
        true => out::data(&show::json(&subject.module, &cases).to_string()),
        false => show::report(&subject.module, &cases, style).iter().for_each(|line| out::data(line)),
    }
    match cases.iter().filter(|case| !case.passed).count() {
        0 => Ok(()),
        // The report has said it all.
        _ => Err(Failure::runtime("")),
    }
}

/// Runs the samples in `dir` through a module.
pub(super) fn cases(
    loader: &Loader,
    subject: &Subject,
    dir: &std::path::Path,
    update: bool,
) -> Result<Vec<Case>, Failure> {
    let limits = Limits::default();
    let check = Check { runtime: loader.runtime(), module: &subject.module, dir, limits, update };
    Ok(check.run()?)
}
