//! Tables as the server's catalogue has them, created or extended where that is allowed. An existing column is never
//! changed and nothing is ever dropped.

use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Row};

use super::connection::Session;
use super::errors::Failure;
use crate::sinks::SinkError;
use crate::sinks::sql::names::{TableName, is_reserved_schema, quote, quote_all};
use crate::sinks::sql::table::{Column, Declared, DeclaredColumn, Table};
use crate::sinks::sql::types::ColumnType;

/// Held while tables are created, so that hosts that start together do not collide in the catalogue. The number is
/// arbitrary, and the same for all hosts. What others have committed meanwhile a server process learns when it locks a table,
/// not when it gets a lock of this kind: without the second statement it may create a schema that it once looked for in vain.
pub(super) const LOCK: &str =
    "SELECT pg_advisory_xact_lock(8316866959); SELECT FROM pg_catalog.pg_namespace WHERE false";

/// A domain is looked through: casting to it would cut texts silently where it limits their length.
const COLUMNS: &str = "\
SELECT n.nspname::text, a.attname::text, \
  format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE a.atttypid END, CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE a.atttypmod END), \
  format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE a.atttypid END, -1), \
  a.attnotnull OR t.typnotnull, \
  a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, \
  array_position(i.indkey::int2[], a.attnum) \
FROM pg_catalog.pg_class c \
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisprimary \
WHERE c.oid = to_regclass($1) ORDER BY a.attnum";

/// Reads the table, creating or extending it where it does not have what is declared.
pub(super) async fn ensure(session: &mut Session, name: &TableName, declared: &Declared) -> Result<Table, SinkError> {
    let doing = |e: Failure| e.sink_error(&format!("cannot look at table {name}"));
    if let Some(table) = read(session, name, declared).await.map_err(doing)?.transpose().map_err(SinkError::operator)? {
        let missing = table.missing(declared).map_err(SinkError::operator)?;
        table.check_unfilled(declared).map_err(SinkError::operator)?;
        if missing.is_empty() {
            return Ok(table);
        }
    } else if !declared.create {
        return Err(SinkError::operator(format!("table {name} does not exist and `create` is off; create it")));
    } else if declared.columns.is_empty() {
        return Err(SinkError::operator(format!(
            "table {name} does not exist and its columns are not declared; create it, declare them in the module or set `columns` for the table"
        )));
    }
    change(session, name, declared).await
}

/// Creates the schema and table for statements of the host itself, under the lock.
pub(super) async fn create_own(session: &mut Session, statements: &str) -> Result<(), Failure> {
    session.run(&format!("BEGIN; {LOCK}; {statements}; COMMIT")).await
}

async fn change(session: &mut Session, name: &TableName, declared: &Declared) -> Result<Table, SinkError> {
    let doing = |e: Failure| e.sink_error(&format!("cannot create or extend table {name}"));
    session.run(&format!("BEGIN; {LOCK}")).await.map_err(doing)?;
    // Another host may have done it while this one waited for the lock.
    let statement = match read(session, name, declared).await.map_err(doing)? {
        None => create(session, name, declared).await.map_err(doing)?,
        Some(table) => add(&table.map_err(SinkError::operator)?, declared)?,
    };
    session.run(&statement).await.map_err(doing)?;
    let table = read(session, name, declared).await.map_err(doing)?;
    session.run("COMMIT").await.map_err(doing)?;
    let vanished = || SinkError::wait(format!("table {name} vanished while it was created"));
    table.ok_or_else(vanished)?.map_err(SinkError::operator)
}

/// `None` where there is no such table. The inner error names what is wrong with the declaration.
async fn read(
    session: &mut Session,
    name: &TableName,
    declared: &Declared,
) -> Result<Option<Result<Table, String>>, Failure> {
    let rows = session.fetch(COLUMNS, text(&name.sql())?).await?;
    let (mut columns, mut primary) = (Vec::new(), Vec::new());
    let mut schema = String::new();
    for row in &rows {
        schema = row.try_get(0)?;
        let (name, ty, cast): (String, String, String) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        if let Some(place) = row.try_get::<Option<i32>, _>(6)? {
            primary.push((place, name.clone()));
        }
        let ty = ColumnType::catalogued(&ty);
        let (not_null, has_default) = (row.try_get(4)?, row.try_get(5)?);
        columns.push(Column { name, cast, kind: ty.kind(), ty, not_null, has_default });
    }
    if columns.is_empty() {
        return Ok(None);
    }
    if is_reserved_schema(&schema) {
        return Ok(Some(Err(format!("table {name} is in schema {schema}, which outputs must not write to"))));
    }
    primary.sort();
    let primary: Vec<String> = primary.into_iter().map(|(_, name)| name).collect();
    let place = TableName { schema: Some(schema), table: name.table.clone() };
    let table = Table::new(name.clone(), name.sql(), columns, &primary, declared);
    Ok(Some(table.map(|table| table.at(place))))
}

/// The statement that creates the schema of a table where it is missing: that needs a right that writing does not, even
/// where the schema exists.
pub(super) async fn missing_schema(session: &mut Session, name: &TableName) -> Result<String, Failure> {
    let Some(schema) = &name.schema else { return Ok(String::new()) };
    let rows = session.fetch("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", text(schema)?).await?;
    Ok(if rows.is_empty() { format!("CREATE SCHEMA IF NOT EXISTS {}; ", quote(schema)) } else { String::new() })
}

async fn create(session: &mut Session, name: &TableName, declared: &Declared) -> Result<String, Failure> {
    let statement = missing_schema(session, name).await?;
    let mut parts: Vec<String> = declared.serial.iter().map(|c| format!("{} SERIAL PRIMARY KEY", quote(c))).collect();
    parts.extend(declared.columns.iter().map(definition));
    if !declared.key.is_empty() {
        let kind = if declared.serial.is_some() { "UNIQUE" } else { "PRIMARY KEY" };
        parts.push(format!("{kind} ({})", quote_all(declared.key.iter().map(String::as_str))));
    }
    Ok(format!("{statement}CREATE TABLE IF NOT EXISTS {} ({})", name.sql(), parts.join(", ")))
}

fn add(table: &Table, declared: &Declared) -> Result<String, SinkError> {
    let missing = table.missing(declared).map_err(SinkError::operator)?;
    if missing.is_empty() {
        return Ok("SELECT 1".into());
    }
    let adds: Vec<String> = missing.iter().map(|c| format!("ADD COLUMN IF NOT EXISTS {}", definition(c))).collect();
    Ok(format!("ALTER TABLE {} {}", table.sql, adds.join(", ")))
}

fn definition(column: &DeclaredColumn) -> String {
    let null = if column.nullable { "" } else { " NOT NULL" };
    format!("{} {}{null}", quote(&column.name), column.ty.sql())
}

fn text(value: &str) -> Result<PgArguments, Failure> {
    let mut arguments = PgArguments::default();
    arguments.add(value).map_err(|e| Failure::Sqlx(sqlx::Error::Encode(e)))?;
    Ok(arguments)
}
