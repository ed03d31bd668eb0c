//! A module that does not fit its topic stops its flow before it has made dead letters of everything.

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, guests, wait_until};

fn of_another_shape(topic: &str, count: usize) -> Vec<Outgoing> {
    (0..count).map(|n| Outgoing::to(topic).value(format!("{{\"quote\": {n}}}"))).collect()
}

#[test]
fn a_flood_of_refusals_stops_the_flow_until_the_module_is_replaced() {
    let mut case = Case::new("breaker");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    kafka::produce(&of_another_shape(&topic, 5_000));
    let host = case.start();
    wait_until("the host says that the breaker has stopped the flow", 60, || {
        let (status, body) = host.get("/health/ready");
        status == 503 && body.contains("breaker:") && body.contains("reject") && body.contains(&flow)
    });
    let letters = kafka::consume(&format!("{topic}.dlq")).len() as i64;
    assert!(letters < 5_000, "the whole topic was dead-lettered");
    let lag = kafka::lag(&format!("wasmill.{flow}"), &topic);
    assert_eq!(lag, 5_000 - letters, "what is committed is what was dead-lettered");
    assert_eq!(host.get("/health/live").0, 200);
    case.install_as("quotes", &guests::numbered(7));
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(case.database.count("numbered"), 5_000 - letters);
    host.ready();
}

#[test]
fn without_the_breaker_everything_becomes_a_dead_letter() {
    let mut case = Case::new("no_breaker");
    let topic = case.topic("in", 1);
    let flow = case.named("flow");
    case.flow(&flow, &format!("modules = [\"quotes\"]\ntopics = [\"{topic}\"]\nbreaker = false"));
    case.install("quotes");
    kafka::produce(&of_another_shape(&topic, 3_000));
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(kafka::consume(&format!("{topic}.dlq")).len(), 3_000);
    host.ready();
}
