//! Outputs, dead letters and offsets in one transaction. It lives for milliseconds and never waits for another sink;
//! whenever its end is unknown the producer is given up rather than trusted. The offsets go first: while the brokers end the
//! transaction before, they refuse the first request of this one, and the client repeats a request with offsets after
//! `retry.backoff.ms`, one with partitions after 20 ms. A host that the group has left behind writes nothing.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use super::attempt::{judge, not_sent};
use super::message::Message;
use super::producer::Producer;
use super::{PublishError, Refusal, TransactionCommit};
use crate::failpoint;
use crate::sinks::SourceIds;

/// For one request to the coordinator.
const REQUEST: Duration = Duration::from_secs(5);
/// For the acknowledgements of a transaction: below its time-out.
const DELIVERY: Duration = Duration::from_secs(12);
/// For retriable answers to one call.
const RETRIES: Duration = Duration::from_secs(10);
/// Between two of them.
const AGAIN: Duration = Duration::from_millis(20);
/// Passing failures after which no more refused records are looked for.
const PASSING: u32 = 5;

/// Registers the transactional id, which ends whatever its predecessor left open. Nothing to do without one.
pub(super) fn init(producer: &Producer, deadline: Duration) -> Result<(), PublishError> {
    if !producer.transactional {
        return Ok(());
    }
    producer.client().init_transactions(deadline).map_err(|cause| match transaction_error(&cause) {
        Some(error) if is_fenced(error) => PublishError::Fenced(format!("could not begin transactions: {cause}")),
        Some(error) if error.code() == RDKafkaErrorCode::TransactionalIdAuthorizationFailed => PublishError::Operator(
            format!("could not begin transactions: {cause}; grant Write on the transactional id"),
        ),
        _ => PublishError::Wait(format!("could not begin transactions: {cause}")),
    })
}

/// Runs one transaction to its end.
pub(super) fn run(
    producer: &Producer,
    messages: &[Message<'_>],
    ids: &mut SourceIds,
    commit: &TransactionCommit<'_>,
) -> Result<(), PublishError> {
    let begun = Instant::now();
    fill_and_commit(producer, messages, ids, commit).map_err(|error| match error {
        // A process that stood still for longer than a transaction may take is fenced by the coordinator, not by a twin.
        PublishError::Fenced(words) if begun.elapsed() >= producer.transaction_time => PublishError::Unknown(words),
        error => error,
    })
}

fn fill_and_commit(
    producer: &Producer,
    messages: &[Message<'_>],
    ids: &mut SourceIds,
    commit: &TransactionCommit<'_>,
) -> Result<(), PublishError> {
    producer.begin();
    let client = producer.client();
    client
        .begin_transaction()
        .map_err(|cause| PublishError::Unknown(format!("could not begin a transaction: {cause}")))?;
    let filled = send_offsets(producer, commit).and_then(|()| {
        failpoint::step("transaction.offsets");
        fill(producer, messages.iter().collect(), ids)
    });
    if let Err(error) = filled {
        return Err(abort(producer, error));
    }
    failpoint::step("transaction.sent");
    match retried(|| client.commit_transaction(RETRIES)) {
        Ok(()) => {
            failpoint::step("transaction.committed");
            Ok(())
        }
        Err(cause) => match transaction_error(&cause) {
            Some(error) if error.txn_requires_abort() => {
                let words = format!("a transaction was not committed: {cause}");
                Err(abort(producer, by_code(error.code(), words)))
            }
            Some(error) if is_fenced(error) => Err(PublishError::Fenced(format!("fenced: {cause}"))),
            _ => Err(PublishError::Unknown(format!("the outcome of a transaction is unknown: {cause}"))),
        },
    }
}

/// Finds the other records that are refused, after the first: a transaction tells of one and sends nothing after it.
/// Nothing is committed.
pub(super) fn find_refused(
    producer: &Producer,
    messages: &[Message<'_>],
    ids: &mut SourceIds,
    first: Vec<Refusal>,
) -> Vec<Refusal> {
    let mut refused = first;
    let mut left: Vec<&Message<'_>> = messages.iter().collect();
    let mut passing = 0;
    while passing < PASSING {
        left.retain(|message| !refused.iter().any(|refusal| message.item() == Some(refusal.item)));
        producer.begin();
        let begun = producer.client().begin_transaction();
        let begun = begun.map_err(|cause| PublishError::Wait(cause.to_string()));
        let filled = begun.and_then(|()| fill(producer, left.clone(), ids));
        let aborted = abort(producer, PublishError::Refused(Vec::new()));
        match (filled, aborted) {
            (Err(PublishError::Refused(more)), PublishError::Refused(_)) if !more.is_empty() => refused.extend(more),
            // The client may still be clearing away what was queued behind a refused record.
            (Err(PublishError::Wait(_)), PublishError::Refused(_)) => {
                passing += 1;
                std::thread::sleep(AGAIN);
            }
            // Whatever else is wrong shows itself again in the next attempt.
            _ => break,
        }
    }
    refused
}

fn fill(producer: &Producer, messages: Vec<&Message<'_>>, ids: &mut SourceIds) -> Result<(), PublishError> {
    producer.send(&messages, ids, DELIVERY).map_err(|(sent, cause)| not_sent(messages[sent], &cause))?;
    producer.wait_for_failure(DELIVERY);
    let outstanding = producer.outstanding();
    let failures = producer.failures();
    let failed: Vec<_> = failures.iter().filter_map(|(place, code)| Some((*messages.get(*place)?, *code))).collect();
    match (judge(&failed, producer.alone, outstanding == 0), outstanding) {
        (Some(error), _) => Err(error),
        (None, 0) => Ok(()),
        (None, left) => {
            Err(PublishError::Wait(format!("{left} records of a transaction were not acknowledged in time")))
        }
    }
}

fn send_offsets(producer: &Producer, commit: &TransactionCommit<'_>) -> Result<(), PublishError> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset, metadata) in commit.offsets {
        let mut element = list.add_partition(topic, *partition);
        element.set_metadata(metadata.clone());
        element.set_offset(Offset::Offset(*offset)).map_err(|cause| PublishError::Wait(cause.to_string()))?;
    }
    retried(|| producer.client().send_offsets_to_transaction(&list, commit.group, REQUEST)).map_err(|cause| {
        let words = format!("could not add the offsets to a transaction: {cause}");
        match transaction_error(&cause) {
            Some(error) if is_fenced(error) => PublishError::Fenced(words),
            Some(error) => by_code(error.code(), words),
            None => PublishError::Wait(words),
        }
    })
}

/// Aborts, and says what it was for; a producer that cannot even abort is given up.
fn abort(producer: &Producer, error: PublishError) -> PublishError {
    if matches!(error, PublishError::Fenced(_)) {
        return error;
    }
    debug!("a transaction is aborted");
    // What is queued behind a refused record is never sent, and the client would wait for it.
    producer.drop_queued();
    match retried(|| producer.client().abort_transaction(RETRIES)) {
        Ok(()) => error,
        Err(cause) => match transaction_error(&cause) {
            Some(fenced) if is_fenced(fenced) => PublishError::Fenced(format!("fenced: {cause}")),
            _ => {
                warn!("a transaction could not be aborted, its producer is replaced: {cause}");
                PublishError::Unknown(format!("{}; it could not be aborted: {cause}", error.words()))
            }
        },
    }
}

/// Repeats a call for as long as its answer is that it may be repeated.
fn retried(call: impl Fn() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    let begun = Instant::now();
    loop {
        match call() {
            Err(cause)
                if transaction_error(&cause).is_some_and(RDKafkaError::is_retriable) && begun.elapsed() < RETRIES =>
            {
                std::thread::sleep(AGAIN);
            }
            result => return result,
        }
    }
}

fn transaction_error(cause: &KafkaError) -> Option<&RDKafkaError> {
    match cause {
        KafkaError::Transaction(error) => Some(error),
        _ => None,
    }
}

fn is_fenced(error: &RDKafkaError) -> bool {
    use RDKafkaErrorCode as E;
    error.is_fatal() && matches!(error.code(), E::Fenced | E::ProducerFenced | E::InvalidProducerEpoch)
}

/// What an abortable error means for the batch.
fn by_code(code: RDKafkaErrorCode, words: String) -> PublishError {
    use RDKafkaErrorCode as E;
    match code {
        E::IllegalGeneration | E::UnknownMemberId | E::FencedInstanceId | E::RebalanceInProgress => {
            PublishError::StaleGeneration(words)
        }
        E::GroupAuthorizationFailed => {
            PublishError::Operator(format!("{words}; grant Read on the flow's consumer group"))
        }
        E::TopicAuthorizationFailed => PublishError::Operator(format!("{words}; grant Write on the topic")),
        E::TransactionalIdAuthorizationFailed => {
            PublishError::Operator(format!("{words}; grant Write and Describe on the transactional ids of the flow"))
        }
        _ => PublishError::Wait(words),
    }
}
