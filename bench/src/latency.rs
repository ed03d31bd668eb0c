//! Latency on an idle line: 1,000 records per second, from the moment that a record is handed to the producer to the
//! moment that its row is visible or its record can be read by a reader of committed records.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use wasmill_tests::services::{block_on, brokers};
use wasmill_tests::{case, kafka, samples};

use crate::measure::{other, start, wasmill};
use crate::place::{Place, Setup};
use crate::scenario::Who;
use crate::stats::percentile;
use crate::{knob, report};

const PARTITIONS: i32 = 4;
/// Between two records.
const PACE: Duration = Duration::from_millis(1);
/// Records of this long are sent first and not counted.
const WARM_UP: Duration = Duration::from_secs(3);
/// Longest time without any record.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who sees the results.
enum Observer {
    Topic(Box<BaseConsumer>),
    /// With the last row that was seen.
    Table(Box<PgConnection>, i32),
}

pub(crate) fn run() {
    let seconds = Duration::from_secs(knob("LATENCY_SECONDS", 30));
    for (what, to, who) in [
        ("→ topic", "record", Who::Native),
        ("→ topic", "record", Who::Wasmill),
        ("→ topic, transactions", "record", Who::NativeTransactional),
        ("→ topic, transactions", "record", Who::Transactional),
        ("→ Postgres", "row", Who::Native),
        ("→ Postgres", "row", Who::Wasmill),
    ] {
        let latencies = measure(to, who, seconds);
        let at = |percent| percentile(latencies.iter().copied(), percent);
        let values = [("p50 ms", at(50.0)), ("p99 ms", at(99.0)), ("max ms", at(100.0))];
        report::line("L", who.name(), &format!("{what} at 1,000 records/s"), &values);
    }
}

/// Milliseconds of every record.
fn measure(to: &str, who: Who, seconds: Duration) -> Vec<f64> {
    let place = Place::new((to == "record").then_some(PARTITIONS));
    let topic = case::unique("bench-latency");
    kafka::create_topic(&topic, PARTITIONS);
    let command = match who.is_wasmill() {
        true => {
            let topics = std::slice::from_ref(&topic);
            wasmill(&place, &Setup { topics, to, delivery: who.delivery(), ..Setup::default() })
        }
        false => other(who, &place, to, &topic),
    };
    let (_running, words) = start(command);
    words.recv_timeout(Duration::from_secs(60)).expect("the program gets its partitions");
    let mut observer = Observer::new(to, &place);
    let (zero, sent) = (Instant::now(), AtomicU64::new(u64::MAX));
    std::thread::scope(|scope| {
        scope.spawn(|| sent.store(produce(&topic, zero, WARM_UP + seconds), Ordering::Release));
        observer.watch(zero, &sent)
    })
}

/// Sends records that carry the microseconds since `zero`; gives their number.
fn produce(topic: &str, zero: Instant, length: Duration) -> u64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("linger.ms", "0").set("acks", "all");
    let producer: ThreadedProducer<_> = config.create().expect("a producer");
    let begun = Instant::now();
    let mut sent = 0_u32;
    while begun.elapsed() < length {
        let micros = zero.elapsed().as_micros().to_string();
        let value = samples::quote_json(&micros, "Homer Simpson", "https://images.example/1.png");
        let partition = (sent % PARTITIONS as u32) as i32;
        let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
        producer.send(record).map_err(|(cause, _)| cause).expect("the queue takes a thousand records per second");
        sent += 1;
        std::thread::sleep((begun + PACE * sent).saturating_duration_since(Instant::now()));
    }
    producer.flush(PATIENCE).expect("the brokers take the records");
    sent.into()
}

impl Observer {
    fn new(to: &str, place: &Place) -> Self {
        if to == "row" {
            return Observer::Table(
                Box::new(block_on(PgConnection::connect(&place.database.url)).expect("Postgres")),
                0,
            );
        }
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers())
            .set("group.id", "bench-observer")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.queue.backoff.ms", "1")
            .create()
            .expect("a consumer");
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(&place.output, partition, Offset::Beginning).expect("a partition");
        }
        consumer.assign(&all).expect("assigned");
        Observer::Topic(Box::new(consumer))
    }

    /// Watches until everything that was sent is there; `sent` is known when the producer has ended.
    fn watch(&mut self, zero: Instant, sent: &AtomicU64) -> Vec<f64> {
        let (mut seen, mut latencies, mut last) = (0, Vec::new(), Instant::now());
        while seen < sent.load(Ordering::Acquire) {
            assert!(
                last.elapsed() < PATIENCE,
                "nothing has come out for {} s, after {seen} records",
                PATIENCE.as_secs()
            );
            for micros in self.look() {
                let now = zero.elapsed();
                (seen, last) = (seen + 1, Instant::now());
                let then = Duration::from_micros(micros.parse().expect("microseconds"));
                if then > WARM_UP {
                    latencies.push((now - then).as_secs_f64() * 1e3);
                }
            }
        }
        latencies
    }

    /// What has become visible since.
    fn look(&mut self) -> Vec<String> {
        match self {
            Observer::Topic(consumer) => {
                let Some(polled) = consumer.poll(Duration::from_millis(100)) else { return Vec::new() };
                let message = polled.expect("the output topic can be read");
                let row: serde_json::Value =
                    serde_json::from_slice(message.payload().unwrap_or_default()).expect("JSON");
                vec![row["quotes"].as_str().expect("a text").to_owned()]
            }
            Observer::Table(connection, last) => {
                std::thread::sleep(PACE);
                let query = "SELECT quote_id, quotes FROM bench_quotes WHERE quote_id > $1 ORDER BY quote_id";
                // There is no table before the program has created it.
                let rows: Vec<PgRow> =
                    block_on(sqlx::query(query).bind(*last).fetch_all(&mut **connection)).unwrap_or_default();
                *last = rows.last().map_or(*last, |row| row.get(0));
                rows.iter().map(|row| row.get(1)).collect()
            }
        }
    }
}
