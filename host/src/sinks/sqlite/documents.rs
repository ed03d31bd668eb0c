//! Documents as rows of two columns: `_id`, the author's key or the source id, and the document as it came.

use serde::de::IgnoredAny;
use sqlx::SqliteConnection;

use super::errors::Failure;
use super::run;
use crate::config::Mode;
use crate::outcome::Operation;
use crate::sinks::sql::names::{TableName, quote};
use crate::sinks::sql::runs::{Action, Runs};
use crate::sinks::sql::table::{Column, Declared, Table};
use crate::sinks::sql::types::{ColumnType, Kind};
use crate::sinks::sql::value::{Fault, put};
use crate::sinks::{Item, SinkBatch, SinkError};

/// Marks the column that holds a document: an update merges into it.
pub(super) const DOCUMENT: &str = "document";

/// The table of a collection, created where it is missing.
pub(super) async fn ensure(connection: &mut SqliteConnection, name: &str) -> Result<Table, SinkError> {
    let sql = quote(name);
    let create = format!("CREATE TABLE IF NOT EXISTS {sql} (_id TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL)");
    let doing = |e: Failure| e.sink_error(&format!("cannot create table {name}"));
    run(connection, &create).await.map_err(doing)?;
    let column = |name: &str, cast: &str| Column {
        name: name.into(),
        cast: cast.into(),
        ty: ColumnType::catalogued("text"),
        kind: Kind::Plain,
        not_null: true,
        has_default: false,
    };
    let columns = vec![column("_id", "text"), column("document", DOCUMENT)];
    let declared = Declared { mode: Mode::Insert, ..Declared::default() };
    let name = TableName { schema: None, table: name.to_owned() };
    Table::new(name, sql, columns, &["_id".to_owned()], &declared).map_err(SinkError::operator)
}

/// Whether the table is one of [`ensure`]'s.
pub(super) fn is_documents(table: &Table) -> bool {
    table.columns.len() == 2 && table.columns[1].cast == DOCUMENT
}

/// Adds one document to the runs of its table.
pub(super) fn add(runs: &mut Runs, table: &Table, index: usize, batch: &SinkBatch, item: &Item) -> Result<(), Fault> {
    let output = &item.output;
    let action = match output.operation {
        Operation::Write if output.key.is_some() => Action::Insert,
        // A source id that is there already is a repetition of the same output.
        Operation::Write | Operation::Ignore => Action::Ignore,
        Operation::Upsert | Operation::Replace => Action::Upsert,
        Operation::Update => Action::Update,
        Operation::Delete => Action::Delete,
    };
    let id = match &output.key {
        Some(key) => key_text(key)?,
        None if matches!(action, Action::Update | Action::Delete) => {
            return Err(Fault::Decode("a document is updated and deleted by its key, but the output has none".into()));
        }
        None => batch.source_id(item).into_bytes(),
    };
    if action == Action::Delete {
        return runs.add_cells(action, table, index, &[&id], &[]);
    }
    let value = output
        .value
        .as_deref()
        .ok_or_else(|| Fault::Decode("a document is needed, but the output has no value".into()))?;
    runs.add_cells(action, table, index, &[&id], &[(1, document_text(value)?.as_bytes())])
}

/// A JSON string is its text, any other JSON as it stands.
fn key_text(key: &[u8]) -> Result<Vec<u8>, Fault> {
    let raw: &serde_json::value::RawValue =
        serde_json::from_slice(key).map_err(|_| Fault::Decode("the document's key is not JSON".into()))?;
    let mut text = Vec::new();
    match put(raw.get(), Kind::Plain, &mut text)? {
        true => Ok(text),
        false => Err(Fault::Decode("the document's key is null".into())),
    }
}

fn document_text(value: &[u8]) -> Result<&str, Fault> {
    let text = std::str::from_utf8(value).map_err(|_| Fault::Decode("the document is not JSON in UTF-8".into()))?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Fault::Decode("the document is not a JSON object".into()));
    }
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|e| Fault::Decode(format!("the document is not valid JSON: {e}")))?;
    Ok(text)
}
