//! Turns what the TOML deserializer says into what a user wants to read. Never repeats a value: it may be a secret.

use std::sync::LazyLock;

use regex::Regex;

use super::load::key_name;
use super::report::{Problem, nearest};

/// The problem behind a deserializer's message about the key or value at `path`.
pub(super) fn problem(path: &[String], message: &str) -> Problem {
    let names = quoted(message);
    let parent = path.split_last().map_or(&[][..], |(_, parent)| parent);
    match names.split_first() {
        Some((key, known)) if message.starts_with("unknown field") => {
            Problem::new(key_name(parent), format!("unknown key `{key}`")).help(unknown(key, known, "known keys"))
        }
        Some((word, known)) if message.starts_with("unknown variant") => {
            Problem::new(key_name(path), "not one of the words that are allowed here")
                .help(unknown(word, known, "allowed"))
        }
        Some((key, _)) if message.starts_with("missing field") => {
            Problem::new(key_name(path), format!("the key `{key}` is missing")).help(format!("add `{key} = …`"))
        }
        _ => {
            let problem = Problem::new(key_name(path), plain(message));
            match hint(message) {
                Some(help) => problem.help(help),
                None => problem,
            }
        }
    }
}

fn unknown(word: &str, known: &[&str], title: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => "remove it".into(),
        None => format!("{title}: {}", known.join(", ")),
    }
}

/// The words between backticks.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

fn plain(message: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let rules = [
            (r#"(?s)\bstring ".*", expected"#, "a string, expected"),
            (r"\binteger `-[^`]*`", "a negative number"),
            (r"\binteger `[^`]*`", "a whole number"),
            (r"\bfloating point `[^`]*`", "a decimal number"),
            (r"\bboolean `[^`]*`", "true or false"),
            (r"\bexpected (u8|u16|u32|u64|usize)\b", "expected a whole number that is not negative"),
            (r"\bexpected (i32|i64)\b", "expected a whole number"),
            (r"\bexpected a boolean\b", "expected true or false"),
            (r"\bexpected (struct \w+|a map)\b", "expected a table"),
            (r"\bexpected a sequence\b", "expected a list"),
            (r"\bsequence\b", "a list"),
            (r"\bmap\b", "a table"),
            (r"data did not match any variant of untagged enum \w+", "expected a string, a number, true or false"),
            (r"^invalid (type|value): ", "found "),
        ];
        rules.map(|(rule, words)| (Regex::new(rule).expect("the rules are constant"), words)).into()
    });
    RULES.iter().fold(message.trim().to_owned(), |text, (rule, words)| rule.replace_all(&text, *words).into_owned())
}

fn hint(message: &str) -> Option<&'static str> {
    let (found, expected) = message.strip_prefix("invalid type: ")?.rsplit_once(", expected ")?;
    match (found, expected) {
        (found, "a sequence") if found.starts_with("string") => Some("put it into brackets: [\"…\"]"),
        (found, "u32" | "u64" | "usize" | "i64" | "a boolean") if found.starts_with("string") => {
            Some("write it without quotes; `${…}` works in strings only")
        }
        (_, "a string") => Some("put it into quotes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_never_repeated() {
        let path = ["sinks".to_owned(), "postgres".to_owned()];
        let problem = problem(&path, "invalid type: string \"hun, expected \\\"ter2\", expected u32");
        assert_eq!(problem.message, "found a string, expected a whole number that is not negative");
    }
}
