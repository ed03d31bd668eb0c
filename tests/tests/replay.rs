//! What has to be repeated is repeated by the modules that made it, where the host still has them.

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, guests, hands, wait_until};

fn records(topic: &str, count: usize) -> Vec<Outgoing> {
    (0..count).map(|_| Outgoing::to(topic).key("p0").value("p0")).collect()
}

fn numbers(case: &Case) -> Vec<String> {
    case.database.column("SELECT number FROM numbered ORDER BY \"offset\"")
}

#[test]
fn rows_that_a_restored_database_lacks_are_made_by_the_modules_of_then() {
    let mut case = Case::new("then");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("numbered", &topic);
    case.install_as("numbered", &guests::numbered(1));
    kafka::produce(&records(&topic, 20));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    case.install_as("numbered", &guests::numbered(2));
    wait_until("the new module is in place", 60, || {
        host.metric("wasmill_module_swaps_total", &[("result", "ok")]) == 1.0
            && host.stderr().contains("for the next batch")
    });
    // As a backup of some time ago.
    case.database.execute("DELETE FROM numbered WHERE \"offset\" >= 10");
    case.database.execute("UPDATE wasmill.progress SET next_offset = 10");
    kafka::produce(&records(&topic, 1));
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(numbers(&case)[..20], ["1"; 20]);
    kafka::produce(&records(&topic, 1));
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(numbers(&case).last().map(String::as_str), Some("2"));
    assert_eq!(host.metric("wasmill_replays_with_other_module_total", &[("flow", &flow)]), 0.0);
}

#[test]
fn a_replay_by_other_modules_is_counted() {
    let mut case = Case::new("other");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("numbered", &topic);
    let group = format!("wasmill.{flow}");
    case.install_as("numbered", &guests::numbered(1));
    kafka::produce(&records(&topic, 20));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(host.stop().code, 0);
    // As a host leaves it that was killed between its database and its group.
    let mark = hands::metadata(&group, &topic);
    hands::move_group(&group, &topic, &[(0, 15)], &mark);
    case.install_as("numbered", &guests::numbered(2));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(numbers(&case), ["1"; 20]);
    assert_eq!(host.metric("wasmill_replays_with_other_module_total", &[("flow", &flow)]), 1.0);
    host.wait_for_words("repeated by other modules");
}
