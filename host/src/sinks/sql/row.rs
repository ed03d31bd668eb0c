//! One row read from its JSON: each value as the text of its column. Reused from row to row, so that nothing is
//! allocated per row once the buffers have grown.

use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::table::Table;
use super::types::Kind;
use super::value::{Fault, put};

/// The values of the current row.
#[derive(Debug, Default)]
pub struct Row {
    /// Per column of the table.
    cells: Vec<Cell>,
    /// Columns that the row has a value or NULL for, in the order they came.
    present: Vec<usize>,
    /// The order of the row before: the most likely one of this row.
    expected: Vec<usize>,
    texts: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
enum Cell {
    #[default]
    Absent,
    Null,
    Text(Range<usize>),
}

impl Row {
    /// Reads a JSON object. After an error the row is unspecified.
    pub fn read(&mut self, table: &Table, json: &[u8]) -> Result<(), Fault> {
        self.clear(table);
        self.read_more(table, json, None)
    }

    /// Reads only the key of `table`: a JSON object of its key columns, or the one key column's value.
    pub fn read_key(&mut self, table: &Table, json: &[u8]) -> Result<(), Fault> {
        self.clear(table);
        self.add_key(table, json)
    }

    /// Adds the key's columns to a row; columns that are there already stay as they are.
    pub fn add_key(&mut self, table: &Table, json: &[u8]) -> Result<(), Fault> {
        if json.trim_ascii_start().starts_with(b"{") {
            return self.read_more(table, json, Some(&table.key));
        }
        let &[column] = &table.key[..] else {
            let fault =
                format!("the key must be a JSON object of the {} key columns of table {}", table.key.len(), table.name);
            return Err(Fault::Decode(fault));
        };
        let raw: &RawValue = serde_json::from_slice(json).map_err(|_| Fault::Decode("the key is not JSON".into()))?;
        if matches!(self.cells[column], Cell::Absent) {
            self.set(table, column, raw.get())?;
        }
        Ok(())
    }

    /// Takes texts instead of JSON.
    pub fn fill<'c>(&mut self, table: &Table, cells: impl Iterator<Item = (usize, &'c [u8])>) {
        self.clear(table);
        for (column, text) in cells {
            let from = self.texts.len();
            self.texts.extend_from_slice(text);
            self.present.push(column);
            self.cells[column] = Cell::Text(from..self.texts.len());
        }
    }

    /// Takes columns out of the row again.
    pub fn leave_out(&mut self, columns: &[usize]) {
        self.present.retain(|column| !columns.contains(column));
        columns.iter().for_each(|column| self.cells[*column] = Cell::Absent);
    }

    /// The columns of the row.
    pub fn present(&self) -> &[usize] {
        &self.present
    }

    pub fn is_present(&self, column: usize) -> bool {
        !matches!(self.cells[column], Cell::Absent)
    }

    /// The column's text; `None` is NULL or absent.
    pub fn text(&self, column: usize) -> Option<&[u8]> {
        match &self.cells[column] {
            Cell::Text(range) => Some(&self.texts[range.clone()]),
            Cell::Absent | Cell::Null => None,
        }
    }

    /// Bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.texts.len()
    }

    fn clear(&mut self, table: &Table) {
        self.cells.clear();
        self.cells.resize(table.columns.len(), Cell::Absent);
        std::mem::swap(&mut self.present, &mut self.expected);
        self.present.clear();
        self.texts.clear();
    }

    fn read_more(&mut self, table: &Table, json: &[u8], only: Option<&[usize]>) -> Result<(), Fault> {
        let text = std::str::from_utf8(json).map_err(|_| Fault::Decode("the row is not valid UTF-8".into()))?;
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Fault::Decode("the row is not a JSON object".into()));
        }
        let mut fault = None;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let reader = Reader { row: self, table, only, fault: &mut fault };
        let read = deserializer.deserialize_map(reader).and_then(|()| deserializer.end());
        match (fault, read) {
            (Some(fault), _) => Err(fault),
            // The text of a syntax error has a position and no content.
            (None, Err(e)) => Err(Fault::Decode(format!("the row is not valid JSON: {e}"))),
            (None, Ok(())) => Ok(()),
        }
    }

    /// A column that occurs twice has its last value, as in the server's own JSON.
    fn set(&mut self, table: &Table, column: usize, raw: &str) -> Result<(), Fault> {
        let from = self.texts.len();
        let own = &table.columns[column];
        let mut some = put(raw, own.kind, &mut self.texts)?;
        if let Some(wanted) = own.kind.wanted(&self.texts[from..]).filter(|_| some) {
            return Err(Fault::Decode(format!("the value of column `{}` is not {wanted}", own.name)));
        }
        if !some && own.not_null && matches!(own.kind, Kind::Json | Kind::Jsonb) {
            // JSON has a null of its own, and no other can be meant.
            self.texts.extend_from_slice(raw.as_bytes());
            some = true;
        }
        if !self.is_present(column) {
            self.present.push(column);
        }
        self.cells[column] = if some { Cell::Text(from..self.texts.len()) } else { Cell::Null };
        Ok(())
    }
}

/// Puts the members of the object into the row.
struct Reader<'a> {
    row: &'a mut Row,
    table: &'a Table,
    /// Columns that are allowed, and only where they are absent yet.
    only: Option<&'a [usize]>,
    fault: &'a mut Option<Fault>,
}

impl Reader<'_> {
    fn member(&mut self, column: Result<usize, String>, raw: &str) -> Result<(), Fault> {
        let column = column
            .map_err(|name| Fault::NoColumn(format!("table {} has no column {}", self.table.name, printable(&name))))?;
        match self.only {
            Some(only) if !only.contains(&column) => {
                let name = &self.table.columns[column].name;
                Err(Fault::Decode(format!("column `{name}` is not part of the key of table {}", self.table.name)))
            }
            Some(_) if self.row.is_present(column) => Ok(()),
            _ => self.row.set(self.table, column, raw),
        }
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        loop {
            let expected = self.row.expected.get(self.row.present.len()).copied();
            let Some(column) = object.next_key_seed(Name { table: self.table, expected })? else { return Ok(()) };
            let raw: &RawValue = object.next_value()?;
            if let Err(fault) = self.member(column, raw.get()) {
                *self.fault = Some(fault);
                return Err(serde::de::Error::custom("refused"));
            }
        }
    }
}

/// Finds the column of a member's name; an unknown name is handed back.
struct Name<'a> {
    table: &'a Table,
    expected: Option<usize>,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Result<usize, String>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let likely = self.expected.filter(|i| self.table.columns.get(*i).is_some_and(|c| c.name == name));
        Ok(likely.or_else(|| self.table.column(name)).ok_or_else(|| name.to_owned()))
    }
}

/// A name out of a payload, short and without control characters.
fn printable(name: &str) -> String {
    let short: String = name.chars().take(63).collect();
    format!("{short:?}")
}
