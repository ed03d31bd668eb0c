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

/// How often a wait looks at the client's own queue.
const LOOK: Duration = Duration::from_micros(200);

/// A client and what it has reported since the last [`Producer::begin`].
pub(super) struct Producer {
    client: ThreadedProducer<Context>,
    deliveries: Arc<Deliveries>,
    pub(super) transactional: bool,
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
        Ok(Producer { client, deliveries, transactional: config.get("transactional.id").is_some() })
    }

    pub(super) fn client(&self) -> &ThreadedProducer<Context> {
        &self.client
    }

    /// Begins a round: later reports of earlier messages are not counted.
    pub(super) fn begin(&self) {
        let mut round = self.deliveries.lock();
        *round = Round { number: (round.number + 1) & 0x7fff_ffff, ..Round::default() };
    }

    /// Hands a message to the client and returns its place in the round.
    pub(super) fn send(&self, message: &Message<'_>, patience: Duration) -> Result<usize, KafkaError> {
        let (number, place) = {
            let mut round = self.deliveries.lock();
            round.results.push(None);
            round.outstanding += 1;
            let place = round.results.len() - 1;
            (round.number << PLACE_BITS | place, place)
        };
        let deadline = Instant::now() + patience;
        let mut record = record(message, number);
        loop {
            match self.client.send(record) {
                Ok(()) => return Ok(place),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    record = back;
                    std::thread::sleep(LOOK * 5);
                }
                Err((cause, _)) => {
                    let mut round = self.deliveries.lock();
                    round.results.truncate(place);
                    round.outstanding -= 1;
                    return Err(cause);
                }
            }
        }
    }

    /// Waits until everything of the round is reported, or `patience` is over.
    pub(super) fn wait(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let round = self.deliveries.lock();
        let waited = self.deliveries.changed.wait_timeout_while(round, patience, |round| round.outstanding > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        // The client still counts a message while its report is being delivered, and would sleep on a flush.
        while self.outstanding() == 0 && self.client.in_flight_count() > 0 && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.deliveries.lock().outstanding
    }

    /// The result of a message, once it is there.
    pub(super) fn result(&self, place: usize) -> Option<Result<(), RDKafkaErrorCode>> {
        self.deliveries.lock().results.get(place).copied().flatten()
    }

    /// The first failure of the round with its place.
    pub(super) fn first_failure(&self) -> Option<(usize, RDKafkaErrorCode)> {
        let round = self.deliveries.lock();
        round.results.iter().enumerate().find_map(|(place, result)| Some((place, (*result)?.err()?)))
    }

    /// Forgets what is queued or on its way, and begins a round.
    pub(super) fn purge(&self) {
        if self.client.in_flight_count() > 0 {
            self.client.purge(PurgeConfig::default().queue().inflight());
        }
        self.begin();
    }
}

fn record<'a>(message: &'a Message<'_>, number: usize) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut record = BaseRecord::with_opaque_to(&message.topic, number).headers(message.headers.clone());
    record.key = message.key.as_deref();
    record.payload = message.value.as_deref();
    record.partition = message.partition;
    record.timestamp = message.timestamp;
    record
}
