//! Builds of modules over restarts: what a rollback finds, what a replay finds, and what is written down of them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;
use wasmill_tests::host::wasmill;
use wasmill_tests::kafka::{self, Outgoing};
use wasmill_tests::{Case, Host, guests, wait_for, wait_until};

const TOKEN: &str = "builds-0123456789abcdef";
const STORE: &str = "store = \"store\"";

/// A host whose changes this test may ask for.
fn start(case: &mut Case) -> Host {
    case.env = vec![("WASMILL_TOKEN".into(), TOKEN.into())];
    let host = case.start_with(&case.config().replace("[admin]\n", &format!("[admin]\ntoken = \"{TOKEN}\"\n")));
    host.ready();
    host
}

fn records(topic: &str, count: usize) -> Vec<Outgoing> {
    (0..count).map(|_| Outgoing::to(topic).key("p0").value("p0")).collect()
}

fn numbers(case: &Case) -> Vec<String> {
    case.database.column("SELECT number FROM numbered ORDER BY \"offset\"")
}

/// Produces a few records and waits for them; they were made by module `number`.
#[track_caller]
fn made_by(case: &Case, flow: &str, topic: &str, number: &str) {
    kafka::produce(&records(topic, 3));
    case.wait_until_committed(flow, topic, 60);
    assert_eq!(numbers(case).iter().rev().take(3).collect::<Vec<_>>(), [number; 3]);
}

/// Digest of the build that runs.
fn digest(host: &Host, flow: &str) -> String {
    host.flow_state(flow)["modules"][0]["digest"].as_str().expect("a digest").to_owned()
}

/// Drops a module and waits until the flow runs with it.
fn swap(case: &Case, host: &Host, flow: &str, number: u32) {
    let swaps = || host.flow_state(flow)["swaps"].as_u64();
    let before = wait_for("the flow is there", 60, swaps);
    case.install_as("numbered", &guests::numbered(number));
    wait_until("the module is in place", 60, || swaps() > Some(before));
}

#[test]
fn a_rollback_outlives_a_restart_until_the_folder_holds_another_file() {
    let mut case = Case::new("kept_rollback");
    case.modules = STORE.into();
    let topic = case.topic("in", 1);
    let flow = case.flow_of("numbered", &topic);
    case.install_as("numbered", &guests::numbered(1));
    let host = start(&mut case);
    made_by(&case, &flow, &topic, "1");
    swap(&case, &host, &flow, 2);
    made_by(&case, &flow, &topic, "2");
    let rolled = case.command(&host, &["flow", "rollback", &flow]);
    assert!(rolled.code == 0 && rolled.stderr.contains("also over restarts"), "{}{}", rolled.stdout, rolled.stderr);
    made_by(&case, &flow, &topic, "1");
    assert_eq!(host.stop().code, 0);

    let host = start(&mut case);
    made_by(&case, &flow, &topic, "1");
    assert_eq!(host.flow_state(&flow)["rolled_back"], true);
    let undone = case.command(&host, &["flow", "rollback", &flow, "--undo"]);
    assert_eq!(undone.code, 0, "{}", undone.stderr);
    wait_until("the folder's build runs", 30, || host.flow_state(&flow)["swaps"] == 1);
    made_by(&case, &flow, &topic, "2");
    host.kill();

    let host = start(&mut case);
    made_by(&case, &flow, &topic, "2");
    let state = host.flow_state(&flow);
    assert!(state["rolled_back"] == false && state["before"].is_string(), "{state}");
    // The best of five: what is measured is the switch, not the wait for a processor.
    let mut took: Vec<f64> = Vec::new();
    while took.last().is_none_or(|millis| *millis >= 50.0) {
        assert!(took.len() < 5, "the switches took {took:?} ms");
        if !took.is_empty() {
            let undone = case.command(&host, &["flow", "rollback", &flow, "--undo"]);
            assert_eq!(undone.code, 0, "{}", undone.stderr);
            wait_until("the folder's build runs", 60, || host.flow_state(&flow)["swaps"] == 2 * took.len());
        }
        let rolled = case.command(&host, &["flow", "rollback", &flow]);
        assert_eq!(rolled.code, 0, "the build before is from the store: {}", rolled.stderr);
        took.push(host.flow_state(&flow)["last_swap_ms"].as_f64().expect("a time"));
    }
    made_by(&case, &flow, &topic, "1");
    assert_eq!(host.stop().code, 0);

    case.install_as("numbered", &guests::numbered(3));
    let host = start(&mut case);
    made_by(&case, &flow, &topic, "3");
    assert_eq!(host.flow_state(&flow)["rolled_back"], false);
    let rolled = case.command(&host, &["flow", "rollback", &flow]);
    assert_eq!(rolled.code, 0, "{}", rolled.stderr);
    made_by(&case, &flow, &topic, "1");
    let mut runs = numbers(&case);
    runs.dedup();
    assert_eq!(runs, ["1", "2", "1", "2", "1", "3", "1"], "no other build ever got a record");
    assert_eq!(kept(&case.path().join("store")), 3);
}

/// Files of builds.
fn kept(store: &Path) -> usize {
    let files = std::fs::read_dir(store).into_iter().flatten().flatten();
    files.filter(|file| file.path().extension().is_some_and(|extension| extension == "wasm")).count()
}

#[test]
fn what_has_to_be_repeated_is_made_by_the_build_of_then_also_after_a_restart() {
    let mut case = Case::new("kept_replay");
    case.modules = STORE.into();
    let topic = case.topic("in", 1);
    let flow = case.flow_of("numbered", &topic);
    case.install_as("numbered", &guests::numbered(1));
    kafka::produce(&records(&topic, 20));
    let host = start(&mut case);
    case.wait_until_committed(&flow, &topic, 60);
    assert_eq!(host.stop().code, 0);
    // As a backup of some time ago, while a new module is put in place.
    case.database.execute("DELETE FROM numbered WHERE \"offset\" >= 10");
    case.database.execute("UPDATE wasmill.progress SET next_offset = 10");
    case.install_as("numbered", &guests::numbered(2));
    let host = start(&mut case);
    wait_until("what the database lacks is repeated", 60, || case.database.count("numbered") == 20);
    made_by(&case, &flow, &topic, "2");
    assert_eq!(numbers(&case)[..20], ["1"; 20]);
    assert_eq!(host.metric("wasmill_replays_with_other_module_total", &[("flow", &flow)]), 0.0);
}

#[test]
fn a_store_that_cannot_be_written_is_named_everywhere_and_filled_when_it_can() {
    let mut case = Case::new("kept_nowhere");
    case.modules = "store = \"blocked/store\"".into();
    let blocked = case.path().join("blocked");
    std::fs::write(&blocked, "a file where a folder should be").expect("written");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("numbered", &topic);
    case.install_as("numbered", &guests::numbered(1));
    let host = case.start();
    wait_until("the health names it", 60, || host.get("/health/ready").1.contains("modules store"));
    kafka::produce(&records(&topic, 3));
    case.wait_until_committed(&flow, &topic, 60);
    for arguments in [&["check", "--offline"][..], &["doctor"]] {
        let said = wasmill(&[arguments, &["-c", "wasmill.toml"]].concat(), case.path(), &case.env);
        assert!(said.code == 3 && said.stdout.contains("✗ store: "), "{}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains("modules.store"), "the fix is named: {}", said.stdout);
    }
    std::fs::remove_file(&blocked).expect("removed");
    host.ready();
    assert_eq!(kept(&blocked.join("store")), 1);
    assert!(blocked.join(format!("store/flows/{flow}.json")).exists());
    let fine = wasmill(&["check", "--offline", "-c", "wasmill.toml"], case.path(), &case.env);
    assert!(fine.code == 0 && fine.stdout.contains("✓ store: "), "{}{}", fine.stdout, fine.stderr);
}

#[test]
fn the_history_names_the_build_of_every_row() {
    let mut case = Case::new("kept_history");
    let topic = case.topic("in", 2);
    let flow = case.flow_of("numbered", &topic);
    case.install_as("numbered", &guests::numbered(1));
    let host = start(&mut case);
    let (done, mut digests) = (AtomicBool::new(false), Vec::new());
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let record = |n: usize| Outgoing::to(&topic).partition(n as i32 % 2).value(format!("p{}", n % 2));
                kafka::produce(&(0..200).map(record).collect::<Vec<_>>());
            }
        });
        let steps = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for_row(&case, 1);
            wait_until("both partitions begin with the first", 60, || {
                let seen = "SELECT DISTINCT right(value, 1) FROM numbered WHERE number = 1";
                case.database.try_rows(seen).is_ok_and(|rows| rows.len() == 2)
            });
            digests.push(digest(&host, &flow));
            swap(&case, &host, &flow, 2);
            wait_for_row(&case, 2);
            digests.push(digest(&host, &flow));
            let rolled = case.command(&host, &["flow", "rollback", &flow]);
            assert_eq!(rolled.code, 0, "{}", rolled.stderr);
            assert!(
                rolled.stderr.contains("after a restart the file in the folder runs"),
                "without a store it does not last: {}",
                rolled.stderr
            );
            swap(&case, &host, &flow, 3);
            wait_for_row(&case, 3);
            digests.push(digest(&host, &flow));
        }));
        done.store(true, Ordering::Relaxed);
        load.join().expect("the load was produced");
        steps.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    case.wait_until_committed(&flow, &topic, 60);
    let table = "SELECT DISTINCT r.number, h.module_digest FROM numbered r, wasmill.module_history h \
                 WHERE h.sink = 'postgres' AND h.\"partition\" = right(r.value, 1)::int AND h.from_offset = \
                 (SELECT max(from_offset) FROM wasmill.module_history b WHERE b.\"partition\" = h.\"partition\" \
                  AND b.from_offset <= r.\"offset\") ORDER BY 1, 2";
    let made: Vec<Vec<String>> =
        case.database.rows(table).into_iter().map(|row| row.into_iter().flatten().collect()).collect();
    let numbered = ["1", "2", "3"].into_iter().zip(&digests);
    let expected: Vec<Vec<String>> = numbered.map(|(number, digest)| vec![number.to_owned(), digest.clone()]).collect();
    assert_eq!(made, expected, "each row is of the build that the history has for its offset");

    let inspected = case.command(&host, &["inspect", &flow, "--json"]);
    let inspected: Value = serde_json::from_str(&inspected.stdout).expect("JSON");
    let history = &inspected["module_history"];
    assert_eq!(history["sink"], "postgres");
    let builds = history["builds"].as_array().expect("builds");
    let first = builds.last().expect("at least one");
    assert_eq!((builds[0]["digest"].as_str(), first["digest"].as_str()), (Some(&*digests[2]), Some(&*digests[0])));
    assert_eq!(first["from"].as_array().map(Vec::len), Some(2), "both partitions began with the first: {history}");
    let text = case.command(&host, &["inspect", &flow]).stdout;
    assert!(text.contains("FROM OFFSET") && text.contains(&digests[1][..8]), "{text}");
    assert_eq!(host.get("/api/module-history?flow=nobody").0, 404);
}

fn wait_for_row(case: &Case, number: u32) {
    let sql = format!("SELECT 1 FROM numbered WHERE number = {number} LIMIT 1");
    wait_until(&format!("module {number} writes"), 60, || {
        case.database.try_rows(&sql).is_ok_and(|rows| !rows.is_empty())
    });
}

#[test]
fn a_host_that_may_not_keep_a_history_writes_all_the_same() {
    let mut case = Case::new("kept_rights");
    let topic = case.topic("in", 1);
    let flow = case.flow_of("numbered", &topic);
    let user = case.named("user");
    // As the script of `deploy/rights` leaves it, but for the right to create.
    let script = std::fs::read_to_string("../deploy/rights/postgres.sql").expect("the script");
    let script = ["CREATE ROLE ", "ALTER ROLE ", "SCHEMA wasmill AUTHORIZATION ", "public TO "]
        .iter()
        .fold(script, |script, word| script.replace(&format!("{word}wasmill"), &format!("{word}{user}")));
    case.database.execute(&script);
    case.postgres_url = case.database.url_as(&user, "change-me");
    case.install_as("numbered", &guests::numbered(1));
    let host = start(&mut case);
    made_by(&case, &flow, &topic, "1");
    let history = "SELECT module_digest FROM wasmill.module_history";
    assert_eq!(case.database.column(history), [digest(&host, &flow)]);
    assert_eq!(host.stop().code, 0);
    case.database.execute(&format!(
        "DROP TABLE wasmill.module_history; ALTER SCHEMA wasmill OWNER TO CURRENT_USER; GRANT USAGE ON SCHEMA wasmill TO {user}"
    ));
    case.install_as("numbered", &guests::numbered(2));
    let host = start(&mut case);
    made_by(&case, &flow, &topic, "2");
    let told: Value = serde_json::from_str(&host.get(&format!("/api/module-history?flow={flow}")).1).expect("JSON");
    assert_eq!(told["builds"], Value::Array(Vec::new()), "{told}");
    assert!(host.stop().code == 0);
    // The right is taken away from a host that runs.
    case.database.execute(&format!("GRANT CREATE ON SCHEMA wasmill TO {user}"));
    let host = start(&mut case);
    swap(&case, &host, &flow, 3);
    made_by(&case, &flow, &topic, "3");
    case.database.execute(&format!(
        "ALTER TABLE wasmill.module_history OWNER TO CURRENT_USER; REVOKE ALL ON wasmill.module_history FROM {user}"
    ));
    swap(&case, &host, &flow, 4);
    made_by(&case, &flow, &topic, "4");
    drop(host);
    case.database.execute(&format!("DROP OWNED BY {user}; DROP ROLE {user}"));
}
