//! `wasmill try`: records through a module, and what comes out of each, labelled by destination. Nothing is written
//! anywhere; from a broker records are only read, no group is joined and nothing is committed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::modules::{Loader, Subject};
use super::out::{self, Style};
use super::test::show::cut;
use super::{Failure, kafka_settings};
use crate::config::Limits;
use crate::outcome::{Operation, Ruling};
use crate::record::{Record, Slice};
use crate::runtime::{Field, Made, Trial, Tried};
use crate::samples::check::default_topic;
use crate::samples::read::{self, Sample};
use crate::samples::tell;
use crate::source::peek;

/// Longest value that is shown, in characters; `--json` shows all of it.
const WIDE: usize = 2_000;

#[derive(clap::Args, Debug)]
pub(super) struct TryArgs {
    /// A .wasm file, or a crate's folder, which is built first
    module: PathBuf,
    /// Lines that become values of records; - is standard input
    #[arg(default_value = "-", conflicts_with = "from_topic")]
    file: PathBuf,
    /// The lines are samples, as in samples/*.jsonl: with key, headers and so on
    #[arg(long, conflicts_with_all = ["from_topic", "key", "header"])]
    samples: bool,
    /// Key of every record [default: none, which is NULL]
    #[arg(short, long)]
    key: Option<String>,
    /// A header of every record; may be given again
    #[arg(short = 'H', long, value_name = "NAME=VALUE", value_parser = pair)]
    header: Vec<(String, String)>,
    /// Variables as a flow would give them; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    vars: Vec<(String, String)>,
    /// Topic that the records seem to come from [default: the first that the module reads]
    #[arg(short, long)]
    topic: Option<String>,
    /// Take real records: the newest of this topic
    #[arg(long, value_name = "TOPIC")]
    from_topic: Option<String>,
    /// How many records to take from the topic
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    number: u32,
    /// Brokers as host:port,… [default: from the configuration, or KAFKA_BROKERS]
    #[arg(short, long)]
    brokers: Option<String>,
    /// One JSON object per record
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TryArgs, config: Option<&Path>) -> Result<(), Failure> {
    let loader = Loader::new(None)?;
    // A module that does not load and a file that is not there are said before anything is read.
    let lines = if args.from_topic.is_none() { Some(open(&args.file)?) } else { None };
    let subject = loader.subject(&args.module)?;
    let style = Style::of(&std::io::stdout());
    let mut session = Session { args, loader: &loader, subject: &subject, style, trials: BTreeMap::new() };
    match (&args.from_topic, lines) {
        (Some(topic), _) => {
            let kafka = kafka_settings(config, args.brokers.as_deref())?;
            let found = peek::newest(&kafka, topic, args.number as usize).map_err(Failure::environment)?;
            out::say(&format!("{} records of {topic}", found.len()));
            let vars = args.vars.iter().cloned().collect();
            found.iter().try_for_each(|slice| {
                let place = format!("{}[{}]@{}", slice.topic, slice.partition, slice.offset(0));
                session.run(&place, slice, &vars)
            })
        }
        (None, Some(lines)) => session.lines(lines),
        (None, None) => Ok(()),
    }
}

struct Session<'a> {
    args: &'a TryArgs,
    loader: &'a Loader,
    subject: &'a Subject,
    style: Style,
    /// By variables.
    trials: BTreeMap<BTreeMap<String, String>, Trial>,
}

impl Session<'_> {
    fn lines(&mut self, lines: Box<dyn BufRead>) -> Result<(), Failure> {
        for (number, line) in lines.split(b'\n').enumerate() {
            let name = self.args.file.display();
            let line = line.map_err(|error| Failure::runtime(format!("cannot read {name}: {error}")))?;
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                continue;
            }
            let sample = self.sample(number, line)?;
            let topic = sample.topic.as_deref().or(self.args.topic.as_deref());
            let slice = Sample::slice(&[&sample], topic.unwrap_or_else(|| default_topic(&self.subject.module)));
            self.run(&(number + 1).to_string(), &slice, &sample.vars)?;
        }
        Ok(())
    }

    fn sample(&self, number: usize, line: &[u8]) -> Result<Sample, Failure> {
        let args = self.args;
        if !args.samples {
            let header = |(name, value): &(String, String)| (name.clone(), Some(value.clone().into_bytes()));
            return Ok(Sample {
                offset: number as i64,
                timestamp: -1,
                key: args.key.clone().map(String::into_bytes),
                value: Some(line.to_vec()),
                headers: args.header.iter().map(header).collect(),
                vars: args.vars.iter().cloned().collect(),
                ..Sample::default()
            });
        }
        let text = std::str::from_utf8(line).map_err(|error| error.to_string());
        let mut sample = text
            .and_then(read::parse)
            .map_err(|error| Failure::config(format!("{}:{}: {error}", args.file.display(), number + 1)))?;
        // The command line goes before what is written there.
        sample.vars.extend(args.vars.iter().cloned());
        Ok(sample)
    }

    fn run(&mut self, place: &str, slice: &Slice, vars: &BTreeMap<String, String>) -> Result<(), Failure> {
        if !self.trials.contains_key(vars) {
            let (runtime, limits) = (self.loader.runtime(), Limits::default());
            let trial = Trial::new(runtime, &self.subject.module, vars, &limits)
                .map_err(|error| Failure::config(format!("the module does not start with these vars: {error}")))?;
            self.trials.insert(vars.clone(), trial);
        }
        let trial = self.trials.get_mut(vars).expect("it was inserted above");
        let ran = trial.run(slice);
        for line in &ran.lines {
            out::say(&format!("{} {}", self.style_of_words().dim(place), tell::log_line(line)));
        }
        let Some(tried) = ran.records.first() else { return Ok(()) };
        if self.args.json {
            let mut told = tell::describe(tried, &ran.lines);
            told["record"] = json!({ "topic": *slice.topic, "partition": slice.partition, "offset": slice.offset(0) });
            out::data(&told.to_string());
        } else {
            self.shown(tried, &slice.record(0)).iter().for_each(|line| out::data(&format!("{place} {line}")));
        }
        Ok(())
    }

    fn shown(&self, tried: &Tried, record: &Record<'_>) -> Vec<String> {
        let style = self.style;
        match &tried.ruling {
            None => tried.outputs.iter().map(|made| self.output(made, record)).collect(),
            Some(Ruling::Skip { reason }) => vec![style.warn(&format!("✗ skip: {reason}"))],
            Some(Ruling::Dead { code, message }) => {
                vec![style.bad(&format!("✗ dead letter, {code}: {}", message.replace(":\\n", ": ")))]
            }
            Some(Ruling::Retry { message }) => vec![style.bad(&format!("✗ retry: {message}"))],
            Some(Ruling::Fatal { message }) => vec![style.bad(&format!("✗ fatal, the flow stops: {message}"))],
        }
    }

    fn output(&self, made: &Made, record: &Record<'_>) -> String {
        let style = self.style;
        let bytes = |bytes: &[u8]| match tell::bytes_of(bytes) {
            Value::String(text) => cut(&text, WIDE),
            // As it was made: parsing it would lose digits.
            _ => cut(&String::from_utf8_lossy(bytes), WIDE),
        };
        let field = |field: &Field, unchanged: Option<&[u8]>| match field {
            Field::Unchanged => unchanged.map_or_else(|| "NULL".to_owned(), bytes),
            Field::Null => "NULL".to_owned(),
            Field::Data(data) => bytes(data),
        };
        let operation = match made.operation {
            Operation::Write => String::new(),
            operation => format!(" {}", format!("{operation:?}").to_lowercase()),
        };
        let topic = made.to == "next" || made.to.starts_with("kafka:");
        let key = match &made.key {
            // For a database that means: no key is given.
            Field::Unchanged if !topic || record.key.is_none() => String::new(),
            key => format!(" key {}", field(key, record.key)),
        };
        let headers = made
            .headers
            .iter()
            .flatten()
            .map(|(name, value)| format!(" {name}={}", value.as_deref().map_or_else(|| "NULL".to_owned(), bytes)));
        let headers: String = headers.collect();
        let label = style.good(&format!("→ {}", made.to));
        format!("{label}{operation}{}{} {}", style.dim(&key), style.dim(&headers), field(&made.value, record.value))
    }

    fn style_of_words(&self) -> Style {
        Style::of(&std::io::stderr())
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file.as_os_str() == "-" {
        if std::io::stdin().is_terminal() {
            out::say("each line becomes the value of a record; Ctrl-D ends");
        }
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = std::fs::File::open(file).and_then(|opened| match opened.metadata()?.is_dir() {
        true => Err(std::io::Error::other("it is a directory")),
        false => Ok(opened),
    });
    let opened = opened.map_err(|error| {
        Failure::environment(format!("cannot open {}: {error}; name a file with lines, or -", file.display()))
    })?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, opened)))
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
