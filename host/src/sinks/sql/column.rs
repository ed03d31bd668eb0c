//! The texts of one column over many rows, already in the layout in which PostgreSQL takes the elements of an array:
//! length, bytes, length, bytes. So a column is bound by copying, and any range of its rows as well.

use std::ops::Range;

/// Length that stands for NULL.
const NULL: i32 = -1;

/// One column of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextColumn {
    elements: Vec<u8>,
    /// Where each row's element ends.
    ends: Vec<usize>,
}

impl TextColumn {
    /// A column of `rows` NULLs.
    pub fn nulls(rows: usize) -> Self {
        let mut column = TextColumn::default();
        (0..rows).for_each(|_| column.push(None));
        column
    }

    /// Appends a row. The text must be UTF-8.
    pub fn push(&mut self, text: Option<&[u8]>) {
        // A frame is far below 2 GiB, so the length fits.
        let length = text.map_or(NULL, |text| text.len() as i32);
        self.elements.extend_from_slice(&length.to_be_bytes());
        self.elements.extend_from_slice(text.unwrap_or_default());
        self.ends.push(self.elements.len());
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The encoded elements of these rows.
    pub fn encoded(&self, rows: Range<usize>) -> &[u8] {
        &self.elements[self.start(rows.start)..self.start(rows.end)]
    }

    /// The text of one row.
    pub fn get(&self, row: usize) -> Option<&str> {
        let element = self.encoded(row..row + 1);
        if element[..4] == NULL.to_be_bytes() {
            return None;
        }
        Some(std::str::from_utf8(&element[4..]).expect("only UTF-8 is pushed"))
    }

    fn start(&self, row: usize) -> usize {
        row.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_come_back_as_they_went_in(rows in proptest::collection::vec(proptest::option::of(".{0,6}"), 0..20)) {
            let mut column = TextColumn::default();
            rows.iter().for_each(|row| column.push(row.as_deref().map(str::as_bytes)));
            prop_assert_eq!(column.len(), rows.len());
            let back: Vec<Option<String>> = (0..rows.len()).map(|row| column.get(row).map(str::to_owned)).collect();
            prop_assert_eq!(&back, &rows);
            let parts: Vec<u8> = (0..rows.len()).flat_map(|row| column.encoded(row..row + 1).to_vec()).collect();
            prop_assert_eq!(column.encoded(0..rows.len()), &parts[..]);
        }
    }

    #[test]
    fn null_is_not_empty() {
        let mut column = TextColumn::nulls(1);
        column.push(Some(b""));
        assert_eq!((column.get(0), column.get(1)), (None, Some("")));
    }
}
