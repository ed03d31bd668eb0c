//! What cannot be processed costs only itself, and is kept with everything that is needed to try again.

use wasmill_tests::kafka::{self, Incoming, Outgoing};
use wasmill_tests::samples::{self, Random};
use wasmill_tests::{Case, Host, mongo, wait_until};

const LIMITS: &str = "limits = { time_per_record = \"200ms\", fuel = 200000000 }";
/// Values with the code that they end with; all others are written.
const HOSTILE: [(&str, &[&str]); 8] = [
    ("trap", &["trap"]),
    ("loop", &["deadline"]),
    ("grow", &["memory"]),
    ("stack", &["trap"]),
    ("bomb", &["output-limit", "memory"]),
    ("many", &["output-limit"]),
    ("undeclared", &["unknown-target"]),
    ("reject", &["reject"]),
];

/// A host with the module `hostile` in a flow with these lines.
fn hostile(case: &mut Case, lines: &str) -> (Host, String, String) {
    let (topic, flow) = (case.topic("in", 1), case.named("flow"));
    case.flow(&flow, &format!("modules = [\"hostile\"]\ntopics = [\"{topic}\"]\n{LIMITS}\n{lines}"));
    case.install("hostile");
    (case.start(), topic, flow)
}

fn values(case: &Case) -> Vec<String> {
    case.database.column("SELECT value FROM hostile_ok ORDER BY ctid")
}

#[test]
fn a_hostile_record_costs_only_itself() {
    let mut case = Case::new("hostile");
    let (host, topic, flow) = hostile(&mut case, "");
    let mut records = Vec::new();
    for (n, (value, _)) in HOSTILE.iter().enumerate() {
        records.push(Outgoing::to(&topic).value(format!("good {n}")));
        records.push(Outgoing::to(&topic).value(*value));
    }
    records.push(Outgoing::to(&topic).value("log"));
    records.push(Outgoing::to(&topic).value("good 8"));
    kafka::produce(&records);
    case.wait_until_committed(&flow, &topic, 120);
    let good: Vec<String> = (0..9).map(|n| format!("good {n}")).collect();
    assert_eq!(values(&case), good);
    let letters = kafka::consume_settled(&format!("{topic}.dlq"));
    assert_eq!(letters.iter().map(Incoming::text).collect::<Vec<_>>(), HOSTILE.map(|(value, _)| value));
    for (letter, (value, codes)) in letters.iter().zip(HOSTILE) {
        let code = letter.header("wasmill-code");
        assert!(codes.contains(&code.as_str()), "`{value}` ended with the code `{code}` instead of {codes:?}");
        assert_eq!(letter.header("wasmill-stage"), "transform");
        assert!(!letter.header("wasmill-message").is_empty(), "`{value}` has no message");
    }
    let panic = letters[0].header("wasmill-message");
    assert!(panic.contains("the record asked for a panic"), "the author's own words are kept: {panic}");
    host.counts("wasmill_records_dead_total", &[("flow", &flow)], HOSTILE.len() as f64);
    let outputs = kafka::consume_settled("hostile_out");
    let own = outputs.iter().filter(|r| r.header("wasmill-id").starts_with(&format!("{flow}/")));
    assert_eq!(own.map(Incoming::text).filter(|text| text != "log").collect::<Vec<_>>(), good);
}

#[test]
fn a_dead_letter_is_the_original_with_its_coordinates() {
    let mut case = Case::new("letter");
    let (host, topic, flow) = hostile(&mut case, "");
    let tombstone = Outgoing::to(&topic).key("").header("a", None).header("a", Some(b"")).header("ü", Some(b"\xff"));
    let binary = Outgoing::to(&topic).key(b"\0\xff".to_vec()).value(b"\xff\xfe".to_vec()).timestamp(1_234_567_890_123);
    kafka::produce(&[Outgoing::to(&topic).value("good"), tombstone.clone(), binary.clone()]);
    case.wait_until_committed(&flow, &topic, 60);
    let letters = kafka::consume_settled(&format!("{topic}.dlq"));
    assert_eq!(letters.len(), 2, "{}", host.stderr());
    for (letter, (sent, offset)) in letters.iter().zip([(&tombstone, 1), (&binary, 2)]) {
        assert_eq!((&letter.key, &letter.value), (&sent.key, &sent.value));
        assert!(letter.headers.starts_with(&sent.headers) || letter.headers.ends_with(&sent.headers), "{letter:?}");
        let text = |name: &str| letter.header(&format!("wasmill-{name}"));
        let expected = [flow.clone(), topic.clone(), "0".into(), offset.to_string(), "hostile".into()];
        assert_eq!(["flow", "topic", "partition", "offset", "module"].map(text), expected);
        let id = text("id");
        assert!(id.starts_with(&format!("{flow}/")) && id.ends_with(&format!("/0/{offset}")), "{id}");
    }
    assert_eq!(letters[1].header("wasmill-timestamp"), "1234567890123");
    // A topic that keeps its records for a week must not drop the letter at once for its record's age.
    assert!(letters[1].timestamp > letters[0].timestamp - 60_000, "{letters:?}");
}

#[test]
fn dead_letters_may_be_rows() {
    let mut case = Case::new("letter_rows");
    let (_host, topic, flow) = hostile(&mut case, "dead_letters = \"table:letters\"");
    kafka::produce(&["good", "trap", "reject"].map(|value| Outgoing::to(&topic).value(value)));
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(case.database.column("SELECT code FROM letters ORDER BY \"offset\""), ["trap", "reject"]);
    assert_eq!(values(&case), ["good"]);
    assert_eq!(kafka::partition_count(&format!("{topic}.dlq")), 0, "no topic is made that nobody needs");
}

#[test]
fn a_flow_may_drop_what_it_cannot_process_or_stop_before_it() {
    let mut case = Case::new("on_error");
    let (host, topic, flow) = hostile(&mut case, "on_error = \"skip\"");
    let stopping = case.topic("stopping", 1);
    kafka::produce(&["a", "trap", "b"].map(|value| Outgoing::to(&topic).value(value)));
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(values(&case), ["a", "b"]);
    assert_eq!(kafka::consume(&format!("{topic}.dlq")), []);
    host.counts("wasmill_records_filtered_total", &[("flow", &flow), ("reason", "trap")], 1.0);
    assert_eq!(host.stop().code, 0);

    case.tables = case.tables.replace(&topic, &stopping).replace("\"skip\"", "\"stop\"").replace("_flow]", "_stop]");
    kafka::produce(&["c", "trap", "d"].map(|value| Outgoing::to(&stopping).value(value)));
    let host = case.start();
    let flow = case.named("stop");
    wait_until("the flow that stopped is named", 60, || {
        let (status, page) = host.get("/health/ready");
        status == 503 && page.contains(&flow)
    });
    wait_until("everything before it is committed", 60, || kafka::lag(&format!("wasmill.{flow}"), &stopping) == 2);
    assert_eq!(values(&case), ["a", "b", "c"]);
}

#[test]
fn five_hundred_awkward_strings_come_back_byte_for_byte() {
    let mut case = Case::new("awkward");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("quotes", &topic);
    case.install("quotes");
    let strings = awkward_strings(500);
    let records: Vec<Outgoing> =
        strings.iter().map(|s| Outgoing::to(&topic).value(samples::quote_json(s, "Homer", ""))).collect();
    kafka::produce(&records);
    let _host = case.start();
    case.wait_until_committed(&flow, &topic, 60);
    let code = |s: &String| {
        if s.contains('\0') {
            Some("pg-22021")
        } else if s.chars().count() > 500 {
            Some("pg-22001")
        } else {
            None
        }
    };
    let expected: Vec<&String> = strings.iter().filter(|s| code(s).is_none()).collect();
    let rows = case.database.column("SELECT quotes FROM quotes ORDER BY quote_id");
    assert_eq!(rows.iter().collect::<Vec<_>>(), expected);
    let letters = kafka::consume(&format!("{topic}.dlq"));
    let found: Vec<String> = letters.iter().map(|letter| letter.header("wasmill-code")).collect();
    assert_eq!(found, strings.iter().filter_map(code).collect::<Vec<_>>());
    let mut documents: Vec<String> = mongo::documents_of(&case.mongodb_url, "simpson_db.quotes", &flow)
        .iter()
        .map(|d| d["quote"].as_str().expect("a text").to_owned())
        .collect();
    let mut all = strings.clone();
    documents.sort();
    all.sort();
    assert_eq!(documents, all);
}

fn awkward_strings(count: usize) -> Vec<String> {
    const PARTS: [&str; 28] = [
        "",
        " ",
        "'",
        "\"",
        "\\",
        "\\N",
        "''; DROP TABLE quotes; --",
        "$1",
        "{}",
        "{\"a\":1}",
        "NULL",
        "null",
        "\t",
        "\n",
        "\r\n",
        "\u{1}",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{202e}ltr",
        "e\u{301}",
        "💡👩‍👩‍👧",
        "𝔘",
        "\u{10ffff}",
        "ﷺ",
        "%s%n",
        "\0",
    ];
    let mut random = Random::new(500);
    let string = |n: usize| {
        let mut text: String = (0..random.below(6)).map(|_| PARTS[random.below(28) as usize]).collect();
        match n % 25 {
            0 => text.push_str(&"ß".repeat(600)),
            1 => text = PARTS[n % PARTS.len()].to_owned(),
            _ => {}
        }
        text
    };
    (0..count).map(string).collect()
}
