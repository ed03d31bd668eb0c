//! From a batch to the statements that write it: which items are still due, which table each goes to, and how rows are
//! gathered into runs. Pure; decides nothing about errors of the server.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::commit::lanes::is_due;
use crate::manifest::TargetSpec;
use crate::sinks::{Item, SinkBatch, SinkError};

use super::runs::{Action, Run, Runs};
use super::table::Table;
use super::value::Fault;

/// How careful a write is about the order of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Care {
    /// Table by table, in the order in which the tables come first; of an upserted key only the last row.
    Fast,
    /// The same, but every row of a key is written, because any of them may be refused.
    Bisect,
    /// Strictly as given, also across tables, because rows refer to rows of other tables.
    AsGiven,
}

/// Where the items of a batch go.
#[derive(Debug)]
pub struct Destinations<'b> {
    /// Each destination once, in the order of first appearance.
    pub all: Vec<(Arc<TargetSpec>, Cow<'b, str>)>,
    /// Per item the index into `all`.
    pub of_item: Vec<usize>,
}

/// What one statement writes.
#[derive(Debug)]
pub struct Step {
    pub table: Arc<Table>,
    pub run: Run,
}

/// What is left to do for a batch.
#[derive(Debug, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Items that are no rows of their table.
    pub faults: Vec<(usize, Fault)>,
}

impl<'b> Destinations<'b> {
    pub fn of(batch: &'b SinkBatch) -> Self {
        let mut all: Vec<(Arc<TargetSpec>, Cow<'b, str>)> = Vec::new();
        let mut known: HashMap<(*const TargetSpec, Option<&str>), usize> = HashMap::new();
        let mut of_item = Vec::with_capacity(batch.items.len());
        let mut before: Option<(&'b Item, usize)> = None;
        for item in &batch.items {
            let (target, suffix) = (&item.output.target, item.output.suffix.as_deref());
            // Nearly always the destination of the item before.
            let same =
                before.filter(|(b, _)| Arc::ptr_eq(&b.output.target, target) && b.output.suffix.as_deref() == suffix);
            let index = same.map(|(_, index)| index).unwrap_or_else(|| {
                *known.entry((Arc::as_ptr(target), suffix)).or_insert_with(|| {
                    all.push((target.clone(), item.output.destination()));
                    all.len() - 1
                })
            });
            before = Some((item, index));
            of_item.push(index);
        }
        Destinations { all, of_item }
    }
}

/// Plans the items at or after `from` (per span). `tables` stands for `destinations.all`; an `Err` there refuses the
/// items of that destination. `add` puts one item into the runs of its table.
pub fn plan(
    batch: &SinkBatch,
    destinations: &Destinations<'_>,
    tables: &[Result<Arc<Table>, Fault>],
    from: &[i64],
    care: Care,
    add: impl Fn(&mut Runs, &Table, usize, &Item) -> Result<(), Fault>,
) -> Result<Plan, SinkError> {
    let mut plan = Plan::default();
    let mut open: Vec<Option<Runs>> = tables.iter().map(|_| None).collect();
    let mut order: Vec<usize> = Vec::new();
    let due = batch.items.iter().zip(&destinations.of_item).enumerate();
    for (index, (item, &destination)) in due.filter(|(_, (item, _))| is_due(item.offset, from[item.span])) {
        let table = match &tables[destination] {
            Ok(table) => table,
            Err(fault) => {
                plan.faults.push((index, fault.clone()));
                continue;
            }
        };
        check_key(table, item)?;
        if care == Care::AsGiven && order.last().is_some_and(|last| *last != destination) {
            close(&mut plan, tables, &mut order, &mut open);
        }
        if open[destination].is_none() {
            order.push(destination);
        }
        let runs = open[destination].get_or_insert_with(|| Runs::new(care > Care::Fast));
        if let Err(fault) = add(runs, table, index, item) {
            plan.faults.push((index, fault));
        }
    }
    close(&mut plan, tables, &mut order, &mut open);
    Ok(plan)
}

/// Turns the open runs into steps, in the order of `order`.
fn close(plan: &mut Plan, tables: &[Result<Arc<Table>, Fault>], order: &mut Vec<usize>, open: &mut [Option<Runs>]) {
    for destination in order.drain(..) {
        if let (Ok(table), Some(runs)) = (&tables[destination], open[destination].take()) {
            plan.steps.extend(runs.finish().into_iter().map(|run| Step { table: table.clone(), run }));
        }
    }
}

/// A table without a key cannot take a keyed operation, whatever the row: that is for a person to mend.
fn check_key(table: &Table, item: &Item) -> Result<(), SinkError> {
    let action = Action::of(item.output.operation, table.mode);
    if table.key.is_empty() && matches!(action, Action::Upsert | Action::Update | Action::Delete) {
        let what = format!("{action:?}").to_lowercase();
        return Err(SinkError::operator(format!(
            "cannot {what} rows of table {}: it has no key; set `key` for the table, declare one in the module or add a primary key",
            table.name
        )));
    }
    Ok(())
}
