//! `wasmill feed`: fills topics, so that no second tool is needed. What is acknowledged is known at every moment; whoever
//! stops a feed is told how to go on.

mod told;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use self::told::Told;
use super::{Failure, kafka_settings, out};
use crate::config::expand::Scope;
use crate::config::units::parse_duration;
use crate::config::{Config, Kafka, Secret, properties};
use crate::feed::csv::Dialect;
use crate::feed::file::{File, Format, Input};
use crate::feed::generate::{Generator, Kind};
use crate::feed::http::{Http, Poll};
use crate::feed::postgres::{Postgres, Query};
use crate::feed::publish::{self, Target};
use crate::feed::{Source, Trouble, pace, share};
use crate::shutdown::Shutdown;

const EXAMPLES: &str = "\
Examples:
  wasmill feed file orders.jsonl --topic orders --key-field id
  wasmill feed file - --topic events < events.jsonl
  wasmill feed file rows.csv --topic rows --after 10000             what was fed before is left out
  wasmill feed http https://api.example/quotes?count=5 --every 10s --topic topic_quotes
  wasmill feed http https://api.example/items --pointer /data/items --header 'Authorization: Bearer ${TOKEN}' -t items
  wasmill feed postgres 'SELECT * FROM users' --url postgres://reader@db/shop --column id --every 5s -t users
  wasmill feed generate logs --count 60000 --seed 7 --topic log-data --partitions 3";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct FeedArgs {
    #[command(subcommand)]
    from: Origin,
}

#[derive(Subcommand, Debug)]
enum Origin {
    /// Lines, JSON arrays or CSV rows of a file
    File(FileArgs),
    /// Ask a web address again and again; JSON arrays are split into records
    Http(HttpArgs),
    /// Rows of a query, by a column that only grows
    Postgres(PostgresArgs),
    /// Made-up records: the same seed gives the same ones
    Generate(GenerateArgs),
}

/// What all feeds have in common.
#[derive(Args, Debug)]
struct Destination {
    /// Topic; created where it is missing
    #[arg(short, long)]
    topic: String,
    /// Partitions of a topic that is created [default: the brokers']
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: Option<i32>,
    /// Copies of each partition of a topic that is created [default: the brokers']
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    replication_factor: Option<i32>,
    /// Key of every record [default: none, which is NULL]
    #[arg(short, long, conflicts_with = "key_field")]
    key: Option<String>,
    /// Field of the JSON value that becomes the key; /a/b for one further down
    #[arg(long, value_name = "FIELD")]
    key_field: Option<String>,
    /// Records per second [default: as fast as it goes]
    #[arg(long, value_parser = pace::parse)]
    rate: Option<f64>,
    /// How batches are compressed [default: that of [kafka.properties], else none]
    #[arg(long, value_parser = PossibleValuesParser::new(["none", "gzip", "snappy", "lz4", "zstd"]))]
    compression: Option<String>,
    /// Brokers as host:port,… [default: from the configuration, or KAFKA_BROKERS]
    #[arg(short, long)]
    brokers: Option<String>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct FileArgs {
    /// The file, or - for standard input
    file: PathBuf,
    /// lines: each line as it is, empty ones left out; json: the elements of arrays, or values one after another; csv: rows
    /// as JSON objects of texts [default: by the file's name, .json or .csv, else lines]
    #[arg(long, value_parser = PossibleValuesParser::new(["lines", "json", "csv"]))]
    format: Option<String>,
    /// Leave out so many lines, elements or rows: those that were fed before
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    /// What separates the fields of CSV
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = delimiter)]
    delimiter: u8,
    /// Names of the columns of CSV, where the file has no header
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    #[command(flatten)]
    into: Destination,
}

#[derive(Args, Debug)]
struct HttpArgs {
    /// http://… or https://…
    url: String,
    /// Time between two polls, such as 10s [default: one poll]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    every: Option<Duration>,
    /// End after so many answers; unchanged ones count [default: with --every at Ctrl-C]
    #[arg(long, value_name = "N", requires = "every", value_parser = clap::value_parser!(u64).range(1..))]
    polls: Option<u64>,
    /// Where in the body the records are, such as /data/items [default: the body]
    #[arg(long, default_value = "", hide_default_value = true)]
    pointer: String,
    /// A header of the request; may be given again; ${VAR} and ${file:/run/secrets/x} keep secrets off the command line
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Longest time for one answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
    /// The whole body is one record, whatever it is
    #[arg(long, conflicts_with = "pointer")]
    raw: bool,
    /// Certificate authorities to trust instead of the usual ones, as PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// ETag of the answer that was fed last: it is not fed again
    #[arg(long)]
    etag: Option<String>,
    #[command(flatten)]
    into: Destination,
}

#[derive(Args, Debug)]
struct PostgresArgs {
    /// One SELECT; it runs within another one that sorts by the column
    query: String,
    /// postgres://user:password@host:5432/database; ${VAR} and ${file:/run/secrets/x} keep secrets off the command line
    /// [default: the configuration's first Postgres sink, or POSTGRES_URL]
    #[arg(long)]
    url: Option<String>,
    /// The column of the result that only grows
    #[arg(long, default_value = "id")]
    column: String,
    /// Time between two polls that find nothing new, such as 5s [default: end when there is nothing more]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    every: Option<Duration>,
    /// Only rows with a greater value: those that were not fed before
    #[arg(long, value_name = "VALUE")]
    after: Option<String>,
    #[command(flatten)]
    into: Destination,
}

#[derive(Args, Debug)]
struct GenerateArgs {
    /// What to make up
    kind: Kind,
    /// Number of the last record [default: none, until Ctrl-C]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Another seed gives other records
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Share of records with a key, such as 0.5 or 50% [default: all users and orders, no quotes and logs]
    #[arg(long, value_name = "SHARE", value_parser = share::parse)]
    keys: Option<f64>,
    /// Share of records that are cut, no JSON, or of another shape
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share::parse)]
    bad: f64,
    /// Number of the last record to leave out: those that were fed before
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    into: Destination,
}

pub(super) fn run(args: FeedArgs, config: Option<&Path>) -> Result<(), Failure> {
    let into = match &args.from {
        Origin::File(args) => &args.into,
        Origin::Http(args) => &args.into,
        Origin::Postgres(args) => &args.into,
        Origin::Generate(args) => &args.into,
    };
    let kafka = kafka_settings(config, into.brokers.as_deref())?;
    // What can be wrong about the source is said before anything is connected.
    let source = match &args.from {
        Origin::File(args) => file(args, &kafka).map(boxed),
        Origin::Http(args) => Http::new(poll(args)?).map(boxed),
        Origin::Postgres(args) => Postgres::new(query(args, config)?).map(boxed),
        Origin::Generate(args) => Ok(boxed(generator(args))),
    };
    let source = source.map_err(Failure::from)?;
    let shutdown =
        Shutdown::listen().map_err(|cause| Failure::environment(format!("cannot listen for signals: {cause}")))?;
    let target = target(into, kafka);
    let mut told = Told::new(&target.topic);
    let ended = publish::run(source, &target, &shutdown, &mut told);
    told.end(&ended, into.json);
    ended.result.map_err(Failure::from)
}

fn boxed(source: impl Source + 'static) -> Box<dyn Source> {
    Box::new(source)
}

fn target(into: &Destination, kafka: Kafka) -> Target {
    Target {
        kafka,
        topic: into.topic.clone(),
        partitions: into.partitions,
        replication: into.replication_factor,
        compression: into.compression.clone(),
        rate: into.rate,
        key: into.key.as_ref().map(|key| key.clone().into_bytes()),
        key_field: into.key_field.clone(),
    }
}

fn file(args: &FileArgs, kafka: &Kafka) -> Result<File, Trouble> {
    let format = match args.format.as_deref() {
        Some("lines") => Format::Lines,
        Some("json") => Format::Json,
        Some("csv") => Format::Csv,
        _ => Format::of(&args.file),
    };
    let longest = properties::message_max_bytes(&properties::producer(kafka));
    let csv = Dialect { delimiter: args.delimiter, columns: args.columns.clone() };
    File::open(Input { file: args.file.clone(), format, after: args.after, longest, csv })
}

fn poll(args: &HttpArgs) -> Result<Poll, Failure> {
    let headers = args.header.iter().map(|line| match line.split_once(':') {
        Some((name, value)) => Ok((name.trim().to_owned(), expanded(value.trim())?)),
        None => Err(Failure::config(format!("`{line}` is no header: write 'Name: value'"))),
    });
    Ok(Poll {
        url: expanded(&args.url)?,
        every: args.every,
        polls: args.polls,
        pointer: args.pointer.clone(),
        headers: headers.collect::<Result<_, _>>()?,
        timeout: args.timeout,
        raw: args.raw,
        ca: args.ca.clone(),
        etag: args.etag.clone(),
    })
}

fn query(args: &PostgresArgs, config: Option<&Path>) -> Result<Query, Failure> {
    let url = match &args.url {
        Some(url) => Secret::new(expanded(url)?),
        None => sink_url(&Config::load(config)?)?,
    };
    Ok(Query {
        url,
        sql: args.query.clone(),
        column: args.column.clone(),
        every: args.every,
        after: args.after.clone(),
    })
}

fn sink_url(config: &Config) -> Result<Secret, Failure> {
    let sink = config.sinks.values().find(|sink| sink.is_postgres());
    sink.map(|sink| sink.url.clone()).ok_or_else(|| {
        Failure::config("no database is named: give --url postgres://…, POSTGRES_URL, or -c FILE with a Postgres sink")
    })
}

fn generator(args: &GenerateArgs) -> Generator {
    let GenerateArgs { kind, count, seed, keys, bad, after, .. } = args;
    Generator { kind: *kind, count: *count, after: *after, seed: *seed, keys: *keys, bad: *bad }
}

/// A text of the command line with its variables and secrets in place.
fn expanded(text: &str) -> Result<String, Failure> {
    let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let scope = Scope { env: &|name| std::env::var(name).ok(), base: &base };
    scope.expand(text).map_err(|missing| Failure::config(format!("{}; {}", missing.message, missing.help)))
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "\\t" | "tab" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii_graphic() || *byte == b'\t' => Ok(*byte),
            _ => Err("write one character, or \\t".to_owned()),
        },
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Closed => Failure::runtime("the feed was stopped"),
            Trouble::Request(words) => Failure::config(words),
            Trouble::Data(words) => Failure::runtime(words),
            Trouble::Environment(words) => Failure::environment(words),
        }
    }
}
