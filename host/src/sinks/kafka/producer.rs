//! The client: its settings, and the deliveries that it reports.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use tracing::debug;

use super::message::Message;
use crate::sinks::SourceIds;

/// How often a wait looks at the client's own queue.
const LOOK: Duration = Duration::from_micros(200);

type Record<'a> = BaseRecord<'a, [u8], [u8], usize>;

/// A client and what it has reported since the last [`Producer::begin`].
pub(super) struct Producer {
    client: ThreadedProducer<Context>,
    deliveries: Arc<Deliveries>,
    pub(super) transactional: bool,
    /// Longest life of a transaction.
    pub(super) transaction_time: Duration,
    /// Bytes of its largest batch.
    pub(super) batch_bytes: usize,
    /// Each record is a batch of its own.
    pub(super) alone: bool,
}

/// Receives what the client reports.
pub(super) struct Context(Arc<Deliveries>);

/// Results by number of the message; messages of an older round are not counted.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    round: Mutex<Round>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Round {
    number: usize,
    results: Vec<Option<Result<(), RDKafkaErrorCode>>>,
    outstanding: usize,
}

/// librdkafka's default of `batch.size`.
const BATCH_BYTES: usize = 1_000_000;
/// librdkafka's default of `transaction.timeout.ms`.
const TRANSACTION_MILLIS: u64 = 60_000;
/// Bits of the number that a message carries for its place in the round; the others are the round.
const PLACE_BITS: u32 = 32;

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        debug!("kafka producer: {error}: {reason}");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut round = self.0.lock();
        if number >> PLACE_BITS != round.number {
            return;
        }
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        let failed = result.is_err();
        let place = number & ((1 << PLACE_BITS) - 1);
        if let Some(slot) = round.results.get_mut(place).filter(|slot| slot.is_none()) {
            *slot = Some(result);
            round.outstanding -= 1;
        }
        if round.outstanding == 0 || failed {
            self.0.changed.notify_all();
        }
    }
}

impl Round {
    /// Makes places for so many messages and returns the number of the first.
    fn reserve(&mut self, messages: usize) -> usize {
        let first = self.results.len();
        self.results.resize(first + messages, None);
        self.outstanding += messages;
        self.number << PLACE_BITS | first
    }

    /// Takes the last places back: nothing was sent under them.
    fn give_back(&mut self, messages: usize) {
        self.results.truncate(self.results.len() - messages);
        self.outstanding -= messages;
    }
}

impl Deliveries {
    fn lock(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Producer {
    pub(super) fn create(config: &ClientConfig) -> Result<Self, String> {
        let deliveries = Arc::<Deliveries>::default();
        let client = config
            .create_with_context(Context(deliveries.clone()))
            .map_err(|cause| format!("could not create the Kafka producer: {cause}"))?;
        let number = |name| config.get(name).and_then(|value| value.parse().ok());
        Ok(Producer {
            client,
            deliveries,
            transactional: config.get("transactional.id").is_some(),
            transaction_time: Duration::from_millis(number("transaction.timeout.ms").unwrap_or(TRANSACTION_MILLIS)),
            batch_bytes: number("batch.size").map_or(BATCH_BYTES, |bytes| bytes as usize),
            alone: config.get("batch.num.messages") == Some("1"),
        })
    }

    pub(super) fn client(&self) -> &ThreadedProducer<Context> {
        &self.client
    }

    /// Begins a round: later reports of earlier messages are not counted.
    pub(super) fn begin(&self) {
        let mut round = self.deliveries.lock();
        *round = Round { number: (round.number + 1) & 0x7fff_ffff, ..Round::default() };
    }

    /// The place that the next message gets in the round.
    pub(super) fn next_place(&self) -> usize {
        self.deliveries.lock().results.len()
    }

    /// Hands messages to the client; they get the following places in the round. After an error it says how many it took.
    pub(super) fn send(
        &self,
        messages: &[&Message<'_>],
        ids: &mut SourceIds,
        patience: Duration,
    ) -> Result<(), (usize, KafkaError)> {
        let first = self.deliveries.lock().reserve(messages.len());
        for (sent, message) in messages.iter().enumerate() {
            if let Err(cause) = self.send_one(record(message, first + sent, ids), patience) {
                self.deliveries.lock().give_back(messages.len() - sent);
                return Err((sent, cause));
            }
        }
        Ok(())
    }

    fn send_one(&self, mut record: Record<'_>, patience: Duration) -> Result<(), KafkaError> {
        let mut deadline = None;
        loop {
            record = match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < *deadline.get_or_insert_with(|| Instant::now() + patience) =>
                {
                    back
                }
                Err((cause, _)) => return Err(cause),
            };
            std::thread::sleep(LOOK * 5);
        }
    }

    /// Waits until everything of the round is reported, or `patience` is over.
    pub(super) fn wait(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.wait_while(patience, |round| round.outstanding > 0);
        // The client still counts a message while its report is being delivered, and would sleep on a flush.
        while self.outstanding() == 0 && self.client.in_flight_count() > 0 && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }

    /// As `wait`, but also until something failed: what follows a failure in a transaction is never sent.
    pub(super) fn wait_for_failure(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let failed = |round: &Round| round.results.iter().any(|result| matches!(result, Some(Err(_))));
        self.wait_while(patience, |round| round.outstanding > 0 && !failed(round));
        self.wait(if self.outstanding() == 0 {
            deadline.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        });
    }

    fn wait_while(&self, patience: Duration, open: impl Fn(&Round) -> bool) {
        let round = self.deliveries.lock();
        let waited = self.deliveries.changed.wait_timeout_while(round, patience, |round| open(round));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn outstanding(&self) -> usize {
        self.deliveries.lock().outstanding
    }

    /// The result of a message, once it is there.
    pub(super) fn result(&self, place: usize) -> Option<Result<(), RDKafkaErrorCode>> {
        self.deliveries.lock().results.get(place).copied().flatten()
    }

    /// The failures of the round by place.
    pub(super) fn failures(&self) -> Vec<(usize, RDKafkaErrorCode)> {
        let round = self.deliveries.lock();
        let failed = |(place, result): (usize, &Option<Result<(), _>>)| Some((place, (*result)?.err()?));
        round.results.iter().enumerate().filter_map(failed).collect()
    }

    /// Whether the client has given up for good.
    pub(super) fn is_dead(&self) -> bool {
        self.client.client().fatal_error().is_some()
    }

    /// Forgets what is queued or on its way, and begins a round.
    pub(super) fn purge(&self) {
        self.drop_queued();
        self.begin();
    }

    /// Gives up what is queued or on its way.
    pub(super) fn drop_queued(&self) {
        if self.client.in_flight_count() > 0 {
            self.client.purge(PurgeConfig::default().queue().inflight());
        }
    }
}

fn record<'a>(message: &'a Message<'_>, number: usize, ids: &mut SourceIds) -> Record<'a> {
    let mut record = BaseRecord::with_opaque_to(message.topic, number).headers(message.headers(ids));
    record.key = message.key;
    record.payload = message.value;
    record.partition = message.partition;
    record.timestamp = message.timestamp;
    record
}

/// Bounds the batches of a client: no larger than `bytes`, or one record each.
pub(super) fn batched(mut config: ClientConfig, bytes: usize, alone: bool) -> ClientConfig {
    let set = config.get("batch.size").and_then(|bytes| bytes.parse().ok()).unwrap_or(BATCH_BYTES);
    config.set("batch.size", set.min(bytes).to_string());
    if alone {
        config.set("batch.num.messages", "1");
    }
    config
}
