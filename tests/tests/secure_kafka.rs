//! Kafka with TLS and SCRAM: what is right works, what is wrong is named in words, and no password is said.

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::own::Own;
use wasmill_tests::secured::Secured;
use wasmill_tests::{Case, samples, wait_until};

/// The password of the user `admin`, and a wrong one.
const PASSWORD: &str = "admin-secret";
const WRONG: &str = "mistyped-secret";

struct Cluster {
    own: Own,
    case: Case,
    topic: String,
    flow: String,
}

/// Lines of `[kafka.properties]` for a login over TLS.
fn login(password: &str, ca: Option<&str>) -> String {
    let ca = ca.map(|file| format!("\"ssl.ca.location\" = \"{file}\"\n")).unwrap_or_default();
    format!(
        "[kafka.properties]\n\"security.protocol\" = \"SASL_SSL\"\n\"sasl.mechanism\" = \"SCRAM-SHA-512\"\n\
         \"sasl.username\" = \"admin\"\n\"sasl.password\" = \"{password}\"\n{ca}"
    )
}

impl Cluster {
    fn start() -> Self {
        let own = Own::start(&[("SERVICES", "kafka"), ("KAFKA_TLS", "1")]);
        own.take_over();
        let mut case = Case::new("secured");
        let topic = case.topic("in", 1);
        let flow = case.flow_of("quotes", &topic);
        case.install("quotes");
        Cluster { own, case, topic, flow }
    }

    /// The same configuration with other brokers and properties.
    fn with(&mut self, brokers: &str, properties: &str) {
        self.case.kafka = format!("brokers = \"{brokers}\"\n{properties}");
    }

    fn asked(&self) -> Secured<'_> {
        Secured { case: &self.case, passwords: &[PASSWORD, WRONG] }
    }

    #[track_caller]
    fn is_named(&mut self, brokers: &str, properties: &str, words: &[&str]) {
        self.with(brokers, properties);
        self.asked().is_named(words);
    }
}

#[test]
fn a_login_over_tls_works_and_what_is_wrong_with_one_is_named() {
    let mut secured = Cluster::start();
    let (brokers, ca) = (secured.own.value("KAFKA_TLS_BROKERS"), secured.own.value("TLS_CA"));
    let properties = login(PASSWORD, Some(&ca));
    let texts: Vec<String> = (0..500).map(|n| samples::quote_json(&format!("quote {n}"), "Homer", "")).collect();
    kafka::produce(&texts.iter().map(|text| Outgoing::to(&secured.topic).value(text.as_str())).collect::<Vec<_>>());
    secured.with(&brokers, &properties);
    // The services count as ready when the listener without TLS answers.
    wait_until("check is content", 60, || secured.asked().command(&["check"]).code == 0);
    let host = secured.case.start();
    secured.case.wait_until_committed(&secured.flow, &secured.topic, 60);
    assert_eq!(secured.case.database.count("quotes"), 500);
    host.ready();
    let stopped = host.stop();
    assert_eq!(stopped.code, 0);
    secured.asked().is_silent(&stopped);

    let by_address = brokers.replace("localhost", "127.0.0.1");
    secured.is_named(&brokers, &login(WRONG, Some(&ca)), &["SASL authentication error", "check sasl.mechanism"]);
    secured.is_named(&brokers, &login(PASSWORD, None), &["certificate", "ssl.ca.location"]);
    // The certificate is for localhost alone.
    secured.is_named(&by_address, &properties, &["127.0.0.1", "certificate", "a name that their certificates hold"]);
    secured.is_named(&brokers, "", &["Disconnected", "security.protocol"]);
}
