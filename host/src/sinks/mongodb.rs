//! Documents into MongoDB. A document's `_id` is the author's or the source id, so that a repetition of a batch doubles
//! nothing: no transaction is needed, and no progress is kept. What a late writer could undo is guarded. Only a document that the server refuses for what is in
//! it is refused; an outage is waited out.

mod bson;
mod command;
mod document;
mod errors;
mod examine;
mod guard;
mod isolate;
mod json;
mod plan;
mod server;
mod standing;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::mongodb::bson::{RawDocumentBuf, rawdoc};
use async_trait::async_trait;

use self::plan::Namespace;
use self::server::{CallError, Server};
use self::write::Write;
use super::dead_letter::DeadLetter;
use super::limiter::Limiter;
use super::{Examined, InForce, Lane, Sink, SinkBatch, SinkError, Span, Written};
use crate::config::Table;
use crate::manifest::TargetSpec;

/// The sink of one server or replica set.
pub struct MongoDb {
    name: String,
    server: Server,
    /// How collections are written, by `db.collection` or `collection`.
    tables: BTreeMap<String, Table>,
    limiter: Limiter,
}

/// Makes the sink; nothing is connected yet. The error does not hold the URL.
pub fn open(name: &str, config: &crate::config::Sink) -> Result<Arc<dyn Sink>, String> {
    for (table, settings) in &config.tables {
        if !settings.key.is_empty() || !settings.columns.is_empty() || settings.serial.is_some() {
            return Err(format!(
                "sink {name}: collection {table}: key, columns and serial are for SQL sinks; a document's key is its _id"
            ));
        }
    }
    let server = Server::new(name, &config.url).map_err(|error| format!("sink {name}: the url is {error}"))?;
    let limiter = Limiter::new(config.max_rows_per_second);
    Ok(Arc::new(MongoDb { name: name.to_owned(), server, tables: config.tables.clone(), limiter }))
}

/// The bodies of the operations for a batch, as they would be sent: what is done to it before the server is asked, for
/// those who measure it.
pub fn encoded(batch: &SinkBatch) -> Vec<Vec<u8>> {
    let runs = plan::plan(batch, &BTreeMap::new()).runs;
    runs.into_iter().flat_map(|run| run.ops).map(|op| op.body).collect()
}

#[async_trait]
impl Sink for MongoDb {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "mongodb"
    }

    fn is_sql(&self) -> bool {
        false
    }

    async fn ping(&self) -> Result<(), SinkError> {
        let answer = self.server.run("admin", rawdoc! { "ping": 1 }).await;
        answer.map(drop).map_err(|error| self.server.error("reach the server", &error))
    }

    async fn examine(&self, targets: &[Arc<TargetSpec>]) -> Result<Examined, SinkError> {
        let collections: Vec<Namespace> =
            targets.iter().filter(|t| t.prefix().is_none()).filter_map(|t| Namespace::parse(&t.name)).collect();
        let examined = examine::examine(&self.server, &collections).await;
        examined.map_err(|error| self.server.error("examine the server", &error))
    }

    async fn prepare(&self, targets: &[Arc<TargetSpec>]) -> Result<(), SinkError> {
        if targets.is_empty() {
            return Ok(());
        }
        self.ping().await?;
        for target in targets.iter().filter(|target| target.prefix().is_none()) {
            let namespace = Namespace::parse(&target.name).ok_or_else(|| {
                SinkError::operator(format!(
                    "sink {}: target {} is not the name of a collection: write db.collection",
                    self.name,
                    target.label()
                ))
            })?;
            let create = plan::settings(&self.tables, &target.name).and_then(|table| table.create);
            self.prepare_collection(&namespace, create.unwrap_or(true)).await?;
        }
        Ok(())
    }

    async fn lanes(&self, _: &str, spans: &[Span]) -> Result<Vec<Option<Lane>>, SinkError> {
        Ok(vec![None; spans.len()])
    }

    async fn module_history(&self, _: &str, _: usize) -> Result<Vec<InForce>, SinkError> {
        Ok(Vec::new())
    }

    async fn write(&self, batch: &SinkBatch) -> Result<Written, SinkError> {
        let plan = plan::plan(batch, &self.tables);
        if batch.strict && !plan.refused.is_empty() {
            return Ok(Written { refused: plan.refused, ..Written::default() });
        }
        Write { server: &self.server, limiter: &self.limiter, batch }.carry_out(plan).await
    }

    async fn reset(&self, group: &str, spans: &[Span]) -> Result<(), SinkError> {
        guard::reset(&self.server, group, spans).await
    }

    async fn write_dead_letters(&self, table: &str, _: &[DeadLetter]) -> Result<(), SinkError> {
        Err(SinkError::operator(format!(
            "sink {}: dead letters go to a topic or to the table of an SQL sink, not to {table} here",
            self.name
        )))
    }

    async fn read_dead_letters(&self, _: &str, _: &str) -> Result<Vec<DeadLetter>, SinkError> {
        Ok(Vec::new())
    }
}

impl MongoDb {
    async fn prepare_collection(&self, namespace: &Namespace, create: bool) -> Result<(), SinkError> {
        let exists = self.server.has(namespace).await;
        if exists.map_err(|error| self.server.error(&format!("look for {namespace}"), &error))? {
            return Ok(());
        }
        if !create {
            return Err(SinkError::operator(format!(
                "sink {}: collection {namespace} does not exist and create is false: create it",
                self.name
            )));
        }
        let mut command = RawDocumentBuf::new();
        command.append(::mongodb::bson::raw::cstr!("create"), namespace.collection.as_str());
        match self.server.run(&namespace.database, command).await {
            Ok(_) => tracing::info!(sink = self.name, collection = %namespace, "collection created"),
            Err(CallError::Server(error)) if errors::code(&error) == Some(errors::NAMESPACE_EXISTS) => {}
            Err(error) => return Err(self.server.error(&format!("create {namespace}"), &error)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
