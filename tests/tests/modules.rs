//! The modules folder: what is dropped in runs, what is broken changes nothing.

use std::sync::Mutex;

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, guests, samples, wait_until};

/// What the module `quotes` reads when no configuration names it.
const TOPIC: &str = "topic_quotes";
/// Adopted modules share topic and group by their names: one such test at a time.
static ADOPTING: Mutex<()> = Mutex::new(());

fn topic_of_the_module() {
    if kafka::partition_count(TOPIC) == 0 {
        kafka::create_topic(TOPIC, 1);
    }
}

fn quote(topic: &str, text: &str) -> Outgoing {
    Outgoing::to(topic).value(samples::quote_json(text, "Homer", ""))
}

fn has(case: &Case, text: &str) -> bool {
    let rows = case.database.try_rows(&format!("SELECT 1 FROM quotes WHERE quotes = '{text}'")).unwrap_or_default();
    rows.len() == 1
}

#[test]
fn a_dropped_module_runs_and_a_removed_one_leaves_its_position() {
    let _alone = ADOPTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    topic_of_the_module();
    let case = Case::new("adopted");
    let host = case.start();
    let text = |n: u32| format!("{} {n}", case.name);
    case.install("quotes");
    kafka::produce(&[quote(TOPIC, &text(1))]);
    wait_until("the dropped module has written", 60, || has(&case, &text(1)));

    std::fs::remove_file(case.module("quotes")).expect("removed");
    wait_until("the flow has left its group", 30, || kafka::members("wasmill.quotes") == 0);
    assert_eq!(kafka::lag("wasmill.quotes", TOPIC), 0, "everything was committed before it left");
    kafka::produce(&[quote(TOPIC, &text(2))]);

    case.install("quotes");
    wait_until("the module goes on where it stopped", 60, || has(&case, &text(2)));
    assert!(has(&case, &text(1)), "nothing is written twice");
    assert_eq!(host.stop().code, 0);
}

#[test]
fn two_modules_that_would_double_every_row_are_refused_by_name() {
    let _alone = ADOPTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    topic_of_the_module();
    let case = Case::new("doubled");
    case.install("quotes");
    let host = case.start();
    let text = format!("{} 1", case.name);
    kafka::produce(&[quote(TOPIC, &text)]);
    wait_until("the first module has written", 60, || has(&case, &text));
    case.install_as("quotes-v2", &guests::bytes("quotes"));
    wait_until("the second is refused, and both are named", 30, || {
        let words = host.stderr();
        let mut lines = words.lines().filter(|l| l.contains("quotes-v2"));
        lines.any(|line| line.replace("quotes-v2", "").contains("quotes"))
    });
    let more = format!("{} 2", case.name);
    kafka::produce(&[quote(TOPIC, &more)]);
    wait_until("the first goes on", 60, || has(&case, &more));
    assert_eq!(case.database.column(&format!("SELECT count(*) FROM quotes WHERE quotes = '{more}'")), ["1"]);
    // A member that a kill leaves behind would hold up the next one of the shared group.
    assert_eq!(host.stop().code, 0);
}

#[test]
fn a_broken_file_never_displaces_the_module_that_runs() {
    let mut case = Case::new("broken");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let good = guests::bytes("quotes");
    let host = case.start();
    kafka::produce(&[quote(&topic, "0")]);
    case.wait_until_committed(&flow, &topic, 60);
    let foreign = b"(module)".to_vec();
    let empty_module = b"\0asm\x01\0\0\0".to_vec();
    let half = good[..good.len() / 2].to_vec();
    let broken = [foreign, empty_module, half, Vec::new()];
    for (n, bytes) in broken.iter().enumerate() {
        // Also as an editor would: truncating in place.
        std::fs::write(case.module("quotes"), bytes).expect("written");
        kafka::produce(&[quote(&topic, &(n + 1).to_string())]);
        case.wait_until_committed(&flow, &topic, 60);
    }
    let labels = [("module", "quotes"), ("result", "refused")];
    wait_until("a refusal is counted", 30, || host.metric("wasmill_module_swaps_total", &labels) > 0.0);
    case.install("quotes");
    kafka::produce(&[quote(&topic, "last")]);
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(case.database.column("SELECT quotes FROM quotes ORDER BY quote_id"), ["0", "1", "2", "3", "4", "last"]);
    assert_eq!(host.metric("wasmill_records_dead_total", &[("flow", &flow)]), 0.0);
}

#[test]
fn a_module_whose_sink_is_not_configured_is_refused_by_name() {
    let mut case = Case::new("no_sink");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let config = case.config();
    let (head, rest) = config.split_once("[sinks.mongodb]").expect("the sink is configured");
    let (_, rest) = rest.split_once("[admin]").expect("the admin server is configured");
    let host = case.start_with(&format!("{head}[admin]{rest}"));
    wait_until("flow and sink are named", 30, || {
        let words = host.stderr();
        words.lines().any(|line| line.contains(&flow) && line.contains("mongodb"))
    });
    assert_eq!(host.get("/health/ready").0, 503);
}
