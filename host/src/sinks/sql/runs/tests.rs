use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::manifest::TargetSpec;
use crate::sinks::sql::names::TableName;
use crate::sinks::sql::table::{Column, Declared};
use crate::sinks::sql::testing::{output, target};
use crate::sinks::sql::types::ColumnType;

/// Columns `id` (the key) and `a`, both without a default, and `d` with one.
fn table(mode: Mode) -> Table {
    let column = |name: &str, has_default| {
        let ty = ColumnType::parse("text").expect("a type");
        Column { name: name.into(), cast: "text".into(), kind: ty.kind(), ty, not_null: false, has_default }
    };
    let columns = vec![column("id", false), column("a", false), column("d", true)];
    let declared = Declared { mode, ..Declared::default() };
    Table::new(TableName::parse("t").expect("a name"), "\"t\"".into(), columns, &["id".into()], &declared)
        .expect("a key")
}

fn any_target() -> Arc<TargetSpec> {
    target("pg", "t", None, &[], &[])
}

fn runs(table: &Table, cut_at_keys: bool, outputs: &[(Operation, Option<&str>, Option<&str>)]) -> Vec<Run> {
    let target = any_target();
    let mut runs = Runs::new(cut_at_keys);
    for (item, (operation, key, value)) in outputs.iter().enumerate() {
        runs.add(table, item, &output(&target, *operation, *key, *value)).unwrap_or_else(|e| panic!("{item}: {e:?}"));
    }
    runs.finish()
}

fn fault(table: &Table, operation: Operation, key: Option<&str>, value: Option<&str>) -> Fault {
    Runs::new(false).add(table, 0, &output(&any_target(), operation, key, value)).expect_err("refused")
}

#[test]
fn an_absent_value_is_null_only_where_the_column_has_no_default() {
    let write = |value| (Operation::Write, None, Some(value));
    let runs = runs(
        &table(Mode::Insert),
        false,
        &[write("{\"id\":\"1\"}"), write("{\"a\":\"x\"}"), write("{\"id\":\"3\",\"d\":null}"), write("{\"id\":\"4\"}")],
    );
    let shapes: Vec<_> = runs.iter().map(|run| (run.columns.clone(), run.items.clone())).collect();
    assert_eq!(shapes, [(vec![0, 1], vec![0, 1]), (vec![0, 2], vec![2]), (vec![0], vec![3])]);
    assert_eq!((runs[0].values[0].get(1), runs[0].values[1].get(0)), (None, None));
}

#[test]
fn an_upsert_never_fills_up_with_null() {
    let upsert = |value| (Operation::Upsert, None, Some(value));
    let runs = runs(
        &table(Mode::Insert),
        false,
        &[upsert("{\"id\":\"1\",\"a\":\"x\"}"), upsert("{\"a\":null,\"id\":\"2\"}"), upsert("{\"id\":\"1\"}")],
    );
    let shapes: Vec<_> = runs.iter().map(|run| (run.columns.clone(), run.items.clone())).collect();
    assert_eq!(shapes, [(vec![0, 1], vec![0, 1]), (vec![0], vec![2])]);
}

#[test]
fn the_last_row_of_a_key_is_written_unless_each_has_to_be_tried() {
    let table = table(Mode::Upsert);
    let rows =
        ["{\"id\":1,\"a\":1}", "{\"id\":2,\"a\":2}", "{\"id\":1,\"a\":3}"].map(|v| (Operation::Write, None, Some(v)));
    let fast = runs(&table, false, &rows);
    assert_eq!(fast.len(), 1);
    assert_eq!(fast[0].live(0..3).flatten().collect::<Vec<_>>(), [1, 2]);
    let careful = runs(&table, true, &rows);
    assert_eq!(careful.iter().map(|run| run.items.clone()).collect::<Vec<_>>(), [vec![0, 1], vec![2]]);
}

#[test]
fn the_order_of_operations_is_kept() {
    let runs = runs(
        &table(Mode::Insert),
        false,
        &[
            (Operation::Write, None, Some("{\"id\":1}")),
            (Operation::Delete, Some("1"), None),
            (Operation::Delete, Some("{\"id\":2}"), None),
            (Operation::Delete, None, Some("{\"id\":3,\"a\":4}")),
            (Operation::Ignore, None, Some("{\"id\":1}")),
            (Operation::Update, Some("1"), Some("{\"a\":5}")),
        ],
    );
    let actions: Vec<_> = runs.iter().map(|run| (run.action, run.len())).collect();
    assert_eq!(actions, [(Action::Insert, 1), (Action::Delete, 3), (Action::Ignore, 1), (Action::Update, 1)]);
    assert_eq!((0..3).map(|row| runs[1].keys[0].get(row)).collect::<Vec<_>>(), [Some("1"), Some("2"), Some("3")]);
}

#[test]
fn an_update_writes_no_key_that_only_finds_the_row() {
    let table = table(Mode::Insert);
    let update = |key, value| (Operation::Update, key, Some(value));
    let runs = runs(&table, false, &[update(None, "{\"id\":1,\"a\":2}"), update(Some("1"), "{\"id\":3,\"a\":4}")]);
    assert_eq!(runs.iter().map(|run| run.columns.clone()).collect::<Vec<_>>(), [vec![1], vec![0, 1]]);
    assert_eq!((runs[0].keys[0].get(0), runs[0].values[0].get(0)), (Some("1"), Some("2")));
    let error = fault(&table, Operation::Update, None, Some("{\"id\":1}"));
    assert_eq!(error, Fault::Decode("the row has no column to update besides the key".into()));
}

#[test]
fn what_is_no_row_is_refused_without_its_content() {
    let table = table(Mode::Insert);
    for (value, reason) in [
        ("[\"secret\"]", "the row is not a JSON object"),
        ("{\"a\":secret}", "the row is not valid JSON: expected value at line 1 column 6"),
        ("{\"b\":1}", "table t has no column \"b\""),
        ("{\"a\":1} x", "the row is not valid JSON: trailing characters at line 1 column 9"),
    ] {
        let expected = if value == "{\"b\":1}" { Fault::NoColumn(reason.into()) } else { Fault::Decode(reason.into()) };
        assert_eq!(fault(&table, Operation::Write, None, Some(value)), expected, "{value}");
    }
    assert!(matches!(fault(&table, Operation::Write, None, None), Fault::Decode(_)));
    let error = fault(&table, Operation::Upsert, None, Some("{\"a\":1}"));
    assert_eq!(error, Fault::Decode("key column `id` is absent or NULL".into()));
}

#[test]
fn large_rows_go_alone_and_long_batches_are_cut() {
    let table = table(Mode::Insert);
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MOST_BYTES));
    let write = |value| (Operation::Write, None, Some(value));
    let by_size = runs(&table, false, &[write("{\"a\":1}"), write(&large), write("{\"a\":2}")]);
    assert_eq!(by_size.iter().map(Run::len).collect::<Vec<_>>(), [1, 1, 1]);
    let by_count = runs(&table, false, &vec![write("{\"a\":1}"); MOST_ROWS + 1]);
    assert_eq!(by_count.iter().map(Run::len).collect::<Vec<_>>(), [MOST_ROWS, 1]);
}

proptest! {
    #[test]
    fn every_value_arrives_in_its_row(rows in proptest::collection::vec(
        (proptest::option::of(proptest::option::of("[a-z\"\\\\é]{0,4}")), proptest::option::of(any::<i64>()), any::<bool>()), 1..30,
    )) {
        let table = table(Mode::Insert);
        let (target, mut gathered) = (any_target(), Runs::new(false));
        for (item, (a, id, default)) in rows.iter().enumerate() {
            let mut row = serde_json::Map::new();
            if let Some(a) = a { row.insert("a".into(), a.clone().into()); }
            row.insert("id".into(), (*id).into());
            if *default { row.insert("d".into(), "given".into()); }
            let json = serde_json::Value::from(row).to_string();
            prop_assert_eq!(gathered.add(&table, item, &output(&target, Operation::Write, None, Some(&json))), Ok(()));
        }
        let runs = gathered.finish();
        let order: Vec<usize> = runs.iter().flat_map(|run| run.items.clone()).collect();
        prop_assert_eq!(order, (0..rows.len()).collect::<Vec<_>>());
        for run in &runs {
            let text = |column: usize, row| run.columns.iter().position(|c| *c == column).and_then(|at| run.values[at].get(row));
            for (row, item) in run.items.iter().enumerate() {
                let (a, id, default) = &rows[*item];
                prop_assert_eq!(text(1, row), a.as_ref().and_then(|a| a.as_deref()));
                prop_assert_eq!(text(0, row).map(str::to_owned), id.map(|id| id.to_string()));
                prop_assert_eq!(run.columns.contains(&2), *default);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut output = output(&any_target(), Operation::Write, None, None);
        output.value = Some(bytes.into());
        let added = Runs::new(false).add(&table(Mode::Insert), 0, &output);
        // That few random bytes never name a column.
        prop_assert!(matches!(added, Err(Fault::Decode(_))));
    }
}
