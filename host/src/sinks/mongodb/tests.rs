//! Against a real server: `MONGODB_URL`, in a database of each test's own.

use std::time::{Duration, Instant};

use ::mongodb::Client;
use ::mongodb::bson::{Bson, Document, doc, serialize_to_vec};

use super::*;
use crate::config::{Mode, Sink as SinkConfig};
use crate::outcome::Operation::{Delete, Ignore, Replace, Update, Upsert, Write};
use crate::outcome::{Operation, Output};
use crate::sinks::Class;
use crate::sinks::sql::testing::{batch, output, target};

mod guards;

/// A database that is dropped at the end.
struct Database {
    url: String,
    name: String,
    client: Client,
}

impl Database {
    /// `None`, said aloud, where no server is given; a failure where one is required.
    async fn new(test: &str) -> Option<Self> {
        let Ok(url) = std::env::var("MONGODB_URL") else {
            assert!(std::env::var_os("WASMILL_TEST_SERVICES").is_none(), "MONGODB_URL must be set for this test");
            eprintln!("skipped: MONGODB_URL not set");
            return None;
        };
        let client = Client::with_uri_str(&url).await.expect("a valid url");
        let name = format!("wasmill_test_{test}_{}", std::process::id());
        client.database(&name).drop().await.expect("dropped");
        Some(Database { url, name, client })
    }

    /// One on each server that is given: what servers must agree on is tried on all of them. Guards are shared by all
    /// databases, so what earlier runs left is removed.
    async fn all(test: &str) -> Vec<Self> {
        let Some(first) = Database::new(test).await else { return Vec::new() };
        let mut all = vec![first];
        if let Some(url) = std::env::var("MONGODB_VOLUME_URL").ok().filter(|url| *url != all[0].url) {
            let client = Client::with_uri_str(&url).await.expect("a valid url");
            let name = all[0].name.clone();
            client.database(&name).drop().await.expect("dropped");
            all.push(Database { url, name, client });
        }
        all
    }

    fn sink(&self) -> Arc<dyn Sink> {
        self.sink_with([])
    }

    fn sink_with<const N: usize>(&self, tables: [(&str, Table); N]) -> Arc<dyn Sink> {
        let tables = tables.into_iter().map(|(name, table)| (name.to_owned(), table)).collect();
        let config = SinkConfig { tables, ..SinkConfig::at(&self.url) };
        open("mongo", &config).expect("a valid url")
    }

    fn target(&self, collection: &str) -> Arc<TargetSpec> {
        target("mongo", &format!("{}.{collection}", self.name), None, &[], &[])
    }

    fn collection(&self, name: &str) -> ::mongodb::Collection<Document> {
        self.client.database(&self.name).collection(name)
    }

    async fn count(&self, collection: &str) -> u64 {
        self.collection(collection).count_documents(doc! {}).await.expect("counted")
    }

    /// The document with this `_id`, without its guard.
    async fn get(&self, collection: &str, id: impl Into<Bson>) -> Option<Document> {
        let mut document = self.raw(collection, id).await?;
        document.remove("_wasmill");
        Some(document)
    }

    async fn raw(&self, collection: &str, id: impl Into<Bson>) -> Option<Document> {
        self.collection(collection).find_one(doc! { "_id": id.into() }).await.expect("found")
    }

    /// FerretDB says so itself; it closes the connection on a decimal.
    async fn takes_decimals(&self) -> bool {
        let info = self.client.database("admin").run_command(doc! { "buildInfo": 1 }).await.expect("an answer");
        !info.keys().any(|key| key.to_lowercase().contains("ferret"))
    }

    async fn drop(self) {
        self.client.database(&self.name).drop().await.expect("dropped");
    }
}

/// A batch of (operation, key, value) into one target, where an empty key or value is none.
fn ops(target: &Arc<TargetSpec>, ops: &[(Operation, &str, &str)]) -> SinkBatch {
    let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let outputs = ops.iter().map(|(operation, key, value)| output(target, *operation, some(*key), some(*value)));
    batch(0, outputs.collect())
}

fn codes(written: &Written) -> Vec<(usize, &str)> {
    written.refused.iter().map(|refusal| (refusal.item, refusal.code.as_str())).collect()
}

#[tokio::test]
async fn documents_arrive_as_given() {
    let Some(db) = Database::new("given").await else { return };
    let (sink, target) = (db.sink(), db.target("c"));
    let message = r#"{ "z": 1, "quote": "D'oh! \u00fc\ud83c\udf69", "a": [1, 2.5, null, true, {"b": {}}], "big": 9007199254740993,
        "at": {"$date": "2024-02-29T12:00:00Z"}, "of": {"$oid": "507f1f77bcf86cd799439011"}, "bin": {"$binary": {"base64": "AAEC", "subType": "00"}} }"#;
    let written = sink.write(&ops(&target, &[(Write, "", message), (Write, r#"{"$numberLong":"7"}"#, "{}")])).await;
    assert_eq!(written.expect("written"), Written { outputs: 2, ..Written::default() });
    let found = db.get("c", "flow/id/0/0/0").await.expect("under its source id");
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["_id", "z", "quote", "a", "big", "at", "of", "bin"]);
    assert_eq!(found.get_str("quote").ok(), Some("D'oh! ü🍩"));
    assert_eq!(found.get_i64("big").ok(), Some(9_007_199_254_740_993));
    assert_eq!(found.get_datetime("at").map(|at| at.timestamp_millis()).ok(), Some(1_709_208_000_000));
    assert!(matches!(found.get("of"), Some(Bson::ObjectId(_))));
    assert_eq!(
        found.get_array("a").ok(),
        Some(&vec![1.into(), 2.5.into(), Bson::Null, true.into(), doc! { "b": {} }.into()])
    );
    assert!(db.get("c", 7_i64).await.is_some());
    if db.takes_decimals().await {
        let decimal = r#"{"d":{"$numberDecimal":"12345678901234567890.123456789"}}"#;
        sink.write(&ops(&target, &[(Write, "\"d\"", decimal)])).await.expect("written");
        let found = db.get("c", "d").await.expect("there");
        assert_eq!(found.get("d").map(ToString::to_string).as_deref(), Some("12345678901234567890.123456789"));
    }
    db.drop().await;
}

#[tokio::test]
async fn a_document_that_breaks_the_connection_is_named_and_waited_for() {
    let Some(db) = Database::new("breaks").await else { return };
    let (sink, target) = (db.sink(), db.target("c"));
    let mut all = vec![(Write, "", r#"{"a":1}"#); 20];
    all[13] = (Write, "", r#"{"d":{"$numberDecimal":"1.5"}}"#);
    let written = sink.write(&ops(&target, &all)).await;
    if db.takes_decimals().await {
        assert_eq!(written.expect("written").outputs, 20);
    } else {
        let error = written.expect_err("the server closes the connection");
        assert!(error.class == Class::Operator && error.message.contains("t/0/13"), "{error}");
        all[13] = (Write, "", "{}");
        sink.write(&ops(&target, &all)).await.expect("the connection is made again");
        assert_eq!(db.count("c").await, 20);
    }
    db.drop().await;
}

#[tokio::test]
async fn bson_arrives_byte_for_byte() {
    let Some(db) = Database::new("bson").await else { return };
    let (sink, target) = (db.sink(), db.target("c"));
    let sent = doc! { "_id": 5_i64, "n": 1_i64, "nested": { "b": [1.0, "x"] } };
    let mut output = output(&target, Write, None, None);
    output.value = Some(serialize_to_vec(&sent).expect("serialises").into());
    sink.write(&batch(0, vec![output])).await.expect("written");
    assert_eq!(db.get("c", 5_i64).await, Some(sent));
    db.drop().await;
}

#[tokio::test]
async fn a_repeated_batch_doubles_nothing() {
    let Some(db) = Database::new("repeat").await else { return };
    let (sink, target) = (db.sink(), db.target("c"));
    let mut all: Vec<(Operation, &str, &str)> = (0..300).map(|_| (Write, "", r#"{"a":1}"#)).collect();
    all.extend([
        (Write, r#""own""#, r#"{"a":1,"b":{"c":[1]}}"#),
        (Write, "", r#"{"_id":"inside","a":1}"#),
        (Upsert, "1", r#"{"a":1}"#),
        (Replace, "2", r#"{"a":1}"#),
        (Ignore, "3", r#"{"a":1}"#),
        (Update, "1", r#"{"b":2}"#),
        (Delete, "2", ""),
    ]);
    let batch = ops(&target, &all);
    let first = sink.write(&batch).await.expect("written");
    assert_eq!((first.outputs, first.refused.len()), (307, 0));
    let count = db.count("c").await;
    assert_eq!(count, 304);
    let again = sink.write(&batch).await.expect("written");
    assert_eq!(codes(&again), []);
    assert_eq!(db.count("c").await, count);
    assert_eq!(db.get("c", 1).await, Some(doc! { "_id": 1, "a": 1, "b": 2 }));
    assert_eq!(db.get("c", "inside").await, Some(doc! { "_id": "inside", "a": 1 }));
    db.drop().await;
}

#[tokio::test]
async fn half_a_batch_is_completed_by_its_repetition() {
    let Some(db) = Database::new("half").await else { return };
    let (sink, target) = (db.sink(), db.target("c"));
    let outputs: Vec<Output> = (0..100).map(|_| output(&target, Write, None, Some(r#"{"a":1}"#))).collect();
    let whole = batch(0, outputs);
    let mut part = whole.clone();
    part.items.retain(|item| item.offset % 3 == 0);
    sink.write(&part).await.expect("written");
    let written = sink.write(&whole).await.expect("written");
    assert_eq!((written.outputs, codes(&written).len()), (66, 0));
    assert_eq!(db.count("c").await, 100);
    db.drop().await;
}

#[tokio::test]
async fn one_bad_document_costs_only_itself() {
    let Some(db) = Database::new("bad").await else { return };
    let (sink, target) = (db.sink(), db.target("c"));
    let index =
        doc! { "createIndexes": "c", "indexes": [{ "key": { "email": 1 }, "name": "email_1", "unique": true }] };
    db.client.database(&db.name).run_command(index).await.expect("an index");
    let big = format!(r#"{{"email":"big","x":"{}"}}"#, "x".repeat(17_000_000));
    let deep = format!("{}1{}", "{\"a\":".repeat(120), "}".repeat(120));
    let all = [
        (Write, "", r#"{"email":"a"}"#),
        (Write, "", "not json"),
        (Write, "", big.as_str()),
        (Write, "", deep.as_str()),
        (Write, "", r#"{"email":"geheim"}"#),
        (Write, "", r#"{"email":"geheim"}"#),
        (Write, "", r#"{"email":"b","$x":1}"#),
        (Upsert, "\"u\"", r#"{"email":"a"}"#),
        (Write, "", r#"{"email":"z"}"#),
    ];
    let batch = ops(&target, &all);
    let wanted =
        [(1, "decode"), (2, "too-large"), (3, "decode"), (5, "mongo-11000"), (6, "decode"), (7, "mongo-11000")];
    for _ in 0..2 {
        let written = sink.write(&batch).await.expect("written");
        assert_eq!(codes(&written), wanted);
        assert!(written.refused.iter().all(|refusal| !refusal.message.contains("geheim")), "{:?}", written.refused);
        assert_eq!(db.count("c").await, 3);
    }
    db.drop().await;
}

#[tokio::test]
async fn another_document_with_the_authors_id_is_refused() {
    let Some(db) = Database::new("clash").await else { return };
    let (sink, target) = (db.sink(), db.target("c"));
    let batch = ops(&target, &[(Write, "1", r#"{"a":1}"#), (Write, "1", r#"{"a":2}"#), (Ignore, "1", r#"{"a":3}"#)]);
    for _ in 0..2 {
        let written = sink.write(&batch).await.expect("written");
        assert_eq!(codes(&written), [(1, "mongo-11000")]);
        assert_eq!(db.get("c", 1).await, Some(doc! { "_id": 1, "a": 1 }));
    }
    db.drop().await;
}

#[tokio::test]
async fn operations_on_one_document_happen_in_order() {
    let Some(db) = Database::new("order").await else { return };
    let (sink, target) = (db.sink(), db.target("c"));
    let all = [
        (Update, "1", r#"{"never":1}"#),
        (Upsert, "1", r#"{"a":1}"#),
        (Upsert, "1", r#"{"b":{"c":2}}"#),
        (Replace, "1", r#"{"d":3}"#),
        (Update, "1", r#"{"e":4}"#),
        (Replace, "2", r#"{"x":1}"#),
        (Delete, "2", ""),
        (Upsert, "3", "{}"),
        (Ignore, "1", r#"{"f":5}"#),
    ];
    let written = sink.write(&ops(&target, &all)).await.expect("written");
    assert_eq!(codes(&written), []);
    assert_eq!(db.get("c", 1).await, Some(doc! { "_id": 1, "d": 3, "e": 4 }));
    assert_eq!(db.get("c", 2).await, None);
    assert_eq!(db.get("c", 3).await, Some(doc! { "_id": 3 }));
    db.drop().await;
}

#[tokio::test]
async fn write_means_what_the_configuration_says() {
    let Some(db) = Database::new("mode").await else { return };
    let sink = db.sink_with([("c", Table { mode: Mode::Upsert, ..Table::default() })]);
    let batch = ops(&db.target("c"), &[(Write, "1", r#"{"a":1}"#), (Write, "1", r#"{"b":2}"#)]);
    sink.write(&batch).await.expect("written");
    assert_eq!(db.get("c", 1).await, Some(doc! { "_id": 1, "a": 1, "b": 2 }));
    db.drop().await;
}

#[tokio::test]
async fn large_batches_and_large_documents_go_through() {
    let Some(db) = Database::new("large").await else { return };
    let (sink, target) = (db.sink(), db.target("c"));
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(15_000_000));
    let mut outputs: Vec<Output> = (0..12_000).map(|_| output(&target, Write, None, Some(r#"{"a":1}"#))).collect();
    outputs.insert(6_000, output(&target, Write, None, Some(&large)));
    let written = sink.write(&batch(0, outputs)).await.expect("written");
    assert_eq!((written.outputs, codes(&written).len()), (12_001, 0));
    assert_eq!(db.count("c").await, 12_001);
    db.drop().await;
}

#[tokio::test]
async fn missing_collections_are_created_where_that_is_allowed() {
    let Some(db) = Database::new("prepare").await else { return };
    let sink = db.sink_with([("forbidden", Table { create: Some(false), ..Table::default() })]);
    for _ in 0..2 {
        sink.prepare(&[db.target("c"), db.target("tenant_*")]).await.expect("prepared");
    }
    let names = db.client.database(&db.name).list_collection_names().await.expect("listed");
    assert_eq!(names, ["c"]);
    let error = sink.prepare(&[db.target("forbidden")]).await.expect_err("it must not be created");
    assert!(error.class == Class::Operator && error.message.contains("forbidden"), "{error}");
    db.drop().await;
}

#[tokio::test]
async fn an_unreachable_server_is_waited_for_and_its_password_is_not_told() {
    let config = |url: &str| SinkConfig::at(url);
    let sink = open("mongo", &config("mongodb://u:geheim@127.0.0.1:1/")).expect("a valid url");
    let begun = Instant::now();
    let batch = ops(&target("mongo", "db.c", None, &[], &[]), &[(Write, "", "{}")]);
    let error = sink.write(&batch).await.expect_err("nobody is there");
    assert_eq!(error.class, Class::Wait);
    assert!(error.message.contains("127.0.0.1:1") && !error.message.contains("geheim"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let refused = open("mongo", &config("mongodb://u:geheim@[::1/")).map(drop).expect_err("no url");
    assert!(!refused.contains("geheim"), "{refused}");
}
