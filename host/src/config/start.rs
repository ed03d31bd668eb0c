//! Where a flow begins, as users write it: `"earliest"`, `"latest"`, `"timestamp:2026-01-31T00:00:00Z"`,
//! `"offset:42"`, `{ timestamp = "…" }` or `{ offset = 42 }`.

use serde::de::{Deserialize, Deserializer, Error};

use super::Start;

const FORMS: &str = "write \"earliest\", \"latest\", \"timestamp:2026-01-31T00:00:00Z\" or \"offset:42\"";

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    Table(Table),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    timestamp: Option<Time>,
    offset: Option<i64>,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Time {
    Text(String),
    Millis(i64),
    Native(toml::value::Datetime),
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written =
            Written::deserialize(deserializer).map_err(|_| D::Error::custom(format!("not a start; {FORMS}")))?;
        match written {
            Written::Word(word) => parse(&word),
            Written::Table(Table { timestamp: Some(time), offset: None }) => match time {
                Time::Text(text) => timestamp(&text),
                Time::Millis(millis) => Ok(Start::Timestamp(millis)),
                Time::Native(time) => timestamp(&time.to_string()),
            },
            Written::Table(Table { timestamp: None, offset: Some(at) }) => offset(at),
            Written::Table(_) => Err(format!("a start is either a timestamp or an offset; {FORMS}")),
        }
        .map_err(D::Error::custom)
    }
}

/// Parses the form that is one string.
pub fn parse(word: &str) -> Result<Start, String> {
    match word.split_once(':') {
        None if word == "earliest" => Ok(Start::Earliest),
        None if word == "latest" => Ok(Start::Latest),
        Some(("timestamp", time)) => timestamp(time.trim()),
        Some(("offset", at)) => {
            at.trim().parse().map_err(|_| format!("the offset is not a number; {FORMS}")).and_then(offset)
        }
        _ => Err(format!("not a start; {FORMS}")),
    }
}

fn offset(at: i64) -> Result<Start, String> {
    if at < 0 { Err("an offset is not negative".into()) } else { Ok(Start::Offset(at)) }
}

fn timestamp(text: &str) -> Result<Start, String> {
    if let Ok(millis) = text.parse() {
        return Ok(Start::Timestamp(millis));
    }
    text.parse::<jiff::Timestamp>().map(|time| Start::Timestamp(time.as_millisecond())).map_err(|_| {
        "not a point in time; write it like 2026-01-31T00:00:00Z, with Z or an offset such as +01:00 at the end".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Holder {
        start: Start,
    }

    fn check(text: &str, expected: Option<Start>) {
        let parsed = toml::from_str::<Holder>(&format!("start = {text}")).map(|holder| holder.start);
        assert_eq!(parsed.ok(), expected, "{text}");
    }

    #[test]
    fn every_form_of_start_is_read() {
        let time = Some(Start::Timestamp(1_769_817_600_000));
        check("\"earliest\"", Some(Start::Earliest));
        check("\"latest\"", Some(Start::Latest));
        check("\"offset:42\"", Some(Start::Offset(42)));
        check("{ offset = 42 }", Some(Start::Offset(42)));
        check("\"timestamp:2026-01-31T00:00:00Z\"", time.clone());
        check("{ timestamp = \"2026-01-31T01:00:00+01:00\" }", time.clone());
        check("{ timestamp = 2026-01-31T00:00:00Z }", time.clone());
        check("{ timestamp = 1769817600000 }", time);
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "\"soon\"",
            "\"offset:-1\"",
            "\"offset:x\"",
            "{ }",
            "{ offset = 1, timestamp = 2 }",
            "7",
            "\"timestamp:2026-01-31T00:00:00\"",
            "{ ofset = 1 }",
        ] {
            check(text, None);
        }
    }
}
