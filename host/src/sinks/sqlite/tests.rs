use sqlx::Row;

use super::*;
use crate::config::Sink as SinkConfig;
use crate::outcome::Operation;
use crate::sinks::Class;
use crate::sinks::sql::testing::{batch, output, rows, target};

struct File {
    directory: tempfile::TempDir,
}

impl File {
    fn new() -> Self {
        File { directory: tempfile::tempdir().expect("a directory") }
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.directory.path().join("a.db").display())
    }

    fn sink(&self, name: &str) -> Arc<dyn Sink> {
        let config = SinkConfig::at(self.url());
        open(name, &config, std::path::Path::new("")).expect("a valid url")
    }

    /// The rows of a query, columns as texts joined by `|`; NULL is `-`.
    async fn query(&self, sql: &str) -> Vec<String> {
        let mut connection = SqliteConnection::connect(&self.url()).await.expect("opens");
        let rows = connection.fetch_all(sqlx::raw_sql(reviewed(sql))).await.expect("a valid query");
        let text = |row: &sqlx::sqlite::SqliteRow, i| row.get_unchecked::<Option<String>, _>(i).unwrap_or("-".into());
        rows.iter().map(|row| (0..row.len()).map(|i| text(row, i)).collect::<Vec<_>>().join("|")).collect()
    }
}

#[tokio::test]
async fn rows_and_documents_go_into_one_file() {
    let file = File::new();
    let (pg, mongo) = (file.sink("postgres"), file.sink("mongodb"));
    let quotes = target("postgres", "quotes", Some("quote_id"), &[], &["quotes:varchar(5)", "n:bigint"]);
    let documents = target("mongodb", "simpson_db.quotes", None, &[], &[]);
    pg.prepare(&[quotes.clone(), documents.clone()]).await.expect("prepared");
    mongo.prepare(&[quotes.clone(), documents.clone()]).await.expect("prepared");
    let values = [r#"{"quotes":"é\"1","n":1}"#, r#"{"quotes":"too long","n":2}"#, r#"{"quotes":null,"n":3}"#, "[]"];
    let written = pg.write(&rows(&quotes, 0, &values)).await.expect("written");
    let codes: Vec<_> = written.refused.iter().map(|r| (r.item, r.code.as_str())).collect();
    assert_eq!((written.outputs, codes), (2, vec![(1, "sqlite-275"), (3, "decode")]));
    let written = mongo.write(&rows(&documents, 0, &values)).await.expect("written");
    assert_eq!((written.outputs, written.refused.len()), (3, 1));
    assert_eq!(file.query("SELECT * FROM quotes").await, ["1|é\"1|1", "2|-|3"]);
    let found = file.query("SELECT * FROM \"simpson_db.quotes\"").await;
    let expected: Vec<String> = (0..3).map(|n| format!("flow/id/0/{n}/0|{}", values[n])).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_replay_writes_nothing_twice_and_remembers_verdicts() {
    let file = File::new();
    let sink = file.sink("pg");
    let target = target("pg", "t", None, &[], &["n:integer!"]);
    assert_eq!(sink.lanes("wasmill.flow", &rows(&target, 0, &["{}"]).spans).await.expect("no tables yet"), [None]);
    let values = ["{\"n\":1}", "{\"n\":null}", "{\"n\":3}"];
    let first = sink.write(&rows(&target, 0, &values)).await.expect("written");
    assert_eq!((first.outputs, first.found), (2, vec![0]));
    let more = [values[0], values[1], values[2], "{\"n\":4}"];
    let again = file.sink("pg").write(&rows(&target, 0, &more)).await.expect("written");
    assert_eq!((again.outputs, &again.found[..], again.refused.len()), (1, &[3][..], 0));
    assert_eq!(again.journalled.iter().map(|v| (v.offset, v.code.as_str())).collect::<Vec<_>>(), [(1, "sqlite-1299")]);
    assert_eq!(file.query("SELECT n FROM t").await, ["1", "3", "4"]);
    let lanes = sink.lanes("wasmill.flow", &rows(&target, 0, &["{}"]).spans).await.expect("lanes");
    assert_eq!(lanes, [Some(Lane { next_offset: 4, digest: "d".into() })]);
    let error = sink.write(&rows(&target, 9, &["{\"n\":9}"])).await.expect_err("a gap");
    assert_eq!(error.class, Class::Rewind);
    assert_eq!(sink.write(&rows(&target, 4, &["{\"n\":5}"])).await.expect("usable after an error").outputs, 1);
    assert_eq!(file.query("SELECT count(*) FROM wasmill_verdict").await, ["0"]);
}

#[tokio::test]
async fn operations_do_what_they_say_to_rows() {
    let file = File::new();
    let target = target("pg", "t", None, &["id"], &["id:bigint!", "a:text", "b:boolean", "j:jsonb", "x:bytea"]);
    let op = |operation, key, value| output(&target, operation, key, value);
    let outputs = vec![
        op(Operation::Write, None, Some(r#"{"id":1,"a":"one","b":true,"j":{"k":"\u00e9"},"x":[222,173]}"#)),
        op(Operation::Upsert, None, Some(r#"{"id":1,"a":"two"}"#)),
        op(Operation::Ignore, None, Some(r#"{"id":1,"a":"three"}"#)),
        op(Operation::Write, None, Some(r#"{"id":1,"a":"four"}"#)),
        op(Operation::Write, None, Some(r#"{"id":2}"#)),
        op(Operation::Update, Some("2"), Some(r#"{"a":"updated","b":false}"#)),
        op(Operation::Write, None, Some(r#"{"id":3}"#)),
        op(Operation::Delete, Some("3"), None),
    ];
    let written = file.sink("pg").write(&batch(0, outputs)).await.expect("written");
    assert_eq!(written.refused.iter().map(|r| (r.item, r.code.as_str())).collect::<Vec<_>>(), [(3, "sqlite-1555")]);
    let found = file.query("SELECT id, a, b, j, hex(x) FROM t ORDER BY id").await;
    assert_eq!(found, ["1|two|1|{\"k\":\"\\u00e9\"}|DEAD", "2|updated|0|-|"]);
}

#[tokio::test]
async fn operations_do_what_they_say_to_documents() {
    let file = File::new();
    let target = target("mongodb", "db.c", None, &[], &[]);
    let op = |operation, key, value| output(&target, operation, key, value);
    let outputs = vec![
        op(Operation::Write, Some("\"a\""), Some("{\"n\":1}")),
        op(Operation::Write, Some("\"a\""), Some("{\"n\":2}")),
        op(Operation::Replace, Some("7"), Some("{\"n\":3}")),
        op(Operation::Update, Some("7"), Some("{\"m\":4}")),
        op(Operation::Ignore, Some("7"), Some("{\"n\":5}")),
        op(Operation::Write, Some("\"b\""), Some("{}")),
        op(Operation::Delete, Some("\"b\""), None),
        op(Operation::Delete, None, None),
    ];
    let written = file.sink("mongodb").write(&batch(0, outputs)).await.expect("written");
    let codes: Vec<_> = written.refused.iter().map(|r| (r.item, r.code.as_str())).collect();
    assert_eq!(codes, [(1, "sqlite-1555"), (7, "decode")]);
    assert_eq!(file.query("SELECT * FROM \"db.c\" ORDER BY _id").await, ["7|{\"n\":3,\"m\":4}", "a|{\"n\":1}"]);
}

#[tokio::test]
async fn what_a_person_has_to_mend_is_said() {
    let file = File::new();
    let sink = file.sink("pg");
    sink.prepare(&[target("pg", "t", None, &[], &["a:text"])]).await.expect("created");
    sink.prepare(&[target("pg", "t", None, &[], &["a:text", "c:bigint"])]).await.expect("extended");
    for (refused, word) in [
        (target("pg", "t", None, &[], &["a:bigint"]), "is text but bigint is declared"),
        (target("pg", "t", None, &[], &["d:bigint!"]), "lacks the declared column `d`"),
        (target("pg", "nowhere", None, &[], &[]), "does not exist"),
        (target("pg", "wasmill_progress", None, &[], &["a:text"]), "belongs to wasmill"),
    ] {
        let error = sink.prepare(&[refused]).await.expect_err("refused");
        assert_eq!(error.class, Class::Operator, "{error}");
        assert!(error.message.contains(word), "{error}");
    }
    let config = SinkConfig::at("sqlite:///no/such/place/a.db");
    let error = open("pg", &config, std::path::Path::new("")).expect("a url").ping().await.expect_err("no directory");
    assert_eq!(error.class, Class::Operator, "{error}");
}

#[tokio::test]
async fn dead_letters_become_rows_once() {
    let file = File::new();
    let letter = DeadLetter {
        id: "a".into(),
        flow: "f".into(),
        topic: "t".into(),
        partition: 3,
        offset: 4,
        timestamp: 1_700_000_000_123,
        stage: "transform".into(),
        code: crate::outcome::Code::TRAP,
        message: "m".into(),
        module: "m".into(),
        sink: String::new(),
        target: String::new(),
        redriven: 0,
        key: None,
        value: Some(bytes::Bytes::from_static(b"\x00\xff")),
        headers: crate::outcome::Headers { count: 0, encoded: bytes::Bytes::new() },
    };
    for _ in 0..2 {
        file.sink("pg").write_dead_letters("dead", std::slice::from_ref(&letter)).await.expect("written");
    }
    let found = file.query("SELECT id, \"timestamp\", code, key, hex(value), headers, at IS NOT NULL FROM dead").await;
    assert_eq!(found, ["a|2023-11-14T22:13:20.123Z|trap|-|00FF|[]|1"]);
}

#[tokio::test]
async fn a_change_of_modules_is_noted_where_it_comes_into_force() {
    let file = File::new();
    let sink = file.sink("pg");
    let target = target("pg", "t", None, &[], &["n:integer"]);
    let made_by = |digest: &str, start: i64, count: usize| {
        let batch = rows(&target, start, &vec!["{\"n\":1}"; count]);
        let spans: Vec<Span> = batch.spans.iter().map(|span| Span { digest: digest.into(), ..span.clone() }).collect();
        SinkBatch { spans: spans.into(), ..batch }
    };
    assert_eq!(sink.module_history("wasmill.flow", 9).await.expect("no table yet"), []);
    for (digest, start, count) in [("a", 0, 5), ("a", 5, 5), ("b", 10, 5), ("c", 10, 9)] {
        sink.write(&made_by(digest, start, count)).await.expect("written");
    }
    let told = sink.module_history("wasmill.flow", 9).await.expect("told");
    let mut places: Vec<(i64, &str)> = told.iter().map(|change| (change.from, &*change.digest)).collect();
    places.sort_unstable();
    assert_eq!(places, [(0, "a"), (10, "b"), (15, "c")]);
    let now = crate::board::now();
    assert!(told.iter().all(|change| (now - change.since).abs() < 60_000), "{told:?}");
    sink.reset("wasmill.flow", &made_by("", 3, 0).spans).await.expect("reset");
    sink.write(&made_by("b", 3, 2)).await.expect("written");
    let history = "SELECT from_offset, module_digest FROM wasmill_module_history ORDER BY 1";
    assert_eq!(file.query(history).await, ["0|a", "3|b"]);
}

#[tokio::test]
async fn what_sqlite_would_make_a_number_of_is_refused() {
    let file = File::new();
    let target = target("pg", "t", None, &["id"], &["id:bigint!", "n:integer", "x:bytea"]);
    let good = [
        r#"{"id":0,"n":" 7 ","x":"\\xDEad"}"#,
        r#"{"id":1,"n":1.0,"x":"text"}"#,
        r#"{"id":"2","n":"-9223372036854775808","x":[222]}"#,
        r#"{"id":3,"n":null,"x":"\\x"}"#,
    ];
    let sink = file.sink("pg");
    assert_eq!(sink.write(&rows(&target, 0, &good)).await.expect("written").refused, []);
    let kept = ["0|7|DEAD", "1|1|74657874", "2|-9223372036854775808|DE", "3|-|"];
    let query = "SELECT id, n, hex(x) FROM t ORDER BY id";
    assert_eq!(file.query(query).await, kept);
    let bad = [r#""n/a""#, "true", r#""""#, "{}", r#""12abc""#, "1.5", "9223372036854775808", r#""0x1f""#];
    let bad = bad.map(|n| format!("{{\"id\":9,\"n\":{n}}}"));
    let hex = [r#""\\xabc""#, r#""\\xzz""#].map(|x| format!("{{\"id\":9,\"x\":{x}}}"));
    let write = |value: &String| output(&target, Operation::Write, None, Some(value));
    let mut outputs: Vec<_> = bad.iter().chain(&hex).map(write).collect();
    outputs.push(output(&target, Operation::Delete, Some("\"abc\""), None));
    outputs.push(output(&target, Operation::Update, Some("\"abc\""), Some("{\"n\":1}")));
    let count = outputs.len();
    let written = sink.write(&batch(4, outputs)).await.expect("written");
    assert_eq!((written.outputs, written.refused.len()), (0, count));
    assert!(written.refused.iter().all(|refusal| refusal.code.as_str() == "decode"), "{written:?}");
    assert_eq!(written.refused[0].message, "the value of column `n` is not a whole number of 64 bits");
    assert_eq!(file.query(query).await, kept);
}

#[tokio::test]
async fn a_table_that_was_mended_is_looked_at_again_but_rarely() {
    let file = File::new();
    let target = target("pg", "t", None, &[], &["n:integer"]);
    let sink = file.sink("pg");
    sink.write(&rows(&target, 0, &["{\"n\":1}"])).await.expect("written");
    file.query("ALTER TABLE t ADD COLUMN x TEXT").await;
    let written = sink.write(&rows(&target, 1, &["{\"n\":2,\"x\":\"a\"}", "{\"y\":1}"])).await.expect("written");
    assert_eq!((written.outputs, written.refused.len()), (1, 1));
    assert_eq!(file.query("SELECT n, x FROM t ORDER BY n").await, ["1|-", "2|a"]);
    file.query("ALTER TABLE t ADD COLUMN y TEXT").await;
    let written = sink.write(&rows(&target, 3, &["{\"y\":1}"])).await.expect("written");
    assert_eq!((written.outputs, written.refused.len()), (0, 1), "the tables were looked at just now");

    let sink = file.sink("pg");
    let upsert = || batch(4, vec![output(&target, Operation::Upsert, None, Some("{\"n\":3}"))]);
    sink.prepare(std::slice::from_ref(&target)).await.expect("there is a table");
    file.query("DROP TABLE t; CREATE TABLE t (n INTEGER PRIMARY KEY)").await;
    assert_eq!(sink.write(&upsert()).await.expect("there is a key now").outputs, 1);
    assert_eq!(file.query("SELECT n FROM t").await, ["3"]);
}
