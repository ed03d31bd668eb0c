//! Outputs and dead letters to Kafka topics, in transactional flows together with the offsets. Blocking: it runs on
//! the writer's thread. Every call ends in bounded time; what is still on its way then is waited for by the next call
//! with the same batch, so that a retry neither repeats nor reorders.

mod attempt;
mod message;
mod producer;
mod topics;
mod transaction;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::consumer::ConsumerGroupMetadata;

use self::attempt::{Attempt, State};
use self::message::Message;
use self::producer::Producer;
use super::dead_letter::DeadLetter;
use super::{Item, Refusal, SinkBatch};
use crate::config::properties;
use crate::outcome::Code;

/// Longest time in one call before it reports an outage; below the time after which a thread counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);
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
    /// were or are on their way.
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
}

#[derive(Default)]
struct Inner {
    producer: Option<Producer>,
    attempt: Option<Attempt>,
}

impl Settings {
    fn producer(&self) -> ClientConfig {
        let user = self.properties.iter().map(|(key, value)| (key.as_str(), value.clone()));
        let mut config = properties::producer_of(&self.brokers, user);
        match &self.transactional_id {
            Some(id) => config.set("transactional.id", id),
            // Without a transaction the client keeps what it cannot deliver, in order, for as long as it takes.
            None => config.remove("delivery.timeout.ms").set("message.timeout.ms", "0"),
        };
        config
    }

    /// A client that only administrates.
    fn admin(&self) -> ClientConfig {
        let mut config = self.producer();
        for key in ["transactional.id", "enable.idempotence", "transaction.timeout.ms"] {
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
        let state = Mutex::new(Inner { producer, attempt: None });
        Ok(KafkaSink { settings, max_bytes, state, existing: Mutex::default() })
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
    pub fn precheck(&self, batch: &SinkBatch) -> Vec<Refusal> {
        let refusal = |(index, item): (usize, &Item)| {
            let (code, message) = self.flaw(batch, item)?;
            Some(Refusal { item: index, code, message })
        };
        batch.items.iter().enumerate().filter_map(refusal).collect()
    }

    /// Creates the topics that are missing, with their partition counts, where that is allowed.
    pub fn ensure_topics(&self, wanted: &[(String, i32)]) -> Result<(), PublishError> {
        let mut existing = self.existing.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<&(String, i32)> = wanted.iter().filter(|(topic, _)| !existing.contains(topic)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut inner = self.lock();
        let producer = self.renew(&mut inner)?;
        topics::ensure(producer, &self.settings, &missing, &mut existing)
    }

    /// Publishes a batch and returns when every record is acknowledged, in a transaction when that is committed.
    pub fn publish(&self, publish: &Publish<'_>) -> Result<Published, PublishError> {
        let messages = message::messages(publish, self.max_bytes);
        let mut inner = self.lock();
        let result = match &publish.commit {
            Some(commit) => transaction::run(self.renew(&mut inner)?, &messages, commit),
            None => self.publish_plain(&mut inner, publish, &messages),
        };
        match &result {
            // A producer whose last transaction has an unknown end, or that was fenced, is of no more use.
            Err(PublishError::Unknown(_) | PublishError::Fenced(_)) => inner.producer = None,
            // A topic may be gone meanwhile.
            Err(_) => self.existing.lock().unwrap_or_else(PoisonError::into_inner).clear(),
            Ok(()) => {}
        }
        result.map(|()| Published { outputs: publish.batch.items.len() as u64 })
    }

    fn publish_plain(
        &self,
        inner: &mut Inner,
        publish: &Publish<'_>,
        messages: &[Message<'_>],
    ) -> Result<(), PublishError> {
        let mut current = match inner.attempt.take().filter(|attempt| attempt.is_for(publish.batch)) {
            Some(attempt) => attempt,
            None => {
                // Whatever is left of a batch that was given up must not arrive behind its successor's back.
                self.renew(inner)?.purge();
                Attempt::new(publish.batch)
            }
        };
        let producer = self.renew(inner)?;
        let state = match current.send(producer, messages) {
            Ok(()) => current.wait(producer, PATIENCE),
            Err(error) => State::Failed(error),
        };
        let error = match state {
            State::Acknowledged => return Ok(()),
            State::Failed(error) => error,
            State::Outstanding(left) => PublishError::Wait(format!(
                "{left} records are not acknowledged by Kafka after {} s; they are waited for: check that the brokers \
                 {} are up",
                PATIENCE.as_secs(),
                self.settings.brokers
            )),
        };
        inner.attempt = Some(current);
        Err(error)
    }

    fn flaw(&self, batch: &SinkBatch, item: &Item) -> Option<(Code, String)> {
        let output = &item.output;
        let topic = output.destination();
        if !topics::is_name(&topic) {
            let words = format!("`{}` is not a topic name", topic.escape_debug());
            return Some((Code::UNKNOWN_TARGET, words));
        }
        let length = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len);
        let size = length(&output.key) + length(&output.value) + output.headers.encoded.len() + RECORD_OVERHEAD;
        (size > self.max_bytes).then(|| {
            let words = format!(
                "an output of {} has {size} bytes, message.max.bytes allows {}",
                batch.spans[item.span].topic, self.max_bytes
            );
            (Code::TOO_LARGE, words)
        })
    }

    /// The producer, created anew where the last one had to go.
    fn renew<'a>(&self, inner: &'a mut Inner) -> Result<&'a Producer, PublishError> {
        let producer = match inner.producer.take() {
            Some(producer) => producer,
            None => {
                let producer = Producer::create(&self.settings.producer()).map_err(PublishError::Wait)?;
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

#[cfg(test)]
mod tests;
