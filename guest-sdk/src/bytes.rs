//! Binary values in rows: JSON has no bytes, so they travel in Postgres' own text form.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

/// Bytes for a `bytea` column, written as `\x` and two hexadecimal digits per byte.
///
/// ```
/// use wasmill_sdk::prelude::*;
/// #[derive(Serialize, Table)]
/// #[table(name = "blobs")]
/// struct Blob<'a> { content: Bytes<'a> }
///
/// assert_eq!(Blob::TABLE.columns[0].ty, "bytea");
/// assert_eq!(json!(Blob { content: Bytes::from(b"\0\xff") }), json!({"content": r"\x00ff"}));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes<'a>(pub Cow<'a, [u8]>);

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Bytes(Cow::Borrowed(bytes))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Bytes<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Bytes(Cow::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Bytes<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes(Cow::Owned(bytes))
    }
}

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\\x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
