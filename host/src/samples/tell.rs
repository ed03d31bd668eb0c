//! What came out of a module, in the form of `expected/*.jsonl`: what is unchanged or the default is left out. Bytes that
//! are no text are shown as `\x…`; the SDK's native tests show the same.

use serde_json::{Map, Value, json};
use tracing::Level;

use crate::outcome::{Code, Operation, Ruling};
use crate::runtime::{Field, Made, Tried};

/// What the runtime calls a record that the module returned nothing for.
const NO_OUTPUT: &str = "no output";

/// What became of one record, as a line of `expected/*.jsonl`.
pub fn describe(tried: &Tried, lines: &[(Level, String)]) -> Value {
    let mut told = match &tried.ruling {
        None => json!({ "outputs": tried.outputs.iter().map(output).collect::<Vec<_>>() }),
        Some(Ruling::Skip { reason }) if **reason == *NO_OUTPUT => json!({ "outputs": [] }),
        Some(Ruling::Skip { reason }) => json!({ "skip": **reason }),
        Some(Ruling::Dead { code, message }) => json!({ code.as_str(): message }),
        Some(Ruling::Retry { message }) => json!({ "retry": message }),
        Some(Ruling::Fatal { message }) => json!({ "fatal": message }),
    };
    // The words of a trap are in its message already.
    if !lines.is_empty() && condemned(tried).is_none() {
        told["logs"] = lines.iter().map(|line| Value::from(log_line(line))).collect();
    }
    told
}

/// `level: text`.
pub fn log_line((level, text): &(Level, String)) -> String {
    format!("{}: {text}", level.as_str().to_lowercase())
}

/// The host's own verdict with its message, which the module did not intend: a trap, a limit, an unknown target.
pub fn condemned(tried: &Tried) -> Option<(&Code, &str)> {
    match &tried.ruling {
        Some(Ruling::Dead { code, message }) if *code != Code::REJECT => Some((code, message)),
        _ => None,
    }
}

fn output(made: &Made) -> Value {
    let mut fields = Map::new();
    fields.insert("to".to_owned(), made.to.clone().into());
    if made.operation != Operation::Write {
        fields.insert("operation".to_owned(), json!(made.operation));
    }
    for (name, field) in [("key", &made.key), ("value", &made.value)] {
        match field {
            Field::Unchanged => {}
            Field::Null => drop(fields.insert(name.to_owned(), Value::Null)),
            Field::Data(bytes) => drop(fields.insert(name.to_owned(), bytes_of(bytes))),
        }
    }
    if let Some(list) = &made.headers {
        fields.insert("headers".to_owned(), headers(list));
    }
    for (name, number) in [("timestamp", made.timestamp), ("partition", made.partition.map(i64::from))] {
        if let Some(number) = number {
            fields.insert(name.to_owned(), number.into());
        }
    }
    Value::Object(fields)
}

fn headers(list: &[(String, Option<Vec<u8>>)]) -> Value {
    let value = |value: &Option<Vec<u8>>| value.as_deref().map_or(Value::Null, bytes_of);
    let map: Map<String, Value> = list.iter().map(|(name, v)| (name.clone(), value(v))).collect();
    match map.len() == list.len() {
        true => Value::Object(map),
        // A name occurs twice.
        false => list.iter().map(|(name, v)| json!({ "name": name, "value": value(v) })).collect(),
    }
}

/// An object or array as JSON, other text as it is, the rest as `\x…`. JSON with numbers that would lose digits is text.
pub fn bytes_of(bytes: &[u8]) -> Value {
    match (serde_json::from_slice(bytes), std::str::from_utf8(bytes)) {
        (Ok(value @ (Value::Object(_) | Value::Array(_))), _) if is_exact(bytes) => value,
        (_, Ok(text)) => text.into(),
        _ => bytes.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")).into(),
    }
}

/// Whether no number in a JSON text has more digits than a value here can keep.
fn is_exact(json: &[u8]) -> bool {
    let (mut digits, mut whole, mut quoted, mut escaped) = (0, true, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'0'..=b'9' => digits += 1,
            b'.' | b'e' | b'E' if digits > 0 => whole = false,
            _ => (digits, whole) = (0, true),
        }
        if digits > if whole { 19 } else { 17 } {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_would_lose_digits_is_shown_as_text() {
        for exact in [r#"{"a":12.50,"b":-9223372036854775808}"#, r#"["123456789012345678901234567890"]"#] {
            assert!(!bytes_of(exact.as_bytes()).is_string(), "{exact}");
        }
        for lossy in [r#"{"a":12345678901234567890.10}"#, r#"[["\"", 123456789012345678901]]"#] {
            assert_eq!(bytes_of(lossy.as_bytes()), Value::from(lossy));
        }
    }

    #[test]
    fn what_is_left_out_is_unchanged() {
        let made = Made {
            to: "kafka:t".into(),
            operation: Operation::Delete,
            key: Field::Data(b"\xff\x00"[..].into()),
            value: Field::Null,
            headers: Some(vec![("a".into(), None), ("a".into(), Some(b"1".to_vec()))]),
            timestamp: Some(7),
            partition: None,
        };
        let plain = Made {
            operation: Operation::Write,
            key: Field::Unchanged,
            value: Field::Unchanged,
            headers: None,
            timestamp: None,
            ..made.clone()
        };
        let told = describe(&Tried { outputs: vec![made, plain], ruling: None }, &[(Level::WARN, "late".into())]);
        let expected = json!({ "outputs": [
            { "to": "kafka:t", "operation": "delete", "key": "\\xff00", "value": null, "timestamp": 7,
              "headers": [{ "name": "a", "value": null }, { "name": "a", "value": "1" }] },
            { "to": "kafka:t" },
        ], "logs": ["warn: late"] });
        assert_eq!(told, expected);
    }
}
