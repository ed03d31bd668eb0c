//! `wasmill demo`: the whole host at work with nothing running. librdkafka's mock cluster is the Kafka, one SQLite file
//! is both databases, a generator makes quotes. What it shows is read back from the file and the metrics, not made up.

pub(super) mod cluster;
mod generator;
pub(super) mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::cluster::Cluster;
use self::generator::Generator;
use self::view::{Counts, View};
use super::modules::Loader;
use super::{Failure, out, tokio_runtime};
use crate::board::Board;
use crate::config::units::parse_duration;
use crate::config::{Config, Delivery, Flow, Limits, Log, Sink};
use crate::health::Health;
use crate::logs::recent::Recent;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::supervisor::{self, Settings};
use crate::{admin, logs};

const TOPIC: &str = "topic_quotes";
/// How often a line of throughput is printed.
const TICK: Duration = Duration::from_secs(1);
/// Longest wait for the first row before the demo says that something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args, Debug)]
pub(super) struct DemoArgs {
    /// Stop after this time [default: at Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Option<Duration>,
    /// The quotes module [default: quotes.wasm in ./modules, beside the program, in /modules or /usr/share/wasmill]
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
}

pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let module = find_module(args.module.as_deref())?;
    // Said before anything is started: a broken module would otherwise be a host that waits.
    Loader::new(None)?
        .load(&module, &Limits::default())
        .map_err(|error| Failure::environment(format!("{} does not load: {error}", module.display())))?;
    let dir = tempfile::Builder::new()
        .prefix("wasmill-demo-")
        .tempdir()
        .map_err(|error| Failure::environment(format!("cannot make a temporary folder: {error}")))?;
    let cluster = Arc::new(Cluster::start(&[TOPIC, &format!("{TOPIC}.dlq")])?);
    let config = config(dir.path(), &module, &cluster.brokers())?;
    let logs = logs::start(&config.log).map_err(Failure::environment)?;
    let shutdown =
        Shutdown::listen().map_err(|error| Failure::environment(format!("cannot listen for signals: {error}")))?;
    out::say(&format!(
        "an in-process Kafka ({}), SQLite in {}, the module {}",
        cluster.brokers(),
        dir.path().display(),
        module.display()
    ));
    let result = show(args, config, &cluster, &shutdown, logs.recent());
    drop(dir);
    result
}

/// Runs host and generator, shows what they do, and stops both.
fn show(
    args: &DemoArgs,
    config: Config,
    cluster: &Arc<Cluster>,
    shutdown: &Arc<Shutdown>,
    lines: Arc<Recent>,
) -> Result<(), Failure> {
    let tokio = tokio_runtime()?;
    let (metrics, health) = (Metrics::new(), Health::new());
    let board = Board::new(metrics.clone(), health.clone(), lines);
    supervisor::not_ready_yet(&health);
    let _server = admin::start(&config.admin, &board, tokio.handle()).map_err(Failure::environment)?;
    let database = config.base.join("demo.db");
    let handle = tokio.handle().clone();
    let settings = Settings { config, once: false, board, shutdown: shutdown.clone(), tokio: handle };
    let host = std::thread::Builder::new()
        .name("host".into())
        .spawn(move || supervisor::run(settings))
        .map_err(|error| Failure::environment(format!("cannot start a thread: {error}")))?;
    let generator = Generator::start(cluster.clone(), metrics.clone())?;
    let mut view = View::new(database, tokio.handle().clone());
    let stage = Stage { generator: &generator, metrics: &metrics, health: &health, shutdown };
    let shown = stage.watch(&mut view, args.time, &|| host.is_finished());
    shutdown.request();
    let made = generator.stop();
    let ended = host.join();
    tokio.shutdown_timeout(Duration::from_secs(2));
    match ended {
        Ok(Err(failure)) => return Err(Failure { code: failure.code, message: failure.message }),
        Err(_) => return Err(Failure { code: 70, message: "the host's thread died".into() }),
        Ok(Ok(())) => shown?,
    }
    view.summary(&Counts::of(&metrics), made);
    Ok(())
}

/// What is looked at while the host runs.
struct Stage<'a> {
    generator: &'a Generator,
    metrics: &'a Metrics,
    health: &'a Health,
    shutdown: &'a Shutdown,
}

impl Stage<'_> {
    /// Shows examples, then throughput for `time` or until a signal.
    fn watch(&self, view: &mut View, time: Option<Duration>, host_ended: &dyn Fn() -> bool) -> Result<(), Failure> {
        let start = Instant::now();
        while !view.examples(&self.generator.examples(), &Counts::of(self.metrics)) {
            if self.shutdown.wait_timeout(TICK / 5) || host_ended() {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(self.nothing_came());
            }
        }
        // The time to see things in begins when there is something to see.
        let end = time.map(|time| Instant::now() + time);
        while !host_ended() {
            let left = end.map_or(TICK, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() || self.shutdown.wait_timeout(left.min(TICK)) {
                break;
            }
            view.throughput(&Counts::of(self.metrics));
        }
        Ok(())
    }

    fn nothing_came(&self) -> Failure {
        let reasons: Vec<String> =
            self.health.problems().into_iter().map(|(name, why)| format!("{name}: {why}")).collect();
        let reasons = if reasons.is_empty() { "no reason is known".into() } else { reasons.join("; ") };
        Failure::runtime(format!("no row within {} s: {reasons}; WASMILL_LOG=debug shows more", PATIENCE.as_secs()))
    }
}

fn config(dir: &Path, module: &Path, brokers: &str) -> Result<Config, Failure> {
    let modules = dir.join("modules");
    std::fs::create_dir(&modules).and_then(|()| std::fs::copy(module, modules.join("quotes.wasm"))).map_err(
        |error| Failure::environment(format!("cannot copy {} to {}: {error}", module.display(), modules.display())),
    )?;
    let url = format!("sqlite://{}", dir.join("demo.db").display());
    let mut config = Config { base: dir.into(), ..Config::default() };
    config.kafka.brokers = brokers.into();
    // The mock cluster has no admin interface; all topics are there.
    config.kafka.create_topics = false;
    config.modules.dir = modules;
    config.sinks = ["postgres", "mongodb"].map(|name| (name.to_owned(), Sink::at(url.clone()))).into();
    config.admin.listen = "127.0.0.1:0".into();
    // The view is on the terminal; the host's own words would tear it.
    config.log = Log { level: std::env::var("WASMILL_LOG").unwrap_or_else(|_| "error".into()), ..Log::default() };
    // The mock cluster's transactions are only a façade.
    config.flow.insert("quotes".into(), Flow { delivery: Some(Delivery::Idempotent), ..Flow::default() });
    Ok(config)
}

fn find_module(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(file) = named {
        let missing = || Failure::environment(format!("there is no file {}", file.display()));
        return if file.is_file() { Ok(file.into()) } else { Err(missing()) };
    }
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent);
    let mut candidates = vec![PathBuf::from("modules/quotes.wasm")];
    candidates.extend(beside.map(|dir| dir.join("quotes.wasm")));
    // From target/quick/ to the repository's modules folder.
    candidates.extend(beside.map(|dir| dir.join("../../modules/quotes.wasm")));
    candidates.extend(["/modules/quotes.wasm", "/usr/share/wasmill/quotes.wasm"].map(PathBuf::from));
    candidates.iter().find(|file| file.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<String> = candidates.iter().map(|file| file.display().to_string()).collect();
        Failure::environment(format!(
            "the quotes module is missing; looked for {}; build it: wasmill build transforms/quotes, or name it with --module",
            looked.join(", ")
        ))
    })
}
