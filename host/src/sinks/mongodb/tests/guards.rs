//! Late writers: what an older batch does after a newer one was written.

use super::*;
use crate::config::Secret;

/// A batch at an offset of one's choice, by a sink of its own: another host.
async fn write(db: &Database, from: i64, all: &[(Operation, &str, &str)]) -> Written {
    let mut batch = own(db, all);
    for item in &mut batch.items {
        item.offset += from;
    }
    db.sink().write(&batch).await.expect("written")
}

/// Guards are kept per consumer group, and beside the databases: each test has its own.
fn own(db: &Database, all: &[(Operation, &str, &str)]) -> SinkBatch {
    SinkBatch { group: db.name.as_str().into(), ..ops(&db.target("c"), all) }
}

#[tokio::test]
async fn a_late_writer_changes_nothing() {
    for db in Database::all("late").await {
        let old = [(Upsert, "1", r#"{"a":1,"old":1}"#), (Replace, "2", r#"{"a":1}"#), (Upsert, "3", r#"{"a":1}"#)];
        write(&db, 10, &old).await;
        write(&db, 20, &[(Upsert, "1", r#"{"a":2}"#), (Replace, "2", r#"{"a":2}"#), (Delete, "3", "")]).await;
        write(&db, 30, &[(Update, "1", r#"{"b":3}"#), (Delete, "4", ""), (Write, "5", r#"{"a":3}"#)]).await;
        let late = [
            (Upsert, "1", r#"{"a":1,"old":2}"#),
            (Replace, "2", r#"{"a":1}"#),
            (Upsert, "3", r#"{"a":1}"#),
            (Update, "1", r#"{"b":1}"#),
            (Write, "3", r#"{"a":1}"#),
            (Ignore, "4", r#"{"a":1}"#),
            (Delete, "1", ""),
            (Delete, "5", ""),
            (Write, "4", r#"{"a":1}"#),
        ];
        // Two of them, in turns.
        for zombie in [11, 12, 11] {
            assert_eq!(codes(&write(&db, zombie, &late).await), []);
            assert_eq!(db.get("c", 1).await, Some(doc! { "_id": 1, "a": 2, "old": 1, "b": 3 }));
            assert_eq!(db.get("c", 2).await, Some(doc! { "_id": 2, "a": 2 }));
            assert_eq!((db.get("c", 3).await, db.get("c", 4).await), (None, None));
            assert_eq!(db.get("c", 5).await, Some(doc! { "_id": 5, "a": 3 }));
        }
        db.drop().await;
    }
}

#[tokio::test]
async fn a_whole_batch_may_be_replayed_at_any_time() {
    for db in Database::all("replay").await {
        let batch = [
            (Write, "1", r#"{"a":1}"#),
            (Delete, "1", ""),
            (Upsert, "2", r#"{"a":1}"#),
            (Delete, "2", ""),
            (Write, "2", r#"{"a":2}"#),
            (Update, "2", r#"{"b":2}"#),
            (Upsert, "3", r#"{"a":1}"#),
            (Upsert, "3", r#"{"a":2}"#),
        ];
        for half in [3, 5, 8, 8] {
            assert_eq!(codes(&write(&db, 40, &batch[..half]).await), []);
        }
        assert_eq!(db.get("c", 1).await, None);
        assert_eq!(db.get("c", 2).await, Some(doc! { "_id": 2, "a": 2, "b": 2 }));
        assert_eq!(db.get("c", 3).await, Some(doc! { "_id": 3, "a": 2 }));
        // What comes later is written, also where something was deleted.
        write(&db, 60, &[(Upsert, "1", r#"{"a":9}"#), (Delete, "3", "")]).await;
        assert_eq!((db.get("c", 1).await, db.get("c", 3).await), (Some(doc! { "_id": 1, "a": 9 }), None));
        db.drop().await;
    }
}

#[tokio::test]
async fn outputs_of_one_record_have_their_order() {
    for db in Database::all("outputs").await {
        let sink = db.sink();
        let mut batch = own(&db, &[(Upsert, "1", r#"{"a":1}"#), (Upsert, "1", r#"{"a":2}"#)]);
        batch.items.iter_mut().for_each(|item| item.offset = 5);
        for _ in 0..2 {
            sink.write(&batch).await.expect("written");
            assert_eq!(db.get("c", 1).await, Some(doc! { "_id": 1, "a": 2 }));
        }
        db.drop().await;
    }
}

#[tokio::test]
async fn updates_from_another_partition_arrive() {
    for db in Database::all("partitions").await {
        write(&db, 100, &[(Upsert, "1", r#"{"a":1}"#)]).await;
        let mut other = own(&db, &[(Upsert, "1", r#"{"b":1}"#)]);
        let span = Span { partition: 7, ..other.spans[0].clone() };
        other.spans = [span].into();
        db.sink().write(&other).await.expect("written");
        write(&db, 99, &[(Upsert, "1", r#"{"a":0}"#)]).await;
        assert_eq!(db.get("c", 1).await, Some(doc! { "_id": 1, "a": 1, "b": 1 }));
        db.drop().await;
    }
}

#[tokio::test]
async fn a_creation_that_a_delete_overtook_is_taken_back() {
    for db in Database::all("overtook").await {
        write(&db, 5, &[(Upsert, "9", "{}"), (Delete, "9", "")]).await;
        let server = Server::new("mongo", &Secret::new(&db.url)).expect("a url");
        let zombie = own(&db, &[(Upsert, "1", r#"{"a":1}"#), (Upsert, "2", r#"{"a":1}"#)]);
        // It has looked for guards and stands still before it writes; the new owner goes on meanwhile.
        let mut guards = guard::Guards::read(&server, &zombie.group, &zombie.spans).await.expect("read");
        let plan = plan::plan(&zombie, &BTreeMap::new());
        let overtaken = guards.overtaken(&plan.runs[0].namespace, &plan.runs[0].ops).await.expect("asked");
        assert_eq!(overtaken, [false, false]);
        write(&db, 20, &[(Upsert, "1", r#"{"a":1}"#), (Delete, "1", "")]).await;
        // Now it writes, as the server sees it, and looks again.
        let created: Vec<guard::Created> = plan.runs[0]
            .ops
            .iter()
            .map(|op| guard::Created {
                namespace: plan.runs[0].namespace.clone(),
                id: op.id.clone(),
                place: op.place.expect("guarded"),
                stamp: guards.stamp(&plan.runs[0].namespace, plan.runs[0].kind, op.place),
            })
            .collect();
        for (id, created) in [1, 2].into_iter().zip(&created) {
            let stamp = created.stamp.clone().expect("guarded");
            let document = doc! { "_id": id, "a": 1, "_wasmill": { stamp.lane: stamp.position } };
            db.collection("c").insert_one(document).await.expect("inserted");
        }
        guards.verify(&created).await.expect("verified");
        assert_eq!((db.get("c", 1).await, db.get("c", 2).await), (None, Some(doc! { "_id": 2, "a": 1 })));
        db.drop().await;
    }
}

#[tokio::test]
async fn documents_that_are_only_inserted_carry_nothing() {
    for db in Database::all("plain").await {
        write(&db, 0, &[(Write, "1", r#"{"a":1}"#), (Ignore, "2", "{}"), (Upsert, "", r#"{"a":1}"#)]).await;
        assert_eq!(db.raw("c", 1).await, Some(doc! { "_id": 1, "a": 1 }));
        assert_eq!(db.raw("c", 2).await, Some(doc! { "_id": 2 }));
        assert_eq!(db.raw("c", "flow/id/0/2/0").await, Some(doc! { "_id": "flow/id/0/2/0", "a": 1 }));
        let mut careless = own(&db, &[(Upsert, "3", r#"{"a":1}"#)]);
        careless.progress = false;
        db.sink().write(&careless).await.expect("written");
        assert_eq!(db.raw("c", 3).await, Some(doc! { "_id": 3, "a": 1 }));
        let refused = write(&db, 9, &[(Upsert, "4", r#"{"_wasmill":{}}"#)]).await;
        assert_eq!(codes(&refused), [(0, "decode")]);
        db.drop().await;
    }
}

#[tokio::test]
async fn after_a_reset_everything_is_written_again() {
    for db in Database::all("reset").await {
        write(&db, 50, &[(Upsert, "1", r#"{"a":1}"#), (Upsert, "2", "{}"), (Delete, "2", "")]).await;
        let spans = own(&db, &[]).spans;
        db.sink().reset(&db.name, &spans).await.expect("reset");
        write(&db, 10, &[(Upsert, "1", r#"{"a":2}"#), (Upsert, "2", r#"{"a":2}"#)]).await;
        assert_eq!(db.get("c", 1).await, Some(doc! { "_id": 1, "a": 2 }));
        assert_eq!(db.get("c", 2).await, Some(doc! { "_id": 2, "a": 2 }));
        // Nobody may believe to be older for ever because the guards were emptied.
        let guards = db.client.database("wasmill").collection::<Document>("guard");
        guards.delete_many(doc! { "group": &db.name }).await.expect("deleted");
        let batch = own(&db, &[(Upsert, "1", r#"{"a":3}"#)]);
        let mut later = batch.clone();
        later.items[0].offset = 30;
        let error = db.sink().write(&later).await.expect_err("it must not be taken for late");
        assert_eq!(error.class, Class::Wait);
        db.sink().write(&later).await.expect("written");
        assert_eq!(db.get("c", 1).await, Some(doc! { "_id": 1, "a": 3 }));
        db.drop().await;
    }
}

#[tokio::test]
async fn what_is_left_of_a_batch_is_written_where_some_of_it_stands() {
    for db in Database::all("left").await {
        let batch = [
            (Upsert, "\"a\"", r#"{"v":1}"#),
            (Upsert, "\"b\"", r#"{"v":1}"#),
            (Replace, "\"c\"", r#"{"v":1}"#),
            (Upsert, "\"d\"", r#"{"v":1}"#),
            (Update, "\"a\"", r#"{"w":1}"#),
        ];
        for lost in ["a", "b", "c", "d"] {
            write(&db, 10, &batch).await;
            db.collection("c").delete_one(doc! { "_id": lost }).await.expect("deleted");
            assert_eq!(codes(&write(&db, 10, &batch).await), [], "{lost}");
            assert_eq!(db.count("c").await, 4, "{lost}");
        }
        assert_eq!(db.get("c", "a").await, Some(doc! { "_id": "a", "v": 1, "w": 1 }));
        db.drop().await;
    }
}

#[tokio::test]
async fn one_refused_upsert_costs_only_itself() {
    for db in Database::all("refused").await {
        let index = doc! { "createIndexes": "c", "indexes": [{ "key": { "u": 1 }, "name": "u_1", "unique": true }] };
        db.client.database(&db.name).run_command(index).await.expect("an index");
        let bodies: Vec<(String, String)> = (0..40)
            .map(|n| (format!("\"k{n}\""), format!(r#"{{"u":{}}}"#, if n == 17 || n == 30 { 3 } else { n })))
            .collect();
        let batch: Vec<(Operation, &str, &str)> =
            bodies.iter().map(|(id, body)| (Upsert, id.as_str(), body.as_str())).collect();
        for _ in 0..2 {
            assert_eq!(codes(&write(&db, 10, &batch).await), [(17, "mongo-11000"), (30, "mongo-11000")]);
            assert_eq!(db.count("c").await, 38);
        }
        db.drop().await;
    }
}
