//! Tables of a SQLite file: read, created, extended. PostgreSQL's types become the few that SQLite knows; numerics stay
//! texts, because SQLite would round them.

use sqlx::{Row, SqliteConnection};

use super::errors::Failure;
use super::{reviewed, run};
use crate::config::Table as Settings;
use crate::manifest::TableSpec;
use crate::sinks::SinkError;
use crate::sinks::sql::names::{TableName, quote, quote_all};
use crate::sinks::sql::table::{Column, Declared, DeclaredColumn, Table};
use crate::sinks::sql::types::{ColumnType, Kind};

/// What is declared, in SQLite's types.
pub(super) fn declared(spec: Option<&TableSpec>, settings: Option<&Settings>) -> Result<Declared, String> {
    let mut declared = Declared::new(spec, settings)?;
    for column in &mut declared.columns {
        column.ty = simplified(&column.ty);
    }
    Ok(declared)
}

pub(super) async fn ensure(
    connection: &mut SqliteConnection,
    name: &str,
    declared: &Declared,
) -> Result<Table, SinkError> {
    let doing = |e: Failure| e.sink_error(&format!("cannot create or extend table {name}"));
    let table = read(connection, name, declared).await.map_err(doing)?;
    let statement = match &table {
        None if declared.columns.is_empty() || !declared.create => {
            let advice = "create it, declare its columns in the module or set `columns` for the table";
            return Err(SinkError::operator(format!("table {name} does not exist; {advice}")));
        }
        None => create(name, declared),
        Some(table) => {
            let table = table.as_ref().map_err(|e| SinkError::operator(e.clone()))?;
            let missing = table.missing(declared).map_err(SinkError::operator)?;
            table.check_unfilled(declared).map_err(SinkError::operator)?;
            let add = |c: &&DeclaredColumn| format!("ALTER TABLE {} ADD COLUMN {}", quote(name), definition(c));
            missing.iter().map(add).collect::<Vec<_>>().join("; ")
        }
    };
    if !statement.is_empty() {
        run(connection, &statement).await.map_err(doing)?;
    }
    let table = read(connection, name, declared).await.map_err(doing)?;
    table
        .ok_or_else(|| SinkError::wait(format!("table {name} vanished while it was created")))?
        .map_err(SinkError::operator)
}

async fn read(
    connection: &mut SqliteConnection,
    name: &str,
    declared: &Declared,
) -> Result<Option<Result<Table, String>>, Failure> {
    let sql = "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk FROM pragma_table_info(?) ORDER BY cid";
    let rows = sqlx::query(reviewed(sql)).bind(name).fetch_all(&mut *connection).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let (mut columns, mut primary) = (Vec::new(), Vec::new());
    for row in &rows {
        let (name, ty): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (not_null, has_default, place): (bool, bool, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        if place > 0 {
            primary.push((place, name.clone()));
        }
        columns.push(column(name, &ty, not_null, has_default));
    }
    primary.sort();
    // The one INTEGER key is the row's number, which SQLite gives by itself.
    if let [(_, only)] = &primary[..] {
        let numbered = |c: &&mut Column| c.name == *only && c.ty.base == "bigint";
        columns.iter_mut().filter(numbered).for_each(|c| c.has_default = true);
    }
    let primary: Vec<String> = primary.into_iter().map(|(_, name)| name).collect();
    let table = TableName { schema: None, table: name.to_owned() };
    Ok(Some(Table::new(table, quote(name), columns, &primary, declared)))
}

fn column(name: String, declared: &str, not_null: bool, has_default: bool) -> Column {
    let upper = declared.to_ascii_uppercase();
    let ty = match upper.as_str() {
        ty if ty.contains("JSON") => "json",
        ty if ty.contains("INT") => "bigint",
        ty if ty.contains("BOOL") => "boolean",
        ty if ty.contains("BLOB") => "bytea",
        ty if ty.contains("REAL") || ty.contains("FLOA") || ty.contains("DOUB") => "double precision",
        _ => "text",
    };
    let ty = ColumnType::catalogued(ty);
    let kind = match ty.base.as_str() {
        "bytea" => Kind::Blob,
        "json" => Kind::Json,
        "bigint" => Kind::Integer,
        _ => Kind::Plain,
    };
    Column { name, cast: ty.base.clone(), kind, ty, not_null, has_default }
}

/// A type as far as SQLite tells types apart.
fn simplified(ty: &ColumnType) -> ColumnType {
    let base = match (ty.base.as_str(), ty.array) {
        (_, true) | ("json" | "jsonb", _) => "json",
        ("smallint" | "integer" | "bigint", _) => "bigint",
        ("real" | "double precision", _) => "double precision",
        (base @ ("boolean" | "bytea" | "character varying"), _) => base,
        _ => "text",
    };
    let mut simple = ColumnType::catalogued(base);
    if base == "character varying" {
        simple.args.clone_from(&ty.args);
    }
    simple
}

fn create(name: &str, declared: &Declared) -> String {
    let mut parts: Vec<String> = declared.serial.iter().map(|c| format!("{} INTEGER PRIMARY KEY", quote(c))).collect();
    parts.extend(declared.columns.iter().map(definition));
    if !declared.key.is_empty() {
        let kind = if declared.serial.is_some() { "UNIQUE" } else { "PRIMARY KEY" };
        parts.push(format!("{kind} ({})", quote_all(declared.key.iter().map(String::as_str))));
    }
    format!("CREATE TABLE IF NOT EXISTS {} ({})", quote(name), parts.join(", "))
}

fn definition(column: &DeclaredColumn) -> String {
    let name = quote(&column.name);
    let ty = match column.ty.base.as_str() {
        "bigint" => "INTEGER",
        "double precision" => "REAL",
        "boolean" => "BOOLEAN",
        "bytea" => "BLOB",
        "json" => "JSON TEXT",
        _ => "TEXT",
    };
    let null = if column.nullable { "" } else { " NOT NULL" };
    // SQLite keeps no limit by itself.
    let limit = column.ty.args.first().map(|n| format!(" CHECK (length({name}) <= {n})")).unwrap_or_default();
    format!("{name} {ty}{null}{limit}")
}
