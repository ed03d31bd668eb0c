//! Rows and documents into one SQLite file, by the same protocol as PostgreSQL: a batch is one transaction that also
//! moves the progress. A target is a document's where its name has a dot (`db.collection`) and neither the module nor
//! the configuration declares columns: its table has that whole name and the columns `_id` and `document`. There are no
//! schemas; `schema.table` is one name.

mod dead_letters;
mod documents;
mod errors;
mod history;
mod progress;
mod schema;
mod statements;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use self::errors::Failure;
use self::progress::Owner;
use super::dead_letter::DeadLetter;
use super::limiter::Limiter;
use super::sql::second_look::SecondLook;
use super::sql::table::Table;
use super::{Examined, InForce, Lack, Lane, Sink, SinkBatch, SinkError, Span, Written};
use crate::config::Table as Settings;
use crate::manifest::{TableSpec, TargetSpec};

/// How long another writer of the file is waited for.
const BUSY: Duration = Duration::from_secs(15);
/// Prefixes of tables that outputs must not write to.
const RESERVED: [&str; 2] = ["wasmill_", "sqlite_"];

/// The sink of one file.
#[derive(Debug)]
pub struct Sqlite {
    name: String,
    options: SqliteConnectOptions,
    settings: BTreeMap<String, Settings>,
    limiter: Limiter,
    /// The one writer; gone after an error or where its user was dropped half-way.
    connection: tokio::sync::Mutex<Option<SqliteConnection>>,
    tables: Mutex<HashMap<String, Vec<Known>>>,
    second_look: SecondLook,
}

/// A table as it was when it was last looked at.
#[derive(Debug)]
struct Known {
    spec: Option<TableSpec>,
    table: Arc<Table>,
}

/// Makes the sink; the file is opened, and created, at first use. A relative path lies under `base`.
pub fn open(name: &str, config: &crate::config::Sink, base: &std::path::Path) -> Result<Arc<dyn Sink>, String> {
    let url = config.url.expose();
    let wrong = || format!("sink {name}: the url is not a SQLite url; write it like sqlite://path/to/file.db");
    let options = SqliteConnectOptions::from_str(url).map_err(|_| wrong())?;
    let in_memory = url.contains(":memory:") || url.contains("mode=memory");
    let file = base.join(options.get_filename());
    let options = if in_memory { options } else { options.filename(file) };
    let options = options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .disable_statement_logging();
    Ok(Arc::new(Sqlite {
        name: name.to_owned(),
        options,
        settings: config.tables.clone(),
        limiter: Limiter::new(config.max_rows_per_second),
        connection: tokio::sync::Mutex::default(),
        tables: Mutex::default(),
        second_look: SecondLook::default(),
    }))
}

#[async_trait]
impl Sink for Sqlite {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn is_sql(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<(), SinkError> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.connect(slot.take()).await?;
        run(&mut connection, "SELECT 1").await.map_err(|e| e.sink_error(&self.doing("be read")))?;
        *slot = Some(connection);
        Ok(())
    }

    async fn examine(&self, _: &[Arc<TargetSpec>]) -> Result<Examined, SinkError> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.connect(slot.take()).await?;
        let version: Result<String, sqlx::Error> =
            sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await;
        let version = version.map_err(|e| Failure::from(e).sink_error(&self.doing("be read")))?;
        let file = self.options.get_filename().display().to_string();
        let rehearsal = "BEGIN IMMEDIATE; CREATE TABLE wasmill_rehearsal (nothing); ROLLBACK";
        let written = run(&mut connection, rehearsal).await.map_err(|e| e.sink_error(&self.doing("be written")));
        let help = format!("give this user the right to write {file} and its directory");
        let lacks = written.err().map(|error| Lack::new(error.message, help)).into_iter().collect();
        // A connection on which something failed may be within a transaction.
        Ok(Examined { product: format!("SQLite {version}, {file}"), lacks })
    }

    async fn prepare(&self, targets: &[Arc<TargetSpec>]) -> Result<(), SinkError> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.connect(slot.take()).await?;
        for target in targets.iter().filter(|t| t.sink == self.name && t.prefix().is_none()) {
            self.forget(&target.name);
            self.table(&mut connection, target, &target.name).await?;
        }
        *slot = Some(connection);
        Ok(())
    }

    async fn lanes(&self, group: &str, spans: &[Span]) -> Result<Vec<Option<Lane>>, SinkError> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.connect(slot.take()).await?;
        let owner = Owner { group, sink: &self.name };
        let lanes = owner.lanes(&mut connection, spans).await;
        let lanes = lanes.map_err(|e| e.sink_error(&self.doing("read its progress")))?;
        *slot = Some(connection);
        Ok(lanes)
    }

    async fn module_history(&self, group: &str, most: usize) -> Result<Vec<InForce>, SinkError> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.connect(slot.take()).await?;
        let changes = Owner { group, sink: &self.name }.changes(&mut connection, most).await;
        let changes = changes.map_err(|e| e.sink_error(&self.doing("read wasmill_module_history")))?;
        *slot = Some(connection);
        Ok(changes)
    }

    async fn write(&self, batch: &SinkBatch) -> Result<Written, SinkError> {
        self.limiter.take(batch.items.len()).await;
        let mut slot = self.connection.lock().await;
        let mut connection = self.connect(slot.take()).await?;
        let written = write::write(self, &mut connection, batch).await?;
        *slot = Some(connection);
        Ok(written)
    }

    async fn reset(&self, group: &str, spans: &[Span]) -> Result<(), SinkError> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.connect(slot.take()).await?;
        let reset = Owner { group, sink: &self.name }.reset(&mut connection, spans).await;
        reset.map_err(|e| e.sink_error(&self.doing("reset its progress")))?;
        *slot = Some(connection);
        Ok(())
    }

    async fn write_dead_letters(&self, table: &str, letters: &[DeadLetter]) -> Result<(), SinkError> {
        check_name(table).map_err(SinkError::operator)?;
        let mut slot = self.connection.lock().await;
        let mut connection = self.connect(slot.take()).await?;
        let written = dead_letters::write(&mut connection, table, letters).await;
        written.map_err(|e| e.sink_error(&self.doing(&format!("write dead letters to table {table}"))))?;
        *slot = Some(connection);
        Ok(())
    }

    async fn read_dead_letters(&self, table: &str, after: &str) -> Result<Vec<DeadLetter>, SinkError> {
        check_name(table).map_err(SinkError::operator)?;
        let mut slot = self.connection.lock().await;
        let mut connection = self.connect(slot.take()).await?;
        let letters = dead_letters::read(&mut connection, table, after).await;
        let letters = letters.map_err(|e| e.sink_error(&self.doing(&format!("read dead letters of table {table}"))))?;
        *slot = Some(connection);
        Ok(letters)
    }
}

impl Sqlite {
    async fn connect(&self, open: Option<SqliteConnection>) -> Result<SqliteConnection, SinkError> {
        match open {
            Some(connection) => Ok(connection),
            None => SqliteConnection::connect_with(&self.options)
                .await
                .map_err(|e| Failure::from(e).sink_error(&self.doing("be opened"))),
        }
    }

    /// The table of a destination: as last seen, else looked up, created or extended.
    async fn table(
        &self,
        connection: &mut SqliteConnection,
        target: &TargetSpec,
        name: &str,
    ) -> Result<Arc<Table>, SinkError> {
        if let Some(table) = self.known(name, target.table.as_ref()) {
            return Ok(table);
        }
        let operator = |e: String| SinkError::operator(format!("sink {}, table {name}: {e}", self.name));
        check_name(name).map_err(operator)?;
        let settings = self.settings.get(name).or_else(|| self.settings.get(&target.name));
        let declared = schema::declared(target.table.as_ref(), settings).map_err(operator)?;
        let table = if declared.columns.is_empty() && name.contains('.') {
            documents::ensure(connection, name).await
        } else {
            schema::ensure(connection, name, &declared).await
        };
        let table =
            Arc::new(table.map_err(|e| SinkError { message: format!("sink {}: {}", self.name, e.message), ..e })?);
        let known = Known { spec: target.table.clone(), table: table.clone() };
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().push(known);
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

    fn doing(&self, what: &str) -> String {
        format!("sink {} ({}) could not {what}", self.name, self.options.get_filename().display())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains('\0') {
        return Err(format!("table name {name:?} is not usable"));
    }
    if RESERVED.iter().any(|prefix| name.to_ascii_lowercase().starts_with(prefix)) {
        return Err(format!("table {name} belongs to wasmill or to SQLite itself; choose another name"));
    }
    Ok(())
}

/// Statements without values.
async fn run(connection: &mut SqliteConnection, sql: &str) -> Result<(), Failure> {
    connection.execute(sqlx::raw_sql(reviewed(sql))).await?;
    Ok(())
}

/// Statements of this sink consist of fixed words, quoted identifiers, types of [`schema`]'s own and `?`. Values are
/// bound without exception.
fn reviewed(sql: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql.to_owned())
}

#[cfg(test)]
mod tests;
