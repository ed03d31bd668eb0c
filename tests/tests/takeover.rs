//! A host is killed by `kill -9` while another one of its group runs, or comes back under its name: how long until the
//! next records are where they belong. `session.timeout.ms` is 6 s here, transactions live for at most 10 s.

use std::time::{Duration, Instant};

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, wait_until};

const SESSION: Duration = Duration::from_secs(6);
const TRANSACTION: Duration = Duration::from_secs(10);
/// Where nobody is to wait for its end.
const LONG_TRANSACTION: Duration = Duration::from_secs(120);
/// How often brokers look for transactions that have lived too long, by default.
const BROKER_LOOKS: Duration = Duration::from_secs(10);
/// What is promised on top.
const PROMISED: Duration = Duration::from_secs(3);
/// For a machine that runs other tests meanwhile.
const NOISE: Duration = Duration::from_secs(4);

#[test]
fn without_an_open_transaction_another_host_takes_over_after_the_session() {
    let took = after_a_kill(&Death { name: "", step: "batch.transformed", comes_back: false });
    assert!(took < SESSION + PROMISED + NOISE, "it took {took:?}");
}

#[test]
fn an_open_transaction_is_waited_for_at_most() {
    let took = after_a_kill(&Death { name: "", step: "transaction.sent", comes_back: false });
    assert!(took < SESSION + PROMISED + TRANSACTION + BROKER_LOOKS + NOISE, "it took {took:?}");
}

#[test]
fn a_host_with_a_name_ends_its_own_open_transaction_when_it_comes_back() {
    let took = after_a_kill(&Death { name: "keeps", step: "transaction.sent", comes_back: true });
    assert!(took < SESSION + PROMISED + NOISE, "it took {took:?}");
}

struct Death {
    /// `[host] instance`, empty for none.
    name: &'static str,
    /// Where in its first batch the host is killed.
    step: &'static str,
    /// The same host is started again; otherwise another one is there already.
    comes_back: bool,
}

/// Time from the death of the first host until everything is written.
fn after_a_kill(death: &Death) -> Duration {
    let mut case = Case::new("takeover");
    let transaction = if death.comes_back { LONG_TRANSACTION } else { TRANSACTION };
    case.tables.push_str(&format!(
        "[host]\ninstance = \"{}\"\n[kafka.properties]\n\"session.timeout.ms\" = \"{}\"\n\
         \"heartbeat.interval.ms\" = \"500\"\n\"transaction.timeout.ms\" = \"{}\"\n",
        death.name,
        SESSION.as_millis(),
        transaction.as_millis()
    ));
    let topic = case.topic("in", 1);
    let flow = case.flow_of("numbered", &topic);
    case.install("numbered");
    case.env = vec![("FAILPOINTS".into(), format!("{}=return", death.step))];
    let first = case.start();
    // From now on the partition stays where it is while another one joins.
    first.runs(&flow);
    case.env.clear();
    let second = (!death.comes_back).then(|| case.start());
    let group = format!("wasmill.{flow}");
    let members = 1 + usize::from(second.is_some());
    wait_until("all hosts are members", 30, || kafka::members(&group) == members);
    kafka::produce(&(0..20).map(|n| Outgoing::to(&topic).value(format!("{flow}-{n}"))).collect::<Vec<_>>());
    wait_until("the host dies in its first batch", 60, || first.exited().is_some());
    let died = Instant::now();
    let again = death.comes_back.then(|| case.start());
    let reader = kafka::Group::new(&group);
    let ends = kafka::ends(&topic);
    wait_until("the next owner has committed everything", 90, || reader.committed(&topic, &ends) == 20);
    let took = died.elapsed();
    eprintln!("{} with {:?}: {:.1} s", death.step, death.name, took.as_secs_f64());
    assert_eq!(case.database.count("numbered"), 20);
    let own = format!("{flow}/");
    let outputs = kafka::consume_settled("numbered_out");
    assert_eq!(outputs.iter().filter(|r| r.header("wasmill-id").starts_with(&own)).count(), 20);
    drop((second, again));
    took
}
