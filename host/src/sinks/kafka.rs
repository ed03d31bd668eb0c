//! Outputs and dead letters to Kafka topics, in transactional flows together with the offsets. Blocking: it runs on
//! the writer's thread. Every call ends in bounded time; what is still on its way then is waited for by the next call
//! with the same batch, so that a retry neither repeats nor reorders.

mod attempt;
mod destinations;
mod events;
mod message;
mod producer;
mod queue;
pub mod redrive;
mod reports;
mod topics;
mod transaction;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::consumer::ConsumerGroupMetadata;
use tracing::debug;

use self::attempt::{Attempt, State};
pub use self::destinations::Destinations;
use self::message::Message;
use self::producer::Producer;
pub use self::topics::rehearse as rehearse_topic;
use super::dead_letter::DeadLetter;
use super::{Item, Refusal, SinkBatch, SourceIds};
use crate::config::properties;
use crate::outcome::{Code, Operation};

/// Longest time in one call before it reports an outage; below the time after which a thread counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time after which brokers that did not tell the limits of topics in time are asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// What a record costs on the wire besides its bytes, with room to spare.
const RECORD_OVERHEAD: usize = 256;

/// How the producer is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    pub brokers: String,
    pub properties: Vec<(String, String)>,
    pub create_topics: bool,
    /// Set for flows whose outputs commit with their offsets.
    pub transactional_id: Option<String>,
}

/// What is to be published of one batch.
pub struct Publish<'a> {
    pub batch: &'a SinkBatch,
    /// Dead letters with their topic.
    pub dead_letters: &'a [(String, DeadLetter)],
    /// The offsets, for a transaction.
    pub commit: Option<TransactionCommit<'a>>,
}

/// Offsets that are committed with the outputs.
pub struct TransactionCommit<'a> {
    /// Topic, partition, next offset, metadata.
    pub offsets: &'a [(Arc<str>, i32, i64, String)],
    /// As it was when the batch was sealed: fresh metadata would let a zombie commit.
    pub group: &'a ConsumerGroupMetadata,
}

/// What was published.
#[derive(Debug, Default)]
pub struct Published {
    /// Outputs, without dead letters.
    pub outputs: u64,
}

/// Why a batch was not published, or not to our knowledge.
#[derive(Debug)]
pub enum PublishError {
    /// An outage: call again with the same batch.
    Wait(String),
    /// A person has to act; call again.
    Operator(String),
    /// The broker refused these outputs for what is in them. In a transaction nothing was published; else the others
    /// were.
    Refused(Vec<Refusal>),
    /// The group has moved on; the transaction was aborted.
    StaleGeneration(String),
    /// The outcome is unknown; the producer is rebuilt, the committed offset has to be read again.
    Unknown(String),
    /// Another producer has our transactional id.
    Fenced(String),
}

impl PublishError {
    /// The words for people.
    pub fn words(self) -> String {
        match self {
            PublishError::Wait(words)
            | PublishError::Operator(words)
            | PublishError::StaleGeneration(words)
            | PublishError::Unknown(words)
            | PublishError::Fenced(words) => words,
            PublishError::Refused(refused) => format!("{} outputs were refused", refused.len()),
        }
    }
}

/// The producer of one flow.
pub struct KafkaSink {
    settings: Settings,
    /// Largest record that the client sends.
    max_bytes: usize,
    state: Mutex<Inner>,
    existing: Mutex<HashSet<String>>,
    /// Names that the brokers do not take for a topic, though they look like one.
    refused: Mutex<HashSet<String>>,
    /// The largest record that a topic takes, where the brokers tell.
    limits: Mutex<HashMap<String, usize>>,
    /// When brokers may be asked for limits next; `None` where they never tell them.
    ask_at: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Inner {
    producer: Option<Producer>,
    attempt: Option<Attempt>,
    /// The producer sends each record on its own, to find the one that its batch was refused for.
    alone: bool,
}

impl Settings {
    fn producer(&self) -> ClientConfig {
        let user = self.properties.iter().map(|(key, value)| (key.as_str(), value.clone()));
        let mut config = properties::producer_of(&self.brokers, user);
        match &self.transactional_id {
            Some(id) => {
                // The client refuses a delivery that may outlive its transaction.
                let millis = |config: &ClientConfig, name| config.get(name).and_then(|value| value.parse::<u64>().ok());
                let longest = millis(&config, "transaction.timeout.ms").map(|transaction| transaction * 4 / 5);
                for name in ["delivery.timeout.ms", "message.timeout.ms"] {
                    if let (Some(longest), Some(set)) = (longest, millis(&config, name)) {
                        config.set(name, set.min(longest).to_string());
                    }
                }
                config.set("transactional.id", id)
            }
            // Without a transaction the client keeps what it cannot deliver, in order, for as long as it takes.
            None => {
                config.remove("delivery.timeout.ms").set("message.timeout.ms", "0");
                // Behind a record that is refused nothing is sent until it is known what becomes of its neighbours.
                config.set("enable.gapless.guarantee", "true")
            }
        };
        config
    }

    /// A client that only administrates.
    fn admin(&self) -> ClientConfig {
        let mut config = self.producer();
        for key in ["transactional.id", "enable.idempotence", "enable.gapless.guarantee", "transaction.timeout.ms"] {
            config.remove(key);
        }
        config
    }
}

impl KafkaSink {
    /// Checks the settings; connects to nothing.
    pub fn open(settings: Settings) -> Result<Self, String> {
        let config = settings.producer();
        let max_bytes = properties::message_max_bytes(&config);
        let producer = Some(Producer::create(&config)?);
        let state = Mutex::new(Inner { producer, ..Inner::default() });
        Ok(KafkaSink {
            settings,
            max_bytes,
            state,
            existing: Mutex::default(),
            refused: Mutex::default(),
            limits: Mutex::default(),
            ask_at: Mutex::new(Some(Instant::now())),
        })
    }

    /// Makes a transactional producer ready; ends what a predecessor of the same name left open.
    pub fn init(&self, deadline: Duration) -> Result<(), PublishError> {
        let mut inner = self.lock();
        match &inner.producer {
            Some(producer) => transaction::init(producer, deadline),
            None => self.renew(&mut inner).map(drop),
        }
    }

    /// Outputs that no broker would take: too large, or to a topic whose name is none.
    pub fn precheck(&self, batch: &SinkBatch, destinations: &Destinations) -> Vec<Refusal> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_name = |topic: &str| topics::is_name(topic) && !refused.contains(topic);
        let limits: Vec<Option<usize>> =
            destinations.names().iter().map(|topic| is_name(topic).then(|| self.limit(topic))).collect();
        let refusal = |(index, item): (usize, &Item)| {
            let topic = destinations.topic(index);
            let (code, message) = flaw(batch, item, &destinations.names()[topic], limits[topic])?;
            Some(Refusal { item: index, code, message })
        };
        batch.items.iter().enumerate().filter_map(refusal).collect()
    }

    /// Creates the topics that are missing, with their partition counts, where that is allowed.
    pub fn ensure_topics(&self, wanted: &BTreeMap<String, i32>) -> Result<(), PublishError> {
        let mut existing = self.existing.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: BTreeMap<&str, i32> = wanted
            .iter()
            .map(|(topic, count)| (topic.as_str(), *count))
            .filter(|(topic, _)| !existing.contains(*topic))
            .collect();
        if !missing.is_empty() {
            let mut inner = self.lock();
            let producer = self.renew(&mut inner)?;
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            topics::ensure(producer, &self.settings, missing, &mut existing, &mut refused)?;
        }
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<&str> = wanted.keys().map(String::as_str).filter(|topic| !limits.contains_key(*topic)).collect();
        let mut ask_at = self.ask_at.lock().unwrap_or_else(PoisonError::into_inner);
        if !new.is_empty() && ask_at.is_some_and(|at| at <= Instant::now()) {
            match topics::limits(&self.settings, &new) {
                Ok(found) => limits.extend(found),
                Err(cause) => {
                    debug!("could not ask topics for max.message.bytes: {cause}");
                    *ask_at = (!topics::never_told(&cause)).then(|| Instant::now() + ASK_AGAIN);
                }
            }
        }
        Ok(())
    }

    /// Takes back what is not delivered of a batch that is given up: whoever owns its partitions now publishes it, and what
    /// follows; later it would arrive behind that.
    pub fn give_up(&self) {
        let mut inner = self.lock();
        if let (Some(_), Some(producer)) = (inner.attempt.take(), &inner.producer) {
            producer.purge();
        }
    }

    /// Publishes a batch and returns when every record is acknowledged, in a transaction when that is committed.
    pub fn publish(&self, publish: &Publish<'_>) -> Result<Published, PublishError> {
        let destinations = Destinations::of(publish.batch);
        let messages = message::messages(publish, &destinations, |topic| self.limit(topic));
        let mut ids = SourceIds::of(publish.batch);
        let mut inner = self.lock();
        let mut result = self.publish_once(&mut inner, publish, &messages, &mut ids);
        if matches!(&result, Err(PublishError::Refused(refused)) if refused.is_empty()) {
            self.let_go(&mut inner);
            inner.alone = true;
            result = self.publish_once(&mut inner, publish, &messages, &mut ids);
        }
        if let (Err(PublishError::Refused(first)), Some(_), Some(producer)) =
            (&mut result, &publish.commit, &inner.producer)
        {
            *first = transaction::find_refused(producer, &messages, &mut ids, std::mem::take(first));
        }
        match &result {
            // A producer whose last transaction has an unknown end, or that was fenced, is of no more use.
            Err(PublishError::Unknown(_) | PublishError::Fenced(_)) => inner.producer = None,
            // A topic may be gone meanwhile.
            Err(_) => self.existing.lock().unwrap_or_else(PoisonError::into_inner).clear(),
            Ok(()) if inner.alone => {
                inner.alone = false;
                inner.producer = None;
            }
            Ok(()) => {}
        }
        result.map(|()| Published { outputs: publish.batch.items.len() as u64 })
    }

    fn publish_once(
        &self,
        inner: &mut Inner,
        publish: &Publish<'_>,
        messages: &[Message<'_>],
        ids: &mut SourceIds,
    ) -> Result<(), PublishError> {
        match &publish.commit {
            Some(commit) => transaction::run(self.renew(inner)?, messages, ids, commit),
            None => self.publish_plain(inner, publish, messages, ids),
        }
    }

    fn publish_plain(
        &self,
        inner: &mut Inner,
        publish: &Publish<'_>,
        messages: &[Message<'_>],
        ids: &mut SourceIds,
    ) -> Result<(), PublishError> {
        if !inner.attempt.as_ref().is_some_and(|attempt| attempt.is_for(publish.batch)) {
            // Whatever is left of a batch that was given up must not arrive behind its successor's back.
            inner.attempt = None;
            self.renew(inner)?.purge();
        }
        self.renew(inner)?;
        let Inner { producer: Some(producer), attempt, .. } = inner else {
            return Err(PublishError::Wait("there is no Kafka producer".into()));
        };
        let current = attempt.get_or_insert_with(|| Attempt::new(publish.batch));
        let state = match current.send(producer, messages, ids) {
            Ok(()) => current.wait(producer, messages, PATIENCE),
            // The client gave up meanwhile; why, the reports of what it had taken tell.
            Err(error) if producer.is_dead() => match current.wait(producer, messages, PATIENCE) {
                State::Acknowledged => State::Failed(error),
                state => state,
            },
            Err(error) => State::Failed(error),
        };
        match state {
            State::Acknowledged => {
                inner.attempt = None;
                Ok(())
            }
            State::Failed(error) => Err(error),
            State::Outstanding(left) => Err(PublishError::Wait(format!(
                "{left} records are not acknowledged by Kafka after {} s; they are waited for: check that the brokers \
                 {} are up",
                PATIENCE.as_secs(),
                self.settings.brokers
            ))),
        }
    }

    /// The largest record that goes to a topic.
    fn limit(&self, topic: &str) -> usize {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.get(topic).map_or(self.max_bytes, |limit| self.max_bytes.min(*limit))
    }

    /// The largest batch that every known topic takes: a larger one is refused as a whole.
    fn batch_bytes(&self) -> usize {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.values().copied().min().unwrap_or(usize::MAX)
    }

    /// Gives the producer up, remembering what of the current batch it has delivered.
    fn let_go(&self, inner: &mut Inner) {
        if let (Some(producer), Some(attempt)) = (inner.producer.take(), &mut inner.attempt) {
            attempt.outlive(&producer);
        }
    }

    /// The producer, created anew where the last one had to go.
    fn renew<'a>(&self, inner: &'a mut Inner) -> Result<&'a Producer, PublishError> {
        let batch_bytes = self.batch_bytes();
        let unfit = |producer: &Producer| producer.is_dead() || producer.batch_bytes > batch_bytes;
        if inner.producer.as_ref().is_some_and(|producer| unfit(producer) && producer.outstanding() == 0) {
            self.let_go(inner);
        }
        let producer = match inner.producer.take() {
            Some(producer) => producer,
            None => {
                let config = producer::batched(self.settings.producer(), batch_bytes, inner.alone);
                let producer = Producer::create(&config).map_err(PublishError::Wait)?;
                transaction::init(&producer, PATIENCE)?;
                producer
            }
        };
        Ok(inner.producer.insert(producer))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps an output from its topic; `limit` is the topic's, `None` where there can be no such topic.
fn flaw(batch: &SinkBatch, item: &Item, topic: &str, limit: Option<usize>) -> Option<(Code, String)> {
    let Some(limit) = limit else {
        let words = format!(
            "`{}` is not a topic name, or too much like another topic's: `.` and `_` count as the same",
            topic.escape_debug()
        );
        return Some((Code::UNKNOWN_TARGET, words));
    };
    let output = &item.output;
    let length = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len);
    let value = if output.operation == Operation::Delete { 0 } else { length(&output.value) };
    let size = length(&output.key) + value + output.headers.encoded.len() + RECORD_OVERHEAD;
    (size > limit).then(|| {
        let words = format!(
            "an output of {} has {size} bytes, {topic} takes {limit} (message.max.bytes here, max.message.bytes there)",
            batch.spans[item.span].topic
        );
        (Code::TOO_LARGE, words)
    })
}

#[cfg(test)]
mod tests;
