//! Writing: rows with the progress in one transaction, documents with ids of their own, records with or without a
//! transaction.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use wasmill_tests::services::{block_on, brokers};

use super::quote::Quote;
use super::source::{Batch, Source};

const INSERT: &str = "INSERT INTO bench_quotes (quotes, charact, imag) SELECT q, c, i \
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS x(q, c, i, ord) ORDER BY ord";
const PROGRESS: &str = "INSERT INTO progress SELECT $1, s.* FROM unnest($2::int4[], $3::int8[]) AS s(part, next) \
    ON CONFLICT (consumer_group, part) DO UPDATE SET next = excluded.next";
const TABLES: &str = "CREATE TABLE IF NOT EXISTS bench_quotes (quote_id SERIAL PRIMARY KEY, quotes varchar(500), \
    charact varchar(500), imag varchar(500)); \
    CREATE TABLE IF NOT EXISTS progress (consumer_group text, part int4, next int8, PRIMARY KEY (consumer_group, part))";
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Sinks {
    group: String,
    rows: Option<PgConnection>,
    documents: Option<Collection<Document>>,
    records: Option<Records>,
}

struct Records {
    producer: ThreadedProducer<Failures>,
    topic: String,
    transactional: bool,
}

#[derive(Default)]
struct Failures(Mutex<Option<KafkaError>>);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            *self.0.lock().expect("no callback panicked") = Some(error.clone());
        }
    }
}

impl Sinks {
    pub(crate) fn open(to: &str, group: &str, transactional: bool, topic: &str) -> Result<Self> {
        let rows = to.contains("row").then(|| {
            block_on(async {
                let mut connection = PgConnection::connect(&std::env::var("BENCH_POSTGRES_URL")?).await?;
                connection.execute(sqlx::raw_sql(TABLES)).await?;
                anyhow::Ok(connection)
            })
        });
        let documents = to.contains("document").then(|| {
            block_on(async {
                let client = mongodb::Client::with_uri_str(std::env::var("BENCH_MONGODB_URL")?).await?;
                anyhow::Ok(client.database("bench").collection("native"))
            })
        });
        let records = to.contains("record").then(|| Records::open(topic, group, transactional));
        Ok(Sinks {
            group: group.into(),
            rows: rows.transpose()?,
            documents: documents.transpose()?,
            records: records.transpose()?,
        })
    }

    /// Whether the offsets are committed along with it.
    pub(crate) fn write(&mut self, source: &Source, batch: &Batch, quotes: &[(usize, Quote<'_>)]) -> Result<bool> {
        if let Some(connection) = &mut self.rows {
            block_on(write_rows(connection, &self.group, batch, quotes))?;
        }
        if let Some(collection) = &self.documents {
            block_on(write_documents(collection, &self.group, batch, quotes))?;
        }
        match &self.records {
            Some(records) => records.write(source, batch, quotes),
            None => Ok(false),
        }
    }
}

async fn write_rows(
    connection: &mut PgConnection,
    group: &str,
    batch: &Batch,
    quotes: &[(usize, Quote<'_>)],
) -> Result<()> {
    let columns: Vec<[&str; 3]> = quotes.iter().map(|(_, q)| [&*q.quote, &*q.character, &*q.image]).collect();
    let column = |index: usize| columns.iter().map(|row| row[index]).collect::<Vec<&str>>();
    let (partitions, next): (Vec<i32>, Vec<i64>) = batch.next().unzip();
    let mut transaction = connection.begin().await?;
    sqlx::query(INSERT).bind(column(0)).bind(column(1)).bind(column(2)).execute(&mut *transaction).await?;
    sqlx::query(PROGRESS).bind(group).bind(partitions).bind(next).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

async fn write_documents(
    collection: &Collection<Document>,
    group: &str,
    batch: &Batch,
    quotes: &[(usize, Quote<'_>)],
) -> Result<()> {
    let mut documents = Vec::with_capacity(quotes.len());
    for (record, _) in quotes {
        let (partition, offset) = batch.place(*record);
        let mut document = doc! { "_id": format!("{group}/{partition}/{offset}") };
        let message: Document = serde_json::from_slice(batch.value(*record))?;
        document.extend(message);
        documents.push(document);
    }
    if !documents.is_empty() {
        collection.insert_many(documents).ordered(false).await?;
    }
    Ok(())
}

impl Records {
    fn open(topic: &str, group: &str, transactional: bool) -> Result<Self> {
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
        let producer: ThreadedProducer<Failures> = config.create_with_context(Failures::default())?;
        if transactional {
            producer.init_transactions(PATIENCE)?;
        }
        Ok(Records { producer, topic: topic.into(), transactional })
    }

    fn write(&self, source: &Source, batch: &Batch, quotes: &[(usize, Quote<'_>)]) -> Result<bool> {
        if self.transactional {
            self.producer.begin_transaction()?;
        }
        for (record, quote) in quotes {
            let value = serde_json::to_vec(&quote.row())?;
            let mut message = BaseRecord::<(), [u8]>::to(&self.topic).partition(batch.place(*record).0).payload(&value);
            while let Err((error, back)) = self.producer.send(message) {
                ensure!(error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull), error);
                std::thread::sleep(Duration::from_millis(1));
                message = back;
            }
        }
        // `flush` polls in steps of 100 ms; the producer's own thread serves the deliveries meanwhile.
        while self.producer.in_flight_count() > 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
        if let Some(error) = self.producer.context().0.lock().expect("no callback panicked").take() {
            return Err(error.into());
        }
        if self.transactional {
            let group = source.consumer.group_metadata().expect("a member of the group");
            self.producer.send_offsets_to_transaction(&source.offsets(batch)?, &group, PATIENCE)?;
            self.producer.commit_transaction(PATIENCE)?;
        }
        Ok(self.transactional)
    }
}
