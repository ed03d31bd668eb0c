//! `wasmill feed`: everything arrives once, in order, with its key, and whoever stops it is told how to go on.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use wasmill_tests::case::unique;
use wasmill_tests::host::{Finished, wasmill};
use wasmill_tests::kafka::{self, Incoming};
use wasmill_tests::postgres::Database;
use wasmill_tests::services::{brokers, variable};
use wasmill_tests::stub::{Answer, Request, Stub};
use wasmill_tests::{Host, wait_until};

/// A folder and a topic of a test's own.
struct Feeding {
    dir: tempfile::TempDir,
    topic: String,
}

impl Feeding {
    fn new(what: &str) -> Self {
        let dir = tempfile::TempDir::with_prefix("wasmill-feed-").expect("a temporary directory");
        Feeding { dir, topic: unique(&format!("feed_{what}")) }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let file = self.dir.path().join(name);
        std::fs::write(&file, text).expect("written");
        file.to_string_lossy().into_owned()
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let common = ["--topic", &self.topic, "--brokers", &brokers()].map(str::to_owned);
        ["feed"].iter().chain(arguments).map(|a| (*a).to_owned()).chain(common).collect()
    }

    fn start(&self, arguments: &[&str]) -> Host {
        let arguments = self.arguments(arguments);
        Host::spawn(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), self.dir.path(), &[])
    }

    fn feed(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).finish()
    }

    /// Feeds and expects success.
    #[track_caller]
    fn fed(&self, arguments: &[&str]) -> Finished {
        let fed = self.feed(arguments);
        assert_eq!(fed.code, 0, "{}", fed.stderr);
        fed
    }

    fn records(&self) -> Vec<Incoming> {
        kafka::consume(&self.topic)
    }

    fn texts(&self) -> Vec<String> {
        self.records().iter().map(Incoming::text).collect()
    }
}

/// What `--json` prints.
fn report(fed: &Finished) -> Value {
    serde_json::from_str(&fed.stdout).unwrap_or_else(|_| panic!("one object on stdout: {}{}", fed.stdout, fed.stderr))
}

fn numbers(records: &[Incoming], field: &str) -> Vec<u64> {
    let number = |record: &Incoming| serde_json::from_str::<Value>(&record.text()).ok()?[field].as_u64();
    records.iter().map(|record| number(record).unwrap_or_else(|| panic!("no {field} in {}", record.text()))).collect()
}

#[test]
fn lines_go_into_a_new_topic_with_keys_from_a_field_in_order_per_key() {
    let feeding = Feeding::new("lines");
    let lines: String = (0..3_000).map(|n| format!("{{\"id\":\"k{}\",\"n\":{n}}}\n", n % 7)).collect();
    let file = feeding.write("x.jsonl", &format!("{lines}\nnot JSON\r\n"));
    let options = ["--partitions", "3", "--key-field", "id", "--compression", "zstd", "--json"];
    let fed = feeding.fed(&[&["file", &file], &options[..]].concat());
    assert!(fed.stderr.contains(&format!("3001 records to {}", feeding.topic)), "{}", fed.stderr);
    assert!(fed.stderr.contains("1 of those that were sent have no such field"), "{}", fed.stderr);
    let report = report(&fed);
    assert_eq!((&report["acknowledged"], &report["complete"]), (&3001.into(), &true.into()));
    assert_eq!(kafka::partition_count(&feeding.topic), 3);
    let mut records = feeding.records();
    let (keyed, others): (Vec<Incoming>, Vec<Incoming>) = records.drain(..).partition(|record| record.key.is_some());
    assert_eq!(others.iter().map(Incoming::text).collect::<Vec<_>>(), ["not JSON"]);
    for key in 0..7 {
        let own: Vec<Incoming> =
            keyed.iter().filter(|r| r.key.as_deref() == Some(format!("k{key}").as_bytes())).cloned().collect();
        assert_eq!(own.iter().map(|r| r.partition).collect::<BTreeSet<_>>().len(), 1, "a key has one partition");
        assert_eq!(numbers(&own, "n"), (0..3_000).filter(|n| n % 7 == key).collect::<Vec<_>>());
    }
}

#[test]
fn standard_input_arrays_and_csv_become_records() {
    let feeding = Feeding::new("formats");
    let mut child = Command::new(variable("WASMILL_BIN"))
        .args(feeding.arguments(&["file", "-", "--key", "fixed"]))
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program can be started");
    child.stdin.take().expect("piped").write_all(b"one\n\ntwo").expect("taken");
    assert!(child.wait().expect("it ends").success());
    let array = feeding.write("a.json", "[{\"n\": 1.50},\n {\"n\":12345678901234567890}]");
    feeding.fed(&["file", &array]);
    let csv = feeding.write("a.csv", "id,name\n7,\"Simpson, Homer\"\n");
    feeding.fed(&["file", &csv, "--key-field", "id"]);
    let expected =
        ["one", "two", "{\"n\": 1.50}", "{\"n\":12345678901234567890}", "{\"id\":\"7\",\"name\":\"Simpson, Homer\"}"];
    assert_eq!(feeding.texts(), expected);
    let keys: Vec<String> =
        feeding.records().into_iter().map(|r| String::from_utf8(r.key.unwrap_or_default()).expect("text")).collect();
    assert_eq!(keys, ["fixed", "fixed", "", "", "7"]);
}

#[test]
fn more_lines_than_the_queue_holds_all_arrive_in_order() {
    let feeding = Feeding::new("many");
    let file = feeding.write("many", &(0..150_000).map(|n| format!("{n}\n")).collect::<String>());
    feeding.fed(&["file", &file, "--partitions", "1"]);
    let texts = feeding.texts();
    assert_eq!(texts.len(), 150_000);
    assert!(texts.iter().enumerate().all(|(n, text)| *text == n.to_string()));
}

#[test]
fn a_line_that_is_too_long_is_named_and_the_feed_goes_on_behind_it() {
    let feeding = Feeding::new("long");
    let file = feeding.write("long", &format!("one\n\ntwo\n{}\nfive\n", "x".repeat(1_100_000)));
    let fed = feeding.feed(&["file", &file, "--json"]);
    assert_eq!(fed.code, 1, "{}", fed.stderr);
    assert!(fed.stderr.contains("line 4 of ") && fed.stderr.contains("message.max.bytes"), "{}", fed.stderr);
    assert_eq!(report(&fed)["resume"], "--after 3", "{}", fed.stderr);
    feeding.fed(&["file", &file, "--after", "4"]);
    assert_eq!(feeding.texts(), ["one", "two", "five"]);
}

#[test]
fn whoever_interrupts_a_feed_goes_on_without_a_gap_or_a_double() {
    let feeding = Feeding::new("stop");
    kafka::create_topic(&feeding.topic, 3);
    let generate = ["generate", "users", "--seed", "7", "--count", "100000", "--json"];
    let running = feeding.start(&[&generate[..], &["--rate", "2000"]].concat());
    wait_until("some records are there", 30, || kafka::ends(&feeding.topic).values().sum::<i64>() > 500);
    let stopped = running.stop();
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
    let told = report(&stopped);
    let acknowledged = told["acknowledged"].as_u64().expect("a number");
    assert_eq!(acknowledged, feeding.records().len() as u64);
    assert_eq!((&told["complete"], &told["unknown"]), (&false.into(), &0.into()));
    assert_eq!(told["resume"], format!("--after {acknowledged}"));
    assert!(stopped.stderr.contains(&format!("the same command with --after {acknowledged}")), "{}", stopped.stderr);
    assert!((500..100_000).contains(&acknowledged), "{acknowledged}");
    feeding.fed(&[&generate[..], &["--after", &acknowledged.to_string()]].concat());
    let mut ids = numbers(&feeding.records(), "id");
    ids.sort_unstable();
    assert_eq!(ids, (1..=100_000).collect::<Vec<u64>>());
}

#[test]
fn made_up_records_depend_on_the_seed_and_shares_are_met() {
    let (one, two, other) = (Feeding::new("seed"), Feeding::new("seed"), Feeding::new("seed"));
    for (feeding, seed) in [(&one, "7"), (&two, "7"), (&other, "8")] {
        let shares = ["--keys", "50%", "--bad", "0.1", "--partitions", "1"];
        feeding.fed(&[&["generate", "logs", "--count", "2000", "--seed", seed], &shares[..]].concat());
    }
    assert_eq!(one.texts(), two.texts());
    assert_ne!(one.texts(), other.texts());
    let records = one.records();
    let keyed = records.iter().filter(|record| record.key.is_some()).count();
    let good = |record: &&Incoming| serde_json::from_str::<Value>(&record.text()).is_ok_and(|v| v["level"].is_string());
    let bad = records.len() - records.iter().filter(good).count();
    assert!((900..1100).contains(&keyed) && (150..250).contains(&bad), "{keyed} with a key, {bad} bad");
}

#[test]
fn a_rate_is_kept() {
    let feeding = Feeding::new("rate");
    let begun = Instant::now();
    feeding.fed(&["generate", "quotes", "--count", "600", "--rate", "200"]);
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(2_900), "600 records at 200/s in {took:?}");
    let times: Vec<i64> = feeding.records().iter().map(|record| record.timestamp).collect();
    let most = times.iter().map(|t| times.iter().filter(|other| (*t..t + 1_000).contains(other)).count()).max();
    assert!(most.is_some_and(|most| most <= 240), "{most:?} within a second");
}

/// Two pages of an API; everything is known under an ETag that changes with the page.
fn api(request: &Request, _: usize) -> Answer {
    let etag = "\"v1\"";
    match request.path.as_str() {
        "/quotes?count=3" if request.header("if-none-match") == Some(etag) => Answer::new(304, ""),
        "/quotes?count=3" => {
            Answer::new(200, r#"{"data": {"items": [{"id": 1.0}, {"id": 2}, "three"]}}"#).header("ETag", etag)
        }
        "/private" if request.header("authorization") != Some("Bearer s3cret") => Answer::new(401, "who are you?"),
        "/private" => Answer::new(200, "{\"one\": 1}"),
        _ => Answer::new(404, "no such page"),
    }
}

#[test]
fn an_answer_is_split_once_and_not_fed_again_while_it_is_unchanged() {
    let feeding = Feeding::new("http");
    let stub = Stub::new(api);
    let url = format!("{}/quotes?count=3", stub.url);
    let options = ["--pointer", "/data/items", "--key-field", "id", "--partitions", "1", "--json"];
    let fed = feeding.fed(&[&["http", &url, "--every", "50ms", "--polls", "4"], &options[..]].concat());
    assert_eq!(feeding.texts(), ["{\"id\": 1.0}", "{\"id\": 2}", "\"three\""]);
    let keys: Vec<Option<Vec<u8>>> = feeding.records().into_iter().map(|record| record.key).collect();
    assert_eq!(keys, [Some(b"1.0".to_vec()), Some(b"2".to_vec()), None]);
    let known: Vec<Option<String>> =
        stub.requests().iter().map(|request| request.header("if-none-match").map(str::to_owned)).collect();
    assert_eq!(known, [None, Some("\"v1\"".into()), Some("\"v1\"".into()), Some("\"v1\"".into())]);
    // A later feed can be told what the earlier one had.
    assert_eq!(report(&fed)["resume"], "--etag '\"v1\"'");
    feeding.fed(&[&["http", &url, "--etag", "\"v1\""], &options[..]].concat());
    assert_eq!(feeding.texts().len(), 3);
}

#[test]
fn a_server_that_is_away_or_busy_is_asked_again() {
    let feeding = Feeding::new("busy");
    kafka::create_topic(&feeding.topic, 1);
    let stub = Stub::new(|_, number| match number {
        0 => Answer::new(503, "<html>\n<body>later</body></html>"),
        1 => Answer::new(429, "slowly").header("Retry-After", "1"),
        2 => Answer::new(200, "<html>maintenance</html>"),
        _ => Answer::new(200, format!("[{{\"n\": {number}}}]")),
    });
    let running = feeding.start(&["http", &stub.url, "--every", "20ms", "--json"]);
    wait_until("five answers are there", 60, || kafka::ends(&feeding.topic).values().sum::<i64>() >= 5);
    let stopped = running.stop();
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
    for words in ["503", "later", "429", "trying again in 1.0 s", "cannot be used", "maintenance"] {
        assert!(stopped.stderr.contains(words), "`{words}` is missing: {}", stopped.stderr);
    }
    let fed = numbers(&feeding.records(), "n");
    assert_eq!(fed, (3..3 + fed.len() as u64).collect::<Vec<_>>(), "in order, each once");
    assert_eq!(report(&stopped)["acknowledged"], fed.len());
}

#[test]
fn what_asking_again_does_not_mend_is_said_at_once() {
    let feeding = Feeding::new("refused");
    let stub = Stub::new(api);
    let secret = feeding.write("token", "s3cret\n");
    let private = format!("{}/private", stub.url);
    let refused = feeding.feed(&["http", &private, "--every", "1s"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("401") && refused.stderr.contains("who are you?"), "{}", refused.stderr);
    let header = format!("Authorization: Bearer ${{file:{secret}}}");
    feeding.fed(&["http", &private, "--header", &header]);
    assert_eq!(feeding.texts(), ["{\"one\": 1}"]);
    let pointer = feeding.feed(&["http", &format!("{}/quotes?count=3", stub.url), "--pointer", "/date/items"]);
    assert_eq!(pointer.code, 3, "{}", pointer.stderr);
    assert!(pointer.stderr.contains("there is no `date`") && pointer.stderr.contains("`data`"), "{}", pointer.stderr);
    for (arguments, words) in [
        (&["http", "ftp://x"][..], "http://"),
        (&["http", "http://x", "--header", "no colon"], "Name: value"),
        (&["http", "http://x", "--header", "A: ${NOT_SET_ANYWHERE}"], "NOT_SET_ANYWHERE"),
        (&["http", "http://x", "--ca", "/nowhere.pem"], "/nowhere.pem"),
        (&["generate", "poems"], "quotes"),
        (&["generate", "logs", "--bad", "2"], "share"),
    ] {
        let wrong = feeding.feed(arguments);
        assert_eq!(wrong.code, 2, "{arguments:?}: {}", wrong.stderr);
        assert!(wrong.stderr.contains(words), "`{words}` is missing: {}", wrong.stderr);
    }
}

#[test]
fn rows_are_fed_by_a_growing_column_and_later_ones_follow() {
    let feeding = Feeding::new("pg");
    let database = Database::create(&feeding.topic);
    database.execute("CREATE TABLE users (id bigserial PRIMARY KEY, name text, paid numeric, at timestamptz)");
    let insert = |from: u32, to: u32| {
        database.execute(&format!(
            "INSERT INTO users (name, paid, at) SELECT 'user ' || n, n + 0.10, '2026-01-02T03:04:05.678901Z' \
             FROM generate_series({from}, {to}) n"
        ));
    };
    insert(1, 2_500);
    let postgres = ["postgres", "SELECT * FROM users WHERE name <> 'user 7'; ", "--url", &database.url];
    let options = ["--key-field", "id", "--partitions", "1", "--json"];
    let fed = feeding.fed(&[&postgres[..], &options[..]].concat());
    assert_eq!(report(&fed)["resume"], "--after 2500");
    let records = feeding.records();
    assert_eq!(numbers(&records, "id"), (1..=2_500).filter(|n| *n != 7).collect::<Vec<u64>>());
    let first = r#"{"id":1,"name":"user 1","paid":1.10,"at":"2026-01-02T03:04:05.678901+00:00"}"#;
    assert_eq!((records[0].text().as_str(), records[0].key.as_deref()), (first, Some(&b"1"[..])));

    let following = [&postgres[..], &options[..], &["--after", "2500", "--every", "50ms"]].concat();
    let running = feeding.start(&following);
    insert(2_501, 2_510);
    wait_until("new rows arrive", 30, || feeding.records().len() == 2_509);
    insert(2_511, 2_511);
    wait_until("and newer ones", 30, || feeding.records().len() == 2_510);
    let stopped = running.stop();
    assert_eq!(report(&stopped)["resume"], "--after 2511", "{}", stopped.stderr);
}

#[test]
fn rows_of_one_value_stay_together_and_the_session_cannot_write() {
    let feeding = Feeding::new("pg_ties");
    let database = Database::create(&feeding.topic);
    // More rows than a page have the same value.
    database.execute("CREATE TABLE t AS SELECT n AS id, (n + 400) / 1500 AS part FROM generate_series(1, 3000) n");
    database.execute("CREATE TABLE witness (a int); CREATE FUNCTION bad() RETURNS int LANGUAGE sql AS 'INSERT INTO witness VALUES (1) RETURNING a'");
    let url = ["--url", &database.url, "--partitions", "1"];
    let fed = feeding.fed(&[&["postgres", "SELECT * FROM t -- all", "--column", "part", "--json"], &url[..]].concat());
    assert_eq!(report(&fed)["resume"], "--after 2");
    let mut ids = numbers(&feeding.records(), "id");
    ids.sort_unstable();
    assert_eq!(ids, (1..=3000).collect::<Vec<u64>>());
    for (query, words) in [
        ("SELECT bad() AS id", "read-only"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT 1 AS a", "--column"),
        ("DELETE FROM t", "one SELECT"),
    ] {
        let refused = feeding.feed(&[&["postgres", query], &url[..]].concat());
        assert_eq!(refused.code, 1, "{query}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "`{words}` is missing: {}", refused.stderr);
    }
    assert_eq!(database.count("witness"), 0);
    let nobody = feeding.feed(&["postgres", "SELECT 1", "--url", "postgres://u:s3cret@127.0.0.1:9/x"]);
    assert_eq!(nobody.code, 3, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("127.0.0.1:9/x") && !nobody.stderr.contains("s3cret"), "{}", nobody.stderr);
}

#[test]
fn brokers_that_are_away_are_named_within_seconds() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let begun = Instant::now();
    let arguments = ["feed", "generate", "logs", "--count", "1", "--topic", "t", "--brokers", "127.0.0.1:9"];
    let fed = wasmill(&arguments, dir.path(), &[]);
    assert_eq!(fed.code, 3, "{}", fed.stderr);
    assert!(fed.stderr.contains("127.0.0.1:9"), "{}", fed.stderr);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let missing = wasmill(&["feed", "file", "nowhere.jsonl", "--topic", "t"], dir.path(), &[]);
    assert_eq!(missing.code, 1, "{}", missing.stderr);
    assert!(missing.stderr.contains("nowhere.jsonl"), "{}", missing.stderr);
}
