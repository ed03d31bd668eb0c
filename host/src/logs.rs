//! Log lines: `date time LEVEL target: message key=value`, to the console (standard error) and, where wanted, to a file
//! with a level of its own. Both writers are non-blocking and bounded: a full pipe or disk costs log lines, which are
//! counted, and never holds up a flow. librdkafka's own lines come the same way, as target `librdkafka`.

pub mod recent;
mod rotate;

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::recent::{Recent, Tee};
use self::rotate::Rotating;
use crate::config::{Log, LogFormat};

/// Lines that wait for the console or the file; further ones are dropped and counted.
const BUFFERED_LINES: usize = 16_384;
/// How often dropped lines are mentioned.
const DROPPED_EVERY: Duration = Duration::from_secs(60);
/// Libraries whose debug lines would bury ours; a filter in the configuration can still name them.
const QUIET: [(&str, LevelFilter); 10] = [
    ("cranelift_codegen", LevelFilter::WARN),
    ("wasmtime", LevelFilter::WARN),
    ("regalloc2", LevelFilter::WARN),
    ("hyper", LevelFilter::INFO),
    ("hyper_util", LevelFilter::INFO),
    ("mio", LevelFilter::INFO),
    ("notify", LevelFilter::INFO),
    ("rustls", LevelFilter::INFO),
    ("sqlx", LevelFilter::WARN),
    // The source has closed the consumer before it is dropped; that there is nothing left to close is no error.
    ("rdkafka::consumer::base_consumer", LevelFilter::OFF),
];

/// Keeps the writers alive; dropping it writes what is buffered.
pub struct Logs {
    guards: Vec<WorkerGuard>,
    dropped: Dropped,
    recent: Arc<Recent>,
}

/// Counts lines that were lost because the console or the file did not take them.
#[derive(Clone, Default)]
pub struct Dropped(Vec<ErrorCounter>);

impl Dropped {
    pub fn lines(&self) -> usize {
        self.0.iter().map(ErrorCounter::dropped_lines).sum()
    }
}

impl Logs {
    pub fn dropped(&self) -> &Dropped {
        &self.dropped
    }

    /// The last lines, for those who ask the running host.
    pub fn recent(&self) -> Arc<Recent> {
        self.recent.clone()
    }

    fn add(&mut self, writer: impl std::io::Write + Send + 'static, name: &str) -> NonBlocking {
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(BUFFERED_LINES)
            .thread_name(name)
            .finish(writer);
        self.dropped.0.push(writer.error_counter());
        self.guards.push(guard);
        writer
    }
}

/// Starts logging for the whole process. Paths in `log` are absolute already.
pub fn start(log: &Log) -> Result<Logs, String> {
    let mut logs = Logs { guards: Vec::new(), dropped: Dropped::default(), recent: Recent::new() };
    let console = filter(log.console_level.as_ref().unwrap_or(&log.level))?;
    let mut any = Any(vec![console.clone()]);
    let console = layer(log.format, logs.add(std::io::stderr(), "log-console")).with_filter(console);
    let file = match &log.file {
        None => None,
        Some(path) => {
            let writer = Rotating::open(path, log.file_size.0, log.file_keep).map_err(|error| {
                format!("cannot write the log file {}: {error}; create its folder or correct log.file", path.display())
            })?;
            let level = filter(log.file_level.as_ref().unwrap_or(&log.level))?;
            any.0.push(level.clone());
            Some(layer(log.format, logs.add(writer, "log-file")).with_filter(level))
        }
    };
    let recent = filter("info")?;
    any.0.push(recent.clone());
    let recent = Tee(logs.recent.clone()).with_filter(recent);
    tracing_subscriber::registry()
        .with(console)
        .with(file)
        .with(recent)
        .with(any)
        .try_init()
        .map_err(|error| error.to_string())?;
    mention_dropped(logs.dropped.clone());
    Ok(logs)
}

/// Refuses what no writer wants. Asked before the writers' own filters, which remember a refusal of all of them for the
/// thread: a line of the `log` crate that nobody wants (librdkafka's wrapper has such) would cost the thread's next line.
struct Any(Vec<Targets>);

impl Any {
    fn wants(&self, line: &Metadata<'_>) -> bool {
        self.0.iter().any(|filter| filter.would_enable(line.target(), line.level()))
    }
}

impl<S: Subscriber> Layer<S> for Any {
    fn register_callsite(&self, line: &'static Metadata<'static>) -> Interest {
        if self.wants(line) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, line: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(line)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let levels =
            self.0.iter().flat_map(|filter| filter.iter().map(|(_, level)| level).chain(filter.default_level()));
        levels.max()
    }
}

/// Levels by target. A bare level concerns everything but the noisy libraries.
fn filter(text: &str) -> Result<Targets, String> {
    let wanted = Targets::from_str(text).map_err(|error| format!("`{text}` is not a log level: {error}"))?;
    let default = wanted.default_level().unwrap_or(LevelFilter::OFF);
    let quiet = QUIET.into_iter().map(|(target, level)| (target, level.min(default)));
    Ok(Targets::new().with_targets(quiet).with_targets(wanted.iter()).with_default(default))
}

fn layer<S>(format: LogFormat, writer: NonBlocking) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_timer(Clock).with_ansi(false);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

/// `2026-01-31 12:00:00.123Z`.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{}", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S%.3fZ"))
    }
}

fn mention_dropped(dropped: Dropped) {
    let mut known = 0;
    let watch = move || {
        loop {
            std::thread::sleep(DROPPED_EVERY);
            let lines = dropped.lines();
            if lines > known {
                tracing::warn!(
                    lines = lines - known,
                    "log lines were dropped because the console or the file is too slow"
                );
                known = lines;
            }
        }
    };
    // Without this thread lines are still counted, only not mentioned.
    std::thread::Builder::new().name("log-dropped".into()).spawn(watch).ok();
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn a_bare_level_leaves_the_libraries_quiet() {
        let debug = filter("debug").unwrap();
        assert!(debug.would_enable("wasmill::flow", &tracing::Level::DEBUG));
        assert!(!debug.would_enable("cranelift_codegen::isa", &tracing::Level::DEBUG));
        assert!(filter("info,sqlx=debug").unwrap().would_enable("sqlx::query", &tracing::Level::DEBUG));
        let error = filter("error").unwrap();
        assert!(!error.would_enable("sqlx::query", &tracing::Level::WARN));
        assert!(!error.would_enable("wasmill", &tracing::Level::WARN));
    }

    #[test]
    fn a_line_that_nobody_wants_costs_no_other_line() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut logs = Logs { guards: Vec::new(), dropped: Dropped::default(), recent: Recent::new() };
        let writer = logs.add(writer, "test");
        let filters = filter("info").unwrap();
        let subscriber = tracing_subscriber::registry()
            .with(layer(LogFormat::Text, writer).with_filter(filters.clone()))
            .with(Any(vec![filters]));
        tracing::subscriber::with_default(subscriber, || {
            // As the bridge of the `log` crate asks: by metadata of its own, past the callsite's cached interest.
            tracing::dispatcher::get_default(|dispatch| assert!(!dispatch.enabled(&UNWANTED)));
            tracing::info!("wanted");
        });
        drop(logs);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert!(said.contains("wanted"), "{said:?}");
    }

    struct Nothing;

    impl tracing::Callsite for Nothing {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            &UNWANTED
        }
    }

    static UNWANTED: Metadata<'static> = Metadata::new(
        "log record",
        "rdkafka::consumer::base_consumer",
        tracing::Level::ERROR,
        None,
        None,
        None,
        tracing::field::FieldSet::new(&[], tracing::callsite::Identifier(&Nothing)),
        tracing::metadata::Kind::EVENT,
    );

    #[test]
    fn a_blocked_pipe_costs_lines_and_nothing_else() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut logs = Logs { guards: Vec::new(), dropped: Dropped::default(), recent: Recent::new() };
        let mut console = logs.add(writer, "test");
        // More than the kernel's buffer and ours together; nobody reads.
        for _ in 0..BUFFERED_LINES + 2_000 {
            console.write_all(&[b'x'; 1024]).unwrap();
        }
        assert!(logs.dropped().lines() > 0);
        let drain = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()).unwrap());
        drop((console, logs));
        assert!(drain.join().unwrap() > 0);
    }

    #[test]
    fn a_line_has_date_time_level_target_message_and_fields() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut logs = Logs { guards: Vec::new(), dropped: Dropped::default(), recent: Recent::new() };
        let writer = logs.add(Rotating::open(&path, 1 << 20, 1).unwrap(), "test");
        let subscriber = tracing_subscriber::registry().with(layer(LogFormat::Text, writer));
        tracing::subscriber::with_default(subscriber, || tracing::warn!(flow = "quotes", "nothing was emitted"));
        drop(logs);
        let line = std::fs::read_to_string(path).unwrap();
        let shape = regex::Regex::new(
            r#"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z  WARN wasmill::logs::tests: nothing was emitted flow="quotes"\n$"#,
        );
        assert!(shape.unwrap().is_match(&line), "{line:?}");
    }
}
