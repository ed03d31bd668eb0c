//! What is in a row arrives as it is, or is refused with the right code.

use super::*;

#[tokio::test]
async fn every_type_comes_back_as_it_went_in() {
    let Some(db) = Database::new("types").await else { return };
    let columns = [
        "a:text",
        "b:varchar(5)",
        "c:smallint",
        "d:integer",
        "e:bigint",
        "f:real",
        "g:double precision",
        "h:numeric",
        "i:boolean",
        "j:uuid",
        "k:timestamptz",
        "l:timestamp",
        "m:date",
        "n:time",
        "o:json",
        "p:jsonb",
        "q:text[]",
        "r:bigint[]",
        "s:bytea",
        "t:jsonb[]",
        "u:numeric(10,2)",
        "v:char(3)",
        "w:interval",
    ];
    let target = target("pg", "all_types", None, &[], &columns);
    let row = r#"{"a":"é\n\"\\ 😀","b":"12345","c":-32768,"d":2147483647,"e":-9223372036854775808,"f":1.5,"g":1e-300,
        "h":1234567890123456789012345678901234567890.5,"i":true,"j":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "k":"2026-01-02T03:04:05.678+02:00","l":"2026-01-02 03:04:05","m":"2026-01-02","n":"03:04:05","o":{"x": [1,  2]},
        "p":{"y":"\u00e9","x":1.10},"q":["a","b,\"c\\","",null,"NULL"],"r":[9223372036854775807,null],"s":[222,173,0],
        "t":[{"a":"b\""},1,"s",[1]],"u":12.345,"v":"ab","w":"1 day 02:00:00"}"#;
    let written = db.sink().write(&rows(&target, 0, &[row])).await.expect("written");
    assert_eq!(written.refused, []);
    let found = db.query("SET timezone='UTC'; SELECT * FROM all_types").await;
    let expected = [
        "é\n\"\\ 😀",
        "12345",
        "-32768",
        "2147483647",
        "-9223372036854775808",
        "1.5",
        "1e-300",
        "1234567890123456789012345678901234567890.5",
        "t",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "2026-01-02 01:04:05.678+00",
        "2026-01-02 03:04:05",
        "2026-01-02",
        "03:04:05",
        "{\"x\": [1,  2]}",
        "{\"x\": 1.10, \"y\": \"é\"}",
        "{a,\"b,\\\"c\\\\\",\"\",NULL,\"NULL\"}",
        "{9223372036854775807,NULL}",
        "\\xdead00",
        "{\"{\\\"a\\\": \\\"b\\\\\\\"\\\"}\",1,\"\\\"s\\\"\",[1]}",
        "12.35",
        "ab ",
        "1 day 02:00:00",
    ];
    assert_eq!(found, [expected.join("|")]);
    db.drop().await;
}

#[tokio::test]
async fn null_empty_and_absent_are_three_things() {
    let Some(db) = Database::new("nulls").await else { return };
    db.run("CREATE TABLE t (id int, a text DEFAULT 'default', b text)").await;
    let target = target("pg", "t", None, &[], &[]);
    let values = [
        r#"{"id":1,"a":null,"b":null}"#,
        r#"{"id":2,"a":"","b":""}"#,
        r#"{"id":3}"#,
        r#"{"id":4,"a":"given"}"#,
        r#"{"b":"x"}"#,
    ];
    db.sink().write(&rows(&target, 0, &values)).await.expect("written");
    let found = db.query("SELECT * FROM t ORDER BY id NULLS LAST").await;
    assert_eq!(found, ["1|-|-", "2||", "3|default|-", "4|given|-", "-|default|x"]);
    db.drop().await;
}

#[tokio::test]
async fn null_is_json_where_sql_null_is_not_allowed() {
    let Some(db) = Database::new("json_null").await else { return };
    let target = target("pg", "n", None, &[], &["a:jsonb!", "b:jsonb"]);
    db.sink().write(&rows(&target, 0, &[r#"{"a":null,"b":null}"#])).await.expect("written");
    assert_eq!(db.query("SELECT a, b FROM n").await, ["null|-"]);
    db.drop().await;
}

#[tokio::test]
async fn each_awkward_value_is_a_row_or_refused_with_the_servers_code() {
    let Some(db) = Database::new("awkward").await else { return };
    let target = target(
        "pg",
        "t",
        None,
        &[],
        &["a:text", "b:jsonb", "n:bigint", "s:varchar(3)", "d:double precision", "r:text!"],
    );
    let cases = [
        (r#"{"r":"","a":"\u0000"}"#, "pg-22021"),
        (r#"{"r":"","a":"x\ud800"}"#, "pg-22021"),
        (r#"{"r":"","b":{"k":"\u0000"}}"#, "pg-22P05"),
        (r#"{"r":"","b":"\ud800"}"#, "pg-22P02"),
        (r#"{"r":"","n":9223372036854775808}"#, "pg-22003"),
        (r#"{"r":"","n":1.5}"#, "pg-22P02"),
        (r#"{"r":"","n":"my secret"}"#, "pg-22P02"),
        (r#"{"r":"","s":"abcd"}"#, "pg-22001"),
        (r#"{"r":"","d":1e400}"#, "pg-22003"),
        (r#"{"a":"x"}"#, "pg-23502"),
        (r#"{"r":"","unknown":1}"#, "decode"),
        (r#"["my secret"]"#, "decode"),
        ("my secret", "decode"),
        ("", "decode"),
    ];
    let good = r#"{"r":"\u0001 \u202e Ω≈ç ‏ \ud83d\ude00 ' \" ; DROP TABLE t; -- ${x} %s \\u0000","s":"äöü"}"#;
    let values: Vec<&str> = cases.iter().map(|(value, _)| *value).chain([good]).collect();
    let written = db.sink().write(&rows(&target, 0, &values)).await.expect("written");
    let expected: Vec<(usize, &str)> = cases.iter().enumerate().map(|(item, (_, code))| (item, *code)).collect();
    assert_eq!(codes(&written), expected);
    assert!(
        written.refused.iter().all(|r| !r.message.is_empty() && !r.message.contains("secret")),
        "{:?}",
        written.refused
    );
    assert_eq!((written.outputs, &written.found[..]), (1, &[0][..]));
    let text = "\u{1} \u{202e} Ω≈ç \u{200f} 😀 ' \" ; DROP TABLE t; -- ${x} %s \\u0000";
    assert_eq!(db.query("SELECT r, s FROM t").await, [format!("{text}|äöü")]);
    db.drop().await;
}

#[tokio::test]
async fn one_bad_row_of_500_costs_only_itself() {
    let Some(db) = Database::new("bad_row").await else { return };
    let target = target("pg", "quotes", Some("quote_id"), &[], &["n:int", "quotes:varchar(5)"]);
    let values: Vec<String> =
        (0..500).map(|n| format!(r#"{{"n":{n},"quotes":"{}"}}"#, if n == 77 { "too long" } else { "x" })).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let sink = db.sink();
    let written = sink.write(&rows(&target, 0, &values)).await.expect("written");
    assert_eq!((codes(&written), written.outputs), (vec![(77, "pg-22001")], 499));
    assert_eq!(written.refused[0].message, "value too long for type character varying(5)");
    assert_eq!(db.query("SELECT count(*), count(*) FILTER (WHERE n = 77) FROM quotes").await, ["499|0"]);
    let disorder =
        "SELECT count(*) FROM (SELECT n, lag(n) OVER (ORDER BY quote_id) AS before FROM quotes) q WHERE n < before";
    assert_eq!(db.query(disorder).await, ["0"]);
    db.drop().await;
}

#[tokio::test]
async fn serial_ids_follow_the_offsets() {
    let Some(db) = Database::new("serial").await else { return };
    let target = target("pg", "quotes", Some("quote_id"), &[], &["n:int"]);
    let sink = db.sink();
    for start in [0, 12_000] {
        let values: Vec<String> = (start..start + 12_000).map(|n| format!("{{\"n\":{n}}}")).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        sink.write(&rows(&target, start, &values)).await.expect("written");
    }
    assert_eq!(
        db.query("SELECT count(*), count(*) FILTER (WHERE quote_id = n + 1) FROM quotes").await,
        ["24000|24000"]
    );
    db.drop().await;
}

#[tokio::test]
async fn operations_do_what_they_say_in_their_order() {
    let Some(db) = Database::new("operations").await else { return };
    let target = target("pg", "t", None, &["id"], &["id:bigint!", "a:text", "b:text"]);
    let op = |operation, key, value| output(&target, operation, key, value);
    let outputs = vec![
        op(Operation::Write, None, Some(r#"{"id":1,"a":"one","b":"keep"}"#)),
        op(Operation::Upsert, None, Some(r#"{"id":1,"a":"first"}"#)),
        op(Operation::Upsert, None, Some(r#"{"id":1,"a":"last"}"#)),
        op(Operation::Ignore, None, Some(r#"{"id":1,"a":"ignored"}"#)),
        op(Operation::Write, None, Some(r#"{"id":2,"a":"two"}"#)),
        op(Operation::Update, Some("2"), Some(r#"{"a":"updated"}"#)),
        op(Operation::Update, None, Some(r#"{"id":2,"b":"by value"}"#)),
        op(Operation::Update, Some(r#"{"id":99}"#), Some(r#"{"a":"nobody"}"#)),
        op(Operation::Write, None, Some(r#"{"id":3}"#)),
        op(Operation::Delete, Some(r#"{"id":3}"#), None),
        op(Operation::Write, None, Some(r#"{"id":4}"#)),
        op(Operation::Delete, Some("4"), None),
        op(Operation::Replace, Some("5"), Some(r#"{"a":"five"}"#)),
        op(Operation::Update, Some("5"), Some(r#"{"id":6}"#)),
    ];
    let written = db.sink().write(&batch(0, outputs)).await.expect("written");
    assert_eq!(written.refused, []);
    assert_eq!(db.query("SELECT * FROM t ORDER BY id").await, ["1|last|keep", "2|updated|by value", "6|five|-"]);
    db.drop().await;
}

#[tokio::test]
async fn an_upserted_key_that_comes_twice_keeps_the_last_row() {
    let Some(db) = Database::new("upsert").await else { return };
    let target = target("pg", "t", None, &["id"], &["id:bigint!", "a:varchar(4)"]);
    let sink = db.sink_with([("t", Settings { mode: Mode::Upsert, ..Settings::default() })]);
    // `01` and `1` are the same key, which only the server knows.
    let values = [r#"{"id":1,"a":"a"}"#, r#"{"id":2,"a":"b"}"#, r#"{"id":1,"a":"c"}"#, r#"{"id":"01","a":"d"}"#];
    let written = sink.write(&rows(&target, 0, &values)).await.expect("written");
    assert_eq!((codes(&written), written.outputs), (vec![], 4));
    assert_eq!(db.query("SELECT * FROM t ORDER BY id").await, ["1|d", "2|b"]);
    // The last one is refused: the one before it counts.
    let values = [r#"{"id":1,"a":"e"}"#, r#"{"id":1,"a":"too long"}"#];
    let written = sink.write(&rows(&target, 4, &values)).await.expect("written");
    assert_eq!(codes(&written), [(1, "pg-22001")]);
    assert_eq!(db.query("SELECT * FROM t ORDER BY id").await, ["1|e", "2|b"]);
    db.drop().await;
}
