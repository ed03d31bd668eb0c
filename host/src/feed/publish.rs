//! Sends what a source hands on, and ends when it has ended or somebody asks for it. Every record is acknowledged by all
//! replicas; the producer is idempotent, so a retry doubles nothing and reorders nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};

use super::pace::Pace;
use super::window::Window;
use super::{About, Event, Outlet, Record, Resume, Source, Trouble, json};
use crate::cluster::{Cluster, NewTopic};
use crate::config::{Kafka, properties};
use crate::shutdown::Shutdown;
use crate::source::trouble;

/// Records that a source may be ahead: each can be as large as a record may be.
const AHEAD: usize = 128;
/// Longest time between two looks at the wish to stop and at the client's reports.
const TICK: Duration = Duration::from_millis(50);
/// Records between two such looks.
const LOOK: u64 = 500;
/// Brokers that have not been heard of for so long are given up by a feed that is to end.
const SILENCE: Duration = Duration::from_secs(60);
/// How often a feed without an end says that it waits.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// Where records go and how.
#[derive(Clone, Debug)]
pub struct Target {
    pub kafka: Kafka,
    pub topic: String,
    /// Partitions of the topic, where it is made. Default: the brokers'.
    pub partitions: Option<i32>,
    /// Copies of each partition, where the topic is made. Default: the brokers'.
    pub replication: Option<i32>,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`. Default: that of `[kafka.properties]`, else none.
    pub compression: Option<String>,
    /// Records per second. Default: as fast as it goes.
    pub rate: Option<f64>,
    /// Key of every record.
    pub key: Option<Vec<u8>>,
    /// Field of the value that becomes the key; `/a/b` for one further down.
    pub key_field: Option<String>,
}

/// How far a feed has got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub acknowledged: u64,
    /// Sent and not acknowledged yet.
    pub outstanding: usize,
    /// Records whose value has no such field as the key is to come from: they have no key.
    pub keyless: u64,
    /// Options that make the same command go on after what is acknowledged.
    pub resume: Option<String>,
    /// The number of the last record before the first one that is not acknowledged.
    pub number: Option<u64>,
    /// The last mark before it.
    pub mark: Option<Arc<str>>,
}

/// How a feed has ended.
#[derive(Debug)]
pub struct Ended {
    pub progress: Progress,
    /// Somebody asked for the end before the source had come to its own.
    pub stopped: bool,
    pub result: Result<(), Trouble>,
}

/// Who is told while a feed runs.
pub trait Listener {
    /// Many times per second.
    fn progress(&mut self, progress: &Progress);
    fn note(&mut self, words: &str);
}

/// Makes sure of the topic, then feeds it until the source or `shutdown` ends it.
pub fn run(source: Box<dyn Source>, target: &Target, shutdown: &Arc<Shutdown>, listener: &mut dyn Listener) -> Ended {
    let about = source.about();
    let failed = |trouble| Ended { progress: Progress::default(), stopped: false, result: Err(trouble) };
    match ensure_topic(target) {
        Ok(words) => words.iter().for_each(|words| listener.note(words)),
        Err(trouble) => return failed(trouble),
    }
    let window = Arc::<Mutex<Window>>::default();
    let producer = match producer(target, window.clone()) {
        Ok(producer) => producer,
        Err(trouble) => return failed(trouble),
    };
    let (events, received) = bounded(AHEAD);
    let outlet = Outlet::new(events, shutdown.clone());
    let started = std::thread::Builder::new().name("feed".into()).spawn(move || source.run(&outlet));
    let thread = match started {
        Ok(thread) => thread,
        Err(cause) => return failed(Trouble::Environment(format!("cannot start a thread: {cause}"))),
    };
    let pace = target.rate.map(|rate| Pace::new(rate, Instant::now()));
    let mut feed =
        Feed { target, about, producer, window, shutdown, listener, pace, keyless: 0, told: Instant::now(), sent: 0 };
    let mut result = feed.take(&received);
    let stopped = shutdown.requested() && result == Err(Trouble::Closed);
    let exhausted = matches!(result, Ok(()));
    // Its panic has ended the process already.
    if exhausted && let Ok(ended) = thread.join() {
        result = ended;
    }
    // A source that waits for something else is not waited for: it ends with the process, or at its next record.
    drop(received);
    let stopped = stopped || (exhausted && result == Err(Trouble::Closed));
    if result == Err(Trouble::Closed) {
        result = Ok(());
    }
    let flushed = feed.flush();
    let result = feed.refusal().and(result).and(flushed);
    Ended { progress: feed.progress(), stopped, result }
}

/// A feed on its way.
struct Feed<'a> {
    target: &'a Target,
    about: About,
    producer: BaseProducer<Context>,
    window: Arc<Mutex<Window>>,
    shutdown: &'a Shutdown,
    listener: &'a mut dyn Listener,
    pace: Option<Pace>,
    keyless: u64,
    /// When it was last said that the brokers are waited for.
    told: Instant,
    sent: u64,
}

impl Feed<'_> {
    /// Sends until the source has ended (`Ok`), somebody asks for the end (`Closed`), or something is wrong.
    fn take(&mut self, received: &Receiver<Event>) -> Result<(), Trouble> {
        loop {
            match received.recv_timeout(TICK) {
                Ok(Event::Record(record)) => {
                    self.wait_for_turn()?;
                    self.send(record)?;
                    self.sent += 1;
                    if self.sent.is_multiple_of(LOOK) {
                        self.look(Duration::ZERO)?;
                    }
                }
                Ok(Event::Note(words)) => self.listener.note(&words),
                Err(RecvTimeoutError::Timeout) => self.look(Duration::ZERO)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn wait_for_turn(&mut self) -> Result<(), Trouble> {
        let Some(pace) = &mut self.pace else { return Ok(()) };
        let turn = pace.turn(Instant::now());
        loop {
            let left = turn.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            // Below a millisecond the client would not wait at all.
            std::thread::sleep(left.min(Duration::from_millis(1)));
            self.look(left.saturating_sub(Duration::from_millis(1)).min(TICK))?;
        }
    }

    fn send(&mut self, record: Record) -> Result<(), Trouble> {
        let key = self.key(&record);
        let Record { key: own, value, number, mark } = record;
        let sequence = self.window().open(number, mark);
        let mut message = BaseRecord::with_opaque_to(&self.target.topic, sequence).payload(&value);
        let key = key.or(own);
        message.key = key.as_deref();
        loop {
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => message = back,
                Err((cause, _)) => {
                    self.window().take_back();
                    return Err(Trouble::Data(self.unsendable(number, value.len(), &cause)));
                }
            }
            if let Err(trouble) = self.look(TICK) {
                self.window().take_back();
                return Err(trouble);
            }
        }
    }

    /// The key that was asked for; `None` where the source's own stays.
    fn key(&mut self, record: &Record) -> Option<Vec<u8>> {
        let Some(field) = &self.target.key_field else { return self.target.key.clone() };
        let found = json::field(&record.value, field);
        if found.is_none() {
            self.keyless += 1;
        }
        found
    }

    fn unsendable(&self, number: u64, bytes: usize, cause: &KafkaError) -> String {
        let About { name, unit, .. } = &self.about;
        match cause.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => format!(
                "{unit} {number} of {name} has {bytes} bytes, which is more than one record may have; raise \
                 message.max.bytes in [kafka.properties] and the topic's max.message.bytes"
            ),
            _ => format!("could not send {unit} {number} of {name}: {cause}"),
        }
    }

    /// Takes the client's reports, waiting at most `patience` for one, and looks whether to go on.
    fn look(&mut self, patience: Duration) -> Result<(), Trouble> {
        self.producer.poll(patience);
        self.refusal()?;
        let progress = self.progress();
        self.listener.progress(&progress);
        let silent = self.window().heard.elapsed();
        if progress.outstanding > 0 && silent > TELL_AGAIN && self.told.elapsed() > TELL_AGAIN {
            self.told = Instant::now();
            let words = format!("{}, for {} s now", self.waiting(progress.outstanding), silent.as_secs());
            self.listener.note(&words);
        }
        if !self.about.endless && progress.outstanding > 0 && silent > SILENCE {
            return Err(self.given_up(progress.outstanding));
        }
        if self.shutdown.requested() { Err(Trouble::Closed) } else { Ok(()) }
    }

    /// What the brokers have refused for good.
    fn refusal(&self) -> Result<(), Trouble> {
        let refused = self.window().refused.clone();
        let Some((number, why)) = refused else { return Ok(()) };
        let (About { name, unit, .. }, topic) = (&self.about, &self.target.topic);
        Err(Trouble::Data(format!("{unit} {number} of {name} was not accepted by {topic}: {why}")))
    }

    /// Waits for the acknowledgements of everything that was sent.
    fn flush(&mut self) -> Result<(), Trouble> {
        let mut heard = Instant::now();
        let mut left = usize::MAX;
        loop {
            self.producer.poll(TICK);
            let progress = self.progress();
            self.listener.progress(&progress);
            match progress.outstanding {
                0 => return Ok(()),
                now if now < left => (left, heard) = (now, Instant::now()),
                now if heard.elapsed() > SILENCE => return Err(self.given_up(now)),
                _ => {}
            }
        }
    }

    fn waiting(&self, outstanding: usize) -> String {
        format!("{outstanding} records wait for the brokers {}{}", self.target.kafka.brokers, trouble::words())
    }

    fn given_up(&self, outstanding: usize) -> Trouble {
        Trouble::Environment(format!(
            "the brokers {} have acknowledged nothing for {} s: {outstanding} records may have arrived or not; check that \
             they are up",
            self.target.kafka.brokers,
            SILENCE.as_secs()
        ))
    }

    fn progress(&self) -> Progress {
        let window = self.window();
        let resume = match self.about.resume {
            Resume::Number => window.number.map(|number| format!("--after {number}")),
            Resume::Mark(option) => window.mark.as_ref().map(|mark| format!("{option} {}", shell(mark))),
        };
        Progress {
            acknowledged: window.acknowledged,
            outstanding: window.outstanding,
            keyless: self.keyless,
            resume,
            number: window.number,
            mark: window.mark.clone(),
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates the topic where it is missing, and finds out at once whether the brokers answer. Returns what is worth saying.
pub fn ensure_topic(target: &Target) -> Result<Option<String>, Trouble> {
    let cluster = Cluster::connect(&target.kafka).map_err(Trouble::Request)?;
    let found = cluster.topic(&target.topic).map_err(Trouble::Environment)?;
    let asked = target.partitions.unwrap_or(-1);
    let Some(topic) = found else {
        if !target.kafka.create_topics {
            return Err(Trouble::Request(format!(
                "topic {} does not exist and [kafka] create_topics is false: create it",
                target.topic
            )));
        }
        let new = NewTopic {
            name: target.topic.clone(),
            partitions: asked,
            replication: target.replication.unwrap_or(-1),
            settings: Vec::new(),
        };
        cluster.create(&new).map_err(Trouble::Environment)?;
        return Ok(None);
    };
    let there = topic.partitions.len() as i32;
    Ok((asked > 0 && asked != there)
        .then(|| format!("{} is there already, with {there} partitions instead of {asked}", target.topic)))
}

fn producer(target: &Target, window: Arc<Mutex<Window>>) -> Result<BaseProducer<Context>, Trouble> {
    let mut config = properties::producer(&target.kafka);
    // What cannot be delivered is kept, in order, for as long as it takes; who gives up is decided here.
    config.remove("delivery.timeout.ms").set("message.timeout.ms", "0").set("linger.ms", "5");
    if let Some(compression) = &target.compression {
        config.remove("compression.codec").set("compression.type", compression);
    }
    let created = config.create_with_context(Context(window));
    created.map_err(|cause| Trouble::Request(format!("could not create the Kafka producer: {cause}")))
}

struct Context(Arc<Mutex<Window>>);

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("kafka producer: {error}: {reason}");
        trouble::note(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sequence: usize) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((cause, _)) => Err(cause.to_string()),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).close(sequence, result);
    }
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '+' | '@' | ',');
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::shell;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell("2026-01-02T03:04:05+00:00"), "2026-01-02T03:04:05+00:00");
        assert_eq!(shell("W/\"a'b\""), r#"'W/"a'\''b"'"#);
        assert_eq!(shell(""), "''");
    }
}
