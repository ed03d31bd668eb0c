//! A document on its way into a collection: BSON, its `_id` apart from its other fields. What the server would refuse
//! for its form is found here, so that one bad document never takes its neighbours' command with it.

use mongodb::bson::RawDocumentBuf;

use super::{bson, json};
use crate::outcome::Code;

/// Levels of nesting that MongoDB takes; the document itself is the first.
pub(super) const MAX_DEPTH: usize = 100;
/// Bytes of the largest document that MongoDB takes.
pub(super) const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a document's length and end, and of the name `_id`.
const FRAME: usize = 4 + 1 + 5;

/// Types of BSON that are written here.
pub(super) mod kind {
    pub(crate) const DOUBLE: u8 = 0x01;
    pub(crate) const STRING: u8 = 0x02;
    pub(crate) const DOCUMENT: u8 = 0x03;
    pub(crate) const ARRAY: u8 = 0x04;
    pub(crate) const UNDEFINED: u8 = 0x06;
    pub(crate) const BOOLEAN: u8 = 0x08;
    pub(crate) const NULL: u8 = 0x0a;
    pub(crate) const REGEX: u8 = 0x0b;
    pub(crate) const INT32: u8 = 0x10;
    pub(crate) const INT64: u8 = 0x12;
}

/// A value with its BSON type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Value {
    pub(super) kind: u8,
    pub(super) bytes: Vec<u8>,
}

/// A document, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) id: Option<Value>,
    /// The elements without `_id`, back to back.
    pub(super) fields: Vec<u8>,
}

/// Why a document or an `_id` cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Flaw {
    pub(super) fn decode(message: impl Into<String>) -> Self {
        Flaw { code: Code::DECODE, message: message.into() }
    }
}

impl Value {
    pub(super) fn string(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 5);
        put_string(&mut bytes, text);
        Value { kind: kind::STRING, bytes }
    }

    /// What tells an `_id` from another: equal numbers of different types are the same `_id`.
    pub(super) fn identity(&self) -> Value {
        let number = match (self.kind, self.bytes.as_slice()) {
            (kind::INT32, bytes) => bytes.try_into().ok().map(|bytes| f64::from(i32::from_le_bytes(bytes))),
            // Neighbours beyond 2^53 fall together, which only parts them into two commands.
            (kind::INT64, bytes) => bytes.try_into().ok().map(|bytes| i64::from_le_bytes(bytes) as f64),
            (kind::DOUBLE, bytes) => bytes.try_into().ok().map(f64::from_le_bytes),
            _ => None,
        };
        match number {
            // Zero has two signs and one identity.
            Some(number) => Value { kind: kind::DOUBLE, bytes: (number + 0.0).to_le_bytes().to_vec() },
            None => self.clone(),
        }
    }

    /// Equal for equal `_id`s and for no others, other than [`Value::identity`].
    pub(super) fn exact(&self) -> Value {
        let whole = match (self.kind, self.bytes.as_slice()) {
            (kind::INT32, bytes) => bytes.try_into().ok().map(|bytes| i64::from(i32::from_le_bytes(bytes))),
            (kind::DOUBLE, bytes) => bytes.try_into().ok().and_then(|bytes| whole(f64::from_le_bytes(bytes))),
            _ => None,
        };
        match whole {
            Some(whole) => Value { kind: kind::INT64, bytes: whole.to_le_bytes().to_vec() },
            None => self.clone(),
        }
    }

    /// Why it cannot be an `_id`.
    pub(super) fn flaw_as_id(&self) -> Option<Flaw> {
        matches!(self.kind, kind::ARRAY | kind::REGEX | kind::UNDEFINED)
            .then(|| Flaw::decode("an array, a regular expression and undefined cannot be an _id"))
    }
}

impl Document {
    /// A document from an output's bytes. BSON is told from JSON by its first four bytes, which hold its length:
    /// read as a length, the beginning of a JSON object is hundreds of megabytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Flaw> {
        let length = bytes.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
        let document = if length == Some(bytes.len()) { bson::document(bytes) } else { json::document(bytes) }?;
        document.id.as_ref().and_then(Value::flaw_as_id).map_or(Ok(document), Err)
    }

    /// The whole document with this `_id` in front.
    pub(super) fn with_id(&self, id: &Value) -> Vec<u8> {
        let length = FRAME + id.bytes.len() + self.fields.len();
        let mut bytes = Vec::with_capacity(length);
        begin(&mut bytes);
        put(&mut bytes, id.kind, "_id", &id.bytes);
        bytes.extend_from_slice(&self.fields);
        end(&mut bytes, 0);
        bytes
    }

    /// `{"$set": fields}`; a document without fields sets its `_id` to what it is.
    pub(super) fn set(&self, id: &Value) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.fields.len() + 32);
        begin(&mut bytes);
        bytes.extend_from_slice(b"\x03$set\0");
        let fields = begin(&mut bytes);
        if self.fields.is_empty() {
            put(&mut bytes, id.kind, "_id", &id.bytes);
        }
        bytes.extend_from_slice(&self.fields);
        end(&mut bytes, fields);
        end(&mut bytes, 0);
        bytes
    }

    /// Whether it has a field of this name at its top.
    pub(super) fn has(&self, name: &str) -> bool {
        let quick = self.fields.windows(name.len()).any(|bytes| bytes == name.as_bytes());
        let whole = || RawDocumentBuf::from_bytes(self.with_id(&Value::string("")));
        quick && whole().is_ok_and(|document| document.get(name).is_ok_and(|value| value.is_some()))
    }

    /// Why it is too large to be written with this `_id`.
    pub(super) fn flaw_in_size(&self, id: &Value) -> Option<Flaw> {
        let bytes = FRAME + id.bytes.len() + self.fields.len();
        (bytes > MAX_BYTES).then(|| Flaw {
            code: Code::TOO_LARGE,
            message: format!("the document takes {bytes} bytes as BSON, MongoDB takes {MAX_BYTES}"),
        })
    }
}

/// The integer that a double is, where every neighbour is one as well.
fn whole(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    exact.then_some(number as i64)
}

/// An `_id` given as JSON.
pub(super) fn id(bytes: &[u8]) -> Result<Value, Flaw> {
    let id = json::value(bytes)?;
    id.flaw_as_id().map_or(Ok(id), Err)
}

/// Why a field's name is not written: MongoDB reads operators and paths into such names.
pub(super) fn flaw_in_name(name: &[u8]) -> Option<&'static str> {
    if name.starts_with(b"$") {
        Some("begins with `$`")
    } else if name.contains(&b'.') {
        Some("contains `.`")
    } else if name.contains(&0) {
        Some("contains NUL")
    } else {
        None
    }
}

/// A name for people: short, one line.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

/// Begins a document and gives its place.
pub(super) fn begin(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    at
}

/// Ends the document that was begun at `at`.
pub(super) fn end(out: &mut Vec<u8>, at: usize) {
    out.push(0);
    // Sizes are checked against MongoDB's limit, far below what the field holds, before anything is sent.
    let length = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

pub(super) fn put(out: &mut Vec<u8>, kind: u8, name: &str, value: &[u8]) {
    out.push(kind);
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.extend_from_slice(value);
}

pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}
