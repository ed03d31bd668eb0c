//! Tables are created, extended, or left alone with words that help.

use super::*;

#[tokio::test]
async fn a_missing_table_gets_the_declared_shape() {
    let Some(db) = Database::new("create").await else { return };
    let target =
        target("pg", "lake.quotes", Some("quote_id"), &["a", "b"], &["a:varchar(500)!", "b:int8!", "c:text[]"]);
    let sink = db.sink();
    sink.prepare(std::slice::from_ref(&target)).await.expect("created");
    sink.prepare(&[target]).await.expect("repeatable");
    let columns = "SELECT column_name, udt_name, character_maximum_length, is_nullable, column_default IS NOT NULL \
        FROM information_schema.columns WHERE table_name = 'quotes' ORDER BY ordinal_position";
    assert_eq!(
        db.query(columns).await,
        ["quote_id|int4|-|NO|t", "a|varchar|500|NO|f", "b|int8|-|NO|f", "c|_text|-|YES|f"]
    );
    let keys =
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'lake.quotes'::regclass ORDER BY 1";
    assert_eq!(db.query(keys).await, ["PRIMARY KEY (quote_id)", "UNIQUE (a, b)"]);
    assert_eq!(db.query("SELECT count(*) FROM pg_namespace WHERE nspname = 'wasmill'").await, ["0"]);
    db.drop().await;
}

#[tokio::test]
async fn awkward_names_are_only_names() {
    let Some(db) = Database::new("names").await else { return };
    let target =
        target("pg", "we\"ird.select", None, &["gr\"öße"], &["gr\"öße:text!", "select:text", "; drop table x --:int"]);
    let sink = db.sink();
    let operations = [Operation::Write, Operation::Upsert, Operation::Update];
    let row = r#"{"gr\"öße":"a","select":"b","; drop table x --":1}"#;
    let mut outputs: Vec<_> = operations.map(|operation| output(&target, operation, None, Some(row))).into();
    outputs.push(output(&target, Operation::Write, None, Some(r#"{"gr\"öße":"z"}"#)));
    outputs.push(output(&target, Operation::Delete, Some("\"z\""), None));
    let written = sink.write(&batch(0, outputs)).await.expect("written");
    assert_eq!(written.refused, []);
    assert_eq!(db.query("SELECT * FROM \"we\"\"ird\".\"select\"").await, ["a|b|1"]);
    db.drop().await;
}

#[tokio::test]
async fn a_nullable_column_is_added_and_nothing_else_is_changed() {
    let Some(db) = Database::new("evolve").await else { return };
    db.run("CREATE TABLE t (a text, b bigint, extra int DEFAULT 7)").await;
    let sink = db.sink_with([("off", Settings { evolve: crate::config::Evolve::Off, ..Settings::default() })]);
    // Wider than declared is fine.
    let fits = target("pg", "t", None, &[], &["a:varchar(500)", "b:integer", "c:text"]);
    sink.prepare(&[fits]).await.expect("extended");
    let columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 't' ORDER BY ordinal_position";
    assert_eq!(db.query(columns).await, ["a|text", "b|bigint", "extra|integer", "c|text"]);
    db.run("CREATE TABLE off (a text); CREATE TABLE full_table (a text, must int NOT NULL)").await;
    for (refused, words) in [
        (target("pg", "t", None, &[], &["a:bigint"]), ["column `a` of table t", "is text", "bigint is declared"]),
        (target("pg", "t", None, &[], &["d:bigint!"]), ["table t lacks", "`d`", "bigint not null"]),
        (target("pg", "off", None, &[], &["d:bigint"]), ["table off lacks", "`d` (bigint)", "evolve is off"]),
        (target("pg", "full_table", None, &[], &["a:text"]), ["full_table", "`must` (integer)", "does not declare"]),
        (target("pg", "nowhere", None, &[], &[]), ["table nowhere does not exist", "create it", "columns"]),
        (target("pg", "wasmill.progress", None, &[], &["a:text"]), ["wasmill.progress", "belongs to", "choose"]),
        (target("pg", "t", None, &[], &["a:text; drop table t"]), ["table t", "`a`", "not a column type"]),
    ] {
        let error = sink.prepare(&[refused]).await.expect_err("refused");
        assert_eq!(error.class, Class::Operator, "{error}");
        assert!(words.iter().all(|word| error.message.contains(word)), "{error}");
    }
    assert_eq!(db.query(columns).await.len(), 4);
    db.drop().await;
}

#[tokio::test]
async fn columns_may_come_from_the_configuration() {
    let Some(db) = Database::new("config").await else { return };
    let columns = [("a".to_owned(), "varchar(3) not null".to_owned()), ("b".to_owned(), "jsonb".to_owned())];
    let settings = Settings { columns: columns.into(), serial: Some("id".into()), ..Settings::default() };
    let never = Settings { create: Some(false), ..Settings::default() };
    let sink = db.sink_with([("tenant-*", settings), ("never", never)]);
    let mut wild =
        output(&target("pg", "tenant-*", None, &[], &[]), Operation::Write, None, Some(r#"{"a":"x","b":[1]}"#));
    wild.suffix = Some("one".into());
    let mut nameless = wild.clone();
    nameless.suffix = Some("x".repeat(80).into());
    let written = sink.write(&batch(0, vec![wild, nameless])).await.expect("written");
    assert_eq!(codes(&written), [(1, "decode")]);
    assert_eq!(db.query("SELECT * FROM \"tenant-one\"").await, ["1|x|[1]"]);
    let error = sink.prepare(&[target("pg", "never", None, &[], &["a:text"])]).await.expect_err("not created");
    assert!(error.message.contains("`create` is off"), "{error}");
    db.drop().await;
}

#[tokio::test]
async fn hosts_that_prepare_together_do_not_collide() {
    let Some(db) = Database::new("together").await else { return };
    let mut hosts = tokio::task::JoinSet::new();
    for host in 0..6 {
        let sink = db.sink();
        let shared = target("pg", "s.shared", Some("id"), &[], &["n:int"]);
        hosts.spawn(async move {
            sink.prepare(std::slice::from_ref(&shared)).await?;
            let mut batch = rows(&shared, 0, &["{\"n\":1}"]);
            batch.group = format!("group-{host}").into();
            sink.write(&batch).await.map(|written| written.outputs)
        });
    }
    while let Some(done) = hosts.join_next().await {
        assert_eq!(done.expect("no panic").expect("written"), 1);
    }
    assert_eq!(db.query("SELECT count(*) FROM s.shared").await, ["6"]);
    db.drop().await;
}

/// The sink's server process has looked for the schema in vain, and knows everything else that it needs to create one.
#[tokio::test]
async fn a_schema_that_another_host_creates_meanwhile_is_taken_as_it_is() {
    let Some(db) = Database::new("meanwhile").await else { return };
    let sink = db.sink();
    let shared = target("pg", "s.shared", None, &[], &["n:int"]);
    sink.prepare(std::slice::from_ref(&shared)).await.expect("created");
    let mut other = PgConnection::connect(&db.url).await.expect("connects");
    let create = format!("BEGIN; {}; CREATE SCHEMA wasmill", catalogue::LOCK);
    other.execute(sqlx::raw_sql(AssertSqlSafe(create))).await.expect("created");
    let writing = tokio::spawn(async move { sink.write(&rows(&shared, 0, &["{\"n\":1}"])).await });
    let waits = "SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database \
        WHERE NOT granted AND datname = current_database()";
    let begun = std::time::Instant::now();
    while db.query(waits).await.is_empty() {
        assert!(begun.elapsed().as_secs() < 30, "the sink does not wait for the lock");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    other.execute(sqlx::raw_sql("COMMIT")).await.expect("committed");
    assert_eq!(writing.await.expect("no panic").expect("written").outputs, 1);
    db.drop().await;
}

#[tokio::test]
async fn a_table_that_changes_under_the_sink_is_looked_at_again() {
    let Some(db) = Database::new("stale").await else { return };
    let sink = db.sink();
    let target = target("pg", "t", None, &[], &["a:text"]);
    sink.write(&rows(&target, 0, &["{\"a\":1}"])).await.expect("written");
    db.run("ALTER TABLE t ALTER a TYPE varchar(9)").await;
    sink.write(&rows(&target, 1, &["{\"a\":2}"])).await.expect("written");
    db.run("DROP TABLE t").await;
    sink.write(&rows(&target, 2, &["{\"a\":3}"])).await.expect("created again");
    assert_eq!(db.query("SELECT * FROM t").await, ["3"]);
    db.run("DROP TABLE t; CREATE TABLE t (a bigint)").await;
    sink.write(&rows(&target, 3, &["{\"a\":4}"])).await.expect_err("what is declared does not fit any more");
    db.drop().await;
}

#[tokio::test]
async fn a_table_that_was_mended_is_looked_at_again() {
    let Some(db) = Database::new("mended").await else { return };
    db.run("CREATE TABLE t (n int)").await;
    let target = target("pg", "t", None, &[], &[]);
    let sink = db.sink();
    sink.write(&rows(&target, 0, &["{\"n\":1}"])).await.expect("written");
    db.run("ALTER TABLE t ADD COLUMN x text").await;
    let written = sink.write(&rows(&target, 1, &["{\"n\":2,\"x\":\"a\"}", "{\"y\":1}"])).await.expect("written");
    assert_eq!((written.outputs, codes(&written)), (1, vec![(1, "decode")]));
    let sink = db.sink();
    let upsert = || batch(3, vec![output(&target, Operation::Upsert, None, Some("{\"n\":1,\"x\":\"b\"}"))]);
    sink.prepare(std::slice::from_ref(&target)).await.expect("there is a table");
    db.run("ALTER TABLE t ADD PRIMARY KEY (n)").await;
    assert_eq!(sink.write(&upsert()).await.expect("there is a key now").outputs, 1);
    assert_eq!(db.query("SELECT * FROM t ORDER BY n").await, ["1|b", "2|a"]);
    db.drop().await;
}

#[tokio::test]
async fn generated_columns_refuse_a_row_and_no_update() {
    let Some(db) = Database::new("generated").await else { return };
    db.run("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text)").await;
    db.run("INSERT INTO t (a) VALUES ('x')").await;
    let target = target("pg", "t", None, &[], &[]);
    let outputs = vec![
        output(&target, Operation::Write, None, Some("{\"id\":7,\"a\":\"y\"}")),
        output(&target, Operation::Update, None, Some("{\"id\":1,\"a\":\"z\"}")),
    ];
    let written = db.sink().write(&batch(0, outputs)).await.expect("written");
    assert_eq!(codes(&written), [(0, "pg-428C9")]);
    assert_eq!(db.query("SELECT a FROM t").await, ["z"]);
    db.drop().await;
}

#[tokio::test]
async fn one_table_under_two_names_is_written_in_order() {
    let Some(db) = Database::new("two_names").await else { return };
    db.run("CREATE TABLE t (id int PRIMARY KEY, v int)").await;
    let [one, other] = ["t", "public.t"].map(|name| target("pg", name, None, &[], &[]));
    let upsert = |target, value| output(target, Operation::Upsert, None, Some(value));
    let outputs = vec![
        upsert(&one, "{\"id\":1,\"v\":1}"),
        upsert(&other, "{\"id\":1,\"v\":2}"),
        upsert(&one, "{\"id\":1,\"v\":3}"),
    ];
    db.sink().write(&batch(0, outputs)).await.expect("written");
    assert_eq!(db.query("SELECT v FROM t").await, ["3"]);
    db.drop().await;
}
