//! For everything that may come in wrong: a defined fate, a code, words that say what to do, and nothing else is lost.

use wasmill_tests::host::wasmill;
use wasmill_tests::kafka::{self, Incoming, Outgoing};
use wasmill_tests::{Case, Host, mongo, samples, services, wait_for, wait_until};

const DOCUMENTS: &str = "simpson_db.quotes";

/// A running quotes flow.
struct Quotes {
    host: Host,
    topic: String,
    flow: String,
    case: Case,
}

fn quotes(what: &str) -> Quotes {
    quotes_with(what, "")
}

/// A running quotes flow with these lines.
fn quotes_with(what: &str, lines: &str) -> Quotes {
    let mut case = Case::new(what);
    let (topic, flow) = (case.topic("in", 1), case.named("flow"));
    case.flow(&flow, &format!("modules = [\"quotes\"]\ntopics = [\"{topic}\"]\n{lines}"));
    case.install("quotes");
    Quotes { host: case.start(), topic, flow, case }
}

impl Quotes {
    /// Sends values between two good ones and waits until all are committed.
    fn take(&self, values: Vec<Outgoing>) {
        let good = |text: &str| Outgoing::to(&self.topic).value(samples::quote_json(text, "Homer", ""));
        kafka::produce(&[vec![good("before")], values, vec![good("after")]].concat());
        self.case.wait_until_committed(&self.flow, &self.topic, 60);
    }

    fn rows(&self) -> Vec<String> {
        self.case.database.column("SELECT quotes FROM quotes ORDER BY quote_id")
    }

    fn letters(&self) -> Vec<Incoming> {
        kafka::consume(&format!("{}.dlq", self.topic))
    }

    fn documents(&self) -> usize {
        mongo::documents_of(&self.case.mongodb_url, DOCUMENTS, &self.flow).len()
    }

    fn value(&self, value: impl Into<Vec<u8>>) -> Outgoing {
        Outgoing::to(&self.topic).value(value)
    }
}

fn codes(letters: &[Incoming]) -> Vec<String> {
    letters.iter().map(|letter| letter.header("wasmill-code")).collect()
}

#[test]
fn what_is_no_json_is_filtered() {
    let quotes = quotes("no_json");
    let invalid = b"{\"quote\": \"\xff\xfe\"}".to_vec();
    quotes.take(vec![quotes.value("<html>"), quotes.value(invalid), Outgoing::to(&quotes.topic), quotes.value("")]);
    assert_eq!(quotes.rows(), ["before", "after"]);
    let labels = [("flow", quotes.flow.as_str()), ("reason", "not JSON")];
    quotes.host.counts("wasmill_records_filtered_total", &labels, 4.0);
    assert_eq!(quotes.letters(), []);
}

#[test]
fn a_text_that_postgres_refuses_costs_only_its_row() {
    let quotes = quotes("refused");
    let long = samples::quote_json(&"ü".repeat(501), "Homer", "");
    let fits = "ü".repeat(500);
    let nul = samples::quote_json("nul \0 here", "Homer", "");
    let fitting = quotes.value(samples::quote_json(&fits, "Homer", ""));
    quotes.take(vec![quotes.value(long.clone()), fitting, quotes.value(nul.clone())]);
    assert_eq!(quotes.rows(), ["before", &fits, "after"]);
    assert_eq!(quotes.documents(), 5, "the documents of refused rows are written");
    let letters = quotes.letters();
    assert_eq!(codes(&letters), ["pg-22001", "pg-22021"]);
    assert_eq!(letters.iter().map(Incoming::text).collect::<Vec<_>>(), [long, nul]);
    for letter in &letters {
        assert_eq!((letter.header("wasmill-stage"), letter.header("wasmill-sink")), ("sink".into(), "postgres".into()));
        assert_eq!(letter.header("wasmill-target"), "quotes");
    }
}

#[test]
fn a_record_of_twenty_megabytes_does_not_stop_the_others() {
    // With the default memory the module cannot hold it; with more, the databases refuse it.
    for (lines, codes_of_it) in
        [("", &["memory"][..]), ("limits = { memory = \"512MiB\" }", &["pg-22001", "too-large"])]
    {
        let quotes = quotes_with("twenty", lines);
        let huge = samples::quote_json(&"x".repeat(20 << 20), "Homer", "");
        quotes.take(vec![quotes.value(huge.clone())]);
        assert_eq!(quotes.rows(), ["before", "after"]);
        assert_eq!(quotes.documents(), 2);
        let letters = quotes.letters();
        let mut found = codes(&letters);
        found.sort();
        assert!(found.iter().zip(codes_of_it).all(|(code, wanted)| code.starts_with(wanted)), "{found:?}");
        assert_eq!(found.len(), codes_of_it.len(), "{found:?}");
        for letter in letters {
            let cut = letter.header("wasmill-truncated");
            assert!(cut.contains(&huge.len().to_string()), "`{cut}` names the length");
            assert!(huge.as_bytes().starts_with(&letter.value.expect("the beginning of the value")));
        }
    }
}

#[test]
fn numbers_beyond_every_type_and_a_thousand_headers_are_no_problem() {
    let quotes = quotes("numbers");
    let number = |n: &str| quotes.value(format!(r#"{{"quote": "n", "character": "c", "image": "", "more": {n}}}"#));
    let mut many = quotes.value(r#"{"quote": 1}"#);
    for n in 0..1000 {
        many = many.header(&format!("h{n}"), Some(n.to_string().as_bytes()));
    }
    quotes.take(vec![number("9223372036854775808"), number("123456789012345678901234567890"), number("1e400"), many]);
    assert_eq!(quotes.rows(), ["before", "n", "n", "n", "after"]);
    let letters = quotes.letters();
    let (of_sink, of_shape): (Vec<_>, Vec<_>) = letters.into_iter().partition(|l| l.header("wasmill-stage") == "sink");
    assert_eq!(quotes.documents() + of_sink.len(), 5, "a document or a dead letter: {:?}", codes(&of_sink));
    assert_eq!(codes(&of_shape), ["reject"]);
    let original = of_shape[0].headers.iter().filter(|(name, _)| name.starts_with('h')).count();
    assert_eq!((original, of_shape[0].header("h999")), (1000, "999".into()));
}

#[test]
fn a_missing_topic_is_waited_for_and_named() {
    let mut case = Case::new("no_topic");
    let topic = case.named("later");
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let host = case.start();
    wait_until("the missing topic is named", 30, || host.get("/health/ready").1.contains(&topic));
    kafka::create_topic(&topic, 1);
    kafka::produce(&[Outgoing::to(&topic).value(samples::quote_json("late", "Homer", ""))]);
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(case.database.column("SELECT quotes FROM quotes"), ["late"]);
    host.ready();
}

#[test]
fn a_missing_table_waits_for_an_operator() {
    let mut case = Case::new("no_table");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    case.tables.push_str("[sinks.postgres.tables.quotes]\ncreate = false\n");
    kafka::produce(&[Outgoing::to(&topic).value(samples::quote_json("kept", "Homer", ""))]);
    let host = case.start();
    wait_until("the missing table is named", 30, || host.get("/health/ready").1.contains("quotes"));
    assert_eq!(host.get("/health/ready").0, 503);
    case.database.execute(
        "CREATE TABLE quotes (quote_id SERIAL PRIMARY KEY, quotes varchar(500), charact varchar(500), imag varchar(500))",
    );
    case.wait_until_committed(&flow, &topic, 90);
    assert_eq!(case.database.column("SELECT quotes FROM quotes"), ["kept"]);
    assert_eq!(kafka::consume(&format!("{topic}.dlq")), []);
}

#[test]
fn a_wrong_password_is_named_and_never_shown() {
    let mut case = Case::new("password");
    case.database.execute(
        "DO $$ BEGIN CREATE ROLE wasmill_with_password LOGIN PASSWORD 'right'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    );
    case.postgres_url = case.database.url_as("wasmill_with_password", "sesame-0815");
    let topic = case.topic("in", 1);
    case.flow_of("quotes", &topic);
    case.install("quotes");
    let host = case.start();
    let named = || Some(host.get("/health/ready")).filter(|(_, page)| page.contains("password"));
    let (status, page) = wait_for("the refusal is named", 60, named);
    assert_eq!(status, 503);
    let words = format!("{page}{}{}{}", host.stderr(), host.get("/metrics").1, host.get("/api/state").1);
    assert!(page.contains("postgres"), "{page}");
    assert!(!words.contains("sesame-0815"), "the password was shown");
    assert_eq!(host.get("/health/live").0, 200);
}

#[test]
fn an_unreachable_broker_is_named() {
    let mut case = Case::new("no_broker");
    case.flow_of("quotes", "somewhere");
    case.install("quotes");
    // Nobody listens on port 9 of this machine.
    let host = case.start_with(&case.config().replace(&services::brokers(), "127.0.0.1:9"));
    wait_until("the broker is named", 60, || host.get("/health/ready").1.contains("127.0.0.1:9"));
    assert_eq!(host.get("/health/ready").0, 503);
    assert_eq!(host.get("/health/live").0, 200);
    assert_eq!(host.stop().code, 0);
}

#[test]
fn a_missing_modules_folder_is_named_and_waited_for() {
    let mut case = Case::new("no_folder");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    let host = case.start_with(&case.config().replace("dir = \"modules\"", "dir = \"elsewhere\""));
    assert_eq!(host.get("/health/ready").0, 503);
    wait_until("the folder is named", 60, || host.stderr().contains("elsewhere"));
    wait_until("and in the health as well", 60, || host.get("/health/ready").1.contains("elsewhere does not exist"));
    case.install("quotes");
    std::fs::rename(case.path().join("modules"), case.path().join("elsewhere")).expect("renamed");
    host.ready();
    assert!(!host.flow_state(&flow).is_null(), "ready before the flow was started");
    kafka::produce(&[Outgoing::to(&topic).value(samples::quote_json("found", "Homer", ""))]);
    case.wait_until_committed(&flow, &topic, 60);
}

#[test]
fn a_typo_in_the_configuration_is_pointed_at() {
    let case = Case::new("typo");
    let file = case.path().join("typo.toml");
    std::fs::write(&file, "[kafka]\nbroker = \"localhost:9092\"\n").expect("written");
    let ran = wasmill(&["run", "-c", &file.to_string_lossy()], case.path(), &[]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    for words in ["typo.toml", "broker = ", "^", "brokers"] {
        assert!(ran.stderr.contains(words), "`{words}` is missing: {}", ran.stderr);
    }
}
