//! The JSON Schema of the configuration, made of the very structures that it is read into: their doc comments are the
//! descriptions. Editors take it by the first line of the file, `#:schema wasmill.schema.json`.

use std::borrow::Cow;

use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::units::{ByteSize, Span};
use super::{Config, Start};

/// What an expression in a string begins with: its value is known only when the file is read.
const EXPRESSION: &str = r"\$\{";

/// The schema as the command prints it.
pub fn text() -> String {
    serde_json::to_string_pretty(&schema()).expect("a schema is JSON")
}

/// The schema of `wasmill.toml`.
pub fn schema() -> Value {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<Config>();
    allow_expressions(&mut schema);
    schema.insert("title".into(), "wasmill.toml".into());
    schema.to_value()
}

/// Wherever only some strings are allowed, `${…}` is as well.
fn allow_expressions(schema: &mut Schema) {
    transform_subschemas(&mut allow_expressions, schema);
    let Some(object) = schema.as_object_mut() else { return };
    let restricted = |object: &serde_json::Map<String, Value>| {
        object.contains_key("enum") || object.contains_key("const") || object.contains_key("pattern")
    };
    let expression = json!({ "type": "string", "pattern": EXPRESSION });
    for key in ["oneOf", "anyOf"] {
        let Some(Value::Array(choices)) = object.get(key) else { continue };
        if choices.iter().any(|choice| choice.as_object().is_some_and(restricted)) {
            let mut choices = choices.clone();
            if !choices.contains(&expression) {
                choices.push(expression);
            }
            object.remove(key);
            object.insert("anyOf".into(), choices.into());
            return;
        }
    }
    if object.contains_key("enum") {
        let words = object.remove("enum");
        object.remove("type");
        object.insert("anyOf".into(), json!([{ "type": "string", "enum": words }, expression]));
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration with its unit, such as \"10s\" or \"250ms\".",
            "type": "string",
            "pattern": r"^\s*\+?\s*[0-9PT]|\$\{",
        })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, such as \"64MiB\" or a plain integer.",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": r"^\s*[0-9.]+\s*([kKmMgGtTpPeE]?[iI]?[bB]?)\s*$" },
            ],
        })
    }
}

impl JsonSchema for Start {
    fn schema_name() -> Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "\"earliest\", \"latest\", \"timestamp:2026-01-31T00:00:00Z\" or \"offset:42\".",
            "anyOf": [
                { "type": "string", "pattern": "^(earliest|latest|timestamp:.+|offset: *[0-9]+ *)$" },
                {
                    "type": "object",
                    "properties": { "timestamp": { "type": ["string", "integer"] } },
                    "required": ["timestamp"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "properties": { "offset": { "type": "integer", "minimum": 0 } },
                    "required": ["offset"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}
