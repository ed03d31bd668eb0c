//! What an error of SQLite means. Its messages name tables and columns, never values.

use sqlx::Error;

use crate::outcome::Code;
use crate::sinks::{Class, SinkError};

/// Why a statement did not come through.
#[derive(Debug)]
pub(super) struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error)
    }
}

impl Failure {
    /// A row is refused for what is in it: too big (18), a constraint (19), a type that does not fit (20).
    pub(super) fn is_data(&self) -> bool {
        matches!(self.primary(), Some(18..=20))
    }

    pub(super) fn refusal(&self) -> (Code, String) {
        (Code::sink("sqlite", self.extended().unwrap_or_default()), self.words())
    }

    pub(super) fn sink_error(&self, doing: &str) -> SinkError {
        let (class, advice) = match self.primary() {
            Some(1) => (Class::Operator, "; make the table agree with what the module declares"),
            Some(3 | 8 | 14 | 23) => (Class::Operator, "; check that file and directory exist and are writable"),
            Some(11 | 26) => (Class::Operator, "; the file is damaged or no database, move it away"),
            _ => (Class::Wait, ""),
        };
        SinkError { class, message: format!("{doing}: {}{advice}", self.words()) }
    }

    fn words(&self) -> String {
        match &self.0 {
            Error::Database(error) => error.message().to_owned(),
            error => error.to_string(),
        }
    }

    fn primary(&self) -> Option<u32> {
        self.extended().map(|code| code & 255)
    }

    fn extended(&self) -> Option<u32> {
        self.0.as_database_error()?.code()?.parse().ok()
    }
}
