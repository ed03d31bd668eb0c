//! `${…}` in string values. It happens after parsing, value by value, so a variable can never change the structure of
//! the file, and what a variable holds is not expanded again. Keys are left alone.
//!
//! `${VAR}` must be set. `${VAR:-default}` and `${VAR:?message}` also count an empty variable as missing.
//! `${file:/run/secrets/x}` is the content of a file without its last line break. `$$` is a dollar sign; a dollar
//! sign before anything else than `{` or `$` stands for itself, so that `^logs$` needs no escape.

use std::path::Path;

/// Largest file that `${file:…}` reads.
const MAX_FILE: u64 = 64 << 10;
/// Deepest `${A:-${B:-…}}`.
const MAX_DEPTH: usize = 8;

/// Where values come from.
pub struct Scope<'a> {
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// What relative paths of `${file:…}` refer to.
    pub base: &'a Path,
}

/// An expression that has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The expression as it was written, such as `${POSTGRES_URL:?set POSTGRES_URL}`.
    pub expression: String,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Scope<'_> {
    /// Replaces every expression of `text`.
    pub fn expand(&self, text: &str) -> Result<String, Missing> {
        self.expand_at(text, 0)
    }

    fn expand_at(&self, text: &str, depth: usize) -> Result<String, Missing> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            rest = &rest[at..];
            if rest.starts_with("$$") {
                expanded.push('$');
                rest = &rest[2..];
            } else if rest.starts_with("${") {
                let end = closing_brace(rest).ok_or_else(|| {
                    missing(rest, "a `${` has no closing `}`", "close it, or write `$${` for a literal `${`")
                })?;
                expanded.push_str(&self.value(&rest[..=end], depth)?);
                rest = &rest[end + 1..];
            } else {
                expanded.push('$');
                rest = &rest[1..];
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn value(&self, expression: &str, depth: usize) -> Result<String, Missing> {
        let inner = &expression[2..expression.len() - 1];
        if depth > MAX_DEPTH {
            return Err(missing(expression, "defaults are nested too deeply", "use fewer levels of `${…:-…}`"));
        }
        if let Some(path) = inner.strip_prefix("file:") {
            return self.file(expression, path);
        }
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, rest) = inner.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            let help =
                "write `${NAME}`, `${NAME:-default}`, `${NAME:?message}` or `${file:/path}`; `$$` is a dollar sign";
            return Err(missing(expression, "`${` is not followed by the name of a variable", help));
        }
        let value = (self.env)(name);
        if rest.is_empty() {
            let help = format!("set it, or give a default: `${{{name}:-…}}`");
            return value.ok_or_else(|| missing(expression, format!("the variable {name} is not set"), help));
        }
        let value = value.filter(|value| !value.is_empty());
        match (value, rest.strip_prefix(":-"), rest.strip_prefix(":?")) {
            (Some(value), Some(_), _) | (Some(value), _, Some(_)) => Ok(value),
            (None, Some(default), _) => self.expand_at(default, depth + 1),
            (None, _, Some(message)) => {
                let help = if message.is_empty() { format!("set {name}") } else { message.into() };
                Err(missing(expression, format!("the variable {name} is not set or empty"), help))
            }
            _ => {
                let help = format!("write `${{{name}}}`, `${{{name}:-default}}` or `${{{name}:?message}}`");
                Err(missing(expression, format!("`{rest}` after the variable {name} has no meaning"), help))
            }
        }
    }

    fn file(&self, expression: &str, path: &str) -> Result<String, Missing> {
        let path = self.base.join(path);
        let failed = |cause: String| {
            let message = format!("cannot read the file {}: {cause}", path.display());
            missing(expression, message, "create it, make it readable for this user, or correct the path")
        };
        let size = std::fs::metadata(&path).map_err(|error| failed(error.to_string()))?;
        if !size.is_file() || size.len() > MAX_FILE {
            return Err(failed(format!("not a regular file of at most {} KiB", MAX_FILE >> 10)));
        }
        let bytes = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
        // The decoding error would quote the secret's bytes.
        let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".into()))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

fn missing(expression: &str, message: impl Into<String>, help: impl Into<String>) -> Missing {
    Missing { expression: expression.into(), message: message.into(), help: help.into() }
}

/// Index of the `}` that belongs to the `${` at the beginning.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => depth += 1,
            '}' if depth == 1 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        previous = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${A} $$ \"\n[sinks]".into()),
            _ => None,
        }
    }

    fn expand(text: &str) -> Result<String, Missing> {
        Scope { env: &env, base: Path::new("/nowhere") }.expand(text)
    }

    #[test]
    fn every_form_has_its_meaning() {
        for (text, expected) in [
            ("plain", "plain"),
            ("<${A}>", "<alpha>"),
            ("${EMPTY}", ""),
            ("${EMPTY:-d}", "d"),
            ("${B:-d}", "d"),
            ("${B:-}", ""),
            ("${A:-d}", "alpha"),
            ("${A:?m}", "alpha"),
            ("${B:-${A}}!", "alpha!"),
            ("${B:-${C:-x}}", "x"),
            ("${TRICK}", "${A} $$ \"\n[sinks]"),
            ("$${A}", "${A}"),
            ("^logs$", "^logs$"),
            ("$5 and $$5", "$5 and $5"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_missing_value_names_the_variable_and_what_to_do() {
        let missing = expand("x${B}").unwrap_err();
        assert_eq!((missing.expression.as_str(), missing.message.as_str()), ("${B}", "the variable B is not set"));
        assert_eq!(expand("${B:?set B to the cluster}").unwrap_err().help, "set B to the cluster");
        for text in ["${", "${}", "${A", "${1}", "${A-x}", "${A:x}", "${file:/nowhere/at/all}"] {
            assert!(expand(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_loses_its_last_line_break_only() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "a\nb\r\n").unwrap();
        let scope = Scope { env: &env, base: dir.path() };
        assert_eq!(scope.expand("<${file:secret}>").as_deref(), Ok("<a\nb>"));
    }

    proptest! {
        #[test]
        fn any_text_is_expanded_or_refused(text in "[${}:?A-C_\\-a-c ]{0,40}") {
            prop_assert!(expand(&text).err().is_none_or(|missing| !missing.help.is_empty()));
        }

        #[test]
        fn text_without_expressions_stays_as_it_is(text in "[^$]{0,40}") {
            prop_assert_eq!(expand(&text), Ok(text));
        }

        #[test]
        fn doubled_dollars_escape_everything(text in "[${}:?A-C_\\-a-c ]{0,40}") {
            prop_assert_eq!(expand(&text.replace('$', "$$")), Ok(text));
        }
    }
}
