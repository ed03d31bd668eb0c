//! From a batch to the statements that write it: which items are still due, which table each goes to, and how rows are
//! gathered into runs. Pure; decides nothing about errors of the server.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::commit::lanes::is_due;
use crate::manifest::TargetSpec;
use crate::outcome::Operation;
use crate::sinks::{Item, SinkBatch, SinkError};

use super::names::TableName;
use super::runs::{Action, Run, Runs};
use super::table::Table;
use super::value::Fault;

/// How careful a write is about the order of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Care {
    /// Table by table, in the order in which the tables come first; of an upserted key only the last row. Deletes come
    /// after what was given to other tables before and before what is given later: they may cascade.
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
    let places = Places::of(tables);
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
        let destination = places.runs[destination];
        let in_the_way = match care {
            Care::AsGiven => order.last().is_some_and(|last| *last != destination),
            _ if item.output.operation == Operation::Delete => order.iter().any(|other| *other != destination),
            _ => places.is_shared(destination) && order.iter().any(|other| places.is_other(*other, destination)),
        };
        if in_the_way {
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

/// Which destinations are the same table: what is written to it stays in order.
struct Places {
    /// Per destination the first one with the very same description, whose runs it shares.
    runs: Vec<usize>,
    /// Per destination the first one with the same table, however it is described.
    table: Vec<usize>,
    /// Per entry of `table` whether it has several descriptions.
    shared: Vec<bool>,
}

impl Places {
    fn of(tables: &[Result<Arc<Table>, Fault>]) -> Self {
        let mut places = Places { runs: Vec::new(), table: Vec::new(), shared: vec![false; tables.len()] };
        let (mut descriptions, mut names) = (HashMap::new(), HashMap::<&TableName, usize>::new());
        for (index, table) in tables.iter().enumerate() {
            let Ok(table) = table else {
                places.runs.push(index);
                places.table.push(index);
                continue;
            };
            let same = *descriptions.entry(Arc::as_ptr(table)).or_insert(index);
            let first = *names.entry(&table.place).or_insert(index);
            places.shared[first] |= places.runs.get(first).is_some_and(|described| *described != same);
            places.runs.push(same);
            places.table.push(first);
        }
        places
    }

    fn is_shared(&self, destination: usize) -> bool {
        self.shared[self.table[destination]]
    }

    /// Whether both are one table in two descriptions.
    fn is_other(&self, one: usize, other: usize) -> bool {
        one != other && self.table[one] == self.table[other]
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::sql::table::{Column, Declared};
    use crate::sinks::sql::testing::{batch, output, target};
    use crate::sinks::sql::types::ColumnType;

    /// A table with key `id`, as destinations named `name` see it.
    fn table(name: &str, schema: &str) -> Arc<Table> {
        let ty = ColumnType::catalogued("text");
        let id =
            Column { name: "id".into(), cast: "text".into(), kind: ty.kind(), ty, not_null: true, has_default: false };
        let name = TableName::parse(name).expect("a name");
        let place = TableName { schema: Some(schema.into()), table: name.table.clone() };
        let table = Table::new(name.clone(), name.sql(), vec![id], &["id".into()], &Declared::default());
        Arc::new(table.expect("a key").at(place))
    }

    /// Items per step, of outputs given as index of the table and operation.
    fn steps(tables: &[Arc<Table>], outputs: &[(usize, Operation)]) -> Vec<Vec<usize>> {
        let targets: Vec<_> = (0..tables.len()).map(|n| target("pg", &format!("t{n}"), None, &[], &[])).collect();
        let row = |(n, (table, operation)): (usize, &(usize, Operation))| {
            output(&targets[*table], *operation, None, Some(&format!("{{\"id\":{n}}}")))
        };
        let batch = batch(0, outputs.iter().enumerate().map(row).collect());
        let destinations = Destinations::of(&batch);
        let place = |(target, _): &(Arc<TargetSpec>, _)| targets.iter().position(|own| Arc::ptr_eq(own, target));
        let tables: Vec<_> =
            destinations.all.iter().map(|all| Ok(tables[place(all).expect("a target")].clone())).collect();
        let add = |runs: &mut Runs, table: &Table, index, item: &Item| runs.add(table, index, &item.output);
        let plan = plan(&batch, &destinations, &tables, &[0], Care::Fast, add).expect("a plan");
        plan.steps.into_iter().map(|step| step.run.items).collect()
    }

    #[test]
    fn tables_are_written_one_by_one() {
        let outputs = [0, 1, 0, 1].map(|table| (table, Operation::Upsert));
        assert_eq!(steps(&[table("a", "s"), table("b", "s")], &outputs), [[0, 2], [1, 3]]);
        assert_eq!(steps(&[table("t", "s"), table("o.t", "o")], &outputs), [[0, 2], [1, 3]]);
    }

    #[test]
    fn one_table_under_two_names_is_written_in_order() {
        let outputs = [0, 1, 1, 2, 0].map(|table| (table, Operation::Upsert));
        let (one, other) = (table("t", "public"), table("x", "public"));
        assert_eq!(
            steps(&[one.clone(), table("public.t", "public"), other.clone()], &outputs),
            [vec![0], vec![1, 2], vec![3], vec![4]]
        );
        assert_eq!(steps(&[one.clone(), one, other], &outputs), [vec![0, 1, 2, 4], vec![3]]);
    }

    #[test]
    fn a_delete_comes_between_what_is_around_it() {
        use Operation::{Delete, Upsert};
        let tables = [table("child", "s"), table("parent", "s")];
        assert_eq!(steps(&tables, &[(0, Upsert), (1, Delete), (1, Upsert), (0, Upsert)]), [[0], [1], [2], [3]]);
        assert_eq!(steps(&tables[..1], &[(0, Upsert), (0, Delete), (0, Delete)]), [vec![0], vec![1, 2]]);
    }
}
