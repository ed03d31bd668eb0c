//! `wasmill feed`: puts lines of a file or of standard input into a topic, one record each, in order, and returns when
//! the cluster has all of them. The bytes of a line are not looked at, except for a key that is asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use serde_json::value::RawValue;

use super::{Failure, out};
use crate::config::{Kafka, properties};

/// Longest wait for the cluster to be found.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time until a record that is not acknowledged counts as lost.
const DELIVERY: Duration = Duration::from_secs(60);
/// Pause while the client's queue is full.
const FULL: Duration = Duration::from_millis(2);

#[derive(clap::Args, Debug)]
pub(super) struct FeedArgs {
    #[command(subcommand)]
    source: Source,
}

#[derive(clap::Subcommand, Debug)]
enum Source {
    /// Each line of a file as a record
    File(FileArgs),
}

#[derive(clap::Args, Debug)]
struct FileArgs {
    /// The file; `-` is standard input. Empty lines are left out
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Topic to write to; created where it is missing
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Kafka brokers, instead of a configuration
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// Key of every record [default: none, which is NULL]
    #[arg(long, value_name = "KEY", conflicts_with = "key_field")]
    key: Option<String>,
    /// Field of each line's JSON object that is its key; a line without it gets none
    #[arg(long, value_name = "FIELD")]
    key_field: Option<String>,
}

/// What the cluster has acknowledged so far.
#[derive(Default)]
struct Receipts {
    delivered: AtomicU64,
    /// The first failure ends the feed.
    failed: OnceLock<RDKafkaErrorCode>,
    /// The client's last complaint: the cause behind a time-out.
    complaint: std::sync::Mutex<String>,
}

struct Context(Arc<Receipts>);

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("kafka producer: {error}: {reason}");
        *self.0.complaint.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = reason.to_owned();
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.0.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                // Later failures follow from the first.
                self.0.failed.set(code).ok();
            }
        }
    }
}

/// A topic that is being filled.
struct Feed {
    producer: ThreadedProducer<Context>,
    receipts: Arc<Receipts>,
    brokers: String,
    topic: String,
    max_bytes: usize,
}

pub(super) fn run(args: FeedArgs, file: Option<&Path>) -> Result<(), Failure> {
    let Source::File(args) = args.source;
    let kafka = super::kafka_settings(file, args.brokers.as_deref())?;
    let lines = open(&args.file)?;
    let feed = Feed::open(&kafka, &args.topic)?;
    let count = feed.fill(lines, |line| key(&args, line))?;
    out::say(&format!("{count} {} to {}", if count == 1 { "record" } else { "records" }, args.topic));
    Ok(())
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let failed = |cause: std::io::Error| Failure::runtime(format!("cannot read {}: {cause}", path.display()));
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(Failure::runtime(format!("cannot read {}: it is a directory", path.display())));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

fn key(args: &FileArgs, line: &[u8]) -> Option<Vec<u8>> {
    match &args.key_field {
        Some(field) => field_of(line, field),
        None => args.key.clone().map(String::into_bytes),
    }
}

/// The text of a string, the JSON of anything else.
fn field_of(line: &[u8], field: &str) -> Option<Vec<u8>> {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(line).ok()?;
    let json = fields.remove(field)?.get();
    let text = serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned());
    Some(text.into_bytes())
}

impl Feed {
    fn open(kafka: &Kafka, topic: &str) -> Result<Self, Failure> {
        let mut config = properties::producer(kafka);
        config.remove("message.timeout.ms").set("delivery.timeout.ms", DELIVERY.as_millis().to_string());
        let receipts = Arc::<Receipts>::default();
        let producer = config.create_with_context(Context(receipts.clone())).map_err(|error| {
            Failure::config(format!("cannot make a Kafka producer: {error}; see [kafka.properties]"))
        })?;
        let max_bytes = properties::message_max_bytes(&config);
        let feed = Feed { producer, receipts, brokers: kafka.brokers.clone(), topic: topic.to_owned(), max_bytes };
        if !feed.topic_exists()? {
            if !kafka.create_topics {
                return Err(Failure::runtime(format!(
                    "topic {topic} does not exist at {}: create it, or set create_topics = true in [kafka]",
                    feed.brokers
                )));
            }
            feed.create_topic(&config)?;
        }
        Ok(feed)
    }

    /// All topics are asked for, since a question for a missing one may create it.
    fn topic_exists(&self) -> Result<bool, Failure> {
        let metadata = self.producer.client().fetch_metadata(None, PATIENCE).map_err(|error| {
            let seconds = PATIENCE.as_secs();
            let complaint = self.complaint();
            Failure::environment(format!(
                "no answer from Kafka at {} within {seconds} s: {error}{complaint}",
                self.brokers
            ))
        })?;
        let found = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        Ok(found.is_some_and(|topic| topic.error().is_none()))
    }

    /// With as many partitions and replicas as the brokers give by default.
    fn create_topic(&self, config: &rdkafka::ClientConfig) -> Result<(), Failure> {
        let failed = |cause: String| {
            Failure::runtime(format!(
                "cannot create topic {} at {}: {cause}; create it yourself",
                self.topic, self.brokers
            ))
        };
        let admin: AdminClient<_> = config.create().map_err(|error| failed(error.to_string()))?;
        let topic = NewTopic::new(&self.topic, -1, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        let created = runtime.block_on(admin.create_topics([&topic], &options));
        match created.map_err(|error| failed(error.to_string()))?.pop() {
            Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => Err(failed(code.to_string())),
            _ => self.wait_for_topic(),
        }
    }

    fn wait_for_topic(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while !self.topic_exists()? {
            if Instant::now() > deadline {
                return Err(Failure::runtime(format!(
                    "the brokers do not show topic {}, which was created",
                    self.topic
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Sends every line and waits for the acknowledgements; the number of records.
    fn fill(&self, mut lines: impl BufRead, key: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Result<u64, Failure> {
        let mut sent = 0;
        let mut line = Vec::new();
        for number in 1u64.. {
            line.clear();
            // One byte more than what fits tells a line that fits from one that does not; two for CRLF.
            let read = lines.by_ref().take(self.max_bytes as u64 + 2).read_until(b'\n', &mut line);
            let read = read.map_err(|cause| self.stopped(number, &format!("cannot be read: {cause}")))?;
            if read == 0 {
                break;
            }
            let ended = line.last() == Some(&b'\n');
            let text = without_end(&line);
            if text.is_empty() {
                continue;
            }
            if text.len() > self.max_bytes || (!ended && line.len() > self.max_bytes) {
                return Err(self.too_large(number));
            }
            self.send(number, text, key(text).as_deref())?;
            sent += 1;
        }
        self.wait(sent)?;
        Ok(sent)
    }

    fn send(&self, number: u64, value: &[u8], key: Option<&[u8]>) -> Result<(), Failure> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).payload(value);
        record.key = key;
        loop {
            if let Some(code) = self.receipts.failed.get() {
                return Err(self.undelivered(*code));
            }
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                    return Err(self.too_large(number));
                }
                Err((error, _)) => return Err(self.stopped(number, &format!("cannot be sent: {error}"))),
            };
            std::thread::sleep(FULL);
        }
    }

    /// Every record gets a receipt, a good or a bad one, within the delivery's time.
    fn wait(&self, sent: u64) -> Result<(), Failure> {
        while self.receipts.delivered.load(Ordering::Relaxed) < sent {
            if let Some(code) = self.receipts.failed.get() {
                return Err(self.undelivered(*code));
            }
            std::thread::sleep(FULL);
        }
        Ok(())
    }

    fn too_large(&self, number: u64) -> Failure {
        let max = self.max_bytes;
        self.stopped(
            number,
            &format!("is larger than a record may be ({max} bytes): raise message.max.bytes in [kafka.properties] and at the topic"),
        )
    }

    /// A line that cannot become a record; what came before it is delivered first.
    fn stopped(&self, number: u64, why: &str) -> Failure {
        let flushed = self.producer.flush(DELIVERY);
        let delivered = self.receipts.delivered.load(Ordering::Relaxed);
        let rest = flushed.map_or_else(|error| format!("; {error}"), |()| String::new());
        Failure::runtime(format!("line {number} {why}; {delivered} records before it are in {}{rest}", self.topic))
    }

    fn undelivered(&self, code: RDKafkaErrorCode) -> Failure {
        let delivered = self.receipts.delivered.load(Ordering::Relaxed);
        let (topic, brokers, complaint) = (&self.topic, &self.brokers, self.complaint());
        Failure::runtime(format!(
            "cannot deliver to topic {topic} at {brokers}: {code}{complaint}; {delivered} records are delivered"
        ))
    }

    fn complaint(&self) -> String {
        let complaint = self.receipts.complaint.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if complaint.is_empty() { String::new() } else { format!(" ({complaint})") }
    }
}

/// A line without its LF or CRLF.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests;
