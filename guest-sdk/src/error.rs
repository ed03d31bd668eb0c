//! How a transform says no. An error here is the fate of one record; nothing in this file ends a module.

use std::borrow::Cow;
use std::fmt;

/// What a transform returns.
///
/// `?` works on every error type: an error of another type is a [`reject`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What happens to a record that was not processed. Its outputs are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Filtered: counted by reason, nothing is written.
    Skip,
    /// A dead letter with the code `reject`.
    Reject,
    /// Nothing of the batch is committed; it is tried again after a back-off, for ever.
    Retry,
    /// The flow stops before this record and waits for an operator.
    Fatal,
}

impl Fate {
    /// In the order of the frame's numbers.
    #[cfg(any(not(target_arch = "wasm32"), feature = "typed"))]
    pub(crate) const ALL: [Fate; 4] = [Fate::Skip, Fate::Reject, Fate::Retry, Fate::Fatal];
}

/// The fate of one record, with the reason for people.
///
/// Made by [`skip`], [`reject`], [`retry`] and [`fatal`], or by `?` on any error (a reject). It does not implement
/// [`std::error::Error`], so that every type that does can be converted into it.
///
/// ```
/// use wasmill_sdk::prelude::*;
/// fn age(text: &str) -> Result<u8> {
///     Ok(text.parse()?)
/// }
/// assert_eq!(age("x").unwrap_err().fate(), Fate::Reject);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    fate: Fate,
    message: Cow<'static, str>,
}

impl Error {
    /// An error with the given fate.
    pub fn new(fate: Fate, message: impl Into<Cow<'static, str>>) -> Self {
        Error { fate, message: message.into() }
    }

    /// An error that skips the record; for `ok_or_else` and the like. See [`skip`].
    pub fn skip(reason: impl Into<Cow<'static, str>>) -> Self {
        Error::new(Fate::Skip, reason)
    }

    /// An error that rejects the record; for `ok_or_else` and the like. See [`reject`].
    pub fn reject(reason: impl Into<Cow<'static, str>>) -> Self {
        Error::new(Fate::Reject, reason)
    }

    /// What happens to the record.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Why, for people.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.fate, self.message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let cause: &(dyn std::error::Error + 'static) = &error;
        match cause.downcast_ref::<serde_json::Error>() {
            Some(json) => Error::reject(describe_json(json)),
            None => Error::reject(error.to_string()),
        }
    }
}

/// Filters the record: it is counted under `reason` and nothing is written.
///
/// Keep the reasons few and constant: each is a label of a metric.
///
/// # Errors
/// Always; that is its purpose.
pub fn skip<T>(reason: impl Into<Cow<'static, str>>) -> Result<T> {
    Err(Error::new(Fate::Skip, reason))
}

/// Makes the record a dead letter with the code `reject` and this reason.
///
/// # Errors
/// Always; that is its purpose.
pub fn reject<T>(reason: impl Into<Cow<'static, str>>) -> Result<T> {
    Err(Error::new(Fate::Reject, reason))
}

/// Commits nothing of the batch and tries it again after a back-off, for ever.
///
/// A transform has no clock and no network: what it saw the first time it will see again. This is for a module that
/// waits to be replaced.
///
/// # Errors
/// Always; that is its purpose.
pub fn retry<T>(reason: impl Into<Cow<'static, str>>) -> Result<T> {
    Err(Error::new(Fate::Retry, reason))
}

/// Stops the flow before this record, until an operator acts.
///
/// # Errors
/// Always; that is its purpose.
pub fn fatal<T>(reason: impl Into<Cow<'static, str>>) -> Result<T> {
    Err(Error::new(Fate::Fatal, reason))
}

/// The words of a JSON error without the payload: serde quotes the offending value, which may be a secret.
pub(crate) fn describe_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if let Some(rest) = text.strip_prefix("unknown variant `") {
        return format!("unknown variant{}", after_last(rest, "`, expected"));
    }
    match text.split_once(": ") {
        Some((what @ ("invalid type" | "invalid value"), found)) => {
            let kind = found.split(['"', '`', ',']).next().unwrap_or_default().trim_end();
            format!("{what}: {kind}{}", after_last(found, ", expected"))
        }
        _ => text,
    }
}

/// The rest of `text` from the comma before `expected`; serde writes it after the value, so the last one counts.
fn after_last<'t>(text: &'t str, marker: &str) -> &'t str {
    text.rfind(marker).and_then(|at| text[at..].find(',').map(|comma| &text[at + comma..])).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Level {
        Info,
    }

    fn message<T: for<'a> Deserialize<'a> + std::fmt::Debug>(json: &str) -> String {
        Error::from(serde_json::from_str::<T>(json).expect_err("must not parse")).message.into_owned()
    }

    #[test]
    fn a_decoding_error_is_a_reject_that_does_not_quote_the_payload() {
        assert_eq!(
            message::<u8>(r#""pass, expected \"word""#),
            "invalid type: string, expected u8 at line 1 column 23"
        );
        assert_eq!(message::<String>("4711"), "invalid type: integer, expected a string at line 1 column 4");
        assert_eq!(message::<u8>("4711"), "invalid value: integer, expected u8 at line 1 column 4");
        assert_eq!(message::<Level>(r#""secret`, expected""#), "unknown variant, expected `info` at line 1 column 19");
        assert_eq!(message::<u8>("[1"), "invalid type: sequence, expected u8 at line 1 column 0");
        assert_eq!(message::<Vec<u8>>("[1"), "EOF while parsing a list at line 1 column 2");
    }

    #[test]
    fn each_verdict_keeps_its_reason() {
        let fates = [skip::<()>("a"), reject("b"), retry("c"), fatal("d")].map(|r| r.unwrap_err());
        assert_eq!(fates.clone().map(|e| e.fate()), Fate::ALL);
        assert_eq!(fates.each_ref().map(|e| e.message()), ["a", "b", "c", "d"]);
    }
}
