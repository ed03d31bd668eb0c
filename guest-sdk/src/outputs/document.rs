//! One output to a collection.

use serde::Serialize;

use super::{Draft, Operation, Outputs, Part, put_bytes, put_json};
use crate::error::{Error, Result};

/// An operation on a collection, by [`Outputs::mongodb`]. Nothing is written before one of the operations is called.
///
/// Documents are JSON whose values may be MongoDB's extended JSON (`{"$date": …}`, `{"$oid": …}`, `{"$numberDecimal":
/// …}`), or BSON. A document without `_id` gets the id of its source record, so that a repetition does not double it.
///
/// ```
/// # use wasmill_sdk::{prelude::*, testing};
/// #[transform(topics = ["users"], mongodb = ["crm.users"])]
/// fn users(record: &Record, out: &mut Outputs) -> Result<()> {
///     let Some(id) = record.key_text()? else { return skip("no key") };
///     let user = out.mongodb("crm.users").id(id);
///     if record.is_tombstone() { user.delete() } else { user.replace(&record.json::<Value>()?) }
/// }
/// # let ran = testing::run::<users>(testing::record().key("ada").value(r#"{"name":"Ada"}"#));
/// # assert_eq!(ran.outputs[0].key, testing::Field::Data(br#""ada""#.to_vec()));
/// # assert_eq!(testing::run::<users>(testing::record().key("ada")).outputs[0].operation, Operation::Delete);
/// ```
#[derive(Debug)]
#[must_use = "nothing is written before an operation such as `.document(&doc)`"]
pub struct Document<'o> {
    out: &'o mut Outputs,
    draft: Draft<'o>,
    /// The id could not be serialised; said when the operation is called.
    failed: Option<Error>,
}

impl<'o> Document<'o> {
    pub(super) fn new(out: &'o mut Outputs, target: (&'o str, &'o str)) -> Self {
        Document { out, draft: Draft::new(target), failed: None }
    }

    /// The `_id`: any value, also extended JSON such as `json!({"$oid": "…"})`.
    pub fn id<I: Serialize>(mut self, id: I) -> Self {
        self.out.key.clear();
        match put_json(&mut self.out.key, &id) {
            Ok(part) => self.draft.key = part,
            Err(error) => self.failed = Some(error),
        }
        self
    }

    /// Inserts a document. One that is there with the same `_id` makes this output a dead letter.
    ///
    /// # Errors
    /// A reject where the document cannot be serialised.
    pub fn document<D: Serialize + ?Sized>(self, document: &D) -> Result<()> {
        self.write(Operation::Write, |frame| put_json(frame, document))
    }

    /// Inserts a document that is JSON already: `out.mongodb("db.raw").json_bytes(record.value())` stores the message
    /// as it came. The bytes are not parsed here; what is not a JSON object becomes a dead letter at the sink.
    ///
    /// # Errors
    /// A reject where there are no bytes (`None`).
    pub fn json_bytes<'b>(self, document: impl Into<Option<&'b [u8]>>) -> Result<()> {
        let Some(bytes) = document.into() else { return Err(Error::reject("no document: the value is NULL")) };
        self.write(Operation::Write, |frame| Ok(put_bytes(frame, Some(bytes))))
    }

    /// Inserts a document that is BSON already.
    ///
    /// # Errors
    /// A reject where the bytes are not the length that they say.
    pub fn bson(self, document: &[u8]) -> Result<()> {
        let says = document.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
        if says != Some(document.len()) {
            return Err(Error::reject("not a BSON document: its length is another than it says"));
        }
        self.write(Operation::Write, |frame| Ok(put_bytes(frame, Some(document))))
    }

    /// Inserts the document, or sets its fields in the one with the same `_id`.
    ///
    /// # Errors
    /// A reject where the document cannot be serialised.
    pub fn upsert<D: Serialize + ?Sized>(self, document: &D) -> Result<()> {
        self.write(Operation::Upsert, |frame| put_json(frame, document))
    }

    /// Replaces the document with the same `_id`, or inserts it.
    ///
    /// # Errors
    /// A reject where the document cannot be serialised.
    pub fn replace<D: Serialize + ?Sized>(self, document: &D) -> Result<()> {
        self.write(Operation::Replace, |frame| put_json(frame, document))
    }

    /// Sets the fields of `document` in the one with the same `_id`; nothing happens where there is none.
    ///
    /// # Errors
    /// A reject where the document cannot be serialised.
    pub fn update<D: Serialize + ?Sized>(self, document: &D) -> Result<()> {
        self.write(Operation::Update, |frame| put_json(frame, document))
    }

    /// Deletes the document with the `_id` given by [`id`](Self::id).
    ///
    /// # Errors
    /// A reject where no id was given or it cannot be serialised.
    pub fn delete(self) -> Result<()> {
        if self.draft.key != Part::Data && self.failed.is_none() {
            return Err(Error::reject("no document to delete: say which with `.id(…)`"));
        }
        self.write(Operation::Delete, |_| Ok(Part::Null))
    }

    fn write(mut self, operation: Operation, value: impl FnOnce(&mut Vec<u8>) -> Result<Part>) -> Result<()> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.draft.operation = operation;
        self.out.push(&self.draft, value)
    }
}
