//! Dead letters as rows of a table. Headers become a jsonb array of `[name, value]`, in order, where the value is base64
//! or null; key and value stay bytes.

use std::ops::RangeInclusive;

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use super::catalogue;
use super::connection::Session;
use super::errors::Failure;
use super::progress::push;
use crate::outcome::Code;
use crate::sinks::dead_letter::DeadLetter;
use crate::sinks::sql::letters::{headers_json, headers_of, storable};
use crate::sinks::sql::names::TableName;

/// Bytes of keys, values and headers per statement; a larger letter goes alone.
const MOST_BYTES: usize = 8 << 20;
/// Letters per statement.
const MOST_LETTERS: usize = 5_000;

const COLUMNS: &str = "id text PRIMARY KEY, flow text NOT NULL, topic text NOT NULL, \"partition\" int NOT NULL, \
\"offset\" bigint NOT NULL, \"timestamp\" timestamptz, stage text NOT NULL, code text NOT NULL, message text NOT NULL, \
module text NOT NULL, sink text NOT NULL, target text NOT NULL, key bytea, value bytea, headers jsonb NOT NULL, \
at timestamptz NOT NULL DEFAULT now(), redriven int NOT NULL DEFAULT 0";

/// Timestamps that become one of the table's; others, in nanoseconds for example, are beyond what it can hold.
const TIMES: RangeInclusive<i64> = 0..=253_402_300_799_999;

/// Letters that are read in one go.
const PAGE: usize = 500;

/// Creates the table where it is missing; one of an older version gets the column that it lacks.
pub(super) async fn ensure(session: &mut Session, table: &TableName) -> Result<(), Failure> {
    let mut arguments = PgArguments::default();
    push(&mut arguments, table.sql())?;
    let column = "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'redriven' AND attnum > 0";
    if !session.fetch(column, arguments).await?.is_empty() {
        return Ok(());
    }
    let schema = catalogue::missing_schema(session, table).await?;
    let table = table.sql();
    let create = format!("{schema}CREATE TABLE IF NOT EXISTS {table} ({COLUMNS})");
    let extend = format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS redriven int NOT NULL DEFAULT 0");
    catalogue::create_own(session, &format!("{create}; {extend}")).await
}

/// Writes the letters; those whose id is there already are left alone, unless they were redriven since. Each statement stands for itself: a repetition
/// writes what is missing.
pub(super) async fn write(session: &mut Session, table: &TableName, letters: &[DeadLetter]) -> Result<(), Failure> {
    let sql = format!(
        "INSERT INTO {} AS there (id, flow, topic, stage, code, message, module, sink, target, \"partition\", \"offset\", \"timestamp\", key, value, headers, redriven) \
         SELECT s.id, s.flow, s.topic, s.stage, s.code, s.message, s.module, s.sink, s.target, s.part, s.at, to_timestamp(s.time / 1000.0), s.key, s.value, s.headers::jsonb, s.redriven \
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], \
         $10::int4[], $11::int8[], $12::int8[], $13::bytea[], $14::bytea[], $15::text[], $16::int4[]) \
         AS s(id, flow, topic, stage, code, message, module, sink, target, part, at, time, key, value, headers, redriven) \
         ON CONFLICT (id) DO UPDATE SET stage = excluded.stage, code = excluded.code, message = excluded.message, \
         module = excluded.module, at = now(), redriven = excluded.redriven WHERE there.redriven < excluded.redriven",
        table.sql()
    );
    let mut rest = letters;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(chunk(rest));
        session.execute(&sql, bind(now)?).await?;
        rest = later;
    }
    Ok(())
}

/// The next letters by id; none where there is no table.
pub(super) async fn read(session: &mut Session, table: &TableName, after: &str) -> Result<Vec<DeadLetter>, Failure> {
    let mut arguments = PgArguments::default();
    push(&mut arguments, table.sql())?;
    if session.fetch("SELECT 1 WHERE to_regclass($1) IS NOT NULL", arguments).await?.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT id, flow, topic, stage, code, message, module, sink, target, \"partition\", \"offset\", \
         coalesce((extract(epoch FROM \"timestamp\") * 1000)::int8, -1), key, value, headers::text, \
         coalesce((to_jsonb(l) ->> 'redriven')::int4, 0) FROM {} AS l WHERE id > $1 ORDER BY id LIMIT {PAGE}",
        table.sql()
    );
    let mut arguments = PgArguments::default();
    push(&mut arguments, after.to_owned())?;
    session.fetch(&sql, arguments).await?.iter().map(letter).collect()
}

fn letter(row: &PgRow) -> Result<DeadLetter, Failure> {
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
        redriven: u32::try_from(row.try_get::<i32, _>(15)?).unwrap_or(0),
    })
}

fn bind(letters: &[DeadLetter]) -> Result<PgArguments, Failure> {
    let mut arguments = PgArguments::default();
    let texts: [fn(&DeadLetter) -> &str; 9] = [
        |l| &l.id,
        |l| &l.flow,
        |l| &l.topic,
        |l| &l.stage,
        |l| l.code.as_str(),
        |l| &l.message,
        |l| &l.module,
        |l| &l.sink,
        |l| &l.target,
    ];
    for text in texts {
        push(&mut arguments, letters.iter().map(|l| storable(text(l))).collect::<Vec<_>>())?;
    }
    push(&mut arguments, letters.iter().map(|l| l.partition).collect::<Vec<i32>>())?;
    push(&mut arguments, letters.iter().map(|l| l.offset).collect::<Vec<i64>>())?;
    push(&mut arguments, letters.iter().map(|l| time(l.timestamp)).collect::<Vec<_>>())?;
    push(&mut arguments, letters.iter().map(|l| l.key.as_deref()).collect::<Vec<_>>())?;
    push(&mut arguments, letters.iter().map(|l| l.value.as_deref()).collect::<Vec<_>>())?;
    push(&mut arguments, letters.iter().map(|l| headers_json(&l.headers)).collect::<Vec<_>>())?;
    push(&mut arguments, letters.iter().map(|l| i32::try_from(l.redriven).unwrap_or(i32::MAX)).collect::<Vec<_>>())?;
    Ok(arguments)
}

fn time(timestamp: i64) -> Option<i64> {
    Some(timestamp).filter(|timestamp| TIMES.contains(timestamp))
}

/// How many letters fit into one statement, at least one.
fn chunk(letters: &[DeadLetter]) -> usize {
    let mut bytes = 0;
    let fitting = letters.iter().take(MOST_LETTERS).take_while(|letter| {
        bytes += letter.key.as_ref().map_or(0, |k| k.len())
            + letter.value.as_ref().map_or(0, |v| v.len())
            + letter.headers.encoded.len() * 2;
        bytes <= MOST_BYTES
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_the_server_would_refuse_is_not_bound() {
        let times = [-1, 0, 253_402_300_799_999, 253_402_300_800_000, 1_700_000_000_123_000_000, i64::MAX].map(time);
        assert_eq!(times, [None, Some(0), Some(253_402_300_799_999), None, None, None]);
    }
}
