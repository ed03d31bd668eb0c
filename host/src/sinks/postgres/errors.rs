//! What an error of the server means: for the row, for a person, or for time to heal. Messages carry the server's
//! primary words, never its DETAIL line or a quoted value: those hold what was in the row.

use std::time::Duration;

use sqlx::postgres::PgDatabaseError;

use super::server;
use crate::outcome::Code;
use crate::sinks::{Class, SinkError};

/// Why a statement did not come through.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlx(sqlx::Error),
    /// The server did not answer in time; the connection is of no use any more.
    Silent(Duration),
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A row is refused for what is in it.
    Data,
    /// The tables are not what they were when they were last looked at.
    Stale,
    Operator,
    Wait,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Failure::Sqlx(error)
    }
}

impl Failure {
    pub(super) fn sort(&self) -> Sort {
        match (self.sqlstate(), self) {
            (Some(state), _) => sort(state),
            (None, Failure::Sqlx(sqlx::Error::Configuration(_) | sqlx::Error::Tls(_))) => Sort::Operator,
            _ => Sort::Wait,
        }
    }

    pub(super) fn sqlstate(&self) -> Option<&str> {
        self.server().map(PgDatabaseError::code)
    }

    /// Code and message of a refused row.
    pub(super) fn refusal(&self) -> (Code, String) {
        let Some(error) = self.server() else { return (Code::DECODE, self.words()) };
        let mut message = redact(error.code(), error.message());
        let place = [("column", error.column()), ("constraint", error.constraint())];
        for (what, name) in place {
            if let Some(name) = name
                && !message.contains(name)
            {
                message.push_str(&format!(" ({what} \"{name}\")"));
            }
        }
        (Code::sink("pg", error.code()), message)
    }

    /// For the caller of the sink: `doing` says what was attempted, on what.
    pub(super) fn sink_error(&self, doing: &str) -> SinkError {
        let class = match self.sort() {
            Sort::Data | Sort::Wait => Class::Wait,
            Sort::Stale | Sort::Operator => Class::Operator,
        };
        let of_tls = || match self {
            Failure::Sqlx(error) => server::advice(error),
            Failure::Silent(_) => None,
        };
        let advice =
            self.sqlstate().map_or_else(of_tls, advice).map(|advice| format!("; {advice}")).unwrap_or_default();
        SinkError { class, message: format!("{doing}: {}{advice}", self.words()) }
    }

    fn words(&self) -> String {
        match (self, self.server()) {
            (_, Some(error)) => format!("{} (SQLSTATE {})", redact(error.code(), error.message()), error.code()),
            (Failure::Silent(after), _) => format!("no answer within {} s", after.as_secs()),
            (Failure::Sqlx(error), _) => error.to_string(),
        }
    }

    fn server(&self) -> Option<&PgDatabaseError> {
        match self {
            Failure::Sqlx(sqlx::Error::Database(error)) => error.try_downcast_ref(),
            _ => None,
        }
    }
}

fn sort(state: &str) -> Sort {
    match state {
        "42P01" | "42703" | "42804" | "0A000" | "3F000" => Sort::Stale,
        // 428C9: the row names a generated column. 54000 and 54001: a value that is too large for an index or nested too
        // deeply.
        "21000" | "428C9" | "54000" | "54001" => Sort::Data,
        _ => match &state[..state.len().min(2)] {
            "22" | "23" | "44" => Sort::Data,
            "42" | "28" | "3D" | "3F" | "0A" | "P0" => Sort::Operator,
            _ => Sort::Wait,
        },
    }
}

/// What a person can do.
fn advice(state: &str) -> Option<&'static str> {
    Some(match state {
        "28P01" | "28000" => "check user, password and pg_hba.conf for the sink's url",
        "3D000" => "create the database or correct the sink's url",
        "3F000" => "create the schema or correct the target's name",
        "42501" => "grant the right to the sink's user",
        "42P01" => "create the table or let the module declare its columns",
        "42P10" => "add a unique constraint on exactly the key columns",
        "42703" | "42804" => "make the table's columns agree with what the module declares",
        "25006" => "the server is read-only; it is tried again until it is not",
        "P0001" => "a trigger or function of the database refused the row",
        _ => return None,
    })
}

/// Messages about values quote the value: everything between the first and the last quotation mark goes, in whatever
/// language the server speaks. Other classes quote only names.
fn redact(state: &str, message: &str) -> String {
    const MARKS: [char; 10] =
        ['"', '\u{201c}', '\u{201d}', '\u{201e}', '\u{ab}', '\u{bb}', '\u{2018}', '\u{2019}', '\u{300c}', '\u{300d}'];
    let quotes_values = (state.starts_with("22") && state != "22021" && state != "22P05") || state.starts_with("P0");
    let (Some(from), Some(to)) = (message.find(MARKS), message.rfind(MARKS)) else { return message.to_owned() };
    if !quotes_values {
        return message.to_owned();
    }
    let last = message[to..].chars().next().map_or(0, char::len_utf8);
    format!("{}…{}", &message[..from], &message[to + last..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_the_value_and_keep_names() {
        let value = "invalid input syntax for type bigint: \"my \"secret\" value\"";
        assert_eq!(redact("22P02", value), "invalid input syntax for type bigint: …");
        assert_eq!(
            redact("22003", "value \"99999\" is out of range for type integer"),
            "value … is out of range for type integer"
        );
        assert_eq!(
            redact("22P02", "ungültige Eingabesyntax für Typ integer: »geheim«"),
            "ungültige Eingabesyntax für Typ integer: …"
        );
        let name = "null value in column \"a\" violates not-null constraint";
        assert_eq!(redact("23502", name), name);
    }

    #[test]
    fn states_are_sorted_by_whose_move_it_is() {
        for state in ["22001", "23505", "21000", "22P05", "428C9", "54001"] {
            assert_eq!(sort(state), Sort::Data, "{state}");
        }
        for state in ["42501", "28P01", "3D000", "42P10"] {
            assert_eq!(sort(state), Sort::Operator, "{state}");
        }
        for state in ["08006", "57P01", "53300", "40001", "40P01", "55P03", "57014", "25006", "XX000"] {
            assert_eq!(sort(state), Sort::Wait, "{state}");
        }
        assert_eq!(sort("42P01"), Sort::Stale);
    }
}
