//! Writing: rows with the progress in one transaction, documents with ids of their own, records with or without a
//! transaction.

use std::borrow::Cow;

use anyhow::Result;
use mongodb::Collection;
use mongodb::bson::Document;
use serde::{Deserialize, Serialize};
use wasmill_tests::services::block_on;

use super::quote::Quote;
use super::records::Records;
use super::rows::Rows;
use super::source::{Batch, Source};

/// The whole message. Its fields are known, which saves the tree that a document is.
#[derive(Deserialize, Serialize)]
struct Message<'a> {
    #[serde(rename = "_id", default)]
    id: String,
    #[serde(borrow)]
    quote: Cow<'a, str>,
    #[serde(borrow)]
    character: Cow<'a, str>,
    #[serde(borrow)]
    image: Cow<'a, str>,
    #[serde(borrow, rename = "characterDirection")]
    direction: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    padding: Option<Cow<'a, str>>,
}

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
    let mut messages = Vec::with_capacity(quotes.len());
    for (record, _) in quotes {
        let (partition, offset) = batch.place(*record);
        let mut message: Message<'_> = serde_json::from_slice(batch.value(*record))?;
        message.id = format!("{group}/{partition}/{offset}");
        messages.push(message);
    }
    if !messages.is_empty() {
        collection.clone_with_type::<Message<'_>>().insert_many(messages).ordered(false).await?;
    }
    Ok(())
}
