//! `wasmill dev`: at each change of a crate's files build, test and swap. What fails at any step is said, and the module of
//! before goes on running. Nothing that is not the author's is written: without a broker or a folder everything is in memory
//! and in a temporary folder.

mod sources;
mod stage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::sources::{Changed, Sources};
use self::stage::Stage;
use super::build::{self, Built};
use super::modules::{Loader, Subject};
use super::out::{self, Style};
use super::test::{cases, show};
use super::{Failure, kafka_settings};
use crate::config::{Config, Log};
use crate::logs;
use crate::logs::recent::Recent;
use crate::samples::check;
use crate::shutdown::Shutdown;

#[derive(clap::Args, Debug)]
pub(super) struct DevArgs {
    /// The crate's folder
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Put the module into this folder of a host that runs elsewhere, and start none here
    #[arg(long, value_name = "DIR", conflicts_with = "brokers")]
    modules: Option<PathBuf>,
    /// Run on these brokers, from the newest record on, with a group of its own and SQLite for the databases
    #[arg(short, long)]
    brokers: Option<String>,
}

/// Where modules are swapped into.
enum Place {
    /// A folder that another process watches.
    Folder(PathBuf),
    /// A host in this process, started when the first module says what it reads.
    Here { config: Option<Box<Config>>, brokers: Option<String>, stage: Option<Box<Stage>> },
}

pub(super) fn run(args: &DevArgs, config: Option<&Path>) -> Result<(), Failure> {
    let dir = build::crate_dir(&args.path)?;
    let place = place(args, config)?;
    let log = match &place {
        Place::Here { config: Some(config), .. } => config.log.clone(),
        _ => Log {
            level: std::env::var("WASMILL_LOG").unwrap_or_else(|_| "error,wasmill::guest=info".into()),
            ..Log::default()
        },
    };
    let logs = logs::start(&log).map_err(Failure::environment)?;
    let shutdown =
        Shutdown::listen().map_err(|error| Failure::environment(format!("cannot listen for signals: {error}")))?;
    let mut session = Session {
        loader: Loader::new(None)?,
        style: Style::of(&std::io::stdout()),
        sources: Sources::new(&dir),
        dir,
        place,
        built: None,
        in_place: None,
        lines: logs.recent(),
    };
    let result = session.watch(&shutdown);
    session.close();
    result
}

fn place(args: &DevArgs, file: Option<&Path>) -> Result<Place, Failure> {
    if let Some(dir) = &args.modules {
        return Ok(Place::Folder(dir.clone()));
    }
    let config = match file {
        None => None,
        Some(_) => {
            let mut config = Config::load(file)?;
            if let Some(brokers) = &args.brokers {
                config.kafka = kafka_settings(file, Some(brokers))?;
            }
            Some(Box::new(config))
        }
    };
    Ok(Place::Here { config, brokers: args.brokers.clone(), stage: None })
}

struct Session {
    loader: Loader,
    style: Style,
    sources: Sources,
    dir: PathBuf,
    place: Place,
    /// What the compiler made last, for changes of samples alone.
    built: Option<(Built, Subject)>,
    /// Digest of the module that was put in place last.
    in_place: Option<String>,
    /// What the host on its stage has logged.
    lines: Arc<Recent>,
}

impl Session {
    fn watch(&mut self, shutdown: &Shutdown) -> Result<(), Failure> {
        let mut changed = Changed::Code;
        loop {
            if let Err(failure) = self.round(changed)
                && !shutdown.requested()
            {
                out::failure(&failure.message);
                out::data(&self.style.warn(&match &self.in_place {
                    Some(digest) => format!("✗ not swapped: the module of before goes on ({})", short(digest)),
                    None => "✗ not swapped: nothing runs yet".to_owned(),
                }));
            }
            if !shutdown.requested() {
                out::data(&self.style.dim(&format!("watching {}; Ctrl-C ends", self.dir.display())));
            }
            changed = loop {
                if shutdown.requested() {
                    return Ok(());
                }
                self.died()?;
                if let Some(changed) = self.sources.changed(Duration::from_millis(200)) {
                    break changed;
                }
            };
        }
    }

    /// Build, test, swap; ends at the first that fails.
    fn round(&mut self, changed: Changed) -> Result<(), Failure> {
        let begun = Instant::now();
        if changed == Changed::Code || self.built.is_none() {
            // Whatever happens now, the old build is no longer what the sources say.
            self.built = None;
            let built = build::built(&self.dir)?;
            out::data(&format!("{} built in {:.1} s", self.style.good("✓"), begun.elapsed().as_secs_f64()));
            let subject = build::load(&self.loader, &built)?;
            self.built = Some((built, subject));
        }
        let compiled = Instant::now();
        let Some((built, subject)) = &self.built else { return Ok(()) };
        test(&self.loader, subject, self.style)?;
        if self.in_place.as_deref() == Some(&*subject.module.digest) {
            return Ok(());
        }
        self.place.swap(built, subject, &self.lines)?;
        let took = compiled.elapsed().as_secs_f64();
        let digest = subject.module.digest.to_string();
        out::data(&format!(
            "{} swapped {took:.2} s after the compiler ended, {}",
            self.style.good("✓"),
            short(&digest)
        ));
        self.in_place = Some(digest);
        if let Place::Here { stage: Some(stage), .. } = &mut self.place {
            stage.feed(&self.dir)?.iter().for_each(|line| out::data(&format!("  {line}")));
        }
        Ok(())
    }

    fn died(&mut self) -> Result<(), Failure> {
        match &mut self.place {
            Place::Here { stage: Some(stage), .. } => stage.died(),
            _ => Ok(()),
        }
    }

    fn close(self) {
        if let Place::Here { stage: Some(stage), .. } = self.place {
            stage.stop();
        }
    }
}

impl Place {
    fn swap(&mut self, built: &Built, subject: &Subject, lines: &Arc<Recent>) -> Result<(), Failure> {
        match self {
            Place::Folder(dir) => build::put(dir, &built.name, &built.bytes).map(drop),
            Place::Here { config, brokers, stage } => {
                let manifest = &subject.module.manifest;
                if config.is_none()
                    && stage.as_ref().is_some_and(|stage| !stage.fits(manifest))
                    && let Some(old) = stage.take()
                {
                    old.stop();
                }
                let (stage, before) = match stage {
                    Some(stage) => {
                        let before = stage.put(built, subject)?;
                        (stage, before)
                    }
                    None => {
                        let (config, brokers) = (config.as_deref(), brokers.as_deref());
                        let started = Stage::start(config, brokers, built, subject, lines.clone())?;
                        (stage.insert(Box::new(started)), None)
                    }
                };
                stage.wait(built, subject, before.as_deref())
            }
        }
    }
}

fn test(loader: &Loader, subject: &Subject, style: Style) -> Result<(), Failure> {
    if !subject.dir.join("samples").exists() {
        out::say("no samples/*.jsonl: nothing is tested before the swap");
        return Ok(());
    }
    check::files(&subject.dir)?;
    let cases = cases(loader, subject, &subject.dir, false)?;
    if cases.iter().all(|case| case.passed) {
        out::data(&format!("{} {}", style.good("✓"), show::total(&cases, style)));
        return Ok(());
    }
    show::report(&subject.module, &cases, style).iter().for_each(|line| out::data(line));
    Err(Failure::runtime(""))
}

fn short(digest: &str) -> String {
    format!("sha256 {}…", digest.get(..12).unwrap_or(digest))
}
