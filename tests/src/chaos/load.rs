//! Records in flight from the first fault to the last, each with its own identity: a global id, a key and its number
//! within the key. The load waits when too much is unread, so that what is left after the last fault stays small.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::{PARTITIONS, TOPIC};
use crate::samples::Random;

/// Keys; each lives in one partition.
pub const KEYS: u64 = 60;
/// Of a thousand records, how many are poison of each kind.
const POISON: u64 = 3;
/// Longest text that Postgres takes.
const LONGEST: u64 = 100;
/// Time between two portions.
const TICK: Duration = Duration::from_millis(20);

/// What must become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It ends everywhere.
    Good,
    /// Postgres refuses its row; the rest ends everywhere.
    Long,
    /// The module traps: a dead letter.
    Trap,
    /// The module rejects it: a dead letter.
    Reject,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Good, Kind::Long, Kind::Trap, Kind::Reject];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Good => "good",
            Kind::Long => "long",
            Kind::Trap => "trap",
            Kind::Reject => "reject",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Code of its dead letter.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Kind::Good => None,
            Kind::Long => Some("pg-22001"),
            Kind::Trap => Some("trap"),
            Kind::Reject => Some("reject"),
        }
    }
}

/// What is known of the load while it runs; shared with the watch.
#[derive(Debug, Default)]
pub struct Load {
    stop: AtomicBool,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    /// Records that both groups have committed.
    consumed: AtomicU64,
    /// Kind of each acknowledged record, by partition and offset.
    kinds: Mutex<Vec<Vec<Kind>>>,
    failed: Mutex<Option<String>>,
}

impl Load {
    pub fn new() -> Self {
        Load { kinds: Mutex::new(vec![Vec::new(); PARTITIONS as usize]), ..Load::default() }
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    pub fn note_consumed(&self, records: u64) {
        self.consumed.store(records, Ordering::SeqCst);
    }

    /// Records that Kafka has and that some flow has not committed.
    pub fn in_flight(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst).saturating_sub(self.consumed.load(Ordering::SeqCst))
    }

    /// Kind of the record at an offset, where it is acknowledged.
    pub fn kind(&self, partition: i32, offset: i64) -> Option<Kind> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds[partition as usize].get(offset as usize).copied()
    }

    /// Produces until it is stopped: `rate` records per second while less than `backlog` are in flight.
    pub fn run(self: &Arc<Self>, brokers: &str, seed: u64, rate: u64, backlog: u64) -> anyhow::Result<()> {
        let producer = producer(brokers, self)?;
        let mut random = Random::new(seed ^ 0x10ad);
        let mut numbers = [0i64; KEYS as usize];
        let mut due = 0;
        while !self.stop.load(Ordering::SeqCst) {
            due += rate * TICK.as_millis() as u64;
            while due >= 1000 && self.in_flight() < backlog && self.sent() < self.acknowledged() + backlog {
                due -= 1000;
                self.send(&producer, &mut random, &mut numbers)?;
            }
            due = due.min(rate * 100);
            sleep(TICK);
        }
        producer.flush(Duration::from_secs(120)).context("the last records were not acknowledged")?;
        match self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(words) => anyhow::bail!("a record of the load was not taken: {words}"),
            None => Ok(()),
        }
    }

    fn take_place(&self, partition: i32, offset: i64, kind: Kind) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut kinds[partition as usize];
        if offset as usize != known.len() {
            self.fail(format!("offset {offset} of partition {partition} came after {} records", known.len()));
        }
        known.push(kind);
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
    }

    fn fail(&self, words: String) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(words);
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    fn send(&self, producer: &Loader, random: &mut Random, numbers: &mut [i64]) -> anyhow::Result<()> {
        let key = random.below(KEYS);
        let kind = draw(random);
        let (id, number) = (self.sent(), numbers[key as usize]);
        let name = format!("key-{key:02}");
        let value = value(id, &name, number, kind, random);
        let mut record = BaseRecord::<str, str, Box<Kind>>::with_opaque_to(TOPIC, Box::new(kind))
            .partition((key % PARTITIONS as u64) as i32)
            .key(&name)
            .payload(&value);
        while let Err((cause, back)) = producer.send(record) {
            if cause.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(cause).context("sending a record of the load");
            }
            sleep(TICK);
            record = back;
        }
        numbers[key as usize] += 1;
        self.sent.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

type Loader = ThreadedProducer<Acknowledged>;

/// Notes what was acknowledged where.
struct Acknowledged(Arc<Load>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<Kind>;

    fn delivery(&self, result: &DeliveryResult<'_>, kind: Box<Kind>) {
        match result {
            Ok(message) => self.0.take_place(message.partition(), message.offset(), *kind),
            Err((cause, _)) => self.0.fail(cause.to_string()),
        }
    }
}

fn producer(brokers: &str, load: &Arc<Load>) -> anyhow::Result<Loader> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // For ever: the brokers are killed on purpose, and a record that is given up would be a hole in the numbers.
        .set("message.timeout.ms", "0")
        .set("reconnect.backoff.max.ms", "500")
        .set("linger.ms", "5")
        .set("log_level", "0");
    config.create_with_context(Acknowledged(load.clone())).context("creating the producer of the load")
}

fn draw(random: &mut Random) -> Kind {
    match random.below(1000) {
        n if n < POISON => Kind::Long,
        n if n < 2 * POISON => Kind::Trap,
        n if n < 3 * POISON => Kind::Reject,
        _ => Kind::Good,
    }
}

fn value(id: u64, key: &str, number: i64, kind: Kind, random: &mut Random) -> String {
    let length = 10 + random.below(LONGEST - 10) + if kind == Kind::Long { LONGEST } else { 0 };
    let text = "abcdefghij".repeat(20);
    let (kind, text) = (kind.name(), &text[..length as usize]);
    format!(r#"{{"id":{id},"key":"{key}","seq":{number},"kind":"{kind}","text":"{text}"}}"#)
}
