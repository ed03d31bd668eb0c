//! The client: its settings, and the deliveries that it reports.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use tracing::debug;

use super::message::Message;
use super::queue::{self, Headers, Parts, Queue};
use crate::sinks::SourceIds;
use crate::source::trouble::{self, Telling};

/// How often a wait looks at the client's own queue.
const LOOK: Duration = Duration::from_micros(200);
/// Longest flush before a failure is noticed.
const FLUSH: Duration = Duration::from_millis(20);

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
}

#[derive(Debug, Default)]
struct Round {
    number: usize,
    results: Vec<Option<Result<(), RDKafkaErrorCode>>>,
    outstanding: usize,
    failed: bool,
}

/// librdkafka's default of `batch.size`.
const BATCH_BYTES: usize = 1_000_000;
/// librdkafka's default of `transaction.timeout.ms`.
const TRANSACTION_MILLIS: u64 = 60_000;
/// Bits of the number that a message carries for its place in the round; the others are the round.
const PLACE_BITS: u32 = 32;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        Telling.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!("kafka producer: {error}: {reason}");
        trouble::note(&error, reason);
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
        let place = number & ((1 << PLACE_BITS) - 1);
        if let Some(slot) = round.results.get_mut(place).filter(|slot| slot.is_none()) {
            *slot = Some(result);
            round.outstanding -= 1;
            round.failed |= result.is_err();
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
    pub(super) fn send<'a>(
        &'a self,
        messages: &[&Message<'a>],
        ids: &mut SourceIds,
        patience: Duration,
    ) -> Result<(), (usize, KafkaError)> {
        let first = self.deliveries.lock().reserve(messages.len());
        let mut queue = Queue::of(self.client.client());
        for (sent, message) in messages.iter().enumerate() {
            if let Err(cause) = put(&mut queue, message, first + sent, message.headers(ids), patience) {
                self.deliveries.lock().give_back(messages.len() - sent);
                return Err((sent, cause));
            }
        }
        Ok(())
    }

    /// Waits until everything of the round is reported, or `patience` is over.
    pub(super) fn wait(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.flush_while(deadline, |round| round.outstanding > 0);
        // The client still counts a message while its report is being delivered, and would sleep on a flush.
        while self.outstanding() == 0 && self.client.in_flight_count() > 0 && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }

    /// As `wait`, but also until something failed: what follows a failure in a transaction is never sent.
    pub(super) fn wait_for_failure(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.flush_while(deadline, |round| round.outstanding > 0 && !round.failed);
        self.wait(if self.outstanding() == 0 {
            deadline.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        });
    }

    /// Lets the client send without lingering for as long as the round is `open`.
    fn flush_while(&self, deadline: Instant, open: impl Fn(&Round) -> bool) {
        while open(&self.deliveries.lock()) && Instant::now() < deadline {
            queue::flush(self.client.client(), FLUSH.min(deadline.saturating_duration_since(Instant::now())));
        }
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

/// Puts a message into the client's queue, once there is room.
fn put<'a>(
    queue: &mut Queue<'a>,
    message: &Message<'a>,
    number: usize,
    mut headers: Headers,
    patience: Duration,
) -> Result<(), KafkaError> {
    let Message { partition, key, value, timestamp, .. } = *message;
    let parts = Parts { partition, key, value, timestamp, number };
    let mut deadline = None;
    loop {
        match queue.put(message.topic, parts, &mut headers) {
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull))
                if Instant::now() < *deadline.get_or_insert_with(|| Instant::now() + patience) => {}
            result => return result,
        }
        std::thread::sleep(LOOK * 5);
    }
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
