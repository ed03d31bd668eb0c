//! One sample as it is written. An unknown field is an error: a misspelt key would otherwise be a record without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::base64;
use crate::record::{Slice, SliceBuilder};

/// A header; `None` is NULL.
pub type Named = (String, Option<Vec<u8>>);

/// A record to try a module on, with the variables that it is tried under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// For reports.
    pub name: Option<String>,
    /// Default: the first topic that the module declares.
    pub topic: Option<String>,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970, -1 where there is none.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Named>,
    pub vars: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Option<String>,
    topic: Option<String>,
    #[serde(default)]
    partition: i32,
    #[serde(default)]
    offset: i64,
    timestamp: Option<i64>,
    #[serde(default)]
    key: Value,
    key_base64: Option<String>,
    #[serde(default)]
    value: Value,
    value_base64: Option<String>,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    vars: BTreeMap<String, String>,
}

/// `{"name": "value"}`, or a list where a name occurs twice or a value is no text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Headers {
    ByName(BTreeMap<String, Value>),
    List(Vec<Header>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    value: Option<Value>,
    value_base64: Option<String>,
}

impl Default for Headers {
    fn default() -> Self {
        Headers::List(Vec::new())
    }
}

/// Reads one line.
pub fn parse(line: &str) -> Result<Sample, String> {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(line) {
        return Err(format!("not JSON: {error}"));
    }
    let written: Written = serde_json::from_str(line).map_err(|error| format!("not a sample: {error}"))?;
    Ok(Sample {
        name: written.name,
        topic: written.topic,
        partition: written.partition,
        offset: written.offset,
        timestamp: written.timestamp.unwrap_or(-1),
        key: field("key", plain(written.key), written.key_base64)?,
        value: field("value", plain(written.value), written.value_base64)?,
        headers: headers(written.headers)?,
        vars: written.vars,
    })
}

impl Sample {
    /// Records of one topic and partition as one slice, in their order.
    pub fn slice(samples: &[&Sample], topic: &str) -> Slice {
        let partition = samples.first().map_or(0, |sample| sample.partition);
        let mut slice = SliceBuilder::new(Arc::from(topic), partition);
        for sample in samples {
            let headers = sample.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
            slice.push(sample.offset, sample.timestamp, sample.key.as_deref(), sample.value.as_deref(), headers);
        }
        slice.build()
    }
}

/// A text as it is, everything else as its JSON text without blanks; null is NULL.
fn plain(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

fn field(name: &str, plain: Option<Vec<u8>>, encoded: Option<String>) -> Result<Option<Vec<u8>>, String> {
    match (plain, encoded) {
        (Some(_), Some(_)) => Err(format!("`{name}` and `{name}_base64` are both given")),
        (plain, None) => Ok(plain),
        (None, Some(text)) => base64::decode(&text).map(Some).ok_or_else(|| format!("`{name}_base64` is not base64")),
    }
}

fn headers(headers: Headers) -> Result<Vec<Named>, String> {
    match headers {
        Headers::ByName(map) => Ok(map.into_iter().map(|(name, value)| (name, plain(value))).collect()),
        Headers::List(list) => {
            let read =
                |header: Header| Ok((header.name, field("value", header.value.and_then(plain), header.value_base64)?));
            list.into_iter().map(read).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(line: &str) -> Sample {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn null_empty_text_json_and_bytes_are_told_apart() {
        let empty = sample("{}");
        assert_eq!((empty.key, empty.value, empty.timestamp), (None, None, -1));
        let full = sample(
            r#"{"name":"n","key":"","value":{"b": 1.50, "a":[1]},"headers":{"t":"7","n":null},"offset":3,"vars":{"x":"1"}}"#,
        );
        assert_eq!(full.key.as_deref(), Some(&b""[..]));
        assert_eq!(full.value.as_deref(), Some(&br#"{"a":[1],"b":1.5}"#[..]), "JSON without blanks");
        assert_eq!(full.headers, [("n".to_owned(), None), ("t".to_owned(), Some(b"7".to_vec()))]);
        let binary = sample(
            r#"{"value_base64":"AAE=","headers":[{"name":"a","value":"1"},{"name":"a","value_base64":"/w=="}]}"#,
        );
        assert_eq!(binary.value.as_deref(), Some(&[0u8, 1][..]));
        assert_eq!(binary.headers[1], ("a".to_owned(), Some(vec![255])));
        assert_eq!(sample(r#"{"value":null}"#).value, None, "a tombstone");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, words) in [
            ("{", "not JSON"),
            ("7", "not a sample"),
            (r#"{"ky":"a"}"#, "unknown field `ky`"),
            (r#"{"value":"a","value_base64":"YQ=="}"#, "both"),
            (r#"{"key_base64":"?"}"#, "not base64"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(words), "{error}");
        }
    }
}
