//! `wasmill topics`: what the brokers say of a topic, and who has read how far.

use serde_json::Value;
use wasmill_tests::host::{Finished, wasmill};
use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::services::brokers;
use wasmill_tests::{Case, Host, samples, wait_until};

fn topics(arguments: &[&str]) -> Finished {
    let dir = std::env::temp_dir();
    wasmill(&[&["topics"], arguments, &["--brokers", &brokers()]].concat(), &dir, &[])
}

#[track_caller]
fn json(arguments: &[&str]) -> Value {
    let told = topics(&[arguments, &["--json"]].concat());
    assert_eq!(told.code, 0, "{}", told.stderr);
    serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("JSON on stdout: {}", told.stdout))
}

#[test]
fn a_topic_is_created_listed_and_described_with_its_settings() {
    let name = wasmill_tests::case::unique("topics");
    let create = ["create", &name, "--partitions", "3", "--replication-factor", "1", "--set", "retention.ms=3600000"];
    let created = topics(&create);
    assert_eq!(created.code, 0, "{}", created.stderr);
    assert!(created.stdout.contains(&name) && created.stdout.contains("in sync"), "{}", created.stdout);
    let again = topics(&create);
    assert_eq!(again.code, 1, "{}", again.stderr);
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);

    let listed = json(&["ls"]);
    let own = listed.as_array().expect("a list").iter().find(|topic| topic["topic"] == name.as_str()).expect("listed");
    assert_eq!((&own["partitions"], &own["replication_factor"], &own["leaderless"]), (&3.into(), &1.into(), &0.into()));
    assert!(!listed.to_string().contains("__consumer_offsets"), "Kafka's own are left out");

    let described = json(&["describe", &name]);
    assert_eq!(described["settings"]["retention.ms"], "3600000");
    assert_eq!(described["groups"], Value::Array(Vec::new()));
    for partition in described["partitions"].as_array().expect("a list") {
        assert!(partition["leader"].is_number() && partition["replicas"] == partition["in_sync"], "{partition}");
        assert_eq!((&partition["first"], &partition["next"]), (&0.into(), &0.into()));
    }
    let told = topics(&["describe", &name, "--group", &name]);
    for words in ["3 partitions, replication factor 1", "retention.ms = 3600000", "no consumer group"] {
        assert!(told.stdout.contains(words), "`{words}` is missing: {}", told.stdout);
    }
}

#[test]
fn the_lag_of_a_group_is_what_it_has_yet_to_read() {
    let mut case = Case::new("topics_lag");
    let topic = case.topic("in", 2);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let quotes = |from: usize, to: usize| -> Vec<Outgoing> {
        let quote = |n: usize| samples::quote_json(&format!("quote {n}"), "Homer", "");
        (from..to).map(|n| Outgoing::to(&topic).partition((n % 2) as i32).value(quote(n))).collect()
    };
    kafka::produce(&quotes(0, 10));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    let group = format!("wasmill.{flow}");
    let running = json(&["describe", &topic, "--group", &group]);
    let own = |described: &Value| described["groups"].as_array().expect("a list")[0].clone();
    assert_eq!((&own(&running)["group"], &own(&running)["members"]), (&group.as_str().into(), &1.into()));
    assert_eq!((&own(&running)["lag"], &own(&running)["state"]), (&0.into(), &"Stable".into()));
    assert_eq!(host.stop().code, 0);
    wait_until("the group is empty", 60, || kafka::members(&group) == 0);
    kafka::produce(&quotes(10, 17));
    let stopped = own(&json(&["describe", &topic, "--group", &group]));
    assert_eq!((&stopped["lag"], &stopped["members"], &stopped["state"]), (&7.into(), &0.into(), &"Empty".into()));
    assert_eq!(stopped["partitions"][0], serde_json::json!({ "partition": 0, "committed": 5, "lag": 4 }));
    // Here every group of the cluster is asked for: one that does not answer in time is left out.
    wait_until("the group is among all of them", 60, || {
        let told = topics(&["describe", &topic]);
        told.stdout.lines().any(|line| line.contains(&group) && line.ends_with(" 7"))
    });
}

#[test]
fn the_newest_records_are_shown_and_those_that_follow() {
    let topic = wasmill_tests::case::unique("topics_tail");
    kafka::create_topic(&topic, 3);
    let record =
        |n: i64| Outgoing::to(&topic).partition(n as i32 % 3).timestamp(1_767_225_600_000 + n).value(format!("v{n}"));
    kafka::produce(&(0..30).map(record).collect::<Vec<_>>());
    let told = topics(&["tail", &topic, "-n", "4"]);
    let values: Vec<&str> = told.stdout.lines().filter_map(|line| line.split(' ').next_back()).collect();
    assert_eq!(values, ["v26", "v27", "v28", "v29"], "{}{}", told.stdout, told.stderr);
    assert!(told.stdout.starts_with("2@8 2026-01-01T00:00:00.026Z v26\n"), "{}", told.stdout);

    kafka::produce(&[record(30).key("k").value("{\"n\":1.50}").header("h", None)]);
    let brokers = brokers();
    let arguments = ["topics", "tail", &topic, "-n", "1", "--follow", "--json", "--brokers", &brokers];
    let following = Host::spawn(&arguments, &std::env::temp_dir(), &[]);
    wait_until("the newest is shown", 30, || following.stdout().lines().count() == 1);
    kafka::produce(&[Outgoing::to(&topic).partition(1)]);
    wait_until("the next is shown", 30, || following.stdout().lines().count() == 2);
    let finished = following.stop();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let lines: Vec<Value> =
        finished.stdout.lines().map(|line| serde_json::from_str(line).expect("an object per line")).collect();
    assert_eq!(
        (&lines[0]["key"], &lines[0]["value"]["n"], &lines[0]["offset"]),
        (&"k".into(), &1.5.into(), &10.into())
    );
    assert_eq!(lines[0]["headers"], serde_json::json!([{ "name": "h", "value": null }]));
    assert_eq!((&lines[1]["partition"], &lines[1]["value"], &lines[1]["key"]), (&1.into(), &Value::Null, &Value::Null));
}

#[test]
fn what_is_not_there_is_named_with_what_may_be_meant() {
    let name = wasmill_tests::case::unique("topics_typo");
    kafka::create_topic(&name, 1);
    let typo = topics(&["describe", &format!("{name}x")]);
    assert_eq!(typo.code, 1, "{}", typo.stderr);
    assert!(typo.stderr.contains("there is no topic"), "{}", typo.stderr);
    assert!(kafka::partition_count(&format!("{name}x")) == 0, "asking creates nothing");
    let many = topics(&["create", &format!("{name}_many"), "--replication-factor", "99"]);
    assert_eq!(many.code, 3, "{}", many.stderr);
    assert!(many.stderr.contains("there are not so many brokers"), "{}", many.stderr);
    let away = wasmill(&["topics", "ls", "--brokers", "127.0.0.1:9"], &std::env::temp_dir(), &[]);
    assert_eq!(away.code, 3, "{}", away.stderr);
    assert!(away.stderr.contains("127.0.0.1:9"), "{}", away.stderr);
}
