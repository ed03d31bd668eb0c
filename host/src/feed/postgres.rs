//! Rows of a query as JSON objects, polled by a column that only grows. The query runs as it is within another one that
//! sorts and cuts it; the session cannot write.
//!
//! A row that becomes visible late, with a value below what was read already, is not seen: sequences are drawn before
//! their transactions commit. A query that leaves out what is younger than its longest transaction avoids it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use super::{About, Outlet, Record, Resume, Source, Trouble};
use crate::config::Secret;
use crate::sinks::backoff;
use crate::sinks::postgres::server::{self, Server};
use crate::sinks::sql::names::quote;

/// Rows that are asked for at a time; rows of the same value as the last one come with it.
const PAGE: usize = 1_000;
/// Time to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for one page; the server's limit is a little shorter and has the better message.
const ANSWER: Duration = Duration::from_secs(310);
/// Attempts of a feed that is to end.
const ATTEMPTS: u32 = 5;
/// The session: nothing can be written, times are said in one way.
const SESSION: [(&str, &str); 3] =
    [("default_transaction_read_only", "on"), ("statement_timeout", "300000"), ("timezone", "UTC")];

/// What to ask for and how.
#[derive(Clone, Debug)]
pub struct Query {
    pub url: Secret,
    pub sql: String,
    /// The column that only grows.
    pub column: String,
    /// Time between two polls that find nothing; `None`: it ends when there is nothing more.
    pub every: Option<Duration>,
    /// Only rows with a greater value.
    pub after: Option<String>,
}

/// A query that is ready.
pub struct Postgres {
    query: Query,
    server: Server,
    after: Option<String>,
    number: u64,
}

/// Why there are no rows.
#[derive(Debug)]
enum Miss {
    Passing(String),
    Refused(String),
}

impl Postgres {
    /// Checks what can be checked without asking.
    pub fn new(query: Query) -> Result<Self, Trouble> {
        let server = Server::parse(query.url.expose()).map_err(|e| Trouble::Request(format!("the url is {e}")))?;
        let server = server.with(|o| o.application_name("wasmill feed").options(SESSION).disable_statement_logging());
        let after = query.after.clone();
        Ok(Postgres { query, server, after, number: 0 })
    }

    fn server(&self) -> String {
        self.server.name()
    }

    /// The next page. The column's type is its own: a literal takes it on, a bound value could not.
    fn statement(&self) -> String {
        let column = quote(&self.query.column);
        let sql = self.query.sql.trim().trim_end_matches(';');
        let condition = match &self.after {
            Some(after) => format!("q.{column} > '{}'", after.replace('\'', "''")),
            None => format!("q.{column} IS NOT NULL"),
        };
        // A comment at the query's end must not swallow ours.
        format!(
            "SELECT row_to_json(q)::text, q.{column}::text FROM (\n{sql}\n) AS q WHERE {condition} \
             ORDER BY q.{column} FETCH FIRST {PAGE} ROWS WITH TIES"
        )
    }

    async fn page(&self, connection: &mut Option<PgConnection>) -> Result<Vec<(String, String)>, Miss> {
        let open = match connection.take() {
            Some(open) => open,
            None => match tokio::time::timeout(CONNECT, self.server.connect()).await {
                Ok(opened) => opened.map_err(|cause| self.miss(&cause))?,
                Err(_) => return Err(Miss::Passing(format!("no answer from {} in time", self.server()))),
            },
        };
        let open = connection.insert(open);
        let query = sqlx::query_as(AssertSqlSafe(self.statement())).fetch_all(&mut *open);
        match tokio::time::timeout(ANSWER, query).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(cause)) => {
                *connection = None;
                Err(self.miss(&cause))
            }
            Err(_) => {
                *connection = None;
                Err(Miss::Passing(format!("no answer from {} in time", self.server())))
            }
        }
    }

    fn miss(&self, cause: &sqlx::Error) -> Miss {
        let server = self.server();
        let Some(error) = cause.as_database_error() else {
            let advice = server::advice(cause).map(|advice| format!("; {advice}")).unwrap_or_default();
            return Miss::Passing(format!("no answer from {server}: {cause}{advice}"));
        };
        let (code, words) = (error.code().unwrap_or_default(), error.message());
        // What passes: connections, resources, restarts, conflicts; everything else stays as it is.
        if ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class)) {
            return Miss::Passing(format!("{server} answered {code}: {words}"));
        }
        let help = match &*code {
            "42703" => format!("; the column that only grows is `{}`: name another with --column", self.query.column),
            "28P01" | "28000" => "; check user and password in the url".into(),
            "42601" => "; the query has to be one SELECT, since it runs within another".into(),
            _ => String::new(),
        };
        Miss::Refused(format!("{server} refuses the query ({code}): {words}{help}"))
    }

    fn feed(&mut self, rows: Vec<(String, String)>, out: &Outlet) -> Result<(), Trouble> {
        let mut rows = rows.into_iter().peekable();
        while let Some((value, at)) = rows.next() {
            self.number += 1;
            // Rows of one value belong together: after the last of them the value is done.
            let last = rows.peek().is_none_or(|(_, next)| *next != at);
            let mark = last.then(|| Arc::<str>::from(at.as_str()));
            out.send(Record { value: value.into_bytes(), number: self.number, mark, key: None })?;
            self.after = Some(at);
        }
        Ok(())
    }
}

impl Source for Postgres {
    fn about(&self) -> About {
        let (name, endless) = (self.server(), self.query.every.is_some());
        About { name, unit: "row", resume: Resume::Mark("--after"), endless }
    }

    fn run(mut self: Box<Self>, out: &Outlet) -> Result<(), Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| Trouble::Environment(format!("cannot start a runtime: {cause}")))?;
        let mut connection = None;
        let (mut failures, mut answered) = (0, false);
        loop {
            let words = match runtime.block_on(self.page(&mut connection)) {
                Ok(rows) => {
                    (failures, answered) = (0, true);
                    let more = rows.len() >= PAGE;
                    self.feed(rows, out)?;
                    match self.query.every {
                        _ if more => {}
                        None => return Ok(()),
                        Some(every) => out.wait(every)?,
                    }
                    continue;
                }
                Err(Miss::Refused(words)) if !answered => return Err(Trouble::Data(words)),
                Err(Miss::Refused(words) | Miss::Passing(words)) => words,
            };
            failures += 1;
            if self.query.every.is_none() && failures >= ATTEMPTS {
                return Err(Trouble::Environment(format!("{words} ({failures} times)")));
            }
            let wait = backoff::next(failures + 2);
            out.note(format!("{words}; trying again in {:.1} s", wait.as_secs_f64()))?;
            out.wait(wait)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(sql: &str, after: Option<&str>) -> Query {
        let url = Secret::new("postgres://u:secret@db.example:5433/shop");
        Query { url, sql: sql.into(), column: "id".into(), every: None, after: after.map(str::to_owned) }
    }

    #[test]
    fn the_query_is_wrapped_whole_and_a_value_cannot_leave_its_quotes() {
        let made =
            Postgres::new(query("SELECT * FROM users -- all;\n;", Some("1'; DROP"))).map(|made| made.statement());
        let sql = made.expect("a query");
        assert!(
            sql.contains("(\nSELECT * FROM users -- all;\n\n) AS q WHERE q.\"id\" > '1''; DROP' ORDER BY q.\"id\""),
            "{sql}"
        );
    }

    #[test]
    fn a_wrong_url_is_not_repeated_and_a_right_one_hides_its_password() {
        let wrong = Postgres::new(Query { url: Secret::new("mysql//x:secret"), ..query("", None) });
        let trouble = wrong.map(|_| ()).expect_err("no url");
        assert!(matches!(&trouble, Trouble::Request(words) if !words.contains("secret")), "{trouble:?}");
        let about = Postgres::new(query("", None)).map(|made| made.about().name);
        assert_eq!(about.expect("a url"), "db.example:5433/shop");
    }
}
