//! Writing: rows with the progress in one transaction, documents with ids of their own, records with or without a
//! transaction.

use anyhow::Result;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use wasmill_tests::services::block_on;

use super::quote::Quote;
use super::records::Records;
use super::rows::Rows;
use super::source::{Batch, Source};

pub(crate) struct Sinks {
    group: String,
    rows: Option<Rows>,
    documents: Option<Collection<Document>>,
    records: Option<Records>,
}

impl Sinks {
    pub(crate) fn open(to: &str, group: &str, transactional: bool, topic: &str) -> Result<Self> {
        let rows = (to.contains("row") || to.contains("latest")).then(|| Rows::open(to, group));
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

    /// Whether the offsets are committed along with it, or will be.
    pub(crate) fn write(&mut self, source: &Source, batch: &Batch, quotes: &[(usize, Quote<'_>)]) -> Result<bool> {
        if let Some(rows) = &mut self.rows {
            block_on(rows.write(batch, quotes))?;
        }
        if let Some(collection) = &self.documents {
            block_on(write_documents(collection, &self.group, batch, quotes))?;
        }
        match &mut self.records {
            Some(records) => records.write(source, batch, quotes).map(|()| true),
            None => Ok(false),
        }
    }

    /// Brings to an end what is under way, when there is nothing to read.
    pub(crate) fn settle(&mut self, source: &Source) -> Result<()> {
        self.records.as_mut().map_or(Ok(()), |records| records.settle(source))
    }
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
