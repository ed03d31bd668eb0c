//! Records to a topic. Without transactions the deliveries of one batch are waited for after the next one was handed to
//! the client, and only then are its offsets committed; with transactions a batch ends before the next one begins.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use wasmill_tests::services::brokers;

use super::quote::Quote;
use super::source::{Batch, Source};

const PATIENCE: Duration = Duration::from_secs(30);
/// `flush` polls in steps of 100 ms; the producer's own thread serves the deliveries meanwhile.
const POLL: Duration = Duration::from_micros(200);

pub(crate) struct Records {
    producer: ThreadedProducer<Deliveries>,
    topic: String,
    transactional: bool,
    /// Which of the two counters is the current batch's.
    turn: usize,
    /// Offsets of the batch before, to be committed when it is delivered.
    before: Option<TopicPartitionList>,
}

/// Messages under way, by turn, and what went wrong.
#[derive(Default)]
struct Deliveries {
    open: [AtomicUsize; 2],
    failed: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, turn: usize) {
        if let Err((error, _)) = result {
            *self.failed.lock().expect("no callback panicked") = Some(error.clone());
        }
        self.open[turn].fetch_sub(1, Ordering::Release);
    }
}

impl Records {
    pub(crate) fn open(topic: &str, group: &str, transactional: bool) -> Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers())
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "2")
            .set("retry.backoff.ms", "5")
            .set("queue.buffering.max.messages", "1000000");
        if transactional {
            config.set("transactional.id", format!("native.{group}"));
        }
        let producer: ThreadedProducer<Deliveries> = config.create_with_context(Deliveries::default())?;
        if transactional {
            producer.init_transactions(PATIENCE)?;
        }
        Ok(Records { producer, topic: topic.into(), transactional, turn: 0, before: None })
    }

    /// Commits the offsets too, though perhaps later.
    pub(crate) fn write(&mut self, source: &Source, batch: &Batch, quotes: &[(usize, Quote<'_>)]) -> Result<()> {
        if self.transactional {
            self.producer.begin_transaction()?;
        }
        self.send(batch, quotes)?;
        if self.transactional {
            self.wait(self.turn)?;
            let group = source.consumer.group_metadata().expect("a member of the group");
            self.producer.send_offsets_to_transaction(&source.offsets(batch)?, &group, PATIENCE)?;
            return Ok(self.producer.commit_transaction(PATIENCE)?);
        }
        self.settle(source)?;
        self.before = Some(source.offsets(batch)?);
        self.turn = 1 - self.turn;
        Ok(())
    }

    /// Waits for the batch before and commits its offsets.
    pub(crate) fn settle(&mut self, source: &Source) -> Result<()> {
        let Some(offsets) = self.before.take() else { return Ok(()) };
        self.wait(1 - self.turn)?;
        source.commit(&offsets)
    }

    fn send(&self, batch: &Batch, quotes: &[(usize, Quote<'_>)]) -> Result<()> {
        self.producer.context().open[self.turn].fetch_add(quotes.len(), Ordering::Relaxed);
        for (record, quote) in quotes {
            let value = serde_json::to_vec(&quote.row())?;
            let partition = batch.place(*record).0;
            let mut message = BaseRecord::<(), [u8], usize>::with_opaque_to(&self.topic, self.turn)
                .partition(partition)
                .payload(&value);
            while let Err((error, back)) = self.producer.send(message) {
                ensure!(error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull), error);
                std::thread::sleep(Duration::from_millis(1));
                message = back;
            }
        }
        Ok(())
    }

    fn wait(&self, turn: usize) -> Result<()> {
        let deliveries = self.producer.context();
        while deliveries.open[turn].load(Ordering::Acquire) > 0 {
            std::thread::sleep(POLL);
        }
        let failed = deliveries.failed.lock().expect("no callback panicked").take();
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
