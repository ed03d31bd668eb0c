//! The commands as scripts use them: exit codes, what goes to stdout and what to stderr.

use wasmill_tests::host::{Finished, wasmill};
use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, samples, services};

fn with_config(case: &Case, config: &str, arguments: &[&str]) -> Finished {
    let file = case.path().join("checked.toml");
    std::fs::write(&file, config).expect("written");
    wasmill(&[arguments, &["-c", &file.to_string_lossy()]].concat(), case.path(), &case.env)
}

#[test]
fn check_agrees_with_a_good_configuration() {
    let mut case = Case::new("cli_good");
    let topic = case.topic("in", 1);
    case.flow_of("quotes", &topic);
    case.install("quotes");
    for arguments in [&["check", "--offline"][..], &["check"]] {
        let checked = with_config(&case, &case.config(), arguments);
        assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    }
    let json = with_config(&case, &case.config(), &["check", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("one JSON object on stdout");
    assert_eq!((&json["ok"], &json["exit"]), (&true.into(), &0.into()));
}

#[test]
fn check_tells_a_wrong_configuration_from_a_wrong_environment() {
    let case = Case::new("cli_wrong");
    let typo = case.config().replace("[admin]\nlisten", "[admin]\nlitsen");
    let checked = with_config(&case, &typo, &["check", "--offline"]);
    assert_eq!(checked.code, 2, "{}", checked.stderr);
    for words in ["litsen", "listen", "^"] {
        assert!(checked.stderr.contains(words), "`{words}` is missing: {}", checked.stderr);
    }
    // Nobody listens on port 9 of this machine.
    let unreachable = case.config().replace(&services::brokers(), "127.0.0.1:9");
    let checked = with_config(&case, &unreachable, &["check"]);
    let words = format!("{}{}", checked.stdout, checked.stderr);
    assert_eq!(checked.code, 3, "{words}");
    assert!(words.contains("127.0.0.1:9"), "{words}");
}

#[test]
fn health_is_the_exit_code_of_a_health_check() {
    let mut case = Case::new("cli_health");
    let topic = case.topic("in", 1);
    case.flow_of("quotes", &topic);
    case.install("quotes");
    let host = case.start();
    host.ready();
    let address = host.address();
    let healthy = wasmill(&["health", "--admin", &address], case.path(), &[]);
    assert_eq!(healthy.code, 0, "{}", healthy.stderr);
    assert_eq!(host.stop().code, 0);
    let gone = wasmill(&["health", "--admin", &address], case.path(), &[]);
    assert_eq!(gone.code, 1, "{}", gone.stderr);
    assert!(gone.stderr.contains(&address), "{}", gone.stderr);
}

#[test]
fn once_ends_when_everything_that_was_there_is_written() {
    let mut case = Case::new("cli_once");
    let topic = case.topic("in", 3);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let records: Vec<Outgoing> = samples::quotes(&topic, 3, 500, 9).into_iter().map(|s| s.record).collect();
    kafka::produce(&records);
    let ran = with_config(&case, &case.config(), &["run", "--once"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(kafka::lag(&format!("wasmill.{flow}"), &topic), 0);
    assert!(case.database.count("quotes") > 400);
}

#[test]
fn a_host_needs_no_configuration_file() {
    let mut case = Case::new("cli_env");
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    case.env = vec![
        set("KAFKA_BROKERS", &services::brokers()),
        set("POSTGRES_URL", &case.postgres_url),
        set("MONGODB_URL", &case.mongodb_url),
        set("WASMILL_MODULES", &case.path().join("modules").to_string_lossy()),
    ];
    let checked = wasmill(&["check"], case.path(), &case.env);
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
}
