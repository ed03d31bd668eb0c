//! `wasmill feed`: fills topics, so that no second tool is needed. Every record is acknowledged by all replicas before
//! the command ends well; the producer is idempotent, so a retry doubles nothing.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, Subcommand};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::{Failure, kafka_settings, out};
use crate::config::{Kafka, properties};
use crate::sinks::kafka::{KafkaSink, PublishError, Settings};

/// Time for the acknowledgements after the last line.
const FLUSH: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub(super) struct FeedArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Subcommand, Debug)]
enum From {
    /// The lines of a file as records; empty lines are left out
    File(FileArgs),
}

#[derive(Args, Debug)]
struct FileArgs {
    /// The file, or - for standard input
    file: PathBuf,
    /// Topic; created with the brokers' defaults where it is missing
    #[arg(short, long)]
    topic: String,
    /// Key of every record [default: none, which is NULL]
    #[arg(short, long)]
    key: Option<String>,
    /// Brokers as host:port,… [default: from the configuration, or KAFKA_BROKERS]
    #[arg(short, long)]
    brokers: Option<String>,
}

pub(super) fn run(args: FeedArgs, config: Option<&Path>) -> Result<(), Failure> {
    match args.from {
        From::File(args) => feed_file(&args, config),
    }
}

fn feed_file(args: &FileArgs, config: Option<&Path>) -> Result<(), Failure> {
    let kafka = kafka_settings(config, args.brokers.as_deref())?;
    // Opened before anything is connected: a wrong name is said at once.
    let lines = open(&args.file)?;
    ensure_topic(&kafka, &args.topic)?;
    let tally = Arc::<Tally>::default();
    let producer: BaseProducer<Context> = properties::producer(&kafka)
        .create_with_context(Context(tally.clone()))
        .map_err(|cause| Failure::config(format!("could not create the Kafka producer: {cause}")))?;
    let feed = Feed { args, producer, tally };
    let fed = feed.send_all(lines);
    let flushed = feed.producer.flush(FLUSH);
    let done = feed.tally.acknowledged.load(Ordering::Relaxed);
    let wrong = feed.tally.first_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
    out::say(&format!("{done} records to {}", args.topic));
    fed?;
    if let Some((line, cause)) = wrong {
        let name = feed.name();
        return Err(Failure::runtime(format!("line {line} of {name} was not accepted by {}: {cause}", args.topic)));
    }
    flushed.map_err(|cause| {
        Failure::environment(format!("the brokers {} did not acknowledge everything: {cause}", kafka.brokers))
    })
}

/// A feed on its way.
struct Feed<'a> {
    args: &'a FileArgs,
    producer: BaseProducer<Context>,
    tally: Arc<Tally>,
}

impl Feed<'_> {
    fn send_all(&self, mut lines: Box<dyn BufRead>) -> Result<(), Failure> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = lines.read_until(b'\n', &mut line);
            let read = read.map_err(|cause| Failure::runtime(format!("could not read {}: {cause}", self.name())))?;
            if read == 0 {
                break;
            }
            let record = line.strip_suffix(b"\n").unwrap_or(&line);
            let record = record.strip_suffix(b"\r").unwrap_or(record);
            if !record.is_empty() {
                self.send(number, record)?;
            }
        }
        Ok(())
    }

    fn send(&self, number: usize, value: &[u8]) -> Result<(), Failure> {
        let mut record = BaseRecord::with_opaque_to(&self.args.topic, number).payload(value);
        record.key = self.args.key.as_deref();
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.producer.poll(Duration::from_millis(5));
                    record = back;
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                    return Err(Failure::runtime(format!(
                        "line {number} of {} has {} bytes, which is more than one record may have; raise \
                         message.max.bytes in [kafka.properties] and the topic's max.message.bytes",
                        self.name(),
                        value.len()
                    )));
                }
                Err((cause, _)) => {
                    let name = self.name();
                    return Err(Failure::runtime(format!("could not send line {number} of {name}: {cause}")));
                }
            }
        }
        if number.is_multiple_of(1_000) {
            self.producer.poll(Duration::ZERO);
        }
        Ok(())
    }

    fn name(&self) -> String {
        match self.args.file.as_os_str() == "-" {
            true => "standard input".into(),
            false => self.args.file.display().to_string(),
        }
    }
}

/// What the client has reported.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: AtomicU64,
    first_error: Mutex<Option<(usize, String)>>,
}

struct Context(Arc<Tally>);

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("kafka producer: {error}: {reason}");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, line: usize) {
        match result {
            Ok(_) => drop(self.0.acknowledged.fetch_add(1, Ordering::Relaxed)),
            Err((cause, _)) => {
                let mut first = self.0.first_error.lock().unwrap_or_else(PoisonError::into_inner);
                if first.as_ref().is_none_or(|(earlier, _)| *earlier > line) {
                    *first = Some((line, cause.to_string()));
                }
            }
        }
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = std::fs::File::open(file).and_then(|opened| match opened.metadata()?.is_dir() {
        true => Err(std::io::Error::other("it is a directory")),
        false => Ok(opened),
    });
    match opened {
        Ok(opened) => Ok(Box::new(BufReader::with_capacity(1 << 20, opened))),
        Err(cause) => Err(Failure::runtime(format!("could not open {}: {cause}; name a file, or -", file.display()))),
    }
}

/// Creates the topic where it is missing, and finds out at once whether the brokers answer.
fn ensure_topic(kafka: &Kafka, topic: &str) -> Result<(), Failure> {
    let settings = Settings {
        brokers: kafka.brokers.clone(),
        properties: kafka.properties.iter().map(|(key, value)| (key.clone(), value.to_string())).collect(),
        create_topics: kafka.create_topics,
        transactional_id: None,
    };
    let sink = KafkaSink::open(settings).map_err(Failure::config)?;
    sink.ensure_topics(&[(topic.to_owned(), -1)]).map_err(|error| match error {
        PublishError::Operator(words) => Failure::runtime(words),
        other => {
            let words = other.words();
            Failure::environment(format!("{words}; check that Kafka is up at {}", kafka.brokers))
        }
    })
}

#[cfg(test)]
mod tests;
