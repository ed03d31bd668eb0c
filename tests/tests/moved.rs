//! What others do to a group, a topic or a transaction is noticed and named with the command that mends it.

use wasmill_tests::hands::{self, OpenTransaction};
use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, Host, samples, wait_until};

fn quotes(topic: &str, partition: i32, from: usize, to: usize) -> Vec<Outgoing> {
    let quote = |n| samples::quote_json(&format!("quote {n}"), "Homer", "");
    (from..to).map(|n| Outgoing::to(topic).partition(partition).value(quote(n))).collect()
}

fn case(what: &str, partitions: i32) -> (Case, String, String) {
    let mut case = Case::new(what);
    let topic = case.topic("in", partitions);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    (case, topic, flow)
}

/// Not ready, for a reason that holds all of these words.
#[track_caller]
fn wait_for_reason(host: &Host, words: &[&str]) {
    wait_until(&format!("/health/ready says {words:?}"), 60, || {
        let (status, body) = host.get("/health/ready");
        status == 503 && words.iter().all(|word| body.contains(word))
    });
}

#[test]
fn a_group_that_another_tool_moved_is_named_with_what_is_suppressed() {
    let (case, topic, flow) = case("moved", 1);
    let group = format!("wasmill.{flow}");
    kafka::produce(&quotes(&topic, 0, 0, 30));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(host.stop().code, 0);
    hands::move_group(&group, &topic, &[(0, 10)], "");
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    host.wait_for_words("moved the consumer group back to 10");
    let command = format!("wasmill flow reset {flow} --only {topic}/0 --to offset:10 -c ");
    assert!(host.stderr().contains("offsets 10 to 29") && host.stderr().contains(&command), "{}", host.stderr());
    let labels = [("flow", flow.as_str()), ("topic", topic.as_str()), ("partition", "0")];
    assert_eq!(host.metric("wasmill_records_suppressed_total", &labels), 20.0);
    assert_eq!(case.database.count("quotes"), 30);
    assert_eq!(host.stop().code, 0);

    kafka::produce(&quotes(&topic, 0, 30, 40));
    hands::move_group(&group, &topic, &[(0, 35)], "");
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    host.wait_for_words("moved the consumer group forward to 35");
    assert!(host.stderr().contains("offsets 30 to 34"), "{}", host.stderr());
    assert_eq!(host.metric("wasmill_records_suppressed_total", &labels), 0.0);
    assert_eq!(case.database.count("quotes"), 40);
    // What the host has committed itself is no move.
    assert_eq!(host.stop().code, 0);
    let host = case.start();
    host.ready();
    host.wait_for_words("reading");
    assert!(!host.stderr().contains("another tool"), "{}", host.stderr());
}

#[test]
fn an_offset_of_a_topic_that_was_created_again_stops_the_partition() {
    let (case, topic, flow) = case("recreated", 1);
    let group = format!("wasmill.{flow}");
    kafka::produce(&quotes(&topic, 0, 0, 5));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(host.stop().code, 0);
    let mark = hands::metadata(&group, &topic);
    hands::delete_topic(&topic);
    kafka::create_topic(&topic, 1);
    kafka::produce(&quotes(&topic, 0, 100, 120));
    // A commit that was on its way when the topic went.
    hands::move_group(&group, &topic, &[(0, 5)], &mark);
    let host = case.start();
    let command = format!("wasmill flow reset {flow} --only {topic}/0 --to earliest");
    wait_for_reason(&host, &["was deleted and created again", &command]);
    assert_eq!(host.stop().code, 0);
    hands::wait_until_empty(&group);
    let file = case.path().join("wasmill.toml");
    let only = format!("{topic}/0");
    let arguments = ["flow", "reset", &flow, "--only", &only, "--to", "earliest", "-c", &file.to_string_lossy()];
    let reset = wasmill_tests::host::wasmill(&arguments, case.path(), &[]);
    assert_eq!(reset.code, 0, "{}", reset.stderr);
    let _host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(case.database.count("quotes"), 25);
}

#[test]
fn a_topic_that_is_created_again_under_a_running_host_loses_nothing_in_silence() {
    let (case, topic, flow) = case("recreated_live", 1);
    kafka::produce(&quotes(&topic, 0, 0, 5));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    hands::delete_topic(&topic);
    kafka::create_topic(&topic, 1);
    kafka::produce(&quotes(&topic, 0, 100, 120));
    wait_until("it is read from its beginning, or the partition is stopped and named", 60, || {
        case.database.count("quotes") == 25
            || host.get("/health/ready").1.contains(&format!("wasmill flow reset {flow} --only {topic}/0"))
    });
}

#[test]
fn what_retention_has_deleted_stops_its_partition_only() {
    let (case, topic, flow) = case("retention", 2);
    kafka::produce(&[quotes(&topic, 0, 0, 10), quotes(&topic, 1, 0, 10)].concat());
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(host.stop().code, 0);
    kafka::produce(&[quotes(&topic, 0, 10, 30), quotes(&topic, 1, 10, 20)].concat());
    hands::delete_records(&topic, 0, 25);
    let host = case.start();
    let command = format!("wasmill flow reset {flow} --only {topic}/0 --to earliest -c ");
    wait_for_reason(&host, &["from offset 10", "below 25", "15 offsets are lost", &command]);
    wait_until("the other partition goes on", 60, || case.database.count("quotes") == 30);
    assert_eq!(host.get("/health/live").0, 200);
}

#[test]
fn a_transaction_that_nobody_ends_is_named() {
    let (mut case, topic, flow) = case("hanging", 1);
    case.tables
        .push_str("[kafka.properties]\n\"transaction.timeout.ms\" = \"2000\"\n\"delivery.timeout.ms\" = \"1500\"\n");
    kafka::produce(&quotes(&topic, 0, 0, 5));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    host.ready();
    let open = OpenTransaction::on(&topic);
    kafka::produce(&quotes(&topic, 0, 5, 10));
    let place = format!("abort --topic {topic} --partition 0 --start-offset 5");
    wait_for_reason(&host, &["degraded", "beyond offset 5", "find-hanging", &place]);
    assert_eq!(case.database.count("quotes"), 5);
    open.abort();
    wait_until("what waited behind it is written", 60, || case.database.count("quotes") == 10);
    host.ready();
}

#[test]
fn offsets_that_a_transaction_holds_are_named() {
    let (mut case, topic, flow) = case("unstable", 1);
    case.tables
        .push_str("[kafka.properties]\n\"transaction.timeout.ms\" = \"2000\"\n\"delivery.timeout.ms\" = \"1500\"\n");
    let group = format!("wasmill.{flow}");
    kafka::produce(&quotes(&topic, 0, 0, 5));
    hands::move_group(&group, &topic, &[(0, 0)], "");
    let open = OpenTransaction::holding(&group, &topic, 3);
    let host = case.start();
    wait_for_reason(&host, &["degraded", "hanging transaction", "--topic __consumer_offsets", &group]);
    open.abort();
    case.wait_until_committed(&flow, &topic, 90);
    assert_eq!(case.database.count("quotes"), 5);
    host.ready();
}
