//! Rows into PostgreSQL. A batch is one transaction that also moves the sink's own progress, so that a repetition
//! writes nothing twice. Only a row that the server refuses for what is in it is refused; an outage is waited out and a
//! table that does not fit is a person's to mend. Existing columns are never changed.

mod catalogue;
mod connection;
mod dead_letters;
mod errors;
mod examine;
mod history;
mod progress;
pub(crate) mod server;
mod statements;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sqlx::postgres::PgArguments;

use self::connection::{Connections, Session};
use self::progress::Owner;
use self::write::Write;
use super::dead_letter::DeadLetter;
use super::limiter::Limiter;
use super::sql::names::TableName;
use super::sql::plan::Destinations;
use super::sql::second_look::SecondLook;
use super::sql::table::{Declared, Table};
use super::{Examined, InForce, Lane, Sink, SinkBatch, SinkError, Span, Written};
use crate::config::Table as Settings;
use crate::manifest::{TableSpec, TargetSpec};

/// The sink of one database.
#[derive(Debug)]
pub struct Postgres {
    name: String,
    connections: Connections,
    settings: BTreeMap<String, Settings>,
    limiter: Limiter,
    /// Tables by name, once per declaration.
    tables: Mutex<HashMap<String, Vec<Known>>>,
    second_look: SecondLook,
    /// Whether the tables of the progress were seen.
    progress_exists: AtomicBool,
    /// Whether the history of modules can be kept.
    keeps_history: AtomicBool,
}

/// A table as it was when it was last looked at.
#[derive(Debug)]
struct Known {
    spec: Option<TableSpec>,
    table: Arc<Table>,
}

/// Why there is no table for a destination.
enum NoTable {
    /// The name cannot be a table's.
    Name(String),
    Sink(SinkError),
}

/// Makes the sink; nothing is connected yet. The error does not hold the URL.
pub fn open(name: &str, config: &crate::config::Sink) -> Result<Arc<dyn Sink>, String> {
    let connections = Connections::new(config.url.expose()).map_err(|e| format!("sink {name}: the url is {e}"))?;
    Ok(Arc::new(Postgres {
        name: name.to_owned(),
        connections,
        settings: config.tables.clone(),
        limiter: Limiter::new(config.max_rows_per_second),
        tables: Mutex::default(),
        second_look: SecondLook::default(),
        progress_exists: AtomicBool::new(false),
        keeps_history: AtomicBool::new(false),
    }))
}

#[async_trait]
impl Sink for Postgres {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn is_sql(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<(), SinkError> {
        let mut session = self.session().await?;
        session.fetch("SELECT 1", PgArguments::default()).await.map_err(|e| e.sink_error(&self.doing("answer")))?;
        self.connections.put(session);
        Ok(())
    }

    async fn examine(&self, targets: &[Arc<TargetSpec>]) -> Result<Examined, SinkError> {
        let tables: Vec<TableName> = targets.iter().filter_map(|target| usable(&target.name).ok()).collect();
        let mut session = self.session().await?;
        let examined = examine::examine(&mut session, &tables).await;
        let examined = examined.map_err(|e| e.sink_error(&self.doing("be examined")))?;
        self.connections.put(session);
        Ok(examined)
    }

    async fn prepare(&self, targets: &[Arc<TargetSpec>]) -> Result<(), SinkError> {
        let own: Vec<_> = targets.iter().filter(|t| t.sink == self.name && t.prefix().is_none()).collect();
        if own.is_empty() {
            return Ok(());
        }
        let mut session = self.session().await?;
        for target in own {
            self.forget(&target.name);
            self.table(&mut session, target, &target.name).await.map_err(|e| match e {
                NoTable::Name(reason) => SinkError::operator(format!("sink {}: {reason}", self.name)),
                NoTable::Sink(error) => error,
            })?;
        }
        self.connections.put(session);
        Ok(())
    }

    async fn lanes(&self, group: &str, spans: &[Span]) -> Result<Vec<Option<Lane>>, SinkError> {
        let mut session = self.session().await?;
        let owner = Owner { group, sink: &self.name };
        let lanes =
            owner.lanes(&mut session, spans).await.map_err(|e| e.sink_error(&self.doing("read its progress")))?;
        self.connections.put(session);
        Ok(lanes)
    }

    async fn module_history(&self, group: &str, most: usize) -> Result<Vec<InForce>, SinkError> {
        let mut session = self.session().await?;
        let changes = Owner { group, sink: &self.name }.changes(&mut session, most).await;
        let changes = changes.map_err(|e| e.sink_error(&self.doing("read wasmill.module_history")))?;
        self.connections.put(session);
        Ok(changes)
    }

    async fn write(&self, batch: &SinkBatch) -> Result<Written, SinkError> {
        self.limiter.take(batch.items.len()).await;
        Write { sink: self, batch, destinations: Destinations::of(batch) }.run().await
    }

    async fn reset(&self, group: &str, spans: &[Span]) -> Result<(), SinkError> {
        let mut session = self.session().await?;
        let owner = Owner { group, sink: &self.name };
        owner.reset(&mut session, spans).await.map_err(|e| e.sink_error(&self.doing("reset its progress")))?;
        self.connections.put(session);
        Ok(())
    }

    async fn write_dead_letters(&self, table: &str, letters: &[DeadLetter]) -> Result<(), SinkError> {
        let name = usable(table).map_err(SinkError::operator)?;
        let doing = |e: errors::Failure| e.sink_error(&self.doing(&format!("write dead letters to table {name}")));
        let mut session = self.session().await?;
        dead_letters::ensure(&mut session, &name).await.map_err(doing)?;
        dead_letters::write(&mut session, &name, letters).await.map_err(doing)?;
        self.connections.put(session);
        Ok(())
    }

    async fn read_dead_letters(&self, table: &str, after: &str) -> Result<Vec<DeadLetter>, SinkError> {
        let name = usable(table).map_err(SinkError::operator)?;
        let doing = |e: errors::Failure| e.sink_error(&self.doing(&format!("read dead letters of table {name}")));
        let mut session = self.session().await?;
        let letters = dead_letters::read(&mut session, &name, after).await.map_err(doing)?;
        self.connections.put(session);
        Ok(letters)
    }
}

impl Postgres {
    async fn session(&self) -> Result<Session, SinkError> {
        self.connections.get().await.map_err(|e| e.sink_error(&self.doing("be reached")))
    }

    /// The table of a destination: as it was last seen with this declaration, else looked up, created or extended.
    async fn table(&self, session: &mut Session, target: &TargetSpec, name: &str) -> Result<Arc<Table>, NoTable> {
        if let Some(table) = self.known(name, target.table.as_ref()) {
            return Ok(table);
        }
        let parsed = usable(name).map_err(NoTable::Name)?;
        let operator =
            |reason| NoTable::Sink(SinkError::operator(format!("sink {}, table {name}: {reason}", self.name)));
        let settings = self.settings.get(name).or_else(|| self.settings.get(&target.name));
        let declared = Declared::new(target.table.as_ref(), settings).map_err(operator)?;
        let in_sink =
            |e: SinkError| NoTable::Sink(SinkError { message: format!("sink {}: {}", self.name, e.message), ..e });
        let table = Arc::new(catalogue::ensure(session, &parsed, &declared).await.map_err(in_sink)?);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.entry(name.to_owned()).or_default().push(Known { spec: target.table.clone(), table: table.clone() });
        Ok(table)
    }

    fn known(&self, name: &str, spec: Option<&TableSpec>) -> Option<Arc<Table>> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.get(name)?.iter().find(|known| known.spec.as_ref() == spec).map(|known| known.table.clone())
    }

    fn forget(&self, name: &str) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn forget_tables(&self) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn forget_progress(&self) {
        self.progress_exists.store(false, Ordering::Relaxed);
    }

    async fn ensure_progress(&self, session: &mut Session) -> Result<(), SinkError> {
        if !self.progress_exists.load(Ordering::Relaxed) {
            let keeps = Owner::ensure(session)
                .await
                .map_err(|e| e.sink_error(&self.doing("create schema wasmill for its progress")))?;
            self.keeps_history.store(keeps, Ordering::Relaxed);
            self.progress_exists.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn doing(&self, what: &str) -> String {
        format!("sink {} ({}) could not {what}", self.name, self.connections.server())
    }
}

/// A table's name that outputs may use.
fn usable(name: &str) -> Result<TableName, String> {
    let parsed = TableName::parse(name)?;
    if parsed.is_reserved() {
        return Err(format!("table {parsed} belongs to wasmill or the server itself; choose another schema"));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests;
