//! Against a real server: `POSTGRES_URL`, in a database of each test's own.

use std::sync::Arc;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use super::*;
use crate::config::{Mode, Sink as SinkConfig};
use crate::outcome::{Code, Operation, Path};
use crate::sinks::sql::testing::{batch, output, rows, target};
use crate::sinks::{Class, StoredVerdict};

mod delivery;
mod history;
mod tables;
mod values;

/// A database that is dropped at the end.
struct Database {
    admin: String,
    name: String,
    url: String,
}

impl Database {
    /// `None`, said aloud, where no server is given; a failure where one is required.
    async fn new(test: &str) -> Option<Self> {
        let Ok(admin) = std::env::var("POSTGRES_URL") else {
            assert!(std::env::var_os("WASMILL_TEST_SERVICES").is_none(), "POSTGRES_URL must be set for this test");
            eprintln!("skipped: POSTGRES_URL not set");
            return None;
        };
        let name = format!("wasmill_test_{test}_{}", std::process::id());
        execute(&admin, &format!("DROP DATABASE IF EXISTS {name}")).await;
        execute(&admin, &format!("CREATE DATABASE {name}")).await;
        let (server, query) =
            admin.rsplit_once('/').map(|(s, d)| (s, d.split_once('?').map(|(_, q)| q))).expect("a url");
        let url = format!("{server}/{name}{}", query.map(|q| format!("?{q}")).unwrap_or_default());
        Some(Database { admin, name, url })
    }

    fn sink(&self) -> Arc<dyn Sink> {
        self.sink_with([])
    }

    fn sink_with<const N: usize>(&self, tables: [(&str, Settings); N]) -> Arc<dyn Sink> {
        let tables = tables.into_iter().map(|(name, table)| (name.to_owned(), table)).collect();
        open("pg", &SinkConfig { tables, ..SinkConfig::at(&self.url) }).expect("a valid url")
    }

    async fn run(&self, sql: &str) {
        execute(&self.url, sql).await;
    }

    /// The rows of a query whose columns are texts, joined by `|`; NULL is `-`.
    async fn query(&self, sql: &str) -> Vec<String> {
        let mut connection = PgConnection::connect(&self.url).await.expect("connects");
        let rows = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.expect("a valid query");
        let text = |row: &sqlx::postgres::PgRow, i| {
            let value = row.try_get_raw(i).expect("a column");
            use sqlx::ValueRef;
            if value.is_null() { "-".to_owned() } else { value.as_str().expect("text").to_owned() }
        };
        rows.iter().map(|row| (0..row.len()).map(|i| text(row, i)).collect::<Vec<_>>().join("|")).collect()
    }

    async fn drop(self) {
        execute(&self.admin, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// What the sink says about the one refused row.
fn codes(written: &Written) -> Vec<(usize, &str)> {
    written.refused.iter().map(|refusal| (refusal.item, refusal.code.as_str())).collect()
}

#[tokio::test]
async fn no_error_holds_the_password() {
    for url in ["postgres://u:s3cret@[bad", "postgres://u:s3cret@h:99999/d", "mysql://u:s3cret@h/d"] {
        let config = SinkConfig::at(url);
        let error = open("pg", &config).err();
        assert!(error.is_none_or(|e| !e.contains("s3cret")), "{url}");
    }
    let url = "postgres://u:s3cret@127.0.0.1:1/d";
    let config = SinkConfig::at(url);
    let error = open("pg", &config).expect("a url").ping().await.expect_err("nobody listens on port 1");
    assert_eq!(error.class, Class::Wait);
    assert!(error.message.contains("127.0.0.1:1/d") && !error.message.contains("s3cret"), "{error}");
}
