//! Sorts MongoDB's errors: an outage, a person's move, or the fault of one document.

use mongodb::error::{Error, ErrorKind};

/// Whose move it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Wait,
    Operator,
    /// What is in a document is the reason; the code goes into its dead letter.
    Data(i32),
}

/// The collection is there already.
pub(super) const NAMESPACE_EXISTS: i32 = 48;
/// The user lacks a right.
pub(super) const UNAUTHORIZED: i32 = 13;
/// A unique index holds the value already.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// The server or its state is the reason, and it will pass: no primary, shutting down, interrupted, too busy.
const PASSING: &[i32] = &[
    6, 7, 24, 43, 46, 50, 63, 64, 70, 74, 83, 84, 89, 91, 109, 112, 117, 133, 134, 150, 189, 202, 203, 211, 225, 234,
    235, 246, 262, 279, 290, 317, 365, 391, 402, 462, 9001, 10058, 10107, 11600, 11601, 11602, 13388, 13435, 13436,
    14031,
];
/// A right or a feature is missing, or a name cannot be used: nothing that a document could help.
const OPERATORS: &[i32] =
    &[8, 11, 13, 18, 20, 26, 31, 33, 48, 59, 68, 72, 73, 79, 93, 96, 100, 115, 118, 166, 193, 224, 238, 323, 334, 8000];
/// Errors of a whole command that one of its documents can be the reason for.
const DATA: &[i32] = &[
    2, 4, 5, 9, 14, 15, 16, 22, 28, 39, 40, 52, 53, 54, 55, 56, 57, 58, 66, 85, 121, 151, 171, 173, 311, 10334, 11000,
    17280, 17419, 17420,
];

/// What the code of one operation means.
pub(super) fn of_operation(code: i32) -> Verdict {
    match code {
        _ if PASSING.contains(&code) => Verdict::Wait,
        _ if OPERATORS.contains(&code) => Verdict::Operator,
        code => Verdict::Data(code),
    }
}

/// What the failure of a whole command means. What is unknown is a person's: a dead letter must not hide it.
pub(super) fn of_command(error: &Error) -> Verdict {
    match &*error.kind {
        ErrorKind::Command(command) if DATA.contains(&command.code) => Verdict::Data(command.code),
        ErrorKind::Command(command) if PASSING.contains(&command.code) => Verdict::Wait,
        ErrorKind::Command(_) if error.contains_label(mongodb::error::RETRYABLE_WRITE_ERROR) => Verdict::Wait,
        ErrorKind::Command(_)
        | ErrorKind::Authentication { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::IncompatibleServer { .. } => Verdict::Operator,
        _ => Verdict::Wait,
    }
}

/// The code of a command's error.
pub(super) fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// The server's words about one operation, for a dead letter: those about a duplicate quote the value.
pub(super) fn words(code: i32, message: &str) -> String {
    if code == DUPLICATE_KEY {
        let index = message.split_once("index: ").and_then(|(_, rest)| rest.split_whitespace().next());
        return match index {
            Some(index) => format!("another document has the same value in the unique index {index}"),
            None => "another document has the same value in a unique index".into(),
        };
    }
    message.chars().take(300).collect()
}

/// What a person should do about a command's error.
pub(super) fn advice(code: Option<i32>) -> &'static str {
    match code {
        Some(13) => "grant this user readWrite on the database",
        Some(18) | None => "check the sink's url, user and password",
        Some(79 | 100) => "the deployment cannot give the write concern majority",
        Some(166) => "the collection is a view; write to another one",
        Some(_) => "see the server's words",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_has_two_meanings() {
        let all: Vec<i32> = [PASSING, OPERATORS, DATA].concat();
        let once: std::collections::BTreeSet<i32> = all.iter().copied().collect();
        assert_eq!(once.len(), all.len());
    }

    #[test]
    fn a_duplicates_value_stays_out_of_the_words() {
        let message = "E11000 duplicate key error collection: a.b index: email_1 dup key: { email: \"geheim\" }";
        let words = words(DUPLICATE_KEY, message);
        assert!(words.contains("email_1") && !words.contains("geheim"), "{words}");
    }
}
