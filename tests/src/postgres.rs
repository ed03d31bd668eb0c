//! A Postgres database of the test's own, gone when the test ends.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnection, PgValueFormat};
use sqlx::{AssertSqlSafe, Connection, Row, ValueRef};

use crate::services::{block_on, postgres_url};
use crate::wait::wait_for;

/// How long a server may refuse to count.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database that lives as long as this value.
#[derive(Debug)]
pub struct Database {
    pub name: String,
    pub url: String,
}

/// A row as text; `None` is NULL.
pub type TextRow = Vec<Option<String>>;

impl Database {
    pub fn create(name: &str) -> Self {
        let server = postgres_url();
        block_on(execute(&server, &format!("CREATE DATABASE \"{name}\""))).expect("the database can be created");
        let (server, _) = server.rsplit_once('/').expect("POSTGRES_URL ends in a database");
        Database { name: name.into(), url: format!("{server}/{name}") }
    }

    /// Rows of a query, every value as Postgres writes it.
    pub fn rows(&self, sql: &str) -> Vec<TextRow> {
        self.try_rows(sql).unwrap_or_else(|e| panic!("`{sql}` failed: {e}"))
    }

    /// Like `rows`, for queries that may fail, such as for a table that is not there yet.
    pub fn try_rows(&self, sql: &str) -> Result<Vec<TextRow>, sqlx::Error> {
        block_on(query(&self.url, sql))
    }

    /// First column of a query.
    pub fn column(&self, sql: &str) -> Vec<String> {
        self.rows(sql).into_iter().map(|mut row| row.swap_remove(0).unwrap_or_default()).collect()
    }

    /// Rows of a table; 0 while there is no such table.
    #[track_caller]
    pub fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        let end = Instant::now() + PATIENCE;
        wait_for(&sql, 2 * PATIENCE.as_secs(), || match self.try_rows(&sql) {
            Ok(rows) => Some(rows[0][0].as_ref()?.parse().expect("a number")),
            Err(e) if is_missing(&e) => Some(0),
            Err(e) => {
                assert!(Instant::now() < end, "`{sql}` failed: {e}");
                None
            }
        })
    }

    pub fn execute(&self, sql: &str) {
        block_on(execute(&self.url, sql)).unwrap_or_else(|e| panic!("`{sql}` failed: {e}"));
    }

    /// The URL with another user, for tests of rights and passwords.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        let (_, rest) = self.url.split_once("://").expect("a URL");
        let (_, host) = rest.split_once('@').unwrap_or(("", rest));
        format!("postgres://{user}:{password}@{host}")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A failing test must not be hidden by a second panic.
        block_on(execute(&postgres_url(), &format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name))).ok();
    }
}

/// Whether there is no such table or schema.
fn is_missing(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["42P01", "3F000"].contains(&&*code))
}

async fn execute(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    connection.close().await
}

/// Rows of any query as text.
pub async fn query(url: &str, sql: &str) -> Result<Vec<TextRow>, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    // The simple protocol answers in text.
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(rows.iter().map(|row| (0..row.len()).map(|column| text(row, column)).collect()).collect())
}

fn text(row: &sqlx::postgres::PgRow, column: usize) -> Option<String> {
    let value = row.try_get_raw(column).expect("the column exists");
    assert!(value.is_null() || value.format() == PgValueFormat::Text, "the simple protocol answers in text");
    (!value.is_null()).then(|| value.as_str().expect("text").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_as_text_through_a_proxy_that_can_be_cut() {
        let database = Database::create(&crate::case::unique("harness"));
        database.execute("CREATE TABLE t (a int, b text[])");
        database.execute("INSERT INTO t VALUES (1, '{x,y}'), (NULL, NULL)");
        let expected = [vec![Some("1".into()), Some("{x,y}".into())], vec![None, None]];
        assert_eq!(database.rows("SELECT * FROM t"), expected);
        assert_eq!((database.count("t"), database.count("missing"), database.count("missing.t")), (2, 0, 0));
        let (proxy, url) = crate::proxy::Proxy::before(&database.url);
        assert_eq!(block_on(query(&url, "SELECT * FROM t")).expect("the proxy is open"), expected);
        proxy.cut();
        block_on(query(&url, "SELECT 1")).expect_err("the proxy is cut");
        proxy.restore();
        block_on(query(&url, "SELECT 1")).expect("the proxy is open again");
    }
}
