//! The publication of one batch without a transaction, over as many calls as it takes. The client keeps what it could
//! not deliver and goes on trying, in order; a further call only waits, and sends what was refused for a passing reason.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::message::Message;
use super::producer::Producer;
use super::{PublishError, Refusal, SinkBatch};
use crate::outcome::Code;

/// Time for room in the client's queue.
const QUEUE_PATIENCE: Duration = Duration::from_secs(10);

/// What tells a message from the others of its batch.
type Identity = (usize, i64, String);

/// A batch on its way.
pub(super) struct Attempt {
    /// Topic, partition, first and next offset of each span.
    spans: Vec<(Arc<str>, i32, i64, i64)>,
    /// Place in the producer's round by message.
    places: HashMap<Identity, usize>,
    items: HashMap<usize, usize>,
}

/// Where the attempt stands.
pub(super) enum State {
    Acknowledged,
    /// So many are neither acknowledged nor refused.
    Outstanding(usize),
    Failed(PublishError),
}

impl Attempt {
    pub(super) fn new(batch: &SinkBatch) -> Self {
        Attempt { spans: spans(batch), places: HashMap::new(), items: HashMap::new() }
    }

    pub(super) fn is_for(&self, batch: &SinkBatch) -> bool {
        self.spans == spans(batch)
    }

    /// Sends what was not sent yet, or came back.
    pub(super) fn send(&mut self, producer: &Producer, messages: &[Message<'_>]) -> Result<(), PublishError> {
        for message in messages {
            let place = self.places.get(&message.identity);
            if place.is_some_and(|place| !matches!(producer.result(*place), Some(Err(_)))) {
                continue;
            }
            let place = producer.send(message, QUEUE_PATIENCE).map_err(|cause| not_sent(message, &cause))?;
            self.places.insert(message.identity.clone(), place);
            if let Some(item) = message.item {
                self.items.insert(place, item);
            }
        }
        Ok(())
    }

    /// Waits for acknowledgements.
    pub(super) fn wait(&self, producer: &Producer, patience: Duration) -> State {
        producer.wait(patience);
        let failed = self.places.values().filter_map(|place| Some((*place, producer.result(*place)?.err()?)));
        if let Some((place, code)) = failed.min_by_key(|(place, _)| *place) {
            return State::Failed(failure(code, self.items.get(&place).copied()));
        }
        match producer.outstanding() {
            0 => State::Acknowledged,
            left => State::Outstanding(left),
        }
    }
}

/// What a delivery report means.
pub(super) fn failure(code: RDKafkaErrorCode, item: Option<usize>) -> PublishError {
    use RDKafkaErrorCode as E;
    match (code, item) {
        (E::MessageSizeTooLarge | E::InvalidMessageSize, Some(item)) => PublishError::Refused(vec![Refusal {
            item,
            code: Code::TOO_LARGE,
            message: "the topic's max.message.bytes does not allow a record of this size".into(),
        }]),
        (E::InvalidRecord | E::InvalidTimestamp | E::UnknownPartition, Some(item)) => {
            PublishError::Refused(vec![Refusal {
                item,
                code: Code::sink("kafka", format!("{code:?}")),
                message: code.to_string(),
            }])
        }
        (E::TopicAuthorizationFailed | E::ClusterAuthorizationFailed | E::TransactionalIdAuthorizationFailed, _) => {
            PublishError::Operator(format!("Kafka does not allow to produce: {code}; grant Write on the topic"))
        }
        _ => PublishError::Wait(format!("could not produce to Kafka: {code}")),
    }
}

/// What it means that the client did not take a message.
pub(super) fn not_sent(message: &Message<'_>, cause: &KafkaError) -> PublishError {
    match (cause.rdkafka_error_code(), message.item) {
        (Some(code @ (RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::UnknownPartition)), item) => {
            failure(code, item)
        }
        _ => PublishError::Wait(format!("could not produce to topic {}: {cause}", message.topic)),
    }
}

fn spans(batch: &SinkBatch) -> Vec<(Arc<str>, i32, i64, i64)> {
    batch.spans.iter().map(|span| (span.topic.clone(), span.partition, span.start, span.end)).collect()
}
