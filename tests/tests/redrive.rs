//! Dead letters of a bug that was fixed are processed once more: the databases end as if the bug had never been.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;
use wasmill_tests::host::{Finished, wasmill};
use wasmill_tests::kafka::{self, Incoming, Outgoing};
use wasmill_tests::{Case, guests, mongo, samples, wait_until};

const RECORDS: i64 = 60;
const PARTITIONS: i32 = 3;

/// A text that the bug crashes on, one that it writes uncut, or one that it does nothing to.
fn text(id: i64) -> String {
    match id % 5 {
        1 => format!("für {id}"),
        3 => format!("a long text {id}"),
        4 if id % 2 == 0 => format!("longer and für {id}"),
        _ => format!("short {id}"),
    }
}

fn is_broken(id: i64) -> bool {
    !text(id).starts_with("short")
}

/// A time that no retention has passed.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set");
    now.as_millis() as i64
}

fn send(topic: &str, time: i64) {
    let records: Vec<Outgoing> = (0..RECORDS)
        .map(|id| {
            let value = serde_json::json!({ "id": id, "key": format!("k{}", id % 7), "text": text(id) }).to_string();
            let record = Outgoing::to(topic).partition((id % 7) as i32 % PARTITIONS).key(format!("k{}", id % 7));
            record.value(value).header("trace", Some(b"7")).timestamp(time + id)
        })
        .collect();
    kafka::produce(&records);
}

fn command(case: &Case, arguments: &[&str]) -> Finished {
    let file = case.path().join("wasmill.toml");
    let all: Vec<&str> = arguments.iter().copied().chain(["-c", file.to_str().expect("UTF-8")]).collect();
    wasmill(&all, case.path(), &case.env)
}

/// What a command says as JSON, one value per line.
fn json(case: &Case, arguments: &[&str]) -> Vec<Value> {
    let ran = command(case, &[arguments, &["--json"]].concat());
    assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Ids that were copied, and how many were not because they had been before.
fn redrive(case: &Case, flow: &str, more: &[&str]) -> (Vec<String>, u64) {
    let told = json(case, &[&["dlq", "redrive", flow][..], more].concat()).remove(0);
    let ids = told["redriven"].as_array().expect("ids").iter().map(|id| id.as_str().expect("an id").to_owned());
    (ids.collect(), told["already"].as_u64().expect("a number"))
}

fn own_outputs(flow: &str) -> Vec<Incoming> {
    let mut outputs = kafka::consume_settled("fixable_out");
    outputs.retain(|output| output.header("wasmill-id").starts_with(&format!("{flow}/")));
    outputs
}

/// Everything that the fixed module would have written had it been there from the beginning, once each.
#[track_caller]
fn assert_as_if_nothing_had_been(case: &Case, flow: &str, time: i64) {
    let places = places();
    let rows =
        case.database.column("SELECT concat_ws('|', id, key, part, at, headers, text) FROM fixable_rows ORDER BY id");
    let expected: Vec<String> = (0..RECORDS)
        .map(|id| {
            let (partition, offset) = places[&id];
            let cut: String = text(id).chars().take(10).collect();
            format!("{id}|k{}|{partition}|{offset}|trace|{cut}", id % 7)
        })
        .collect();
    assert_eq!(rows, expected);
    let mut documents: Vec<(i64, String, String)> = mongo::documents_of(&case.mongodb_url, "fixable.documents", flow)
        .iter()
        .map(|d| {
            let place: Vec<&str> = d["_id"].as_str().expect("a source id").split('/').skip(2).collect();
            (whole(&d["id"]), d["text"].as_str().expect("text").to_owned(), place.join("/"))
        })
        .collect();
    documents.sort();
    let place = |id: i64| format!("{}/{}/0", places[&id].0, places[&id].1);
    assert_eq!(documents, (0..RECORDS).map(|id| (id, text(id), place(id))).collect::<Vec<_>>());
    let mut outputs: Vec<(i64, i64)> = own_outputs(flow)
        .iter()
        .map(|output| (whole(&serde_json::from_str::<Value>(&output.text()).expect("JSON")["id"]), output.timestamp))
        .collect();
    outputs.sort_unstable();
    assert_eq!(outputs, (0..RECORDS).map(|id| (id, time + id)).collect::<Vec<_>>());
}

/// A number in extended JSON.
fn whole(value: &Value) -> i64 {
    let text = value.get("$numberLong").and_then(Value::as_str);
    text.map_or_else(|| value.as_i64(), |text| text.parse().ok()).expect("a whole number")
}

/// Offsets of the records by id, as `send` has placed them in an empty topic.
fn places() -> BTreeMap<i64, (i32, i64)> {
    let mut next = [0; PARTITIONS as usize];
    let mut place = |id: i64| {
        let partition = (id % 7) as i32 % PARTITIONS;
        next[partition as usize] += 1;
        (id, (partition, next[partition as usize] - 1))
    };
    (0..RECORDS).map(&mut place).collect()
}

#[test]
fn the_databases_end_as_if_the_bug_had_never_been() {
    let mut case = Case::new("redrive");
    let topic = case.topic("in", PARTITIONS);
    let flow = case.flow_of("fixable", &topic);
    case.install_as("fixable", &guests::with_number("fixable", 0));
    let time = now();
    send(&topic, time);
    let host = case.start();
    case.wait_until_committed(&flow, &topic, 120);
    let broken = (0..RECORDS).filter(|id| is_broken(*id)).count();
    let crashed = (0..RECORDS).filter(|id| text(*id).contains('ü')).count();
    let dead = format!("{topic}.dlq");
    wait_until("the letters can be read", 60, || kafka::consume(&dead).len() == broken);

    let counts = json(&case, &["dlq", "ls", "--flow", &flow]).remove(0);
    let count = |code: &str| counts.as_array().expect("groups").iter().find(|group| group["code"] == code).cloned();
    assert_eq!(count("trap").expect("traps")["letters"], crashed);
    assert_eq!(count("pg-22001").expect("refused rows")["letters"], broken - crashed);
    let letters = json(&case, &["dlq", "show", "--code", "pg-*", "--topic", &topic, "-n", "100"]);
    assert_eq!(letters.len(), broken - crashed);
    let letter = &letters[0];
    assert!(letter["target"] == "fixable_rows" && letter["headers"][0][0] == "trace", "{letter}");
    let by_id = json(&case, &["dlq", "show", letter["id"].as_str().expect("an id")]);
    assert_eq!(by_id, std::slice::from_ref(letter));

    // The bug is still there: everything dies again, as the same letters.
    let (first, already) = redrive(&case, &flow, &[]);
    assert_eq!((first.len(), already), (broken, 0));
    wait_until("every letter has died again", 90, || kafka::consume(&dead).len() == 2 * broken);
    let all = kafka::consume(&dead);
    let of_round = |round: &str| {
        let letters = all.iter().filter(|letter| letter.header("wasmill-redriven") == round);
        let mut ids: Vec<String> = letters.map(|letter| letter.header("wasmill-id")).collect();
        ids.sort();
        ids
    };
    assert_eq!(of_round(""), of_round("1"), "a letter keeps its id");
    assert_eq!(own_outputs(&flow).len(), RECORDS as usize - crashed, "only what was refused is processed again");

    let fixed = case.path().join("fixed.wasm");
    std::fs::write(&fixed, guests::with_number("fixable", 1)).expect("written");
    let module = fixed.to_str().expect("UTF-8");
    let tried = json(&case, &["dlq", "redrive", &flow, "--dry-run", "--module", module]);
    assert_eq!(tried.len(), broken);
    assert!(
        tried.iter().all(|told| told["outputs"].as_array().is_some_and(|outputs| !outputs.is_empty())),
        "{tried:?}"
    );
    assert_eq!(redrive(&case, &flow, &["--dry-run"]).0.len(), broken, "a rehearsal copies nothing");

    case.install_as("fixable", &guests::with_number("fixable", 1));
    host.wait_for_words("modules in place for the next batch");
    let crashes = redrive(&case, &flow, &["--code", "trap"]);
    assert_eq!((crashes.0.len(), crashes.1), (crashed, 0));
    let (rest, already) = redrive(&case, &flow, &[]);
    assert_eq!((rest.len(), already), (broken - crashed, crashed as u64));
    wait_until("all rows are there", 90, || case.database.count("fixable_rows") == RECORDS);
    wait_until("all outputs are there", 90, || own_outputs(&flow).len() == RECORDS as usize);
    assert_as_if_nothing_had_been(&case, &flow, time);
    for key in 0..7 {
        let sql = format!("SELECT at FROM fixable_rows WHERE key = 'k{key}' AND text LIKE '%ü%' ORDER BY n");
        let offsets: Vec<i64> = case.database.column(&sql).iter().map(|at| at.parse().expect("an offset")).collect();
        assert!(offsets.is_sorted() && !offsets.is_empty(), "the order of key {key} is kept: {offsets:?}");
    }

    let (again, already) = redrive(&case, &flow, &[]);
    assert_eq!((again.len(), already), (0, broken as u64), "a letter is redriven once");
    assert_eq!(host.stop().code, 0);
    let host = case.start();
    host.wait_for_words("reads redriven records");
    host.ready();
    assert_as_if_nothing_had_been(&case, &flow, time);
    assert_eq!(kafka::consume(&dead).len(), 2 * broken);
}

#[test]
fn letters_in_a_table_are_redriven_the_same_way() {
    let mut case = Case::new("redrive_rows");
    let topic = case.topic("in", PARTITIONS);
    let flow = case.named("flow");
    let lines = "start = \"latest\"\ndelivery = \"idempotent\"\ndead_letters = \"table:ops.letters\"";
    case.flow(&flow, &format!("modules = [\"fixable\"]\ntopics = [\"{topic}\"]\n{lines}"));
    case.install_as("fixable", &guests::with_number("fixable", 0));
    let host = case.start();
    // With `latest`, the first offsets must be there before the records are.
    wait_until("the group has its first offsets", 60, || {
        kafka::committed(&format!("wasmill.{flow}"), &topic).len() == PARTITIONS as usize
    });
    let time = now();
    send(&topic, time);
    case.wait_until_committed(&flow, &topic, 120);
    let broken = (0..RECORDS).filter(|id| is_broken(*id)).count();
    assert_eq!(case.database.count("ops.letters"), broken as i64);
    assert_eq!(redrive(&case, &flow, &[]).0.len(), broken);
    let refused_again = "SELECT count(*) FROM ops.letters WHERE redriven = 1";
    wait_until("every letter has died again", 90, || case.database.column(refused_again) == [broken.to_string()]);
    assert_eq!(case.database.count("ops.letters"), broken as i64, "a letter keeps its row");

    case.install_as("fixable", &guests::with_number("fixable", 1));
    host.wait_for_words("modules in place for the next batch");
    assert_eq!(redrive(&case, &flow, &[]).0.len(), broken);
    wait_until("all rows are there", 90, || case.database.count("fixable_rows") == RECORDS);
    wait_until("all outputs are there", 90, || own_outputs(&flow).len() == RECORDS as usize);
    assert_as_if_nothing_had_been(&case, &flow, time);
    assert_eq!(redrive(&case, &flow, &[]), (Vec::new(), broken as u64));
    let listed = json(&case, &["dlq", "ls", "--flow", &flow]).remove(0);
    let redriven: u64 = listed.as_array().expect("groups").iter().filter_map(|group| group["redriven"].as_u64()).sum();
    assert_eq!(redriven, broken as u64);
}

#[test]
fn a_fix_of_one_module_is_rehearsed_within_its_chain() {
    let mut case = Case::new("redrive_chain");
    let topic = case.topic("in", 1);
    let flow = case.named("flow");
    case.flow(&flow, &format!("modules = [\"unwrap-batch\", \"quotes\"]\ntopics = [\"{topic}\"]"));
    case.install("unwrap-batch");
    case.install("quotes");
    let host = case.start();
    host.ready();
    let good = samples::quote_json("short", "Homer", "");
    let long = samples::quote_json(&"long ".repeat(200), "Homer", "");
    // One that the module refuses as a whole, and one of which the database refuses the second event.
    let values = [format!("[{good}, {{\"quote\": 5}}]"), format!("[{good}, {long}]")];
    kafka::produce(&values.iter().map(|value| Outgoing::to(&topic).value(value.as_str())).collect::<Vec<_>>());
    case.wait_until_committed(&flow, &topic, 60);
    let candidates = case.path().join("candidates");
    std::fs::create_dir(&candidates).expect("created");
    let rehearsed = |name: &str, bytes: &[u8]| {
        let file = candidates.join(name);
        std::fs::write(&file, bytes).expect("written");
        let file = file.to_str().expect("UTF-8").to_owned();
        command(&case, &["dlq", "redrive", &flow, "--dry-run", "--module", &file, "--json"])
    };
    let told = |ran: &Finished| -> Vec<(String, Vec<String>, String)> {
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        let told = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let to = |told: &Value| -> Vec<String> {
            let outputs = told["outputs"].as_array().into_iter().flatten();
            outputs.map(|output| output["to"].as_str().expect("a target").to_owned()).collect()
        };
        told.map(|told| (told["was"].as_str().expect("a code").to_owned(), to(&told), told.to_string())).collect()
    };
    let same = told(&rehearsed("quotes.wasm", &guests::bytes("quotes")));
    assert_eq!(same.len(), 2, "{same:?}");
    assert!(same[0].0 == "reject" && same[0].1.is_empty() && same[0].2.contains("reject"), "{same:?}");
    assert!(same[1].0 == "pg-22001" && same[1].1 == ["postgres:quotes"] && same[1].2.contains("long"), "{same:?}");
    // Another module under the name of the second: it takes what the first hands on.
    let other = told(&rehearsed("quotes.wasm", &guests::bytes("hostile")));
    assert_eq!(other[0].1, ["kafka:hostile_out", "postgres:hostile_ok", "kafka:hostile_out", "postgres:hostile_ok"]);
    assert!(other[1].1.is_empty(), "the refused output is not made any more: {other:?}");
    let stranger = rehearsed("fixed.wasm", &guests::bytes("quotes"));
    assert!(stranger.code == 2 && stranger.stderr.contains("unwrap-batch.wasm or quotes.wasm"), "{}", stranger.stderr);
    let last = rehearsed("unwrap-batch.wasm", &guests::bytes("quotes"));
    assert!(last.code == 2 && last.stderr.contains("hands nothing on"), "{}", last.stderr);
    assert_eq!(case.database.count("quotes"), 1, "a rehearsal writes nothing");
}
