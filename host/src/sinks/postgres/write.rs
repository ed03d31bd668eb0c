//! One batch, one transaction: rows, verdicts and progress become visible together or not at all. Whether an attempt
//! whose COMMIT got no answer has happened is never guessed: the progress row decides when it is repeated.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Postgres;
use super::connection::Session;
use super::errors::{Failure, Sort};
use super::progress::Owner;
use super::statements;
use crate::failpoint;
use crate::outcome::Code;
use crate::sinks::sql::bisect::Bisect;
use crate::sinks::sql::plan::{Care, Destinations, Plan, Step, plan};
use crate::sinks::sql::protocol::{check_rewind, verdicts};
use crate::sinks::sql::table::Table;
use crate::sinks::sql::value::Fault;
use crate::sinks::{Refusal, SinkBatch, SinkError, Written};

/// Before the rows of a careful write: constraints are checked at once, so that a row can be told that breaks one.
const BEGIN_CAREFULLY: &str = "SET CONSTRAINTS ALL IMMEDIATE; SAVEPOINT row";
const NEXT_ROW: &str = "RELEASE SAVEPOINT row; SAVEPOINT row";
const UNDO_ROW: &str = "ROLLBACK TO SAVEPOINT row";

/// A batch on its way into this sink.
pub(super) struct Write<'b> {
    pub(super) sink: &'b Postgres,
    pub(super) batch: &'b SinkBatch,
    pub(super) destinations: Destinations<'b>,
}

/// Why an attempt ended without a commit that is known to have happened.
enum Stop {
    /// Rows were refused: again with more care. The session is usable after a rollback.
    Care(Care, Failure),
    /// The tables have changed: look at them again.
    Stale(Failure),
    /// The commit got no answer; the outputs that it would have written.
    Unknown(Failure, u64),
    Error(SinkError),
}

impl From<SinkError> for Stop {
    fn from(error: SinkError) -> Self {
        Stop::Error(error)
    }
}

impl Write<'_> {
    pub(super) async fn run(self) -> Result<Written, SinkError> {
        let mut care = Care::Fast;
        let (mut looked_again, mut unknown) = (false, None);
        loop {
            let mut session = self.sink.session().await?;
            match self.attempt(&mut session, care).await {
                Ok(written) => {
                    self.sink.connections.put(session);
                    return Ok(self.settle(written, unknown));
                }
                Err(Stop::Error(error)) => return Err(error),
                Err(Stop::Care(next, failure)) if next > care => {
                    tracing::debug!(sink = %self.sink.name, reason = %failure.refusal().0, "rows refused, writing with care");
                    care = next;
                    if session.run("ROLLBACK").await.is_ok() {
                        self.sink.connections.put(session);
                    }
                }
                Err(Stop::Stale(_)) if !looked_again => {
                    looked_again = true;
                    self.sink.forget_tables();
                    self.sink.forget_progress();
                }
                Err(Stop::Unknown(_, outputs)) if self.batch.progress && unknown.is_none() => unknown = Some(outputs),
                Err(Stop::Care(_, failure) | Stop::Stale(failure) | Stop::Unknown(failure, _)) => {
                    return Err(failure.sink_error(&self.doing("write a batch")));
                }
            }
        }
    }

    /// Where an earlier attempt of this call turns out to have been committed, its outputs count.
    fn settle(&self, mut written: Written, unknown: Option<u64>) -> Written {
        let done = self.batch.spans.iter().zip(&written.found).all(|(span, cur)| *cur >= span.end);
        if let Some(outputs) = unknown
            && done
        {
            written.outputs = outputs;
        }
        written
    }

    async fn attempt(&self, session: &mut Session, care: Care) -> Result<Written, Stop> {
        let mut tables = self.tables(session).await?;
        let spans = &self.batch.spans;
        let starts: Vec<i64> = spans.iter().map(|span| span.start).collect();
        // Made before the transaction, so that no lock is held meanwhile; made anew in the rare case of a replay.
        let mut planned = self.plan(&tables, &starts, care);
        if self.sink.second_look.is_due(&planned) {
            self.sink.forget_tables();
            tables = self.tables(session).await?;
            planned = self.plan(&tables, &starts, care);
        }
        let mut plan = planned?;
        let owner = Owner { group: &self.batch.group, sink: &self.sink.name };
        let (mut lanes, mut found) = (Vec::new(), Vec::new());
        if self.batch.progress {
            self.sink.ensure_progress(session).await?;
            session.run("BEGIN").await.map_err(|e| self.stop("begin a transaction", e))?;
            lanes = owner.lock(session, spans).await.map_err(|e| self.progress_stop(e))?;
            found = lanes.iter().map(|lane| lane.next_offset).collect();
            failpoint::step("postgres.locked");
            if failpoint::switched("sql.no-cas") {
                found.clone_from(&starts);
            }
            check_rewind(&self.sink.name, self.batch, &found)?;
            if found != starts {
                plan = self.plan(&tables, &found, care)?;
            }
        } else {
            session.run("BEGIN").await.map_err(|e| self.stop("begin a transaction", e))?;
        }
        let (outputs, refused) = self.rows(session, &plan, care).await?;
        if self.batch.strict && !refused.is_empty() {
            session.run("ROLLBACK").await.map_err(|e| self.stop("roll a batch back", e))?;
            return Ok(Written { outputs: 0, refused, found, journalled: Vec::new() });
        }
        let mut journalled = Vec::new();
        if self.batch.progress && !failpoint::switched("sql.no-journal") {
            journalled = owner.kept(session, spans, &found).await.map_err(|e| self.progress_stop(e))?;
            let decided = verdicts(&self.sink.name, self.batch, &refused, &found);
            owner.keep(session, spans, &decided).await.map_err(|e| self.progress_stop(e))?;
        }
        if self.batch.progress {
            let moved = owner.advance(session, self.batch, &found).await.map_err(|e| self.progress_stop(e))?;
            if !moved && !failpoint::switched("sql.no-cas") {
                return Err(SinkError::wait(self.doing("move the progress: another host moved it meanwhile")).into());
            }
            if self.sink.keeps_history.load(Ordering::Relaxed) {
                owner.note_changes(session, spans, &lanes).await.map_err(|e| self.history_stop(e))?;
            }
        }
        failpoint::step("postgres.written");
        session.run("COMMIT").await.map_err(|e| self.commit_stop(e, care, outputs))?;
        failpoint::step("postgres.committed");
        Ok(Written { outputs, refused, found, journalled })
    }

    /// The tables of all destinations. A name that an output made up and that cannot be a table's refuses the output.
    async fn tables(&self, session: &mut Session) -> Result<Vec<Result<Arc<Table>, Fault>>, SinkError> {
        let mut tables = Vec::with_capacity(self.destinations.all.len());
        for (target, name) in &self.destinations.all {
            tables.push(match (self.sink.table(session, target, name).await, target.prefix()) {
                (Err(super::NoTable::Name(reason)), Some(_)) => Err(Fault::Decode(reason)),
                (Err(super::NoTable::Name(reason)), None) => return Err(SinkError::operator(reason)),
                (Err(super::NoTable::Sink(error)), _) => return Err(error),
                (Ok(table), _) => Ok(table),
            });
        }
        Ok(tables)
    }

    fn plan(&self, tables: &[Result<Arc<Table>, Fault>], from: &[i64], care: Care) -> Result<Plan, SinkError> {
        plan(self.batch, &self.destinations, tables, from, care, |runs, table, index, item| {
            runs.add(table, index, &item.output)
        })
    }

    /// Writes the rows; returns how many were written and which were refused.
    async fn rows(&self, session: &mut Session, plan: &Plan, care: Care) -> Result<(u64, Vec<Refusal>), Stop> {
        let mut refused: Vec<Refusal> = plan.faults.iter().map(|(item, fault)| refusal(*item, fault)).collect();
        let mut outputs = 0;
        if care > Care::Fast {
            session.run(BEGIN_CAREFULLY).await.map_err(|e| self.stop("set a savepoint", e))?;
        }
        for step in &plan.steps {
            let before = refused.len();
            match care {
                Care::Fast => self.step(session, step).await?,
                Care::Bisect | Care::AsGiven => self.step_carefully(session, plan, step, care, &mut refused).await?,
            }
            outputs += (step.run.len() - (refused.len() - before)) as u64;
        }
        refused.sort_by_key(|refusal| refusal.item);
        Ok((outputs, refused))
    }

    async fn step(&self, session: &mut Session, step: &Step) -> Result<(), Stop> {
        let arguments =
            statements::arguments(&step.run, &(0..step.run.len())).map_err(|e| self.stop("bind rows", e))?;
        let sql = statements::sql(&step.table, &step.run);
        match session.execute(&sql, arguments).await {
            Ok(_) => Ok(()),
            Err(e) if e.sort() == Sort::Data => Err(Stop::Care(Care::Bisect, e)),
            Err(e) => Err(self.stop(&format!("write to table {}", step.table.name), e)),
        }
    }

    async fn step_carefully(
        &self,
        session: &mut Session,
        plan: &Plan,
        step: &Step,
        care: Care,
        refused: &mut Vec<Refusal>,
    ) -> Result<(), Stop> {
        let sql = statements::sql(&step.table, &step.run);
        let mut bisect = Bisect::new(step.run.len());
        while let Some(rows) = bisect.pop() {
            let arguments = statements::arguments(&step.run, &rows).map_err(|e| self.stop("bind rows", e))?;
            let undo = match session.execute(&sql, arguments).await {
                Ok(_) => NEXT_ROW,
                Err(e) if e.sort() == Sort::Data => {
                    let several = plan.steps.iter().any(|other| !Arc::ptr_eq(&other.table, &step.table));
                    // Perhaps the row that it refers to is further down.
                    if e.sqlstate() == Some("23503") && several && care < Care::AsGiven {
                        return Err(Stop::Care(Care::AsGiven, e));
                    }
                    if let Some(row) = bisect.refused(rows) {
                        let (code, message) = e.refusal();
                        refused.push(Refusal { item: step.run.items[row], code, message });
                    }
                    UNDO_ROW
                }
                Err(e) => return Err(self.stop(&format!("write to table {}", step.table.name), e)),
            };
            session.run(undo).await.map_err(|e| self.stop("set a savepoint", e))?;
        }
        Ok(())
    }

    fn stop(&self, what: &str, failure: Failure) -> Stop {
        match failure.sort() {
            Sort::Stale => Stop::Stale(failure),
            _ => Stop::Error(failure.sink_error(&self.doing(what))),
        }
    }

    /// Errors about progress are never about a row.
    fn progress_stop(&self, failure: Failure) -> Stop {
        if failure.sort() == Sort::Stale {
            self.sink.forget_progress();
        }
        self.stop("keep progress in wasmill.progress", failure)
    }

    /// Whether the history can be kept is looked at again: no batch ever waits for it.
    fn history_stop(&self, failure: Failure) -> Stop {
        self.sink.forget_progress();
        self.stop("note the modules in wasmill.module_history", failure)
    }

    fn commit_stop(&self, failure: Failure, care: Care, outputs: u64) -> Stop {
        match failure.sort() {
            // A deferred constraint; the transaction is gone.
            Sort::Data if care == Care::Fast => Stop::Care(Care::Bisect, failure),
            // Even an error with words may have come after the commit, while replicas were waited for.
            _ => Stop::Unknown(failure, outputs),
        }
    }

    fn doing(&self, what: &str) -> String {
        format!("sink {} ({}) could not {what}", self.sink.name, self.sink.connections.server())
    }
}

/// A row that was not sent, with the code that the server would have given.
fn refusal(item: usize, fault: &Fault) -> Refusal {
    let (code, message) = match fault {
        Fault::Decode(reason) | Fault::NoColumn(reason) => (Code::DECODE, reason.clone()),
        Fault::Character => (
            Code::sink("pg", "22021"),
            "a text holds U+0000 or half a surrogate pair, which no column can hold".to_owned(),
        ),
        Fault::JsonCharacter => (Code::sink("pg", "22P05"), "\\u0000 cannot be converted to text".to_owned()),
    };
    Refusal { item, code, message }
}
