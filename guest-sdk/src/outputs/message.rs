//! One output to a topic or to the following module.

use serde::Serialize;

use super::{Draft, Outputs, Part, put_bytes, put_json};
use crate::error::Result;
use crate::frame::put_header;

/// A record for a topic, by [`Outputs::kafka`], or for the following module, by [`Outputs::next`]. Nothing is written
/// before `.json(…)`, `.bytes(…)`, `.tombstone()` or `.unchanged()` is called.
///
/// What is not said stays as in the input record: its key, its headers, its timestamp. The partition is the
/// partitioner's choice. The first `.header(…)` starts a list of headers of its own.
///
/// ```
/// # use wasmill_sdk::{prelude::*, testing};
/// #[transform(topics = ["in"], kafka = ["clean", "tenant-*"])]
/// fn clean(record: &Record, out: &mut Outputs) -> Result<()> {
///     let tenant = record.headers().get("tenant").flatten().map(std::str::from_utf8).transpose()?;
///     out.kafka("clean").key("k").header("by", "clean").timestamp(0).json(&json!({"n": 1}))?;
///     match tenant {
///         Some(tenant) => out.kafka(&format!("tenant-{tenant}")).unchanged(),
///         None => Ok(()),
///     }
/// }
/// # let ran = testing::run::<clean>(testing::record().value("x").header("tenant", "acme"));
/// # assert_eq!(ran.outputs[0].headers, Some(vec![("by".into(), Some(b"clean".to_vec()))]));
/// # assert_eq!((ran.outputs[1].name.as_str(), &ran.outputs[1].value), ("tenant-acme", &testing::Field::Unchanged));
/// ```
#[derive(Debug)]
#[must_use = "nothing is written before `.json(…)`, `.bytes(…)`, `.tombstone()` or `.unchanged()`"]
pub struct Message<'o> {
    out: &'o mut Outputs,
    draft: Draft<'o>,
}

impl<'o> Message<'o> {
    pub(super) fn new(out: &'o mut Outputs, target: (&'o str, &'o str)) -> Self {
        Message { out, draft: Draft::new(target) }
    }

    /// The key: text or bytes; `None` is NULL, which is not the same as empty.
    pub fn key(mut self, key: impl AsField) -> Self {
        self.out.key.clear();
        self.draft.key = put_bytes(&mut self.out.key, key.as_field());
        self
    }

    /// A NULL key, where the input record has one.
    pub fn null_key(mut self) -> Self {
        self.draft.key = Part::Null;
        self
    }

    /// Adds a header; `None` is NULL. The first one replaces the input record's headers; to keep those, begin with
    /// `.headers(record.headers())`.
    pub fn header(mut self, name: &str, value: impl AsField) -> Self {
        let count = self.draft.headers.unwrap_or_else(|| {
            self.out.headers.clear();
            0
        });
        put_header(&mut self.out.headers, name, value.as_field());
        self.draft.headers = Some(count + 1);
        self
    }

    /// Adds headers, as by [`header`](Self::header) one after the other. An empty list leaves the output without any.
    pub fn headers<'h>(mut self, headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>) -> Self {
        if self.draft.headers.is_none() {
            self.out.headers.clear();
            self.draft.headers = Some(0);
        }
        headers.into_iter().fold(self, |message, (name, value)| message.header(name, value))
    }

    /// The timestamp in milliseconds since 1970-01-01 UTC.
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.draft.timestamp = Some(milliseconds);
        self
    }

    /// The partition, instead of the partitioner's choice.
    pub fn partition(mut self, partition: i32) -> Self {
        self.draft.partition = Some(partition);
        self
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// A reject where the value cannot be serialised.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        self.out.push(&self.draft, |frame| put_json(frame, value))
    }

    /// Writes text or bytes as they are; `None` is NULL, a tombstone.
    ///
    /// # Errors
    /// A reject where the value is larger than 2 GiB.
    pub fn bytes(self, value: impl AsField) -> Result<()> {
        self.out.push(&self.draft, |frame| Ok(put_bytes(frame, value.as_field())))
    }

    /// Writes NULL: in a compacted topic the key is deleted.
    ///
    /// # Errors
    /// None at present.
    pub fn tombstone(self) -> Result<()> {
        self.out.push(&self.draft, |_| Ok(Part::Null))
    }

    /// Passes the input record's value on; it is not copied.
    ///
    /// # Errors
    /// None at present.
    pub fn unchanged(self) -> Result<()> {
        self.out.push(&self.draft, |_| Ok(Part::Unchanged))
    }
}

/// What may be a key, a value or a header's value: text, bytes, or an `Option` of them, where `None` is NULL.
pub trait AsField {
    /// The bytes; `None` is NULL.
    fn as_field(&self) -> Option<&[u8]>;
}

macro_rules! as_field {
    ($($type:ty),*) => { $(
        impl AsField for $type {
            fn as_field(&self) -> Option<&[u8]> {
                Some(self.as_ref())
            }
        }
    )* };
}
as_field!(str, String, [u8], Vec<u8>);

impl<const N: usize> AsField for [u8; N] {
    fn as_field(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl<T: AsField + ToOwned + ?Sized> AsField for std::borrow::Cow<'_, T> {
    fn as_field(&self) -> Option<&[u8]> {
        (**self).as_field()
    }
}

impl<T: AsField + ?Sized> AsField for &T {
    fn as_field(&self) -> Option<&[u8]> {
        (**self).as_field()
    }
}

impl<T: AsField> AsField for Option<T> {
    fn as_field(&self) -> Option<&[u8]> {
        self.as_ref().and_then(AsField::as_field)
    }
}
