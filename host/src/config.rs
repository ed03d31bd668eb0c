//! The configuration: one TOML file, or environment variables alone. Parsing is strict: an unknown key is an error
//! with line, caret and suggestion. Nothing is connected to here.

pub mod expand;
pub mod feed;
pub mod load;
mod place;
pub mod plaintext;
pub mod properties;
pub mod report;
pub mod schema;
pub mod start;
pub mod units;
mod validate;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::feed::Feed;
use self::units::{ByteSize, Span};

/// The whole file, after `${…}` has been expanded.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub host: Host,
    pub kafka: Kafka,
    pub modules: Modules,
    /// Destinations by name. The sink `kafka` always exists and cannot be declared.
    pub sinks: BTreeMap<String, Sink>,
    pub admin: Admin,
    pub log: Log,
    /// Flows by name; a dropped module needs none.
    pub flow: BTreeMap<String, Flow>,
    /// Topics that this host fills, by name of the feed.
    pub feed: BTreeMap<String, Feed>,
    /// Directory of the configuration file: what relative paths refer to.
    #[serde(skip)]
    pub base: PathBuf,
    /// The configuration file, where there is one: for words about commands.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// This process.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// Stable name of this instance, such as a StatefulSet's pod name. Two running hosts must never share one.
    /// Default: empty, then a random id per process.
    pub instance: String,
    /// Wasm worker threads. Default: the number of cores.
    pub workers: Option<usize>,
}

/// The Kafka cluster that records come from and that the sink `kafka` writes to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// Comma-separated `host:port` list. Default: `localhost:9092`.
    pub brokers: String,
    /// Create missing output and dead-letter topics with the source's partition count. Default: true.
    pub create_topics: bool,
    /// Talk to brokers beyond this machine and private networks without TLS, so that everybody on the way can read and
    /// change records. Default: false, such brokers are refused.
    pub allow_plaintext: bool,
    /// Further librdkafka properties; those that delivery depends on are refused by name.
    pub properties: BTreeMap<String, Scalar>,
}

impl Default for Kafka {
    fn default() -> Self {
        Kafka {
            brokers: "localhost:9092".into(),
            create_topics: true,
            allow_plaintext: false,
            properties: BTreeMap::new(),
        }
    }
}

/// A property's value as users write it: quoted or not.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    Text(String),
    Bool(bool),
    Integer(i64),
    Float(f64),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Text(text) => f.write_str(text),
            Scalar::Bool(value) => write!(f, "{value}"),
            Scalar::Integer(value) => write!(f, "{value}"),
            Scalar::Float(value) => write!(f, "{value}"),
        }
    }
}

/// The folder that modules are dropped into.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Modules {
    /// The folder, relative to the configuration file. Default: `modules`.
    pub dir: PathBuf,
    /// Start a flow for each module that no flow names. Default: true.
    pub adopt: bool,
    /// Destinations that adopted modules may reach, such as `postgres:quotes` or `kafka:*`.
    /// Default: every declared target on a configured sink.
    pub targets: Option<Vec<String>>,
    /// Time between two scans of the folder; file events only hasten them. Default: 1 s.
    pub scan_interval: Span,
    /// Directory of compiled modules, created with mode 0700; empty for none. Default: `wasmill/modules` in the user's
    /// cache directory, where that can be used. Without one, modules are compiled at each start.
    pub cache: Option<PathBuf>,
    /// Folder in which the last 8 builds of each flow are kept over restarts, relative to the configuration file, created
    /// with mode 0700: `wasmill flow rollback` finds the build before there, and what has to be repeated is repeated by
    /// the build of then. Never the modules folder. Default: none, then only the build before is kept, in memory.
    pub store: Option<PathBuf>,
    /// Longest time for compiling a file, which happens in a process of its own; the file is refused after it. Default: 30 s.
    pub compile_time: Span,
    /// Most memory of that process. Default: 512 MiB.
    pub compile_memory: ByteSize,
}

impl Default for Modules {
    fn default() -> Self {
        Modules {
            dir: "modules".into(),
            adopt: true,
            targets: None,
            scan_interval: Span(Duration::from_secs(1)),
            cache: None,
            store: None,
            compile_time: Span(Duration::from_secs(30)),
            compile_memory: ByteSize::mib(512),
        }
    }
}

/// A destination server; its kind is the scheme of its URL.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// `postgres://`, `mongodb://`, `mongodb+srv://` or `sqlite://`. May hold a password: never logged.
    pub url: Secret,
    /// Talk to a server beyond this machine and private networks without TLS where the URL says so (Postgres `sslmode`
    /// below `require`, MongoDB without `tls=true`). Default: false, such URLs are refused.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Most rows or documents written per second by this process, over all flows. Default: no limit.
    #[serde(default)]
    pub max_rows_per_second: Option<u32>,
    /// How the tables of this sink are written; by name (`quotes`, `schema.quotes`).
    #[serde(default)]
    pub tables: BTreeMap<String, Table>,
}

/// How one table is written. Overrides what the module declares.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Table {
    /// What `write` means for this table. Default: `insert`.
    pub mode: Mode,
    /// Key columns for upsert, ignore and update. Default: the module's.
    pub key: Vec<String>,
    /// Create the table when it is missing. Default: true.
    pub create: Option<bool>,
    /// What to do about declared columns that the table lacks. Default: `add-columns` (nullable ones only).
    pub evolve: Evolve,
    /// Columns by name with their Postgres type, such as `"varchar(500) not null"`: for modules that declare no table.
    pub columns: BTreeMap<String, String>,
    /// A `SERIAL PRIMARY KEY` column to create. Default: the module's.
    pub serial: Option<String>,
}

/// Meaning of the operation `write`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Insert,
    Upsert,
    Ignore,
    Update,
}

/// What may happen to an existing table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Evolve {
    #[default]
    AddColumns,
    Off,
}

/// The HTTP server for health and metrics.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// `address:port`; port 0 takes any free one. Empty: no server. Default: `127.0.0.1:8686`.
    pub listen: String,
    /// Bearer token for changes, and for everything where `listen` is not a loopback address; there it must be set.
    /// Default: a random one per process, in a file that only this user can read.
    pub token: Option<Secret>,
}

impl Admin {
    /// Fewest characters of a token.
    pub const TOKEN_LENGTH: usize = 16;

    /// The configured token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.expose().trim()).filter(|token| !token.is_empty())
    }

    /// Whether only this machine can reach the server.
    pub fn is_local(&self) -> bool {
        let address = self.listen.parse::<std::net::SocketAddr>();
        self.listen.starts_with("localhost:") || address.is_ok_and(|address| address.ip().is_loopback())
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin { listen: "127.0.0.1:8686".into(), token: None }
    }
}

/// Logs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level, or filters by target such as `info,wasmill::source=debug`. Default: `info`.
    pub level: String,
    /// `text` or `json`. Default: `text`.
    pub format: LogFormat,
    /// A file to log to as well, relative to the configuration file. Default: none.
    pub file: Option<PathBuf>,
    /// Level of the file. Default: `level`.
    pub file_level: Option<String>,
    /// Level of the console. Default: `level`.
    pub console_level: Option<String>,
    /// Size at which the file is rotated. Default: 10 MiB.
    pub file_size: ByteSize,
    /// Rotated files to keep. Default: 5.
    pub file_keep: usize,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: "info".into(),
            format: LogFormat::Text,
            file: None,
            file_level: None,
            console_level: None,
            file_size: ByteSize::mib(10),
            file_keep: 5,
        }
    }
}

/// Shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// One flow; only what differs from the manifest.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Flow {
    /// The chain, by file stem. Default: the flow's own name.
    pub modules: Option<Vec<String>>,
    /// Names, or regular expressions that begin with `^`. Default: those of the first module's manifest.
    pub topics: Option<Vec<String>>,
    /// Consumer group. Default: `wasmill.<flow>`.
    pub group: Option<String>,
    /// Where partitions without an offset begin that are there at the first assignment; later ones begin at earliest.
    pub start: Start,
    /// Delivery level. Default: `transactional` if a kafka target is declared, else `idempotent`.
    pub delivery: Option<Delivery>,
    /// What happens to a record or output that cannot be processed. Default: `dead-letter`.
    pub on_error: OnError,
    /// Topic of the dead letters, or `table:NAME` in the first SQL sink by name. Default: `<topic>.dlq`.
    pub dead_letters: Option<String>,
    /// Stop the flow when nearly everything is refused, instead of dead-lettering a whole topic. Default: true with
    /// `on_error = "dead-letter"`.
    pub breaker: Option<bool>,
    pub limits: Limits,
    pub batch: Batch,
    /// Settings handed to the modules, read with `vars().get("name")`.
    pub vars: BTreeMap<String, String>,
}

/// Where to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The oldest record that is still there.
    #[default]
    Earliest,
    /// Only records that arrive from now on.
    Latest,
    /// The first record with this timestamp (milliseconds since 1970) or a later one.
    Timestamp(i64),
    /// This offset in every partition.
    Offset(i64),
}

/// What is promised about outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Databases effectively once; Kafka outputs and dead letters may repeat after a crash with the same `wasmill-id`.
    Idempotent,
    /// Kafka outputs effectively once as well, by transactions.
    Transactional,
    /// No progress is kept in databases; everything may repeat after a crash.
    AtLeastOnce,
}

/// Fate of what cannot be processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    #[default]
    DeadLetter,
    /// Counted and dropped.
    Skip,
    /// The flow stops before it.
    Stop,
}

/// What a module may use.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Linear memory of an instance. Default: 64 MiB.
    pub memory: ByteSize,
    /// Time for a call before the record that holds it up is looked for. Default: 1 s.
    pub time_per_record: Span,
    /// Largest record (key, value and headers) that is handed to the module. Default: 32 MiB.
    pub record: ByteSize,
    /// Fuel, about one unit per Wasm instruction, that a slow record gets on the metered engine. Default: 2,000,000,000.
    pub fuel: u64,
    /// Most outputs per record. Default: 1,000.
    pub outputs: u32,
    /// Most bytes of outputs per record, or twice the record's size where that is more. Default: 4 MiB.
    pub output_bytes: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: ByteSize::mib(64),
            time_per_record: Span(Duration::from_secs(1)),
            record: ByteSize::mib(32),
            fuel: 2_000_000_000,
            outputs: 1_000,
            output_bytes: ByteSize::mib(4),
        }
    }
}

/// When a batch is closed at the latest. It is closed earlier whenever the one before is committed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Records. Default: 10,000.
    pub records: usize,
    /// Bytes of records. Default: 4 MiB.
    pub bytes: ByteSize,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { records: 10_000, bytes: ByteSize::mib(4) }
    }
}

/// A string that is never printed.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value, for the call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}
