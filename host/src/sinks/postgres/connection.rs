//! Connections of one sink: opened when needed, each used by one caller at a time, thrown away after any error. No
//! wait is without an end. The one place where a statement that was put together becomes SQL.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

use super::errors::Failure;
use super::server::Server;

/// Time to connect, including TLS and the password.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for an answer. Longer than the server's own limits below, which give the better message.
const ANSWER: Duration = Duration::from_secs(45);
/// Limits that the server keeps for each of our sessions.
const SESSION: [(&str, &str); 3] =
    [("statement_timeout", "40000"), ("lock_timeout", "15000"), ("idle_in_transaction_session_timeout", "60000")];
/// Connections kept for the next caller.
const MOST_IDLE: usize = 8;
/// A connection that lay longer than this may have been cut by something in between.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// Where sessions come from and go back to.
#[derive(Debug)]
pub(super) struct Connections {
    server: Server,
    idle: Mutex<Vec<(Instant, Session)>>,
}

/// One connection. Dropping it closes it and undoes what was not committed.
#[derive(Debug)]
pub(super) struct Session {
    connection: PgConnection,
}

impl Connections {
    /// The error does not repeat the URL, which may hold a password.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let server = Server::parse(url)?;
        let server = server.with(|o| o.application_name("wasmill").options(SESSION).disable_statement_logging());
        Ok(Connections { server, idle: Mutex::default() })
    }

    /// `host:port/database`, for messages.
    pub(super) fn server(&self) -> String {
        self.server.name()
    }

    pub(super) async fn get(&self) -> Result<Session, Failure> {
        if let Some(session) = self.take_idle() {
            return Ok(session);
        }
        let connection = timed(CONNECT, self.server.connect()).await?;
        Ok(Session { connection })
    }

    /// Takes back a session that is outside of any transaction and had no error.
    pub(super) fn put(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push((Instant::now(), session));
        }
    }

    fn take_idle(&self) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, _)| since.elapsed() < LONGEST_IDLE);
        idle.pop().map(|(_, session)| session)
    }
}

impl Session {
    /// Statements without values, in one round trip.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Failure> {
        timed(ANSWER, self.connection.execute(sqlx::raw_sql(reviewed(sql)))).await?;
        Ok(())
    }

    /// One statement; returns the number of rows that it wrote.
    pub(super) async fn execute(&mut self, sql: &str, arguments: PgArguments) -> Result<u64, Failure> {
        let query = sqlx::query_with(reviewed(sql), arguments);
        Ok(timed(ANSWER, self.connection.execute(query)).await?.rows_affected())
    }

    pub(super) async fn fetch(&mut self, sql: &str, arguments: PgArguments) -> Result<Vec<PgRow>, Failure> {
        let query = sqlx::query_with(reviewed(sql), arguments);
        timed(ANSWER, self.connection.fetch_all(query)).await
    }
}

/// Statements of this sink consist of fixed words, identifiers from [`quote`](crate::sinks::sql::names::quote), types
/// that were read from the catalogue or parsed by [`ColumnType`](crate::sinks::sql::types::ColumnType), and `$n`.
/// Values are bound without exception.
fn reviewed(sql: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql.to_owned())
}

async fn timed<T>(limit: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(Failure::Sqlx),
        Err(_) => Err(Failure::Silent(limit)),
    }
}
