//! Nothing is written twice, nothing is lost, and what was decided stays decided.

use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn numbers(start: i64, count: i64) -> SinkBatch {
    let values: Vec<String> = (start..start + count).map(|n| format!("{{\"n\":{n}}}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    rows(&target("pg", "t", None, &[], &["n:int"]), start, &values)
}

fn transform_verdict(offset: i64) -> StoredVerdict {
    StoredVerdict {
        span: 0,
        offset,
        path: String::new(),
        stage: "transform".into(),
        code: Code::REJECT,
        message: "why \0 not".into(),
        module: "m".into(),
        sink: String::new(),
        target: String::new(),
    }
}

#[tokio::test]
async fn a_replay_writes_nothing_twice() {
    let Some(db) = Database::new("replay").await else { return };
    let (one, other) = (db.sink(), db.sink());
    let first = one.write(&numbers(0, 10)).await.expect("written");
    assert_eq!((first.outputs, first.found), (10, vec![0]));
    for sink in [&one, &other] {
        let again = sink.write(&numbers(0, 10)).await.expect("skipped");
        assert_eq!((again.outputs, again.found), (0, vec![10]));
    }
    assert_eq!(db.query("SELECT count(*) FROM t").await, ["10"]);
    let lanes = other.lanes("wasmill.flow", &numbers(0, 1).spans).await.expect("lanes");
    assert_eq!(lanes, [Some(Lane { next_offset: 10, digest: "d".into() })]);
    db.drop().await;
}

#[tokio::test]
async fn a_batch_that_was_written_in_part_is_completed_with_its_verdicts() {
    let Some(db) = Database::new("part").await else { return };
    let sink = db.sink();
    let mut first = numbers(0, 6);
    first.items[4].output.value = Some("{\"n\":\"bad\"}".into());
    first.items.remove(2);
    first.verdicts = vec![transform_verdict(2)];
    let written = sink.write(&first).await.expect("written");
    assert_eq!((codes(&written), written.outputs), (vec![(3, "pg-22P02")], 4));
    // The same records in another cut; this time the module would decide otherwise.
    let mut replay = numbers(0, 10);
    replay.verdicts = vec![transform_verdict(1), transform_verdict(8)];
    replay.items.remove(8);
    let written = sink.write(&replay).await.expect("completed");
    assert_eq!((written.outputs, written.found.clone(), codes(&written)), (3, vec![6], vec![]));
    let mut bad = transform_verdict(4);
    (bad.path, bad.stage, bad.code) = (Path::new(0).to_string(), "sink".into(), Code::sink("pg", "22P02"));
    (bad.message, bad.module) = ("invalid input syntax for type integer: …".into(), String::new());
    (bad.sink, bad.target) = ("pg".into(), "t".into());
    let mut kept = transform_verdict(2);
    kept.message = "why \u{fffd} not".into();
    assert_eq!(written.journalled, [kept, bad]);
    assert_eq!(db.query("SELECT n FROM t ORDER BY n").await, ["0", "1", "3", "5", "6", "7", "9"]);
    // Verdicts that no replay can ask for any more are gone.
    sink.write(&numbers(10, 1)).await.expect("written");
    assert_eq!(db.query("SELECT count(*) FROM wasmill.verdict").await, ["0"]);
    db.drop().await;
}

#[tokio::test]
async fn a_database_that_went_back_is_noticed() {
    let Some(db) = Database::new("rewind").await else { return };
    let sink = db.sink();
    sink.write(&numbers(0, 10)).await.expect("written");
    let error = sink.write(&numbers(20, 5)).await.expect_err("a gap");
    assert_eq!(error.class, Class::Rewind);
    for word in ["offset 10", "partition 0", "topic t", "begins at 20"] {
        assert!(error.message.contains(word), "{error}");
    }
    assert_eq!(db.query("SELECT count(*) FROM t").await, ["10"]);
    db.drop().await;
}

#[tokio::test]
async fn two_sinks_in_one_database_have_their_own_lanes() {
    let Some(db) = Database::new("lanes").await else { return };
    let config = SinkConfig::at(&db.url);
    let other = open("other", &config).expect("a url");
    assert_eq!(other.lanes("wasmill.flow", &numbers(0, 1).spans).await.expect("no tables yet"), [None]);
    for sink in [db.sink(), other] {
        assert_eq!(sink.write(&numbers(0, 3)).await.expect("written").outputs, 3, "{}", sink.name());
    }
    assert_eq!(db.query("SELECT count(*) FROM t").await, ["6"]);
    db.drop().await;
}

#[tokio::test]
async fn zombies_and_owners_together_write_each_record_once() {
    let Some(db) = Database::new("zombies").await else { return };
    db.sink().write(&numbers(0, 1)).await.expect("written");
    let mut hosts = tokio::task::JoinSet::new();
    for host in 0..4i64 {
        let sink = db.sink();
        // Each cuts the same records differently.
        hosts.spawn(async move {
            let (mut at, step) = (1, 3 + host);
            while at < 200 {
                match sink.write(&numbers(at, step)).await {
                    Ok(_) => at += step,
                    Err(e) => assert_eq!(e.class, Class::Wait, "{e}"),
                }
            }
        });
    }
    while let Some(done) = hosts.join_next().await {
        done.expect("no host saw anything but success or contention");
    }
    let counted = "SELECT count(*) = count(DISTINCT n) AND count(*) = max(n) + 1 AND max(n) >= 199 FROM t";
    assert_eq!(db.query(counted).await, ["t"]);
    db.drop().await;
}

#[tokio::test]
async fn at_least_once_keeps_nothing_but_rows() {
    let Some(db) = Database::new("at_least_once").await else { return };
    let sink = db.sink();
    let mut batch = numbers(0, 4);
    batch.progress = false;
    batch.items[1].output.value = Some("{\"n\":\"bad\"}".into());
    let written = sink.write(&batch).await.expect("written");
    assert_eq!((codes(&written), written.outputs, &written.found[..]), (vec![(1, "pg-22P02")], 3, &[][..]));
    assert_eq!(db.query("SELECT n FROM t ORDER BY n").await, ["0", "2", "3"]);
    assert_eq!(db.query("SELECT count(*) FROM pg_namespace WHERE nspname = 'wasmill'").await, ["0"]);
    db.drop().await;
}

#[tokio::test]
async fn rows_may_refer_to_rows_of_other_tables() {
    let Some(db) = Database::new("foreign").await else { return };
    db.run("CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (p int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)").await;
    db.run("CREATE TABLE strict (p int REFERENCES parent)").await;
    db.run("INSERT INTO parent VALUES (0)").await;
    let [parent, child, strict] = ["parent", "child", "strict"].map(|name| target("pg", name, None, &[], &[]));
    let write = |target, value| output(target, Operation::Write, None, Some(value));
    let outputs = vec![
        write(&strict, "{\"p\":0}"),
        write(&parent, "{\"id\":1}"),
        write(&strict, "{\"p\":1}"),
        write(&child, "{\"p\":9}"),
        write(&child, "{\"p\":1}"),
        write(&strict, "{\"p\":9}"),
    ];
    let written = db.sink().write(&batch(0, outputs)).await.expect("written");
    assert_eq!(codes(&written), [(3, "pg-23503"), (5, "pg-23503")]);
    assert_eq!(db.query("SELECT (SELECT count(*) FROM strict), (SELECT count(*) FROM child)").await, ["2|1"]);
    db.drop().await;
}

#[tokio::test]
async fn a_lost_connection_is_waited_out() {
    let Some(db) = Database::new("lost").await else { return };
    let sink = db.sink();
    sink.write(&numbers(0, 5)).await.expect("written");
    let kill = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'wasmill'",
        db.name
    );
    execute(&db.admin, &kill).await;
    let error = sink.write(&numbers(5, 5)).await.expect_err("the connection is gone");
    assert_eq!(error.class, Class::Wait, "{error}");
    assert_eq!(sink.write(&numbers(5, 5)).await.expect("a new connection").outputs, 5);
    assert_eq!(db.query("SELECT count(*) FROM t").await, ["10"]);
    db.drop().await;
}

/// Passes bytes on to the server, but cuts the connection instead of passing on the answer to a COMMIT, `cuts` times.
async fn cutting_proxy(server: String, cuts: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (mut upstream, cuts) = (TcpStream::connect(&server).await.expect("connects"), cuts.clone());
            tokio::spawn(async move {
                let (mut asked, mut answer) = (vec![0; 65536], vec![0; 65536]);
                let mut committing = false;
                loop {
                    tokio::select! {
                        n = client.read(&mut asked) => match n {
                            Ok(n @ 1..) => {
                                committing = asked[..n].windows(7).any(|w| w == b"COMMIT\0");
                                upstream.write_all(&asked[..n]).await.expect("server reads");
                            }
                            _ => return,
                        },
                        n = upstream.read(&mut answer) => match n {
                            Ok(n @ 1..) => {
                                let cut = |left: usize| left.checked_sub(1);
                                if committing && cuts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, cut).is_ok() {
                                    return;
                                }
                                client.write_all(&answer[..n]).await.expect("client reads");
                            }
                            _ => return,
                        },
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_commit_without_an_answer_is_decided_by_the_progress() {
    let Some(db) = Database::new("unknown").await else { return };
    let (head, rest) = db.url.rsplit_once('@').expect("a user in the url");
    let (server, path) = rest.split_once('/').expect("a database in the url");
    let cuts = Arc::new(AtomicUsize::new(0));
    let port = cutting_proxy(server.to_owned(), cuts.clone()).await;
    let url = format!("{head}@127.0.0.1:{port}/{path}");
    let config = SinkConfig::at(url);
    let sink = open("pg", &config).expect("a url");
    sink.write(&numbers(0, 5)).await.expect("written");
    cuts.store(1, Ordering::Relaxed);
    let mut batch = numbers(5, 5);
    batch.items[2].output.value = Some("{\"n\":\"bad\"}".into());
    let written = sink.write(&batch).await.expect("settled");
    assert_eq!(cuts.load(Ordering::Relaxed), 0, "the answer was cut");
    assert_eq!((written.outputs, &written.found[..], codes(&written)), (4, &[10][..], vec![]));
    assert_eq!(written.journalled.iter().map(|v| (v.offset, v.code.as_str())).collect::<Vec<_>>(), [(7, "pg-22P02")]);
    assert_eq!(db.query("SELECT count(*), count(DISTINCT n) FROM t").await, ["9|9"]);
    db.drop().await;
}

#[tokio::test]
async fn missing_rights_and_databases_are_a_persons_to_mend() {
    let Some(db) = Database::new("rights").await else { return };
    let role = format!("{}_reader", db.name);
    db.run(&format!("CREATE TABLE t (n int); CREATE ROLE {role} LOGIN PASSWORD 's3cret'")).await;
    let (_, rest) = db.url.split_once('@').expect("a user in the url");
    for (url, word) in [
        (format!("postgres://{role}:s3cret@{rest}"), "grant the right"),
        (
            format!("postgres://{role}:s3cret@{}_missing", rest.split('?').next().expect("a part")),
            "create the database",
        ),
    ] {
        let config = SinkConfig::at(url);
        let mut batch = numbers(0, 1);
        batch.progress = false;
        let error = open("pg", &config).expect("a url").write(&batch).await.expect_err("refused");
        assert_eq!(error.class, Class::Operator, "{error}");
        assert!(error.message.contains(word) && !error.message.contains("s3cret"), "{error}");
    }
    db.run(&format!("DROP ROLE {role}")).await;
    db.drop().await;
}

#[tokio::test]
async fn dead_letters_become_rows_once() {
    let Some(db) = Database::new("letters").await else { return };
    let mut encoded = Vec::new();
    crate::record::put_header(&mut encoded, "h", Some(b"foo"));
    crate::record::put_header(&mut encoded, "h", None);
    let letter = |id: &str, key: Option<&'static [u8]>| DeadLetter {
        id: id.into(),
        flow: "f".into(),
        topic: "t".into(),
        partition: 3,
        offset: 4,
        timestamp: 1_700_000_000_123,
        stage: "transform".into(),
        code: Code::TRAP,
        message: "a\0b".into(),
        module: "m".into(),
        sink: String::new(),
        target: String::new(),
        redriven: 0,
        key: key.map(bytes::Bytes::from_static),
        value: Some(bytes::Bytes::from_static(b"\x00\xff")),
        headers: crate::outcome::Headers { count: 2, encoded: encoded.clone().into() },
    };
    let sink = db.sink();
    for _ in 0..2 {
        sink.write_dead_letters("ops.dead", &[letter("a", None), letter("b", Some(b""))]).await.expect("written");
    }
    let found = "SET timezone='UTC'; SELECT id, \"partition\", \"offset\", \"timestamp\", code, message, key, value, headers, at IS NOT NULL FROM ops.dead ORDER BY id";
    let rest = "2023-11-14 22:13:20.123+00|trap|a\u{fffd}b";
    let tail = "\\x00ff|[[\"h\", \"Zm9v\"], [\"h\", null]]|t";
    assert_eq!(db.query(found).await, [format!("a|3|4|{rest}|-|{tail}"), format!("b|3|4|{rest}|\\x|{tail}")]);
    let error = sink.write_dead_letters("wasmill.progress", &[letter("c", None)]).await.expect_err("not there");
    assert_eq!(error.class, Class::Operator);
    db.drop().await;
}
