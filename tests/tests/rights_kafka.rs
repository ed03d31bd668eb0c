//! deploy/rights/kafka.sh: a host works with these rights over TLS, transactions included, and names the one that is missing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::own::{self, Own};
use wasmill_tests::{Case, Host, samples, wait_until};

/// The user whose rights are tried. The one that the harness comes as may do everything.
const USER: &str = "wasmill";
const PASSWORD: &str = "wasmill-secret";

struct Guarded {
    own: Own,
    case: Case,
}

impl Guarded {
    fn start() -> Self {
        let own = Own::start(&[("SERVICES", "kafka"), ("KAFKA_TLS", "1")]);
        own.take_over();
        let mut case = Case::new("rights");
        let (brokers, ca) = (own.value("KAFKA_TLS_BROKERS"), own.value("TLS_CA"));
        case.kafka = format!(
            "brokers = \"{brokers}\"\n[kafka.properties]\n\"security.protocol\" = \"SASL_SSL\"\n\
             \"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\"sasl.username\" = \"{USER}\"\n\"sasl.password\" = \"{PASSWORD}\"\n\
             \"ssl.ca.location\" = \"{ca}\"\n\"session.timeout.ms\" = \"6000\""
        );
        Guarded { own, case }
    }

    /// Runs what the script prints, with Kafka's own tool.
    fn grant(&self, flow: &str, topic: &str, outputs: &[&str]) {
        let directory = self.case.path();
        let tool = directory.join("kafka-acls.sh");
        let command = self.own.command("acls");
        let arguments: Vec<_> = command.get_args().map(|a| format!("'{}'", a.to_string_lossy())).collect();
        let script = format!("#!/bin/sh\nexec '{}' {} \"$@\"\n", own::script().display(), arguments.join(" "));
        std::fs::write(&tool, script).expect("the tool can be written");
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).expect("and run");
        let rights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rights/kafka.sh");
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default());
        let line = format!(
            "set -o pipefail; '{}' {} {USER} {flow} {topic} {} | bash -e",
            rights.display(),
            self.own.value("KAFKA_BROKERS"),
            outputs.join(" ")
        );
        let ran =
            Command::new("bash").args(["-c", &line]).env("PATH", path).stdin(Stdio::null()).output().expect("bash");
        assert!(
            ran.status.success(),
            "{}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    /// Takes a right away or gives it back.
    fn right(&self, add: bool, arguments: &str) {
        let mut command = self.own.command("acls");
        command.args(["--bootstrap-server", &self.own.value("KAFKA_BROKERS"), if add { "--add" } else { "--remove" }]);
        command.args(["--force", "--allow-principal", &format!("User:{USER}")]).args(arguments.split(' '));
        let ran = command.output().expect("services.sh can be started");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    /// Without this right the host says these words, and goes on or starts when it is given back.
    #[track_caller]
    fn needs(&self, arguments: &str, words: &[&str]) {
        self.right(false, arguments);
        let host = self.case.start();
        wait_until(&format!("the health names {words:?} without {arguments}"), 60, || {
            let page = host.get("/health/ready").1;
            words.iter().all(|word| page.contains(word))
        });
        let stopped = host.stop();
        assert!(!stopped.stderr.contains(PASSWORD));
        self.right(true, arguments);
    }

    fn works(&self, host: &Host, flow: &str, topic: &str) {
        self.case.wait_until_committed(flow, topic, 60);
        host.ready();
    }
}

#[test]
fn a_host_works_with_the_rights_of_the_script_and_names_the_one_that_is_missing() {
    let mut guarded = Guarded::start();
    let (quotes, values) = (guarded.case.topic("quotes", 1), guarded.case.topic("values", 1));
    let idempotent = guarded.case.flow_of("quotes", &quotes);
    let transactional = guarded.case.named("copies");
    guarded.case.flow(&transactional, &format!("modules = [\"hostile\"]\ntopics = [\"{values}\"]"));
    guarded.case.install("quotes");
    guarded.case.install("hostile");
    guarded.grant(&idempotent, &quotes, &[]);
    guarded.grant(&transactional, &values, &["hostile_out"]);

    let bad = Outgoing::to(&quotes).value("{\"quote\": 1}");
    kafka::produce(&[Outgoing::to(&quotes).value(samples::quote_json("D'oh!", "Homer", "")), bad]);
    kafka::produce(&[Outgoing::to(&values).value("one"), Outgoing::to(&values).value("reject")]);
    let host = guarded.case.start();
    guarded.works(&host, &idempotent, &quotes);
    guarded.works(&host, &transactional, &values);
    assert_eq!(guarded.case.database.count("quotes"), 1);
    assert_eq!(guarded.case.database.column("SELECT value FROM hostile_ok"), ["one"]);
    for topic in ["hostile_out", &format!("{quotes}.dlq"), &format!("{values}.dlq")] {
        assert_eq!(kafka::consume_settled(topic).len(), 1, "{topic}");
    }
    let stopped = host.stop();
    assert_eq!(stopped.code, 0);
    assert!(!stopped.stderr.contains(PASSWORD));

    kafka::produce(&[Outgoing::to(&values).value("two")]);
    let group = format!("wasmill.{transactional}");
    guarded.needs(&format!("--operation Read --operation Describe --topic {values}"), &[&values, "grant"]);
    guarded.needs(&format!("--operation Read --operation Describe --group {group}"), &[&group, "grant"]);
    let ids =
        format!("--operation Write --operation Describe --resource-pattern-type prefixed --transactional-id {group}.");
    guarded.needs(&ids, &["transactional id", "grant"]);
    guarded.needs("--operation Write --topic hostile_out", &["hostile_out", "grant"]);
    let host = guarded.case.start();
    guarded.works(&host, &transactional, &values);
    assert_eq!(guarded.case.database.column("SELECT value FROM hostile_ok ORDER BY value"), ["one", "two"]);
    assert_eq!(host.stop().code, 0);
}
