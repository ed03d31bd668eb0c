//! The publication of one batch without a transaction, over as many calls as it takes. The client keeps what it could
//! not deliver and goes on trying, in order; a further call only waits, and sends what was refused for a passing reason.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::message::{Identity, Message};
use super::producer::Producer;
use super::{PublishError, Refusal, SinkBatch};
use crate::outcome::Code;
use crate::sinks::SourceIds;
use crate::source::trouble;

/// Time for room in the client's queue.
const QUEUE_PATIENCE: Duration = Duration::from_secs(10);

/// A batch on its way.
pub(super) struct Attempt {
    /// Topic, partition, first and next offset of each span.
    spans: Vec<(Arc<str>, i32, i64, i64)>,
    /// What was sent, with its place in the producer's round; of a message that was sent again the last entry counts.
    sent: Vec<(Identity, usize)>,
    /// Delivered by a producer that is no more.
    delivered: HashSet<Identity>,
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
        Attempt { spans: spans(batch), sent: Vec::new(), delivered: HashSet::new() }
    }

    pub(super) fn is_for(&self, batch: &SinkBatch) -> bool {
        self.spans == spans(batch)
    }

    /// Sends what was not sent yet, or came back.
    pub(super) fn send(
        &mut self,
        producer: &Producer,
        messages: &[Message<'_>],
        ids: &mut SourceIds,
    ) -> Result<(), PublishError> {
        let due = self.due(producer, messages);
        let first = producer.next_place();
        let (sent, end) = match producer.send(&due, ids, QUEUE_PATIENCE) {
            Ok(()) => (due.len(), Ok(())),
            Err((sent, cause)) => (sent, Err(not_sent(due[sent], &cause))),
        };
        self.sent.extend(due[..sent].iter().zip(first..).map(|(message, place)| (message.identity(), place)));
        end
    }

    fn due<'a, 'b>(&self, producer: &Producer, messages: &'a [Message<'b>]) -> Vec<&'a Message<'b>> {
        if self.sent.is_empty() && self.delivered.is_empty() {
            return messages.iter().collect();
        }
        let places = self.places();
        let is_due = |message: &&Message<'_>| {
            let identity = message.identity();
            let place = places.get(&identity);
            let is_on_its_way = place.is_some_and(|place| !matches!(producer.result(*place), Some(Err(_))));
            !is_on_its_way && !self.delivered.contains(&identity)
        };
        messages.iter().filter(is_due).collect()
    }

    fn places(&self) -> HashMap<&Identity, usize> {
        self.sent.iter().map(|(identity, place)| (identity, *place)).collect()
    }

    /// Waits for acknowledgements.
    pub(super) fn wait(&self, producer: &Producer, messages: &[Message<'_>], patience: Duration) -> State {
        producer.wait(patience);
        match producer.outstanding() {
            0 if producer.failures().is_empty() => State::Acknowledged,
            0 => {
                let places = self.places();
                let result = |message: &Message<'_>| producer.result(*places.get(&message.identity())?);
                let failed = |message| Some((message, result(message)?.err()?));
                let failed: Vec<_> = messages.iter().filter_map(failed).collect();
                judge(&failed, producer.alone, true).map_or(State::Acknowledged, State::Failed)
            }
            left => State::Outstanding(left),
        }
    }

    /// Remembers what was delivered by a producer that is given up.
    pub(super) fn outlive(&mut self, producer: &Producer) {
        let delivered = self.sent.drain(..).filter(|(_, place)| producer.result(*place) == Some(Ok(())));
        self.delivered.extend(delivered.map(|(identity, _)| identity));
    }
}

/// What the failures of a round mean, where `complete` says that all of them are known. An empty refusal says that a
/// batch was refused for one of its records, and that nobody knows which until each travels `alone`.
pub(super) fn judge(failed: &[(&Message<'_>, RDKafkaErrorCode)], alone: bool, complete: bool) -> Option<PublishError> {
    let data: Vec<_> = failed.iter().filter(|(_, code)| is_data(*code)).collect();
    // What is purged is so because of another one.
    let cause = failed.iter().find(|(_, code)| !is_purged(*code)).or(failed.first());
    match (data.as_slice(), cause) {
        ([], cause) => cause.map(|(message, code)| failure(message, *code)),
        (data, _) if !alone && (data.len() > 1 || !complete) => Some(PublishError::Refused(Vec::new())),
        (data, _) => {
            let refused: Vec<Refusal> = data.iter().filter_map(|(message, code)| refusal(message, *code)).collect();
            match (refused.is_empty(), data.first()) {
                (true, Some((message, code))) => Some(failure(message, *code)),
                _ => Some(PublishError::Refused(refused)),
            }
        }
    }
}

/// What it means that the client did not take a message.
pub(super) fn not_sent(message: &Message<'_>, cause: &KafkaError) -> PublishError {
    let code = cause.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::InvalidArgument);
    match refusal(message, code).filter(|_| is_data(code)) {
        Some(refusal) => PublishError::Refused(vec![refusal]),
        None => failure(message, code),
    }
}

/// The record itself, or one that travelled in the same batch, is the reason.
fn is_data(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    let invalid = matches!(code, E::InvalidRecord | E::InvalidDifferentRecord | E::InvalidTimestamp);
    invalid || is_too_large(code) || code == E::UnknownPartition
}

fn is_too_large(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(code, E::MessageSizeTooLarge | E::InvalidMessageSize | E::MessageBatchTooLarge)
}

fn is_purged(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
}

/// An output that was refused; a dead letter is none.
fn refusal(message: &Message<'_>, code: RDKafkaErrorCode) -> Option<Refusal> {
    let topic = &message.topic;
    let (code, message_text) = if is_too_large(code) {
        (Code::TOO_LARGE, format!("max.message.bytes of topic {topic} does not allow a record of this size"))
    } else {
        (Code::sink("kafka", format!("{code:?}")), format!("topic {topic}: {code}"))
    };
    Some(Refusal { item: message.item()?, code, message: message_text })
}

fn failure(message: &Message<'_>, code: RDKafkaErrorCode) -> PublishError {
    use RDKafkaErrorCode as E;
    let words = format!("could not produce to topic {}: {code}", message.topic);
    match code {
        E::TopicAuthorizationFailed | E::ClusterAuthorizationFailed | E::TransactionalIdAuthorizationFailed => {
            PublishError::Operator(format!("{words}; grant Write on the topic"))
        }
        code if is_purged(code) => PublishError::Wait(format!("{words}{}", trouble::words_of_purge())),
        E::InvalidTimestamp => PublishError::Operator(format!(
            "{words}; raise its message.timestamp.before.max.ms and message.timestamp.after.max.ms"
        )),
        code if is_data(code) && message.item().is_none() => PublishError::Operator(format!(
            "{words}; it must take dead letters: raise its max.message.bytes, do not compact it"
        )),
        _ => PublishError::Wait(words),
    }
}

fn spans(batch: &SinkBatch) -> Vec<(Arc<str>, i32, i64, i64)> {
    batch.spans.iter().map(|span| (span.topic.clone(), span.partition, span.start, span.end)).collect()
}
