//! The client: its settings, and what is handed to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _, PurgeConfig};

use super::message::Message;
use super::queue::{self, Headers, Parts, Queue};
use super::reports::{Context, Deliveries, Reports, Round};
use crate::sinks::SourceIds;

/// How often a wait looks at the client's own queue.
const LOOK: Duration = Duration::from_micros(200);
/// Longest flush before a failure is noticed.
const FLUSH: Duration = Duration::from_millis(20);

/// A client and what it has reported since the last [`Producer::begin`].
pub(super) struct Producer {
    /// Ends before its client does.
    _reports: Reports,
    client: BaseProducer<Context>,
    deliveries: Arc<Deliveries>,
    pub(super) transactional: bool,
    /// Longest life of a transaction.
    pub(super) transaction_time: Duration,
    /// Bytes of its largest batch.
    pub(super) batch_bytes: usize,
    /// Each record is a batch of its own.
    pub(super) alone: bool,
}

/// librdkafka's default of `batch.size`.
const BATCH_BYTES: usize = 1_000_000;
/// librdkafka's default of `transaction.timeout.ms`.
const TRANSACTION_MILLIS: u64 = 60_000;
impl Producer {
    pub(super) fn create(config: &ClientConfig) -> Result<Self, String> {
        let deliveries = Arc::<Deliveries>::default();
        let client: BaseProducer<Context> = config
            .create_with_context(Context(deliveries.clone()))
            .map_err(|cause| format!("could not create the Kafka producer: {cause}"))?;
        let reports = Reports::take(client.client(), deliveries.clone())
            .map_err(|cause| format!("could not start a thread for the Kafka producer: {cause}"))?;
        let number = |name| config.get(name).and_then(|value| value.parse().ok());
        Ok(Producer {
            _reports: reports,
            client,
            deliveries,
            transactional: config.get("transactional.id").is_some(),
            transaction_time: Duration::from_millis(number("transaction.timeout.ms").unwrap_or(TRANSACTION_MILLIS)),
            batch_bytes: number("batch.size").map_or(BATCH_BYTES, |bytes| bytes as usize),
            alone: config.get("batch.num.messages") == Some("1"),
        })
    }

    pub(super) fn client(&self) -> &BaseProducer<Context> {
        &self.client
    }

    /// Begins a round: later reports of earlier messages are not counted.
    pub(super) fn begin(&self) {
        self.deliveries.lock().begin();
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
            // A client that has given up sends nothing, and keeps for ever what comes back to its queue.
            if self.is_dead() {
                self.client.purge(PurgeConfig::default().queue());
            }
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
        // A record that is refused has no neighbours here that would have to be sent again.
        config.set("batch.num.messages", "1").remove("enable.gapless.guarantee");
    }
    config
}
