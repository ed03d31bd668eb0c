//! The host that a transform is developed in: the same supervisor as `wasmill run`, in this process. Without a configuration
//! its databases are one SQLite file, and without brokers its Kafka is librdkafka's mock cluster, fed with the samples.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::admin;
use crate::board::Board;
use crate::cli::build::{self, Built};
use crate::cli::demo::cluster::Cluster;
use crate::cli::demo::view::Counts;
use crate::cli::modules::{Subject, user_dir};
use crate::cli::{Failure, out, tokio_runtime};
use crate::config::units::Span;
use crate::config::{Config, Delivery, Flow, Sink, Start};
use crate::flow::plan::NEXT;
use crate::health::Health;
use crate::logs::recent::Recent;
use crate::manifest::Manifest;
use crate::metrics::Metrics;
use crate::router::KAFKA;
use crate::samples::{check, read};
use crate::shutdown::Shutdown;
use crate::supervisor::{self, Settings};

/// Longest wait for a module to be in place, and for samples to be through.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time after which a refusal is taken to be that of the new module.
const REFUSAL: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Counters that have not moved for so long are taken for final.
const QUIET: Duration = Duration::from_millis(200);

/// A host in this process.
pub(super) struct Stage {
    modules: PathBuf,
    /// Flow that the module runs in, by the module's name.
    flow: String,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    shutdown: Arc<Shutdown>,
    host: Option<JoinHandle<Result<(), supervisor::Failure>>>,
    #[expect(dead_code, reason = "held for as long as the host lives")]
    server: Option<admin::Server>,
    tokio: tokio::runtime::Runtime,
    mock: Option<Mock>,
    /// What the host was configured for; another manifest may need another host.
    sinks: BTreeSet<String>,
    named_topic: bool,
    fed: u64,
    _dir: Option<tempfile::TempDir>,
}

struct Mock {
    cluster: Cluster,
    topics: BTreeSet<String>,
    /// Where samples go that name no topic of the module.
    topic: String,
}

impl Stage {
    /// Puts the first module in place and starts a host for it.
    pub(super) fn start(
        given: Option<&Config>,
        brokers: Option<&str>,
        built: &Built,
        subject: &Subject,
        lines: Arc<Recent>,
    ) -> Result<Stage, Failure> {
        let (name, manifest) = (subject.module.name.to_string(), &subject.module.manifest);
        if given.is_none() && manifest.targets.iter().any(|target| target.sink == NEXT) {
            return Err(Failure::config(format!(
                "{name} hands records on to a following module, so it runs only in a chain: give a configuration that has \
                 one with -c, or the folder of a running host with --modules"
            )));
        }
        let (mut dir, mut mock) = (None, None);
        let config = match given {
            Some(config) => config.clone(),
            None => {
                let place = tempfile::Builder::new()
                    .prefix("wasmill-dev-")
                    .tempdir()
                    .map_err(|error| Failure::environment(format!("cannot make a temporary folder: {error}")))?;
                mock = if brokers.is_none() { Some(Mock::start(&name, manifest)?) } else { None };
                let config = config(place.path(), &name, manifest, brokers, mock.as_ref())?;
                dir = Some(place);
                config
            }
        };
        let modules = config.base.join(&config.modules.dir);
        // Before the host: it would complain of a flow whose module is not there.
        build::put(&modules, &built.name, &built.bytes)?;
        let sinks = config.sinks.keys().cloned().collect();
        out::say(&match (&mock, given) {
            (Some(mock), _) => format!("a host with an in-process Kafka ({}) and SQLite", mock.cluster.brokers()),
            (None, None) => format!("a host on {} with SQLite in {}", config.kafka.brokers, config.base.display()),
            (None, Some(_)) => format!("a host on {} with the sinks of the configuration", config.kafka.brokers),
        });
        let named_topic = has_named_topic(manifest);
        let flow = config.flow.iter().find(|(name, flow)| {
            flow.modules
                .as_ref()
                .map_or(**name == *subject.module.name, |modules| modules.contains(&subject.module.name.to_string()))
        });
        let flow = flow.map_or(name, |(flow, _)| flow.clone());
        let (metrics, health, shutdown) = (Metrics::new(), Health::new(), Shutdown::new());
        let tokio = tokio_runtime()?;
        let board = Board::new(metrics.clone(), health.clone(), lines);
        supervisor::not_ready_yet(&health);
        let server = admin::start(&config.admin, &board, tokio.handle()).map_err(Failure::environment)?;
        let settings =
            Settings { config, once: false, board, shutdown: shutdown.clone(), tokio: tokio.handle().clone() };
        let host = std::thread::Builder::new()
            .name("host".into())
            .spawn(move || supervisor::run(settings))
            .map_err(|error| Failure::environment(format!("cannot start a thread: {error}")))?;
        let host = Some(host);
        Ok(Stage {
            server,
            modules,
            flow,
            health,
            metrics,
            shutdown,
            host,
            tokio,
            mock,
            sinks,
            named_topic,
            fed: 0,
            _dir: dir,
        })
    }

    /// Whether a module with this manifest can run here.
    pub(super) fn fits(&self, manifest: &Manifest) -> bool {
        let known = |sink: &String| sink == KAFKA || self.sinks.contains(sink);
        manifest.targets.iter().all(|target| known(&target.sink)) && has_named_topic(manifest) == self.named_topic
    }

    /// Puts another module in place and returns the refusal of the one before, if there is one.
    pub(super) fn put(&mut self, built: &Built, subject: &Subject) -> Result<Option<String>, Failure> {
        if let Some(mock) = &mut self.mock {
            mock.provide(&subject.module.manifest)?;
        }
        let before = self.refusal(&built.name);
        build::put(&self.modules, &built.name, &built.bytes)?;
        Ok(before)
    }

    fn refusal(&self, module: &str) -> Option<String> {
        let keys = [format!("module {module}"), format!("flow {}", self.flow)];
        self.health.problems().into_iter().find(|(key, _)| keys.contains(key)).map(|(_, words)| words)
    }

    /// Waits until the flow runs with the module, or says why it does not.
    pub(super) fn wait(&mut self, built: &Built, subject: &Subject, before: Option<&str>) -> Result<(), Failure> {
        let digest = &*subject.module.digest;
        let begun = Instant::now();
        loop {
            if self.health.running(&self.flow).is_some_and(|running| running.split('+').any(|one| one == digest)) {
                return Ok(());
            }
            self.died()?;
            let refusal = self.refusal(&built.name);
            // What was said already is taken back when this module has been looked at, however late that is.
            let patience = if refusal.as_deref() == before { PATIENCE } else { REFUSAL };
            match refusal {
                Some(words) if begun.elapsed() > patience => {
                    return Err(Failure::runtime(format!("the host refuses it: {words}")));
                }
                None if begun.elapsed() > PATIENCE => {
                    return Err(Failure::runtime(format!("the host has not taken it within {} s", PATIENCE.as_secs())));
                }
                _ => std::thread::sleep(LOOK),
            }
        }
    }

    /// Sends the samples through the host and tells what became of them.
    pub(super) fn feed(&mut self, dir: &Path) -> Result<Vec<String>, Failure> {
        let Some(mock) = &self.mock else { return Ok(Vec::new()) };
        if !dir.join("samples").exists() {
            return Ok(Vec::new());
        }
        let before = Counts::of(&self.metrics);
        let mut sent = 0;
        for name in check::files(dir)? {
            let text = std::fs::read_to_string(dir.join("samples").join(&name)).unwrap_or_default();
            let samples = text.lines().filter_map(|line| read::parse(line.trim()).ok());
            // A flow has one set of variables; what needs others was tested already.
            for sample in samples.filter(|sample| sample.vars.is_empty()) {
                let topic = sample.topic.as_ref().filter(|topic| mock.topics.contains(*topic)).unwrap_or(&mock.topic);
                sent += u64::from(mock.cluster.send_sample(topic, &sample));
                mock.cluster.poll();
            }
        }
        self.fed += sent;
        let counts = self.settled(self.fed)?;
        Ok(told(sent, &before, &counts))
    }

    /// What is counted when the samples are through.
    fn settled(&self, fed: u64) -> Result<Counts, Failure> {
        let begun = Instant::now();
        let mut last = (Counts::of(&self.metrics), Instant::now());
        while begun.elapsed() < PATIENCE && !self.shutdown.requested() {
            if let Some(mock) = &self.mock {
                mock.cluster.poll();
            }
            let counts = Counts::of(&self.metrics);
            if counts != last.0 {
                last = (counts, Instant::now());
            } else if last.0.records >= fed && last.1.elapsed() > QUIET {
                return Ok(last.0);
            }
            std::thread::sleep(LOOK);
        }
        let problems: Vec<String> =
            self.health.problems().into_iter().map(|(name, why)| format!("{name}: {why}")).collect();
        out::say(&format!("the samples are not through yet; {}", problems.join("; ")));
        Ok(last.0)
    }

    /// An error where the host has ended by itself.
    pub(super) fn died(&mut self) -> Result<(), Failure> {
        if !self.host.as_ref().is_some_and(JoinHandle::is_finished) {
            return Ok(());
        }
        match self.host.take().map(JoinHandle::join) {
            Some(Ok(Err(failure))) => Err(Failure { code: failure.code, message: failure.message }),
            Some(Err(_)) => Err(Failure { code: 70, message: "the host's thread died".into() }),
            Some(Ok(Ok(()))) | None => Ok(()),
        }
    }

    pub(super) fn stop(mut self) {
        self.shutdown.request();
        if let Some(host) = self.host.take() {
            // How it ended no longer matters.
            drop(host.join());
        }
        self.tokio.shutdown_timeout(Duration::from_secs(1));
    }
}

impl Mock {
    fn start(name: &str, manifest: &Manifest) -> Result<Mock, Failure> {
        let named = manifest.topics.iter().find(|topic| !topic.starts_with('^'));
        let topic = named.cloned().unwrap_or_else(|| name.to_owned());
        let mut mock = Mock { cluster: Cluster::start(&[&topic])?, topics: BTreeSet::from([topic.clone()]), topic };
        mock.provide(manifest)?;
        Ok(mock)
    }

    /// Makes the topics that a manifest names; the mock cluster makes none by itself.
    fn provide(&mut self, manifest: &Manifest) -> Result<(), Failure> {
        let read = manifest.topics.iter().filter(|topic| !topic.starts_with('^'));
        let written = manifest.targets.iter().filter(|target| target.sink == KAFKA).map(|target| &target.name);
        let wanted: Vec<String> = read.chain(written).filter(|topic| !topic.ends_with('*')).cloned().collect();
        for topic in wanted {
            if self.topics.insert(topic.clone()) {
                self.cluster.create_topic(&topic)?;
            }
        }
        if let Some(topic) = manifest.topics.iter().find(|topic| !topic.starts_with('^')) {
            self.topic.clone_from(topic);
        }
        Ok(())
    }
}

fn has_named_topic(manifest: &Manifest) -> bool {
    manifest.topics.iter().any(|topic| !topic.starts_with('^'))
}

fn config(
    dir: &Path,
    name: &str,
    manifest: &Manifest,
    brokers: Option<&str>,
    mock: Option<&Mock>,
) -> Result<Config, Failure> {
    let modules = dir.join("modules");
    std::fs::create_dir(&modules)
        .map_err(|error| Failure::environment(format!("cannot create {}: {error}", modules.display())))?;
    let url = format!("sqlite://{}", dir.join("dev.db").display());
    let mut config = Config { base: dir.into(), ..Config::default() };
    config.modules.dir = modules;
    config.modules.scan_interval = Span(Duration::from_millis(200));
    // The module was compiled for its test a moment ago.
    config.modules.cache = user_dir().map(|dir| dir.join("modules"));
    config.admin.listen = String::new();
    let named = manifest.targets.iter().map(|target| target.sink.as_str()).filter(|sink| *sink != KAFKA);
    let names: BTreeSet<&str> = named.chain(["postgres", "mongodb"]).collect();
    config.sinks = names.into_iter().map(|name| (name.to_owned(), Sink::at(url.clone()))).collect();
    let mut flow = Flow { dead_letters: Some("table:dead_letters".into()), breaker: Some(false), ..Flow::default() };
    match mock {
        Some(mock) => {
            config.kafka.brokers = mock.cluster.brokers();
            // The mock cluster has no admin interface, and its transactions are only a façade.
            config.kafka.create_topics = false;
            flow.delivery = Some(Delivery::Idempotent);
            flow.topics = (!has_named_topic(manifest)).then(|| vec![mock.topic.clone()]);
        }
        None => {
            config.kafka.brokers = brokers.unwrap_or_default().into();
            // Real records, but nobody else's place in the topic.
            flow.group = Some(format!("wasmill.dev.{name}"));
            flow.start = Start::Latest;
        }
    }
    config.flow.insert(name.to_owned(), flow);
    Ok(config)
}

/// What became of the samples, in lines.
fn told(sent: u64, before: &Counts, after: &Counts) -> Vec<String> {
    let since = |after: &std::collections::BTreeMap<String, u64>, before: &std::collections::BTreeMap<String, u64>| {
        let delta = after.iter().map(|(name, n)| (name, n - before.get(name).unwrap_or(&0))).filter(|(_, n)| *n > 0);
        delta.map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![format!("{sent} samples through the host")];
    for (title, words) in [
        ("written to", since(&after.outputs, &before.outputs)),
        ("filtered:", since(&after.filtered, &before.filtered)),
        ("dead letters:", since(&after.dead, &before.dead)),
    ] {
        if !words.is_empty() {
            lines.push(format!("{title} {words}"));
        }
    }
    lines
}
