use std::collections::BTreeMap as Map;

use mongodb::bson::{Document as BsonDocument, RawDocumentBuf, doc, serialize_to_vec};
use proptest::prelude::*;

use super::*;
use crate::sinks::sql::testing::{batch, output, target};

fn no_tables() -> BTreeMap<String, Table> {
    BTreeMap::new()
}

/// What the operations leave of each document, where those of a run are carried out in the order that `turn` makes.
fn carry_out(plan: &Plan, turn: impl Fn(&[Op]) -> Vec<&Op>) -> Map<String, BsonDocument> {
    let mut stored = Map::new();
    for run in &plan.runs {
        for op in turn(&run.ops) {
            let id = format!("{}:{:?}", run.namespace, op.id.identity());
            let body = RawDocumentBuf::from_bytes(op.body.clone()).and_then(BsonDocument::try_from);
            match (run.kind, body) {
                (Kind::Delete, _) => drop(stored.remove(&id)),
                (Kind::Insert, Ok(body)) => drop(stored.entry(id).or_insert(body)),
                (Kind::Update, Ok(body)) => match (body.get_document("$set"), stored.contains_key(&id) || op.upsert) {
                    (_, false) => {}
                    (Ok(set), true) => stored.entry(id).or_default().extend(set.clone()),
                    (Err(_), true) => drop(stored.insert(id, body)),
                },
                (_, Err(error)) => panic!("{error}"),
            }
        }
    }
    stored
}

proptest! {
    #[test]
    fn the_order_of_operations_on_a_document_is_kept(
        choices in proptest::collection::vec((0usize..6, 0u8..4, 0u8..2, "[ab]", any::<i8>()), 0..60),
    ) {
        let targets = ["db.a", "db.b"].map(|name| target("m", name, None, &[], &[]));
        let outputs = choices.iter().map(|(operation, id, collection, field, value)| {
            let (id, value) = (id.to_string(), format!("{{\"{field}\":{value}}}"));
            output(&targets[usize::from(*collection)], Operation::ALL[*operation], Some(&id), Some(&value))
        });
        let batch = batch(0, outputs.collect());
        let together = plan(&batch, &no_tables());
        prop_assert!(together.refused.is_empty());
        let mut one_by_one = Plan::default();
        for run in batch.items.iter().map(|item| {
            let single = SinkBatch { items: vec![item.clone()], ..batch.clone() };
            plan(&single, &no_tables()).runs
        }) {
            one_by_one.runs.extend(run);
        }
        let forward = carry_out(&together, |ops| ops.iter().collect());
        prop_assert_eq!(&forward, &carry_out(&one_by_one, |ops| ops.iter().collect()));
        prop_assert_eq!(&forward, &carry_out(&together, |ops| ops.iter().rev().collect()));
        let items: usize = together.runs.iter().map(|run| run.ops.len()).sum();
        prop_assert_eq!(items, choices.len());
    }

    #[test]
    fn bson_is_taken_as_it_is(a in any::<i64>(), b in ".{0,9}", id in proptest::option::of("[a-z]{1,4}")) {
        let mut sent = doc! { "a": a, "b": &b, "c": [{ "d": b.as_str() }] };
        if let Some(id) = &id {
            sent.insert("_id", id);
        }
        let bytes = serialize_to_vec(&sent).expect("serialises");
        let document = Document::parse(&bytes).expect("a document");
        let own = id.map(|id| Value::string(&id));
        prop_assert_eq!(&document.id, &own);
        let whole = document.with_id(&own.unwrap_or_else(|| Value::string("s")));
        let mut read = BsonDocument::try_from(RawDocumentBuf::from_bytes(whole).expect("framed")).expect("whole");
        prop_assert_eq!(read.remove("_id").is_some(), true);
        sent.remove("_id");
        prop_assert_eq!(read, sent);
    }

    #[test]
    fn broken_bson_is_refused_and_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 5..60)) {
        let length = (bytes.len() as u32).to_le_bytes();
        bytes[..4].copy_from_slice(&length);
        if let Ok(document) = Document::parse(&bytes) {
            let raw = RawDocumentBuf::from_bytes(document.with_id(&Value::string("k"))).expect("framed");
            prop_assert!(BsonDocument::try_from(raw).is_ok());
        }
    }
}

#[test]
fn many_documents_of_one_kind_travel_together() {
    let target = target("m", "db.a", None, &[], &[]);
    let outputs = (0..1000).map(|_| output(&target, Operation::Write, None, Some("{}"))).collect();
    let plan = plan(&batch(0, outputs), &no_tables());
    assert_eq!(plan.runs.len(), 1);
    assert_eq!(plan.runs[0].ops[7].id, Value::string("flow/id/0/7/0"));
}

#[test]
fn an_id_of_the_authors_that_is_a_source_id_is_written_apart() {
    let target = target("m", "db.a", None, &[], &[]);
    let sizes = |ids: &[Option<&str>]| {
        let outputs = ids.iter().map(|id| output(&target, Operation::Write, *id, Some("{}"))).collect();
        plan(&batch(0, outputs), &no_tables()).runs.iter().map(|run| run.ops.len()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&[None, None, Some("\"flow/id/0/1/0\""), None]), [2, 2]);
    assert_eq!(sizes(&[Some("\"flow/id/0/2/0\""), None, None, None]), [2, 2]);
    assert_eq!(sizes(&[Some("\"flow/id/0/9/0\""), None, None, Some("7")]), [4]);
}

#[test]
fn equal_numbers_are_one_id() {
    let target = target("m", "db.a", None, &[], &[]);
    let ids = ["1", "1.0", "{\"$numberLong\":\"1\"}", "\"1\""];
    let outputs = ids.iter().map(|id| output(&target, Operation::Write, Some(id), Some("{}"))).collect();
    let plan = plan(&batch(0, outputs), &no_tables());
    assert_eq!(plan.runs.iter().map(|run| run.ops.len()).collect::<Vec<_>>(), [1, 1, 2]);
}

#[test]
fn what_cannot_be_written_is_refused_alone() {
    let named = |name: &str| target("m", name, None, &[], &[]);
    let a = named("db.a");
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(16 * 1024 * 1024));
    let outputs = vec![
        output(&a, Operation::Write, None, Some("{}")),
        output(&a, Operation::Write, None, Some("[]")),
        output(&a, Operation::Write, None, None),
        output(&a, Operation::Write, Some("[1]"), Some("{}")),
        output(&a, Operation::Write, None, Some("{\"_id\":[1]}")),
        output(&a, Operation::Write, None, Some(&huge)),
        output(&a, Operation::Update, None, Some("{}")),
        output(&a, Operation::Delete, None, None),
        output(&named("nodot"), Operation::Write, None, Some("{}")),
        output(&a, Operation::Write, Some("nojson"), Some("{}")),
        output(&a, Operation::Delete, Some("1"), None),
    ];
    let plan = plan(&batch(0, outputs), &no_tables());
    let refused: Vec<(usize, &str)> = plan.refused.iter().map(|r| (r.item, r.code.as_str())).collect();
    let decode = "decode";
    let wanted = [
        (1, decode),
        (2, decode),
        (3, decode),
        (4, decode),
        (5, "too-large"),
        (6, decode),
        (7, decode),
        (8, "mongo-73"),
        (9, decode),
    ];
    assert_eq!(refused, wanted);
    assert_eq!(plan.runs.iter().map(|run| run.ops.len()).sum::<usize>(), 2);
}

#[test]
fn the_mode_of_a_collection_is_what_write_means() {
    let target = target("m", "db.a", None, &[], &[]);
    let write = || batch(0, vec![output(&target, Operation::Write, Some("1"), Some("{\"x\":1}"))]);
    let planned = |name: &str, mode| {
        let tables = BTreeMap::from([(name.to_owned(), Table { mode, ..Table::default() })]);
        let plan = plan(&write(), &tables);
        (plan.runs[0].kind, plan.runs[0].ops[0].upsert, plan.runs[0].ops[0].clash)
    };
    assert_eq!(planned("db.a", Mode::Upsert), (Kind::Update, true, Clash::Compare));
    assert_eq!(planned("a", Mode::Update), (Kind::Update, false, Clash::Compare));
    assert_eq!(planned("a", Mode::Ignore), (Kind::Insert, false, Clash::Leave));
    assert_eq!(planned("other", Mode::Upsert), (Kind::Insert, false, Clash::Compare));
}

#[test]
fn only_the_servers_names_are_collections() {
    for name in ["db.c", "db.a.b", "d-1.ü"] {
        assert_eq!(Namespace::parse(name).map(|n| n.to_string()).as_deref(), Some(name));
    }
    for name in ["", "c", ".c", "db.", "d b.c", "db.$c", "db.system.users", "a/b.c", "db..c", "db.a\0"] {
        assert_eq!(Namespace::parse(name), None, "{name}");
    }
}
