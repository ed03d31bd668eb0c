//! One output to a SQL table.

use serde::Serialize;

use super::{Draft, Operation, Outputs, Part, put_json};
use crate::error::Result;

/// An operation on a table, by [`Outputs::postgres_at`]. Nothing is written before one of the operations is called.
///
/// ```
/// # use wasmill_sdk::{prelude::*, testing};
/// #[derive(Serialize, Table)]
/// #[table(name = "shop.stock", key = "item")]
/// struct Stock<'a> { item: &'a str, #[serde(skip_serializing_if = "Option::is_none")] pieces: Option<i64> }
///
/// #[transform(topics = ["stock"], postgres = [Stock])]
/// fn stock(record: &Record, out: &mut Outputs) -> Result<()> {
///     let Some(item) = record.key_text()? else { return reject("no item") };
///     match record.value() {
///         None => out.postgres_at("shop.stock").delete(&json!({ "item": item })),
///         Some(_) => out.postgres_at("shop.stock").upsert(&Stock { item, pieces: record.json()? }),
///     }
/// }
/// # let ran = testing::run::<stock>(testing::record().key("nail"));
/// # assert_eq!(ran.outputs[0].operation, Operation::Delete);
/// # assert_eq!(ran.outputs[0].key, testing::Field::Data(br#"{"item":"nail"}"#.to_vec()));
/// # let ran = testing::run::<stock>(testing::record().key("nail").value("7"));
/// # assert_eq!(ran.outputs[0].json(), json!({"item": "nail", "pieces": 7}));
/// ```
#[derive(Debug)]
#[must_use = "nothing is written before an operation such as `.upsert(&row)`"]
pub struct Row<'o> {
    out: &'o mut Outputs,
    draft: Draft<'o>,
}

impl<'o> Row<'o> {
    pub(super) fn new(out: &'o mut Outputs, target: (&'o str, &'o str)) -> Self {
        Row { out, draft: Draft::new(target) }
    }

    /// Inserts the row, or does what the host's configuration says for the table (`mode`).
    ///
    /// # Errors
    /// A reject where the row cannot be serialised.
    pub fn insert<R: Serialize + ?Sized>(self, row: &R) -> Result<()> {
        self.write(Operation::Write, row)
    }

    /// Inserts the row, or updates the one with the same key. The table needs a key.
    ///
    /// # Errors
    /// A reject where the row cannot be serialised.
    pub fn upsert<R: Serialize + ?Sized>(self, row: &R) -> Result<()> {
        self.write(Operation::Upsert, row)
    }

    /// Inserts the row unless one with the same key exists. The table needs a key.
    ///
    /// # Errors
    /// A reject where the row cannot be serialised.
    pub fn ignore<R: Serialize + ?Sized>(self, row: &R) -> Result<()> {
        self.write(Operation::Ignore, row)
    }

    /// Updates the row whose key columns have the values that `row` has; columns that `row` leaves out stay as they
    /// are. Nothing happens where there is none.
    ///
    /// # Errors
    /// A reject where the row cannot be serialised.
    pub fn update<R: Serialize + ?Sized>(self, row: &R) -> Result<()> {
        self.write(Operation::Update, row)
    }

    /// Deletes the row with this key: an object of the key's columns, such as `json!({"id": 7})` or a row.
    ///
    /// # Errors
    /// A reject where the key cannot be serialised.
    pub fn delete<K: Serialize + ?Sized>(mut self, key: &K) -> Result<()> {
        self.out.key.clear();
        self.draft.key = put_json(&mut self.out.key, key)?;
        self.draft.operation = Operation::Delete;
        self.out.push(&self.draft, |_| Ok(Part::Null))
    }

    fn write<R: Serialize + ?Sized>(mut self, operation: Operation, row: &R) -> Result<()> {
        self.draft.operation = operation;
        self.out.push(&self.draft, |frame| put_json(frame, row))
    }
}
