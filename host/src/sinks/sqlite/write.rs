//! One batch, one transaction, as in PostgreSQL. There is no network between the sink and its file, so that a COMMIT
//! always has an answer.

use std::sync::Arc;

use sqlx::SqliteConnection;

use super::errors::Failure;
use super::progress::Owner;
use super::{Sqlite, documents, reviewed, run, statements};
use crate::outcome::Code;
use crate::sinks::sql::bisect::Bisect;
use crate::sinks::sql::plan::{Care, Destinations, Plan, Step, plan};
use crate::sinks::sql::protocol::{check_rewind, verdicts};
use crate::sinks::sql::table::Table;
use crate::sinks::sql::value::Fault;
use crate::sinks::{Refusal, SinkBatch, SinkError, Written};

pub(super) async fn write(
    sink: &Sqlite,
    connection: &mut SqliteConnection,
    batch: &SinkBatch,
) -> Result<Written, SinkError> {
    let mut looked_again = false;
    loop {
        if let Some(written) = attempt(sink, connection, batch, &mut looked_again).await? {
            return Ok(written);
        }
    }
}

/// `None`, with nothing written, where the tables have to be looked at again: at most once.
async fn attempt(
    sink: &Sqlite,
    connection: &mut SqliteConnection,
    batch: &SinkBatch,
    looked_again: &mut bool,
) -> Result<Option<Written>, SinkError> {
    let destinations = Destinations::of(batch);
    let tables = tables(sink, connection, &destinations).await?;
    let doing = |e: Failure| e.sink_error(&sink.doing("write a batch"));
    let owner = Owner { group: &batch.group, sink: &sink.name };
    if batch.progress {
        Owner::ensure(connection).await.map_err(doing)?;
    }
    run(connection, "BEGIN IMMEDIATE").await.map_err(doing)?;
    let mut from: Vec<i64> = batch.spans.iter().map(|span| span.start).collect();
    let mut lanes = Vec::new();
    if batch.progress {
        lanes = owner.found(connection, &batch.spans).await.map_err(doing)?;
        from = lanes.iter().map(|lane| lane.next_offset).collect();
        check_rewind(&sink.name, batch, &from)?;
    }
    // In a file it costs little to be careful from the start.
    let planned = plan(batch, &destinations, &tables, &from, Care::AsGiven, |runs, table, index, item| {
        match documents::is_documents(table) {
            true => documents::add(runs, table, index, batch, item),
            false => runs.add(table, index, &item.output),
        }
    });
    if !*looked_again && sink.second_look.is_due(&planned) {
        run(connection, "ROLLBACK").await.map_err(doing)?;
        sink.forget_tables();
        *looked_again = true;
        return Ok(None);
    }
    let mut written = rows(sink, connection, &planned?).await?;
    if batch.progress {
        written.journalled = owner.kept(connection, &batch.spans, &from).await.map_err(doing)?;
        let decided = verdicts(&sink.name, batch, &written.refused, &from);
        owner.keep(connection, &batch.spans, &decided).await.map_err(doing)?;
        if !owner.advance(connection, batch, &from).await.map_err(doing)? {
            return Err(SinkError::wait(sink.doing("move its progress")));
        }
        owner.note_changes(connection, &batch.spans, &lanes).await.map_err(doing)?;
        written.found = from;
    }
    let end = if batch.strict && !written.refused.is_empty() { "ROLLBACK" } else { "COMMIT" };
    run(connection, end).await.map_err(doing)?;
    Ok(Some(written))
}

/// The tables of all destinations. A name that an output made up and that cannot be a table's refuses the output.
async fn tables(
    sink: &Sqlite,
    connection: &mut SqliteConnection,
    destinations: &Destinations<'_>,
) -> Result<Vec<Result<Arc<Table>, Fault>>, SinkError> {
    let mut tables = Vec::with_capacity(destinations.all.len());
    for (target, name) in &destinations.all {
        tables.push(match (super::check_name(name), target.prefix()) {
            (Err(reason), Some(_)) => Err(Fault::Decode(reason)),
            _ => Ok(sink.table(connection, target, name).await?),
        });
    }
    Ok(tables)
}

async fn rows(sink: &Sqlite, connection: &mut SqliteConnection, plan: &Plan) -> Result<Written, SinkError> {
    let mut written = Written::default();
    written.refused.extend(plan.faults.iter().map(|(item, fault)| refusal(*item, fault)));
    for step in &plan.steps {
        if let Err(e) = write_step(connection, step, &mut written).await {
            // Perhaps someone changed the table: it is looked at again at the next attempt.
            sink.forget(&step.table.name.table);
            return Err(e.sink_error(&sink.doing(&format!("write to table {}", step.table.name))));
        }
    }
    written.refused.sort_by_key(|refusal| refusal.item);
    Ok(written)
}

/// A statement that is refused undoes only itself in SQLite, so that its halves can be tried at once.
async fn write_step(connection: &mut SqliteConnection, step: &Step, written: &mut Written) -> Result<(), Failure> {
    let sql = statements::sql(&step.table, &step.run);
    let mut bisect = Bisect::new(step.run.len());
    while let Some(rows) = bisect.pop() {
        let argument = statements::argument(&step.run, &rows);
        match sqlx::query(reviewed(&sql)).bind(argument).execute(&mut *connection).await.map_err(Failure::from) {
            Ok(_) => written.outputs += rows.len() as u64,
            Err(e) if e.is_data() => {
                if let Some(row) = bisect.refused(rows) {
                    let (code, message) = e.refusal();
                    written.refused.push(Refusal { item: step.run.items[row], code, message });
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A row or document that was not tried.
fn refusal(item: usize, fault: &Fault) -> Refusal {
    let message = match fault {
        Fault::Decode(reason) | Fault::NoColumn(reason) => reason.clone(),
        Fault::Character | Fault::JsonCharacter => "a text holds U+0000 or half a surrogate pair".to_owned(),
    };
    Refusal { item, code: Code::DECODE, message }
}
