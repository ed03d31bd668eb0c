//! The statements that write a run, and their values. All columns travel as `text[]` and are cast to the column's type
//! without its length, so that one shape serves every type and a text that is too long is an error instead of cut.

use std::ops::Range;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo};
use sqlx::{Arguments, Encode, Postgres, Type};

use super::errors::Failure;
use crate::sinks::sql::column::TextColumn;
use crate::sinks::sql::names::quote;
use crate::sinks::sql::runs::{Action, Run};
use crate::sinks::sql::table::Table;

/// Type id of `text`, which is the same in every server.
const TEXT: i32 = 25;

/// The statement for a run of this table. It depends on the columns only, so that it is prepared once.
pub(super) fn sql(table: &Table, run: &Run) -> String {
    match run.action {
        Action::Insert => insert(table, run, ""),
        Action::Ignore => insert(table, run, " ON CONFLICT DO NOTHING"),
        Action::Upsert => insert(table, run, &on_conflict(table, run)),
        Action::Update => update(table, run),
        Action::Delete => delete(table),
    }
}

/// The values of these rows of a run.
pub(super) fn arguments(run: &Run, rows: &Range<usize>) -> Result<PgArguments, Failure> {
    let mut arguments = PgArguments::default();
    for column in run.keys.iter().chain(&run.values) {
        arguments.add(Texts { column, run, rows }).map_err(|e| Failure::Sqlx(sqlx::Error::Encode(e)))?;
    }
    Ok(arguments)
}

fn insert(table: &Table, run: &Run, conflict: &str) -> String {
    let names = list(run.columns.iter().map(|i| quote(&table.columns[*i].name)));
    let values = list(run.columns.iter().enumerate().map(|(n, i)| format!("x.v{n}::{}", table.columns[*i].cast)));
    let (arrays, aliases) = unnest(0, run.columns.len());
    // Rows are numbered and ordered, so that serial ids follow the order of the records.
    format!(
        "INSERT INTO {} ({names}) SELECT {values} FROM unnest({arrays}) WITH ORDINALITY AS x({aliases}, ord) ORDER BY x.ord{conflict}",
        table.sql
    )
}

fn on_conflict(table: &Table, run: &Run) -> String {
    let key = list(table.key.iter().map(|i| quote(&table.columns[*i].name)));
    let others = run.columns.iter().filter(|i| !table.key.contains(i)).map(|i| quote(&table.columns[*i].name));
    match list(others.map(|name| format!("{name} = EXCLUDED.{name}"))) {
        set if set.is_empty() => format!(" ON CONFLICT ({key}) DO NOTHING"),
        set => format!(" ON CONFLICT ({key}) DO UPDATE SET {set}"),
    }
}

fn update(table: &Table, run: &Run) -> String {
    let set = run.columns.iter().enumerate().map(|(n, i)| {
        let column = &table.columns[*i];
        format!("{} = x.v{n}::{}", quote(&column.name), column.cast)
    });
    let (arrays, aliases) = unnest(table.key.len(), run.columns.len());
    format!(
        "UPDATE {} AS t SET {} FROM unnest({arrays}) AS x({aliases}) WHERE {}",
        table.sql,
        list(set),
        same_key(table)
    )
}

fn delete(table: &Table) -> String {
    let (arrays, aliases) = unnest(table.key.len(), 0);
    format!("DELETE FROM {} AS t USING unnest({arrays}) AS x({aliases}) WHERE {}", table.sql, same_key(table))
}

fn same_key(table: &Table) -> String {
    let same = table.key.iter().enumerate().map(|(n, i)| {
        let column = &table.columns[*i];
        format!("t.{} = x.k{n}::{}", quote(&column.name), column.cast)
    });
    same.collect::<Vec<_>>().join(" AND ")
}

/// The arrays of keys and values, and the names that their elements get.
fn unnest(keys: usize, values: usize) -> (String, String) {
    let arrays = list((1..=keys + values).map(|n| format!("${n}::text[]")));
    let aliases = list((0..keys).map(|n| format!("k{n}")).chain((0..values).map(|n| format!("v{n}"))));
    (arrays, aliases)
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// Some rows of a column, bound as `text[]`.
struct Texts<'r> {
    column: &'r TextColumn,
    run: &'r Run,
    rows: &'r Range<usize>,
}

impl Type<Postgres> for Texts<'_> {
    fn type_info() -> PgTypeInfo {
        <Vec<String> as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Texts<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let rows: usize = self.run.live(self.rows.clone()).map(|stretch| stretch.len()).sum();
        // Dimensions, whether there are NULLs (ignored by the server), element type, length, lower bound.
        for word in [1, 1, TEXT, i32::try_from(rows)?, 1] {
            buffer.extend_from_slice(&word.to_be_bytes());
        }
        for stretch in self.run.live(self.rows.clone()) {
            buffer.extend_from_slice(self.column.encoded(stretch));
        }
        Ok(IsNull::No)
    }
}
