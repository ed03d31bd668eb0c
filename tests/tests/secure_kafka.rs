//! Kafka with TLS and SCRAM: what is right works, what is wrong is named in words, and no password is said.

use std::time::{Duration, Instant};

use wasmill_tests::host::{Finished, wasmill};
use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::own::Own;
use wasmill_tests::{Case, Host, samples, wait_until};

/// The password of the user `admin`, and a wrong one.
const PASSWORD: &str = "admin-secret";
const WRONG: &str = "mistyped-secret";

/// Longest time until a command has said what is wrong.
const SECONDS: u64 = 20;

struct Secured {
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

impl Secured {
    fn start() -> Self {
        let own = Own::start(&[("SERVICES", "kafka"), ("KAFKA_TLS", "1")]);
        own.take_over();
        let mut case = Case::new("secured");
        let topic = case.topic("in", 1);
        let flow = case.flow_of("quotes", &topic);
        case.install("quotes");
        Secured { own, case, topic, flow }
    }

    /// The same configuration with other brokers and properties.
    fn with(&mut self, brokers: &str, properties: &str) -> &Case {
        self.case.kafka = format!("brokers = \"{brokers}\"\n{properties}");
        &self.case
    }

    fn command(&self, command: &str) -> Finished {
        let file = self.case.path().join("asked.toml");
        std::fs::write(&file, self.case.config()).expect("the configuration can be written");
        let begun = Instant::now();
        let finished = wasmill(&[command, "-c", &file.to_string_lossy()], self.case.path(), &self.case.env);
        assert!(begun.elapsed() < Duration::from_secs(SECONDS), "{command} took {:?}", begun.elapsed());
        finished
    }

    /// `check`, `doctor` and a running host say these words and never the password.
    #[track_caller]
    fn is_named(&mut self, brokers: &str, properties: &str, words: &[&str]) {
        self.with(brokers, properties);
        for command in ["check", "doctor"] {
            let asked = self.command(command);
            assert_eq!(asked.code, 3, "{command}: {}{}", asked.stdout, asked.stderr);
            for word in words {
                assert!(asked.stdout.contains(word), "{command} does not say {word:?}: {}", asked.stdout);
            }
            silent(&asked);
        }
        let host = self.case.start();
        let page = |host: &Host| host.get("/health/ready").1;
        wait_until(&format!("/health/ready says {words:?}"), SECONDS, || {
            let page = page(&host);
            words.iter().all(|word| page.contains(word))
        });
        assert_eq!(host.get("/health/ready").0, 503);
        assert_eq!(host.get("/health/live").0, 200);
        let stopped = host.stop();
        assert_eq!(stopped.code, 0, "{}", stopped.stderr);
        silent(&stopped);
    }
}

#[track_caller]
fn silent(finished: &Finished) {
    for password in [PASSWORD, WRONG] {
        assert!(!finished.stderr.contains(password) && !finished.stdout.contains(password), "a password was said");
    }
}

#[test]
fn a_login_over_tls_works_and_what_is_wrong_with_one_is_named() {
    let mut secured = Secured::start();
    let (brokers, ca) = (secured.own.value("KAFKA_TLS_BROKERS"), secured.own.value("TLS_CA"));
    let properties = login(PASSWORD, Some(&ca));
    let texts: Vec<String> = (0..500).map(|n| samples::quote_json(&format!("quote {n}"), "Homer", "")).collect();
    kafka::produce(&texts.iter().map(|text| Outgoing::to(&secured.topic).value(text.as_str())).collect::<Vec<_>>());
    secured.with(&brokers, &properties);
    let asked = secured.command("check");
    assert_eq!(asked.code, 0, "{}{}", asked.stdout, asked.stderr);
    let host = secured.case.start();
    secured.case.wait_until_committed(&secured.flow, &secured.topic, 60);
    assert_eq!(secured.case.database.count("quotes"), 500);
    host.ready();
    let stopped = host.stop();
    assert_eq!(stopped.code, 0);
    silent(&stopped);

    let by_address = brokers.replace("localhost", "127.0.0.1");
    secured.is_named(&brokers, &login(WRONG, Some(&ca)), &["SASL authentication error", "check sasl.mechanism"]);
    secured.is_named(&brokers, &login(PASSWORD, None), &["certificate", "ssl.ca.location"]);
    // The certificate is for localhost alone.
    secured.is_named(&by_address, &properties, &["127.0.0.1", "certificate", "a name that their certificates hold"]);
    secured.is_named(&brokers, "", &["Disconnected", "security.protocol"]);
}
