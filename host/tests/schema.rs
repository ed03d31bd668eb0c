//! What `wasmill schema` says agrees with what the program reads.

use std::path::Path;

use serde_json::Value;
use wasmill::config::{Config, schema};

const EXAMPLE: &str = include_str!("../config.example.toml");
const README: &str = include_str!("../../README.md");

/// What an editor would say of a file: nothing, or what is wrong.
fn said(source: &str) -> Result<(), String> {
    let value: toml::Value = toml::from_str(source).unwrap_or_else(|error| panic!("{error}\n{source}"));
    let value: Value = serde_json::to_value(value).expect("it is plain data");
    let schema = schema::schema();
    wrong(&schema, &schema, &value).map_or(Ok(()), Err)
}

/// The first thing that a value breaks of a schema. Knows the keywords that occur and no others.
fn wrong(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    let Value::Object(keywords) = schema else {
        return (schema == &Value::Bool(false)).then(|| format!("{value} is not allowed"));
    };
    keywords.iter().find_map(|(keyword, wanted)| {
        let is_wrong = match keyword.as_str() {
            "$ref" => {
                let path = wanted.as_str()?.strip_prefix('#').expect("a place in the schema itself");
                return wrong(root, root.pointer(path).expect("a definition"), value);
            }
            "anyOf" | "oneOf" => {
                let fit = wanted.as_array()?.iter().filter(|schema| wrong(root, schema, value).is_none()).count();
                fit == 0 || (keyword == "oneOf" && fit > 1)
            }
            "type" => {
                let is = |name: &Value| match name.as_str().expect("a type") {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    other => panic!("type {other}"),
                };
                !wanted.as_array().map_or_else(|| is(wanted), |names| names.iter().any(is))
            }
            "const" => wanted != value,
            "enum" => !wanted.as_array()?.contains(value),
            "pattern" => value.as_str().is_some_and(|text| {
                !regex::Regex::new(wanted.as_str().expect("a pattern")).expect("a pattern").is_match(text)
            }),
            "minimum" => value.as_f64().is_some_and(|value| Some(value) < wanted.as_f64()),
            "maximum" => value.as_f64().is_some_and(|value| Some(value) > wanted.as_f64()),
            "required" => wanted.as_array()?.iter().any(|key| value.get(key.as_str().expect("a key")).is_none()),
            "items" => return value.as_array()?.iter().find_map(|item| wrong(root, wanted, item)),
            "properties" => {
                let known = wanted.as_object()?.iter();
                return known
                    .filter_map(|(key, schema)| Some((schema, value.get(key)?)))
                    .find_map(|(s, v)| wrong(root, s, v));
            }
            "additionalProperties" => {
                let known = |key: &str| keywords.get("properties").is_some_and(|known| known.get(key).is_some());
                let mut others = value.as_object()?.iter().filter(|(key, _)| !known(key));
                return others.find_map(|(key, value)| Some(format!("{key}: {}", wrong(root, wanted, value)?)));
            }
            "$schema" | "$defs" | "title" | "description" | "default" | "format" => false,
            other => panic!("the keyword {other} is new to this test"),
        };
        is_wrong.then(|| format!("{value} breaks {keyword} {wanted}"))
    })
}

fn parses(source: &str) -> bool {
    let env = |_: &str| Some("postgres://db/x".to_owned());
    Config::parse(Path::new("wasmill.toml"), source, Path::new("/"), &env).is_ok()
}

#[test]
fn the_example_and_the_readme_are_valid() {
    said(EXAMPLE).unwrap_or_else(|error| panic!("{error}"));
    let blocks: Vec<&str> = README.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    blocks.iter().for_each(|block| said(block).unwrap_or_else(|error| panic!("{error}\n{block}")));
}

#[test]
fn what_the_program_refuses_the_editor_marks() {
    for source in [
        "brokres = 1",
        "[flow.quotes]\ntopcs = []",
        "[flow.quotes.limits]\nmemory = \"much\"",
        "[flow.quotes]\ndelivery = \"twice\"",
        "[flow.quotes]\nstart = \"soon\"",
        "[sinks.postgres]\nmax_rows_per_second = 5",
        "[sinks.postgres]\nurl = \"postgres://db/x\"\nmax_rows_per_second = \"5\"",
        "[kafka]\ncreate_topics = \"yes\"",
        "[modules]\nscan_interval = 1",
    ] {
        assert!(!parses(source) && said(source).is_err(), "{source}");
    }
}

#[test]
fn what_the_program_takes_the_editor_does_not_mark() {
    for source in [
        "",
        "[flow.quotes]\ndelivery = \"${DELIVERY:-transactional}\"\nstart = { offset = 42 }",
        "[flow.quotes]\nlimits = { memory = 1048576, time_per_record = \"250ms\" }",
        "[kafka.properties]\n\"session.timeout.ms\" = 6000\n\"socket.keepalive.enable\" = true",
        "[sinks.x]\nurl = \"${URL}\"\n[sinks.x.tables.\"a.b\"]\nmode = \"upsert\"\nevolve = \"off\"",
        "[log]\nformat = \"json\"\nfile_size = \"1 GiB\"",
    ] {
        said(source).unwrap_or_else(|error| panic!("{error}\n{source}"));
    }
    assert!(parses(
        "[flow.quotes]\nlimits = { memory = 1048576, time_per_record = \"250ms\" }\nstart = { offset = 42 }"
    ));
}

/// The doc comments are the manual that editors show.
#[test]
fn every_key_is_described() {
    let mut undescribed = Vec::new();
    let schema = schema::schema();
    let tables = schema["$defs"].as_object().unwrap();
    for (name, table) in tables {
        for (key, value) in table["properties"].as_object().into_iter().flatten() {
            let of_type = value["$ref"].as_str().and_then(|path| tables.get(path.rsplit('/').next()?));
            let described = |value: &Value| value["description"].as_str().is_some_and(|text| text.len() > 5);
            if !described(value) && !of_type.is_some_and(described) {
                undescribed.push(format!("{name}.{key}"));
            }
        }
    }
    assert!(undescribed.is_empty(), "{undescribed:?}");
    assert!(tables.len() >= 10, "{:?}", tables.keys());
}
