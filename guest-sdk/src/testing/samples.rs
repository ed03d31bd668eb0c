//! Samples beside a transform: `samples/*.jsonl` go in, `expected/*.jsonl` must come out. The format is described
//! at [`check_samples`]; `wasmill test` runs the same files through the compiled module.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Field, Output, Ran, TestRecord, base64, record, run};
use crate::log::Level;
use crate::manifest::Transform;
use crate::outputs::Operation;
use crate::{Bytes, Fate};

/// Verdicts that only the host makes; nothing here would come out the same.
const HOSTS: [&str; 6] = ["trap", "deadline", "memory", "output-limit", "too-large", "unknown-target"];

/// Runs each line of `samples/*.jsonl` and compares with the same line of `expected/*.jsonl`; `dir` is the crate's
/// folder, `env!("CARGO_MANIFEST_DIR")`. With `UPDATE_EXPECTED=1` in the environment the expected files are written.
/// `wasmill test` does the same with the compiled module, under the host's limits.
///
/// A sample is `{"key": …, "value": …, "headers": {…}, "offset": …, "timestamp": …}`; what is left out is NULL, an
/// object or array is passed as its JSON text, a text as it is. Bytes that are no text are `key_base64` and
/// `value_base64`, headers that occur twice a list of `{"name": …, "value": …}`. `topic`, `partition`, `vars` (variables
/// of the flow) and `name` (for reports) may be given.
///
/// Expected is `{"outputs": [{"to": "sink:name", "value": …}]}`, where what is unchanged or the default is left
/// out (`operation`, `key`, `headers`, `timestamp`, `partition`), or `{"skip": "reason"}` (`reject`, `retry`, `fatal`);
/// with `"logs": ["level: text"]` where the transform logs. Lines that expect a verdict of the host (`trap`,
/// `deadline`, `memory`, `output-limit`, `too-large`, `unknown-target`) are left to `wasmill test`.
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
        let path = dir.join("expected").join(&name);
        let samples = read_lines(&dir.join("samples").join(&name));
        let before = if path.exists() { values(&path) } else { Vec::new() };
        let mut actual = Vec::new();
        for (at, line) in samples.iter().enumerate() {
            // What the host would stop may not even end here.
            let hosts = before.get(at).filter(|value| HOSTS.iter().any(|code| value.get(code).is_some()));
            actual.push(hosts.cloned().unwrap_or_else(|| outcome::<T>(line)));
        }
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            let text: String = actual.iter().map(|line| format!("{line}\n")).collect();
            std::fs::write(&path, text).expect("the expected file can be written");
        }
        let expected = values(&path);
        for (at, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
            assert_eq!(actual, expected, "{}: line {}: left is what came out", path.display(), at + 1);
        }
        assert_eq!(actual.len(), expected.len(), "{}: another number of lines than in samples", path.display());
    }
}

/// A sample as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    #[serde(rename = "name")]
    _name: Option<String>,
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
    headers: Value,
    #[serde(default)]
    vars: BTreeMap<String, String>,
}

fn outcome<T: Transform>(line: &str) -> Value {
    let sample: Sample = serde_json::from_str(line).unwrap_or_else(|error| panic!("not a sample: {error}: {line}"));
    crate::vars::clear();
    sample.vars.iter().for_each(|(name, value)| crate::vars::set(name, value));
    crate::host::recorder(|recorder| recorder.logs.clear());
    let ran = run::<T>(sample.record::<T>());
    let mut told = describe(&ran);
    let logs = super::logs();
    if !logs.is_empty() {
        told["logs"] = logs.iter().map(log_line).collect();
    }
    told
}

impl Sample {
    fn record<T: Transform>(&self) -> TestRecord {
        let topic = T::TOPICS.iter().find(|topic| !topic.starts_with('^')).copied().unwrap_or("test");
        let mut record = record()
            .topic(self.topic.as_deref().unwrap_or(topic))
            .partition(self.partition)
            .offset(self.offset)
            .timestamp(self.timestamp.unwrap_or(-1))
            .key(bytes(&self.key, self.key_base64.as_deref()))
            .value(bytes(&self.value, self.value_base64.as_deref()));
        for (name, value) in self.headers.as_object().into_iter().flatten() {
            record = record.header(name, text(value));
        }
        for header in self.headers.as_array().into_iter().flatten() {
            let name = header["name"].as_str().expect("a header has a name");
            let value = header["value_base64"]
                .as_str()
                .map_or_else(|| text(&header["value"]), |text| bytes(&Value::Null, Some(text)));
            record = record.header(name, value);
        }
        record
    }
}

fn read_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn values(path: &Path) -> Vec<Value> {
    let parse = |line: &String| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display()))
    };
    read_lines(path).iter().map(parse).collect()
}

fn bytes(plain: &Value, encoded: Option<&str>) -> Option<Vec<u8>> {
    let Some(encoded) = encoded else { return text(plain) };
    assert!(plain.is_null(), "a field is given plain and as base64");
    Some(base64::decode(encoded).unwrap_or_else(|| panic!("not base64: {encoded}")))
}

fn text(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

fn log_line((level, text): &(Level, String)) -> Value {
    format!("{}: {text}", format!("{level:?}").to_lowercase()).into()
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
        fields.insert("headers".to_owned(), describe_headers(headers));
    }
    for (name, number) in [("timestamp", output.timestamp), ("partition", output.partition.map(i64::from))] {
        if let Some(number) = number {
            fields.insert(name.to_owned(), number.into());
        }
    }
    Value::Object(fields)
}

fn describe_headers(headers: &[(String, Option<Vec<u8>>)]) -> Value {
    let value = |value: &Option<Vec<u8>>| value.as_deref().map_or(Value::Null, show);
    let map: Map<String, Value> = headers.iter().map(|(name, v)| (name.clone(), value(v))).collect();
    match map.len() == headers.len() {
        true => map.into(),
        // A name occurs twice.
        false => headers.iter().map(|(name, v)| json!({ "name": name, "value": value(v) })).collect(),
    }
}

/// An object or array as JSON, other text as it is, binary as `\x…`. JSON with numbers that would lose digits is text.
fn show(bytes: &[u8]) -> Value {
    match serde_json::from_slice(bytes) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) if is_exact(bytes) => value,
        _ => std::str::from_utf8(bytes).map_or_else(|_| Bytes::from(bytes).to_string().into(), Value::from),
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
