//! Postgres with TLS: a server that is who it says it is works, any other is named in words, and no password is said.

use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::own::Own;
use wasmill_tests::secured::Secured;
use wasmill_tests::{Case, samples, services};

const USER: &str = "wasmill_with_password";
const PASSWORD: &str = "right-secret";
const WRONG: &str = "mistyped-secret";

struct Server {
    case: Case,
    port: String,
    topic: String,
    flow: String,
}

impl Server {
    fn start(own: &Own) -> Self {
        own.take_over();
        let mut case = Case::new("secured");
        case.database.execute(&format!("CREATE ROLE {USER} LOGIN SUPERUSER PASSWORD '{PASSWORD}'"));
        let server = services::postgres_url();
        let (_, port) = server.rsplit_once('/').and_then(|(server, _)| server.rsplit_once(':')).expect("a port");
        let topic = case.topic("in", 1);
        let flow = case.flow_of("quotes", &topic);
        case.install("quotes");
        Server { port: port.to_owned(), case, topic, flow }
    }

    fn url(&self, host: &str, password: &str, query: &str) -> String {
        format!("postgres://{USER}:{password}@{host}:{}/{}{query}", self.port, self.case.database.name)
    }

    fn asked(&self) -> Secured<'_> {
        Secured { case: &self.case, passwords: &[PASSWORD, WRONG] }
    }

    #[track_caller]
    fn is_named(&mut self, url: String, words: &[&str]) {
        self.case.postgres_url = url;
        self.asked().is_named(words);
    }
}

#[test]
fn a_verified_server_works_and_any_other_is_named() {
    let without_tls = services::postgres_url();
    let own = Own::start(&[("SERVICES", "postgres"), ("PG_TLS", "1")]);
    let mut secured = Server::start(&own);
    let ca = own.value("TLS_CA");
    let verified = format!("?sslmode=verify-full&sslrootcert={ca}");
    kafka::produce(&[Outgoing::to(&secured.topic).value(samples::quote_json("D'oh!", "Homer", ""))]);

    // Who names an authority is verified without saying so.
    for query in [verified.clone(), format!("?sslrootcert={ca}")] {
        secured.case.postgres_url = secured.url("localhost", PASSWORD, &query);
        let asked = secured.asked().command(&["check"]);
        assert_eq!(asked.code, 0, "{query}: {}{}", asked.stdout, asked.stderr);
    }
    let host = secured.case.start();
    secured.case.wait_until_committed(&secured.flow, &secured.topic, 60);
    assert_eq!(secured.case.database.column("SELECT quotes FROM quotes"), ["D'oh!"]);
    let ours =
        "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'wasmill'";
    assert_eq!(secured.case.database.column(ours), ["t"]);
    let stopped = host.stop();
    assert_eq!(stopped.code, 0);
    secured.asked().is_silent(&stopped);

    let of_other_name = secured.url("127.0.0.1", PASSWORD, &format!("?sslrootcert={ca}"));
    secured.is_named(of_other_name, &["127.0.0.1", "certificate is for another host"]);
    let unknown_authority = secured.url("localhost", PASSWORD, "?sslmode=verify-full");
    secured.is_named(unknown_authority.clone(), &["localhost", "sslrootcert="]);
    let wrong_password = secured.url("localhost", WRONG, &verified);
    secured.is_named(wrong_password, &["localhost", "password", "check user"]);
    let no_tls = format!("{}?sslmode=verify-full", without_tls.replace("127.0.0.1", "localhost"));
    secured.is_named(no_tls, &["localhost", "offers no TLS"]);

    feeds(&mut secured, &verified, &unknown_authority);
}

/// `feed postgres` goes by the same rules.
fn feeds(secured: &mut Server, verified: &str, unknown_authority: &str) {
    let topic = secured.case.named("fed");
    let good = secured.url("localhost", PASSWORD, verified);
    let feed = |url| ["feed", "postgres", "SELECT 7 AS id", "--topic", &*topic, "--column", "id", "--url", url];
    secured.case.postgres_url = good.clone();
    let fed = secured.asked().command(&feed(good.as_str()));
    assert_eq!(fed.code, 0, "{}", fed.stderr);
    assert_eq!(kafka::consume(&topic).iter().map(kafka::Incoming::text).collect::<Vec<_>>(), [r#"{"id":7}"#]);
    let refused = secured.asked().command(&feed(unknown_authority));
    assert!(refused.code != 0 && refused.stderr.contains("sslrootcert="), "{}: {}", refused.code, refused.stderr);
}
