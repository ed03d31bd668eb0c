//! Copies dead letters to the topic from which their flow processes them once more: all of a call or none, and never two
//! calls at a time for one group. Both is what a transaction under a name of the group's own gives.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::PATIENCE;
use crate::config::{Kafka, properties};
use crate::sinks::dead_letter::DeadLetter;

/// Longest life of a transaction.
const TRANSACTION_MILLIS: &str = "60000";
/// Time for everything to be acknowledged and committed.
const COMMIT: Duration = Duration::from_secs(60);
/// Time for a new topic to show up.
const SHOWS_UP: Duration = Duration::from_secs(10);

/// The only one who copies letters of a group.
pub struct Copier {
    kafka: Kafka,
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl Copier {
    /// Ends what others have begun for this group.
    pub fn begin(kafka: &Kafka, group: &str) -> Result<Copier, String> {
        let mut settings = properties::producer(kafka);
        settings.set("transactional.id", format!("wasmill.redrive.{group}"));
        settings.set("transaction.timeout.ms", TRANSACTION_MILLIS);
        let producer: ThreadedProducer<DefaultProducerContext> =
            settings.create().map_err(|cause| format!("could not create the Kafka producer: {cause}"))?;
        producer.init_transactions(COMMIT).map_err(|cause| {
            format!("could not begin to redrive at {}: {cause}; grant Write on the transactional id wasmill.redrive.{group}", kafka.brokers)
        })?;
        Ok(Copier { kafka: kafka.clone(), producer })
    }

    /// Creates the topic where it is missing; how many partitions it has.
    pub fn prepare(&self, topic: &str, partitions: usize) -> Result<i32, String> {
        if let Some(count) = self.count(topic)? {
            return Ok(count);
        }
        if !self.kafka.create_topics {
            return Err(format!(
                "topic {topic} does not exist and kafka.create_topics is false: create it with {partitions} partitions and \
                 retention.ms=-1"
            ));
        }
        self.create(topic, partitions)?;
        let begun = Instant::now();
        while begun.elapsed() < SHOWS_UP {
            if let Some(count) = self.count(topic)? {
                return Ok(count);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("topic {topic} was created, but the brokers do not show it; run the command again"))
    }

    /// Copies letters to their partitions.
    pub fn copy(&self, topic: &str, letters: &[(i32, &DeadLetter)]) -> Result<(), String> {
        let copied = self.copy_within(topic, letters);
        if copied.is_err() {
            // The brokers end it by themselves where this does not get through.
            drop(self.producer.abort_transaction(PATIENCE));
        }
        copied
    }

    fn copy_within(&self, topic: &str, letters: &[(i32, &DeadLetter)]) -> Result<(), String> {
        let failed = |cause: KafkaError| format!("could not copy letters to {topic}: {cause}");
        self.producer.begin_transaction().map_err(failed)?;
        letters.iter().try_for_each(|(partition, letter)| self.send(topic, *partition, letter).map_err(failed))?;
        self.producer.commit_transaction(COMMIT).map_err(failed)
    }

    fn send(&self, topic: &str, partition: i32, letter: &DeadLetter) -> Result<(), KafkaError> {
        let whole = letter.record(usize::MAX);
        let headers =
            whole.headers.iter().fold(OwnedHeaders::new_with_capacity(whole.headers.len()), |made, (key, value)| {
                made.insert(Header { key, value: value.as_deref() })
            });
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition).headers(headers);
        (record.key, record.payload) = (whole.key, whole.value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    std::thread::sleep(Duration::from_millis(10));
                    record = back;
                }
                Err((cause, _)) => return Err(cause),
            }
        }
    }

    fn count(&self, topic: &str) -> Result<Option<i32>, String> {
        // All topics are asked for: a question for a missing one would create it on some clusters.
        let metadata = self.producer.client().fetch_metadata(None, PATIENCE);
        let metadata = metadata.map_err(|cause| format!("could not read the list of topics: {cause}"))?;
        let found = metadata.topics().iter().find(|known| known.name() == topic);
        Ok(found.map(|known| known.partitions().len() as i32).filter(|count| *count > 0))
    }

    fn create(&self, topic: &str, partitions: usize) -> Result<(), String> {
        let failed = |cause: String| format!("could not create topic {topic}: {cause}; create it, or grant Create");
        let admin: AdminClient<DefaultClientContext> =
            properties::producer(&self.kafka).create().map_err(|cause| failed(cause.to_string()))?;
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        // What was redriven is known by what lies in it: it must not vanish before the letters do.
        let topics = [NewTopic::new(topic, partitions, TopicReplication::Fixed(-1)).set("retention.ms", "-1")];
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let runtime =
            tokio::runtime::Builder::new_current_thread().build().map_err(|cause| failed(cause.to_string()))?;
        let results =
            runtime.block_on(admin.create_topics(&topics, &options)).map_err(|cause| failed(cause.to_string()))?;
        match results.into_iter().next() {
            Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => Err(failed(code.to_string())),
            _ => Ok(()),
        }
    }
}
