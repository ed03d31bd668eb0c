//! The statements that write a run. All rows travel as one JSON array of arrays of texts; the column's affinity turns
//! the texts into numbers.

use std::ops::Range;

use super::documents::DOCUMENT;
use crate::sinks::sql::names::{quote, quote_all};
use crate::sinks::sql::runs::{Action, Run};
use crate::sinks::sql::table::{Column, Table};

/// The statement for a run of this table, with one `?`.
pub(super) fn sql(table: &Table, run: &Run) -> String {
    match run.action {
        Action::Insert => insert(table, run, ""),
        Action::Ignore => insert(table, run, " ON CONFLICT DO NOTHING"),
        Action::Upsert => insert(table, run, &on_conflict(table, run)),
        Action::Update => update(table, run),
        Action::Delete => delete(table),
    }
}

/// The keys and values of these rows, as the statement's `?`.
pub(super) fn argument(run: &Run, rows: &Range<usize>) -> String {
    let mut json = String::from("[");
    for row in run.live(rows.clone()).flatten() {
        let cells: Vec<Option<&str>> = run.keys.iter().chain(&run.values).map(|column| column.get(row)).collect();
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&serde_json::to_string(&cells).expect("texts are JSON"));
    }
    json.push(']');
    json
}

fn insert(table: &Table, run: &Run, conflict: &str) -> String {
    let names = quote_all(run.columns.iter().map(|i| table.columns[*i].name.as_str()));
    let values: Vec<String> = run.columns.iter().enumerate().map(|(n, i)| cell(n, &table.columns[*i])).collect();
    // `WHERE true` keeps the parser from taking ON CONFLICT for a join.
    format!(
        "INSERT INTO {} ({names}) SELECT {} FROM json_each(?) AS x WHERE true ORDER BY x.key{conflict}",
        table.sql,
        values.join(", ")
    )
}

fn on_conflict(table: &Table, run: &Run) -> String {
    let key = quote_all(table.key.iter().map(|i| table.columns[*i].name.as_str()));
    let others = run.columns.iter().filter(|i| !table.key.contains(i)).map(|i| quote(&table.columns[*i].name));
    let set: Vec<String> = others.map(|name| format!("{name} = excluded.{name}")).collect();
    match set.is_empty() {
        true => format!(" ON CONFLICT ({key}) DO NOTHING"),
        false => format!(" ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", ")),
    }
}

fn update(table: &Table, run: &Run) -> String {
    let keys = table.key.len();
    let set: Vec<String> = run
        .columns
        .iter()
        .enumerate()
        .map(|(n, i)| {
            let (name, value) = (quote(&table.columns[*i].name), cell(keys + n, &table.columns[*i]));
            let merged =
                if table.columns[*i].cast == DOCUMENT { format!("json_patch({name}, {value})") } else { value };
            format!("{name} = {merged}")
        })
        .collect();
    let same = table
        .key
        .iter()
        .enumerate()
        .map(|(n, i)| format!("t.{} = {}", quote(&table.columns[*i].name), cell(n, &table.columns[*i])));
    let same: Vec<String> = same.collect();
    format!("UPDATE {} AS t SET {} FROM json_each(?) AS x WHERE {}", table.sql, set.join(", "), same.join(" AND "))
}

fn delete(table: &Table) -> String {
    let names = quote_all(table.key.iter().map(|i| table.columns[*i].name.as_str()));
    let values: Vec<String> = table.key.iter().enumerate().map(|(n, i)| cell(n, &table.columns[*i])).collect();
    format!("DELETE FROM {} WHERE ({names}) IN (SELECT {} FROM json_each(?) AS x)", table.sql, values.join(", "))
}

/// The `n`th text of a row, as its column wants it.
fn cell(n: usize, column: &Column) -> String {
    let text = format!("x.value ->> {n}");
    match column.cast.as_str() {
        "boolean" => format!("CASE {text} WHEN 'true' THEN 1 WHEN 'false' THEN 0 ELSE {text} END"),
        "bytea" => format!("CASE WHEN {text} LIKE '\\x%' THEN unhex(substr({text}, 3)) ELSE CAST({text} AS BLOB) END"),
        // A comparison takes its affinity from the cast where the other side has none.
        "bigint" => format!("CAST({text} AS NUMERIC)"),
        _ => text,
    }
}
