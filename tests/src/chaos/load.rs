//! Records that arrive all the time, each with an identity of its own, produced so that the broker has each once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use serde_json::json;

use crate::samples::Random;
use crate::services::brokers;

pub(super) const KEYS: u64 = 64;
/// One record in so many is of each kind of poison.
const POISON: u64 = 333;

/// What a record is and therefore where it must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    /// Its row is refused; document and record are written.
    Long,
    Trap,
    Reject,
}

/// A record that was produced; its place in the list is its id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) key: u64,
    pub(super) seq: i64,
    pub(super) kind: Kind,
}

/// The producer at work.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Sent>>>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Deliveries(Mutex<Vec<String>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
        }
    }
}

impl Load {
    pub(super) fn start(topic: &str, partitions: u64, per_second: u64, seed: u64) -> Self {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Sent>>>::default());
        let (stopped, list, topic) = (stop.clone(), sent.clone(), topic.to_owned());
        let thread = thread::spawn(move || produce(&topic, partitions, per_second, seed, &stopped, &list));
        Load { stop, sent, thread }
    }

    pub(super) fn count(&self) -> usize {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Stops and returns everything that the broker has.
    pub(super) fn finish(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load was produced");
        std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn produce(topic: &str, partitions: u64, per_second: u64, seed: u64, stop: &AtomicBool, list: &Mutex<Vec<Sent>>) {
    let producer: ThreadedProducer<Deliveries> = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "5")
        .create_with_context(Deliveries::default())
        .expect("a producer");
    let (mut random, mut seqs) = (Random::new(seed), vec![0i64; KEYS as usize]);
    let begun = Instant::now();
    let mut id = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_millis() as u64).saturating_mul(per_second) / 1000;
        // While the broker is away nothing is added, or all of it would come at once.
        while id < due && producer.in_flight_count() < 2 * per_second as i32 {
            let sent = draw(&mut random, &mut seqs);
            send(&producer, topic, partitions, id, sent);
            list.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
            id += 1;
        }
        thread::sleep(Duration::from_millis(5));
    }
    let deadline = Instant::now() + Duration::from_secs(90);
    while producer.in_flight_count() > 0 {
        assert!(Instant::now() < deadline, "the broker does not take the last records");
        thread::sleep(Duration::from_millis(10));
    }
    let failed = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(failed.is_empty(), "{} records were not produced: {}", failed.len(), failed[0]);
}

fn draw(random: &mut Random, seqs: &mut [i64]) -> Sent {
    let key = random.below(KEYS);
    let kind = match random.below(POISON) {
        0 => Kind::Long,
        1 => Kind::Trap,
        2 => Kind::Reject,
        _ => Kind::Good,
    };
    let seq = seqs[key as usize];
    seqs[key as usize] += 1;
    Sent { key, seq, kind }
}

fn send(producer: &ThreadedProducer<Deliveries>, topic: &str, partitions: u64, id: u64, sent: Sent) {
    let key = format!("k{}", sent.key);
    let kind = format!("{:?}", sent.kind).to_lowercase();
    let value = json!({ "id": id, "key": key, "seq": sent.seq, "kind": kind }).to_string();
    let mut record =
        BaseRecord::to(topic).partition((sent.key % partitions) as i32).key(key.as_bytes()).payload(value.as_bytes());
    while let Err((error, back)) = producer.send(record) {
        assert!(error.to_string().contains("Queue full"), "record {id}: {error}");
        thread::sleep(Duration::from_millis(5));
        record = back;
    }
}
