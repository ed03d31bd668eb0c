//! Samples beside a transform: `samples/*.jsonl` go in, `expected/*.jsonl` must come out. The format is described
//! at [`check_samples`].

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Field, Output, Ran, TestRecord, record, run};
use crate::manifest::Transform;
use crate::outputs::Operation;
use crate::{Bytes, Fate};

/// Runs each line of `samples/*.jsonl` and compares with the same line of `expected/*.jsonl`; `dir` is the crate's
/// folder, `env!("CARGO_MANIFEST_DIR")`. With `UPDATE_EXPECTED=1` in the environment the expected files are written.
///
/// A sample is `{"key": …, "value": …, "headers": {…}, "offset": …, "timestamp": …}`; what is left out is NULL, an
/// object or array is passed as its JSON text, a text as it is.
/// Expected is `{"outputs": [{"to": "sink:name", "value": …}]}`, where what is unchanged or the default is left
/// out (`operation`, `key`, `headers`, `timestamp`, `partition`), or `{"skip": "reason"}` (`reject`, `retry`, `fatal`).
///
/// # Panics
/// Where a line differs, naming file and line, or a file cannot be read.
pub fn check_samples<T: Transform>(dir: &str) {
    let dir = Path::new(dir);
    let mut names: Vec<_> = std::fs::read_dir(dir.join("samples"))
        .expect("the crate has a folder `samples`")
        .map(|entry| entry.expect("the folder can be read").file_name())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no samples/*.jsonl in {}", dir.display());
    for name in names {
        let lines = read_lines(&dir.join("samples").join(&name));
        let actual: Vec<Value> = lines.iter().map(|line| describe(&run::<T>(sample(line)))).collect();
        let path = dir.join("expected").join(&name);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            let text: String = actual.iter().map(|line| format!("{line}\n")).collect();
            std::fs::write(&path, text).expect("the expected file can be written");
        }
        let expected = read_lines(&path);
        for (at, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
            assert_eq!(actual, expected, "{}:{}: left is what came out", path.display(), at + 1);
        }
        assert_eq!(actual.len(), expected.len(), "{}: another number of lines than in samples", path.display());
    }
}

fn read_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let parse = |(at, line)| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{}:{}: {error}", path.display(), at + 1))
    };
    text.lines().enumerate().map(parse).collect()
}

fn sample(line: &Value) -> TestRecord {
    let mut sample = record().key(text(&line["key"])).value(text(&line["value"]));
    for (name, value) in line["headers"].as_object().into_iter().flatten() {
        sample = sample.header(name, text(value));
    }
    let timestamp = line["timestamp"].as_i64().unwrap_or(-1);
    sample.offset(line["offset"].as_i64().unwrap_or(0)).timestamp(timestamp)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn describe(ran: &Ran) -> Value {
    match &ran.failure {
        None => json!({ "outputs": ran.outputs.iter().map(describe_output).collect::<Vec<_>>() }),
        Some(error) => {
            let fate = match error.fate() {
                Fate::Skip => "skip",
                Fate::Reject => "reject",
                Fate::Retry => "retry",
                Fate::Fatal => "fatal",
            };
            json!({ fate: error.message() })
        }
    }
}

fn describe_output(output: &Output) -> Value {
    let mut fields = Map::new();
    fields.insert("to".to_owned(), output.to_string().into());
    if output.operation != Operation::Write {
        fields.insert("operation".to_owned(), format!("{:?}", output.operation).to_lowercase().into());
    }
    for (name, field) in [("key", &output.key), ("value", &output.value)] {
        match field {
            Field::Unchanged => {}
            Field::Null => drop(fields.insert(name.to_owned(), Value::Null)),
            Field::Data(bytes) => drop(fields.insert(name.to_owned(), show(bytes))),
        }
    }
    if let Some(headers) = &output.headers {
        let show_one =
            |(name, value): &(String, Option<Vec<u8>>)| (name.clone(), value.as_deref().map_or(Value::Null, show));
        fields.insert("headers".to_owned(), headers.iter().map(show_one).collect::<Map<_, _>>().into());
    }
    for (name, number) in [("timestamp", output.timestamp), ("partition", output.partition.map(i64::from))] {
        if let Some(number) = number {
            fields.insert(name.to_owned(), number.into());
        }
    }
    Value::Object(fields)
}

/// An object or array as JSON, other text as it is, binary as `\x…`.
fn show(bytes: &[u8]) -> Value {
    match serde_json::from_slice(bytes) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => std::str::from_utf8(bytes).map_or_else(|_| Bytes::from(bytes).to_string().into(), Value::from),
    }
}
