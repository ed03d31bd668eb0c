//! Dead letters as rows of a table, with the columns and the encoding of headers that the PostgreSQL sink has.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::errors::Failure;
use super::{reviewed, run};
use crate::outcome::Code;
use crate::sinks::dead_letter::DeadLetter;
use crate::sinks::sql::letters::{headers_json, headers_of};
use crate::sinks::sql::names::quote;

const COLUMNS: &str = "id TEXT PRIMARY KEY, flow TEXT NOT NULL, topic TEXT NOT NULL, \"partition\" INTEGER NOT NULL, \
\"offset\" INTEGER NOT NULL, \"timestamp\" TEXT, stage TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL, \
module TEXT NOT NULL, sink TEXT NOT NULL, target TEXT NOT NULL, key BLOB, value BLOB, headers TEXT NOT NULL, \
at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')), redriven INTEGER NOT NULL DEFAULT 0";

/// Letters that are read in one go.
const PAGE: usize = 500;

/// Writes the letters in one transaction; those whose id is there already are left alone, unless they were redriven since.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    table: &str,
    letters: &[DeadLetter],
) -> Result<(), Failure> {
    run(connection, &format!("BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS {} ({COLUMNS})", quote(table))).await?;
    if !columns(connection, table).await?.contains(&"redriven".to_owned()) {
        let extend = format!("ALTER TABLE {} ADD COLUMN redriven INTEGER NOT NULL DEFAULT 0", quote(table));
        run(connection, &extend).await?;
    }
    let table = quote(table);
    let sql = format!(
        "INSERT INTO {table} (id, flow, topic, \"partition\", \"offset\", \"timestamp\", stage, code, message, module, sink, target, key, value, headers, redriven) \
         VALUES (?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', ? / 1000.0, 'unixepoch'), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET stage = excluded.stage, code = excluded.code, message = excluded.message, \
         module = excluded.module, at = excluded.at, redriven = excluded.redriven WHERE redriven < excluded.redriven"
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
            .bind(headers_json(&letter.headers))
            .bind(letter.redriven);
        query.execute(&mut *connection).await?;
    }
    run(connection, "COMMIT").await
}

/// The next letters by id; none where there is no table.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    table: &str,
    after: &str,
) -> Result<Vec<DeadLetter>, Failure> {
    let columns = columns(connection, table).await?;
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let redriven = if columns.contains(&"redriven".to_owned()) { "redriven" } else { "0" };
    let sql = format!(
        "SELECT id, flow, topic, stage, code, message, module, sink, target, \"partition\", \"offset\", \
         coalesce(CAST(round((julianday(\"timestamp\") - 2440587.5) * 86400000.0) AS INTEGER), -1), key, value, headers, \
         {redriven} FROM {} WHERE id > ? ORDER BY id LIMIT {PAGE}",
        quote(table)
    );
    let rows = sqlx::query(reviewed(&sql)).bind(after).fetch_all(connection).await?;
    rows.iter().map(letter).collect()
}

async fn columns(connection: &mut SqliteConnection, table: &str) -> Result<Vec<String>, Failure> {
    let names = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)").bind(table);
    Ok(names.fetch_all(connection).await?)
}

fn letter(row: &SqliteRow) -> Result<DeadLetter, Failure> {
    let text = |at: usize| row.try_get::<String, _>(at);
    let bytes = |at: usize| row.try_get::<Option<Vec<u8>>, _>(at).map(|bytes| bytes.map(Into::into));
    Ok(DeadLetter {
        id: text(0)?,
        flow: text(1)?,
        topic: text(2)?,
        stage: text(3)?,
        code: Code::from_stored(text(4)?),
        message: text(5)?,
        module: text(6)?,
        sink: text(7)?,
        target: text(8)?,
        partition: row.try_get(9)?,
        offset: row.try_get(10)?,
        timestamp: row.try_get(11)?,
        key: bytes(12)?,
        value: bytes(13)?,
        headers: headers_of(&text(14)?),
        redriven: u32::try_from(row.try_get::<i64, _>(15)?).unwrap_or(0),
    })
}
