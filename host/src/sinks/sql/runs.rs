//! Rows gathered into runs: what one statement writes. A run is cut when the operation or the columns change, and when
//! it is large enough, so that the operations on one table happen in the order they were given.

use std::collections::HashMap;
use std::ops::Range;

use crate::config::Mode;
use crate::outcome::{Operation, Output};

use super::column::TextColumn;
use super::row::Row;
use super::table::Table;
use super::value::Fault;

/// Rows per statement.
const MOST_ROWS: usize = 5_000;
/// Bytes of texts per statement; a larger row goes alone.
const MOST_BYTES: usize = 8 << 20;

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Insert,
    Upsert,
    Ignore,
    Update,
    Delete,
}

/// Rows of one table, one action, one set of columns.
#[derive(Debug)]
pub struct Run {
    pub action: Action,
    /// The columns that are written, ascending; empty for deletes.
    pub columns: Vec<usize>,
    /// One per entry of `columns`.
    pub values: Vec<TextColumn>,
    /// What rows are found by, one per key column: for updates and deletes.
    pub keys: Vec<TextColumn>,
    /// Per row the item that it came from.
    pub items: Vec<usize>,
    /// Rows whose key comes again further down: the later one is written.
    superseded: Vec<bool>,
    bytes: usize,
    /// Last row per key, for upserts and updates.
    last: HashMap<Box<[u8]>, usize>,
}

/// Gathers the rows of one table.
#[derive(Debug)]
pub struct Runs {
    runs: Vec<Run>,
    /// Cut where a key comes twice, instead of dropping the earlier row: if the later one is refused, the earlier one
    /// must have been written.
    cut_at_keys: bool,
    row: Row,
    key: Row,
    key_bytes: Vec<u8>,
}

impl Run {
    fn new(action: Action, table: &Table) -> Self {
        let always = match action {
            Action::Insert | Action::Ignore => table.always.as_slice(),
            Action::Upsert | Action::Update | Action::Delete => &[],
        };
        let mut columns = always.to_vec();
        columns.sort_unstable();
        let keyed = matches!(action, Action::Update | Action::Delete);
        Run {
            action,
            values: vec![TextColumn::default(); columns.len()],
            columns,
            keys: vec![TextColumn::default(); if keyed { table.key.len() } else { 0 }],
            items: Vec::new(),
            superseded: Vec::new(),
            bytes: 0,
            last: HashMap::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The rows of a range that are really written, as stretches without gaps.
    pub fn live(&self, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut at = rows.start;
        std::iter::from_fn(move || {
            let is_live = |row: &usize| !self.superseded[*row];
            let from = (at..rows.end).find(is_live)?;
            at = (from..rows.end).find(|row| !is_live(row)).unwrap_or(rows.end);
            Some(from..at)
        })
    }

    fn is_full(&self, more: usize) -> bool {
        self.len() >= MOST_ROWS || (!self.is_empty() && self.bytes + more > MOST_BYTES)
    }

    /// Whether the row can be added without another meaning: inserts may fill up with NULL what has no default, updates
    /// must not.
    fn takes(&self, action: Action, table: &Table, row: &Row) -> bool {
        if self.action != action {
            return false;
        }
        let only_in_row = |i: &usize| self.columns.binary_search(i).is_err();
        let only_in_run = |i: &usize| !row.is_present(*i);
        let mut differing =
            row.present().iter().filter(|i| only_in_row(i)).chain(self.columns.iter().filter(|i| only_in_run(i)));
        match action {
            Action::Insert | Action::Ignore => differing.all(|i| !table.columns[*i].has_default),
            Action::Upsert | Action::Update => self.is_empty() || differing.next().is_none(),
            Action::Delete => true,
        }
    }

    fn push(&mut self, item: usize, row: &Row) {
        for &column in row.present() {
            if let Err(at) = self.columns.binary_search(&column) {
                self.columns.insert(at, column);
                self.values.insert(at, TextColumn::nulls(self.len()));
            }
        }
        for (column, values) in self.columns.iter().zip(&mut self.values) {
            values.push(row.text(*column));
        }
        self.bytes += row.bytes();
        self.items.push(item);
        self.superseded.push(false);
    }

    fn push_key(&mut self, table: &Table, key: &Row) {
        for (column, keys) in table.key.iter().zip(&mut self.keys) {
            keys.push(key.text(*column));
        }
        self.bytes += key.bytes();
    }

    /// Marks the earlier row of the same key.
    fn supersede(&mut self, key: &[u8]) {
        let row = self.len() - 1;
        if let Some(earlier) = self.last.insert(key.into(), row) {
            self.superseded[earlier] = true;
        }
    }
}

impl Runs {
    pub fn new(cut_at_keys: bool) -> Self {
        Runs { runs: Vec::new(), cut_at_keys, row: Row::default(), key: Row::default(), key_bytes: Vec::new() }
    }

    /// Adds an output; after a fault nothing is added.
    pub fn add(&mut self, table: &Table, item: usize, output: &Output) -> Result<(), Fault> {
        let action = Action::of(output.operation, table.mode);
        match action {
            Action::Delete => self.delete(table, item, output),
            Action::Update => self.update(table, item, output),
            Action::Insert | Action::Upsert | Action::Ignore => self.insert(action, table, item, output),
        }
    }

    /// Adds a row that is not JSON: the texts of the key's columns, then those of other columns.
    pub fn add_cells(
        &mut self,
        action: Action,
        table: &Table,
        item: usize,
        key: &[&[u8]],
        others: &[(usize, &[u8])],
    ) -> Result<(), Fault> {
        let keys = || table.key.iter().copied().zip(key.iter().copied());
        match action {
            Action::Update => self.row.fill(table, others.iter().copied()),
            _ => self.row.fill(table, keys().chain(others.iter().copied())),
        }
        self.key.fill(table, keys());
        match action {
            Action::Update => self.put_update(table, item),
            Action::Delete => self.put_delete(table, item),
            Action::Insert | Action::Upsert | Action::Ignore => self.put_insert(action, table, item),
        }
    }

    /// The runs so far, in order.
    pub fn finish(self) -> Vec<Run> {
        self.runs
    }

    fn insert(&mut self, action: Action, table: &Table, item: usize, output: &Output) -> Result<(), Fault> {
        self.row.read(table, value(output)?)?;
        if let Some(key) = &output.key
            && !table.key.is_empty()
        {
            self.row.add_key(table, key)?;
        }
        self.put_insert(action, table, item)
    }

    fn put_insert(&mut self, action: Action, table: &Table, item: usize) -> Result<(), Fault> {
        if action == Action::Upsert {
            collect_key(table, &self.row, &mut self.key_bytes)?;
        }
        if self.row.present().is_empty() && table.always.is_empty() {
            return Err(Fault::Decode("the row has no columns".into()));
        }
        let cut = action == Action::Upsert && self.repeats_key();
        let run = open(&mut self.runs, action, table, &self.row, cut);
        run.push(item, &self.row);
        if action == Action::Upsert {
            run.supersede(&self.key_bytes);
        }
        Ok(())
    }

    fn update(&mut self, table: &Table, item: usize, output: &Output) -> Result<(), Fault> {
        self.row.read(table, value(output)?)?;
        match &output.key {
            Some(key) => self.key.read_key(table, key)?,
            // The key's columns find the row; writing them again would change nothing, and a server refuses that for
            // an identity column.
            None => {
                self.key.read(table, value(output)?)?;
                self.row.leave_out(&table.key);
                if self.row.present().is_empty() {
                    return Err(Fault::Decode("the row has no column to update besides the key".into()));
                }
            }
        }
        self.put_update(table, item)
    }

    fn put_update(&mut self, table: &Table, item: usize) -> Result<(), Fault> {
        collect_key(table, &self.key, &mut self.key_bytes)?;
        if self.row.present().is_empty() {
            return Err(Fault::Decode("the row has no column to update".into()));
        }
        let cut = self.repeats_key();
        let run = open(&mut self.runs, Action::Update, table, &self.row, cut);
        run.push_key(table, &self.key);
        run.push(item, &self.row);
        run.supersede(&self.key_bytes);
        Ok(())
    }

    fn delete(&mut self, table: &Table, item: usize, output: &Output) -> Result<(), Fault> {
        match &output.key {
            Some(key) => self.key.read_key(table, key)?,
            None => self.key.read(table, value(output)?)?,
        }
        self.put_delete(table, item)
    }

    fn put_delete(&mut self, table: &Table, item: usize) -> Result<(), Fault> {
        collect_key(table, &self.key, &mut self.key_bytes)?;
        let run = open(&mut self.runs, Action::Delete, table, &self.key, false);
        run.push_key(table, &self.key);
        run.items.push(item);
        run.superseded.push(false);
        Ok(())
    }

    fn repeats_key(&self) -> bool {
        self.cut_at_keys && self.runs.last().is_some_and(|run| run.last.contains_key(&self.key_bytes[..]))
    }
}

impl Action {
    /// What an operation means for a table of this mode.
    pub fn of(operation: Operation, mode: Mode) -> Self {
        match (operation, mode) {
            (Operation::Write, Mode::Insert) => Action::Insert,
            (Operation::Write, Mode::Upsert) | (Operation::Upsert | Operation::Replace, _) => Action::Upsert,
            (Operation::Write, Mode::Ignore) | (Operation::Ignore, _) => Action::Ignore,
            (Operation::Write, Mode::Update) | (Operation::Update, _) => Action::Update,
            (Operation::Delete, _) => Action::Delete,
        }
    }
}

/// The last run where that takes the row, else a new one.
fn open<'r>(runs: &'r mut Vec<Run>, action: Action, table: &Table, row: &Row, cut: bool) -> &'r mut Run {
    let fits = runs.last().is_some_and(|run| !cut && !run.is_full(row.bytes()) && run.takes(action, table, row));
    if !fits {
        runs.push(Run::new(action, table));
    }
    runs.last_mut().expect("there is one now")
}

fn value(output: &Output) -> Result<&[u8], Fault> {
    output.value.as_deref().ok_or_else(|| Fault::Decode("a row is needed, but the output has no value".into()))
}

/// The key's values, each with its length, so that two keys are equal exactly where their texts are.
fn collect_key(table: &Table, row: &Row, key: &mut Vec<u8>) -> Result<(), Fault> {
    if table.key.is_empty() {
        return Err(Fault::Decode(format!("table {} has no key; declare one or set `key` for the table", table.name)));
    }
    key.clear();
    for &column in &table.key {
        let text = row
            .text(column)
            .ok_or_else(|| Fault::Decode(format!("key column `{}` is absent or NULL", table.columns[column].name)))?;
        key.extend_from_slice(&text.len().to_le_bytes());
        key.extend_from_slice(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
