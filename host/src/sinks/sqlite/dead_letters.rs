//! Dead letters as rows of a table, with the columns and the encoding of headers that the PostgreSQL sink has.

use sqlx::SqliteConnection;

use super::errors::Failure;
use super::{reviewed, run};
use crate::sinks::dead_letter::DeadLetter;
use crate::sinks::sql::letters::headers_json;
use crate::sinks::sql::names::quote;

const COLUMNS: &str = "id TEXT PRIMARY KEY, flow TEXT NOT NULL, topic TEXT NOT NULL, \"partition\" INTEGER NOT NULL, \
\"offset\" INTEGER NOT NULL, \"timestamp\" TEXT, stage TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL, \
module TEXT NOT NULL, sink TEXT NOT NULL, target TEXT NOT NULL, key BLOB, value BLOB, headers TEXT NOT NULL, \
at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))";

/// Writes the letters in one transaction; those whose id is there already are left alone.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    table: &str,
    letters: &[DeadLetter],
) -> Result<(), Failure> {
    let table = quote(table);
    run(connection, &format!("BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS {table} ({COLUMNS})")).await?;
    let sql = format!(
        "INSERT INTO {table} (id, flow, topic, \"partition\", \"offset\", \"timestamp\", stage, code, message, module, sink, target, key, value, headers) \
         VALUES (?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', ? / 1000.0, 'unixepoch'), ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
    );
    for letter in letters {
        let query = sqlx::query(reviewed(&sql))
            .bind(&letter.id)
            .bind(&letter.flow)
            .bind(&letter.topic)
            .bind(letter.partition)
            .bind(letter.offset)
            .bind((letter.timestamp >= 0).then_some(letter.timestamp))
            .bind(&letter.stage)
            .bind(letter.code.as_str())
            .bind(&letter.message)
            .bind(&letter.module)
            .bind(&letter.sink)
            .bind(&letter.target)
            .bind(letter.key.as_deref())
            .bind(letter.value.as_deref())
            .bind(headers_json(&letter.headers));
        query.execute(&mut *connection).await?;
    }
    run(connection, "COMMIT").await
}
