//! The record a transform gets, borrowed from the input frame. It decodes only what it is asked for.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{Error, Result, describe_json};
use crate::frame::Reader;
use crate::strict;

/// One Kafka record. Everything it hands out is borrowed from the batch: nothing is copied.
///
/// NULL, empty and absent are three things: a key or value that is NULL is `None`, an empty one is `Some(b"")`, and
/// a header that does not exist is `None` where one that is NULL is `Some(None)`.
///
/// ```
/// use wasmill_sdk::{prelude::*, testing};
/// let record = testing::record().key("k").value(r#"{"n": 1}"#).header("trace", "7");
/// let record = record.as_record();
/// assert_eq!(record.key(), Some(b"k".as_slice()));
/// assert_eq!(record.json::<Value>().unwrap()["n"], 1);
/// assert_eq!(record.headers().get("trace"), Some(Some(b"7".as_slice())));
/// ```
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) index: u32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// The topic it was read from; in a chain, the one that the first module's record was read from.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The source partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset in the source partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Milliseconds since 1970-01-01 UTC; `None` where the record has no timestamp.
    pub fn timestamp(&self) -> Option<i64> {
        (self.timestamp >= 0).then_some(self.timestamp)
    }

    /// The headers in their order.
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// The key; `None` is NULL.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value; `None` is NULL (a tombstone).
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// Whether the value is NULL.
    pub fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }

    /// The value as text.
    ///
    /// # Errors
    /// A reject where the value is NULL or not UTF-8.
    pub fn text(&self) -> Result<&'a str> {
        let value = self.present()?;
        std::str::from_utf8(value).map_err(|error| Error::reject(format!("the value is not UTF-8: {error}")))
    }

    /// The key as text; `None` is NULL.
    ///
    /// # Errors
    /// A reject where the key is not UTF-8.
    pub fn key_text(&self) -> Result<Option<&'a str>> {
        let text = self.key.map(std::str::from_utf8).transpose();
        text.map_err(|error| Error::reject(format!("the key is not UTF-8: {error}")))
    }

    /// The value decoded from JSON. Types that borrow (`&str`, `Cow<str>` with `#[serde(borrow)]`) copy nothing.
    ///
    /// # Errors
    /// A reject where the value is NULL, not JSON, or JSON of another shape: a struct is read from an object, never from an
    /// array. The message says where and what was
    /// expected, but does not quote the value.
    pub fn json<T: Deserialize<'a>>(&self) -> Result<T> {
        strict::from_slice(self.present()?).map_err(|error| Error::reject(describe_json(&error)))
    }

    /// Whether the value is a complete JSON text in UTF-8, of whatever shape. NULL and empty are not.
    pub fn is_json(&self) -> bool {
        let text = self.value.and_then(|value| std::str::from_utf8(value).ok());
        text.is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
    }

    fn present(&self) -> Result<&'a [u8]> {
        self.value.ok_or_else(|| Error::reject("the value is NULL"))
    }
}

/// Shows coordinates and sizes, never the payload.
impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coordinates = format_args!("{}/{}/{}", self.topic, self.partition, self.offset);
        f.debug_struct("Record")
            .field("at", &coordinates)
            .field("key_bytes", &self.key.map(<[u8]>::len))
            .field("value_bytes", &self.value.map(<[u8]>::len))
            .finish_non_exhaustive()
    }
}

/// The headers of a record: an iterator of `(name, value)`, where a value of `None` is NULL.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    count: u32,
    rest: Reader<'a>,
}

impl<'a> Headers<'a> {
    pub(crate) fn new(count: u32, encoded: &'a [u8]) -> Self {
        Headers { count, rest: Reader(encoded) }
    }

    /// The value of the first header of this name: `None` is absent, `Some(None)` is NULL.
    pub fn get(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.into_iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        HeadersIter(self)
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.into_iter().map(|(name, _)| name)).finish()
    }
}

/// Iterates over [`Headers`].
#[derive(Clone, Debug)]
pub struct HeadersIter<'a>(Headers<'a>);

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.0.count.checked_sub(1)?;
        let reader = &mut self.0.rest;
        let length = reader.u32()?;
        let name = std::str::from_utf8(reader.bytes(length as usize)?).ok()?;
        let length = reader.i32()?;
        let value = reader.nullable(length)?;
        self.0.count = left;
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.0.len()))
    }
}
