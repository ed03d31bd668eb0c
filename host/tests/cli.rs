//! What the program does as a process: exit codes, signals, and which stream gets what.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for something that comes in well under a second.
const PATIENCE: Duration = Duration::from_secs(60);

fn wasmill(dir: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    for variable in
        ["KAFKA_BROKERS", "POSTGRES_URL", "MONGODB_URL", "WASMILL_MODULES", "WASMILL_INSTANCE", "WASMILL_LOG"]
    {
        command.env_remove(variable);
    }
    command.current_dir(dir).stdin(Stdio::null()).env("HOME", dir);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn exit_code(mut child: Child) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    None
}

#[test]
fn a_typo_in_the_configuration_ends_with_2_and_a_caret() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("wasmill.toml"), "[flow.quotes]\ntopcs = []\n").unwrap();
    for command in ["run", "check", "health"] {
        let output = wasmill(dir.path()).arg(command).env("RUST_BACKTRACE", "1").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said = said(&output);
        assert!(said.contains("wasmill.toml:2:1") && said.contains("did you mean `topics`?"), "{said}");
        assert!(!said.contains("stack backtrace") && output.stdout.is_empty(), "{said}");
    }
}

#[test]
fn check_as_json_is_one_object_even_for_a_broken_file() {
    let dir = tempfile::tempdir().unwrap();
    for (source, code) in [("[kafka]\nbrokers = 5\n", 2), ("", 3)] {
        std::fs::write(dir.path().join("wasmill.toml"), source).unwrap();
        let output = wasmill(dir.path()).args(["check", "--offline", "--json"]).output().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((answer["exit"].as_i64(), output.status.code()), (Some(code), Some(code as i32)), "{answer}");
        assert!(answer["checks"].as_array().is_some_and(|checks| !checks.is_empty()), "{answer}");
    }
}

#[test]
fn check_offline_answers_at_once_and_names_the_missing_folder() {
    let dir = tempfile::tempdir().unwrap();
    let output = wasmill(dir.path()).args(["check", "--offline"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let data = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(data.contains("✗ modules") && data.contains("mkdir -p"), "{data}");
    std::fs::create_dir(dir.path().join("modules")).unwrap();
    let output = wasmill(dir.path()).args(["check", "--offline"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn an_address_in_use_ends_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    std::fs::write(dir.path().join("wasmill.toml"), format!("[admin]\nlisten = \"{address}\"\n")).unwrap();
    let output = wasmill(dir.path()).arg("run").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("another process listens there"), "{}", said(&output));
}

#[test]
fn a_signal_ends_a_waiting_host_with_0() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("modules")).unwrap();
    std::fs::write(
        dir.path().join("wasmill.toml"),
        "[kafka]\nbrokers = \"127.0.0.1:1\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let mut child = wasmill(dir.path()).arg("run").stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address =
        lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)).expect("it says where it listens");
    let output = wasmill(dir.path()).args(["health", "--json", "--admin", &address]).output().unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["ready"].is_boolean());
    // The rest must be read, or a full pipe would be what is tested.
    let rest = std::thread::spawn(move || lines.count());
    let mut stdout = child.stdout.take().unwrap();
    signal(&child, "-TERM");
    assert_eq!(exit_code(child), Some(0));
    rest.join().unwrap();
    let mut data = String::new();
    stdout.read_to_string(&mut data).unwrap();
    assert_eq!(data, "", "words belong on standard error");
}

#[test]
fn a_second_signal_ends_at_once() {
    for (name, code) in [("-TERM", 143), ("-INT", 130)] {
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new(this)
            .args(["--exact", "a_process_that_never_stops", "--nocapture"])
            .env("WASMILL_TEST_NEVER_STOPS", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("hears signals")));
        signal(&child, name);
        assert!(lines.any(|line| line.contains("was asked to stop")));
        signal(&child, name);
        assert_eq!(exit_code(child), Some(code));
    }
}

/// Only something to send signals to; by itself it does nothing.
#[test]
#[allow(clippy::print_stdout, reason = "the parent waits for these words")]
fn a_process_that_never_stops() {
    if std::env::var_os("WASMILL_TEST_NEVER_STOPS").is_none() {
        return;
    }
    let shutdown = wasmill::shutdown::Shutdown::listen().unwrap();
    println!("hears signals");
    while !shutdown.wait_timeout(PATIENCE) {}
    println!("was asked to stop");
    std::thread::sleep(PATIENCE);
}

#[test]
fn explain_knows_codes_and_families_and_says_what_is_near() {
    let dir = tempfile::tempdir().unwrap();
    let explain = |arguments: &[&str]| wasmill(dir.path()).arg("explain").args(arguments).output().unwrap();
    let data = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(data(&explain(&["pg-23505"])).contains("a row with the same key is there already"));
    assert!(data(&explain(&["78"])).contains("another host runs under the same name"));
    assert!(data(&explain(&[])).lines().count() > 50);
    let answer: serde_json::Value = serde_json::from_slice(&explain(&["mongo-9", "--json"]).stdout).unwrap();
    assert_eq!(answer["code"], "mongo-<code>");
    let unknown = explain(&["rejct"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said(&unknown).contains("did you mean reject?"), "{}", said(&unknown));
}

#[test]
fn the_schema_is_json_on_standard_output() {
    let dir = tempfile::tempdir().unwrap();
    let output = wasmill(dir.path()).arg("schema").output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && schema["properties"]["flow"].is_object(), "{schema}");
}

#[test]
fn doctor_names_each_fix_and_asks_nothing_of_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = format!(
        "[kafka]\nbrokers = \"127.0.0.1:1\"\n[admin]\nlisten = \"{address}\"\n[sinks.lite]\nurl = \"sqlite://x.db\"\n\
         [sinks.pg]\nurl = \"postgres://me:hunter2@127.0.0.1:1/x\"\n"
    );
    std::fs::write(dir.path().join("wasmill.toml"), config).unwrap();
    std::fs::create_dir(dir.path().join("modules")).unwrap();
    let output = wasmill(dir.path()).args(["doctor", "--json"]).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((answer["exit"].as_i64(), output.status.code()), (Some(3), Some(3)), "{answer}");
    let state = |what: &str| {
        let checks = answer["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("{what}: {answer}"));
        if check["state"] != "ok" {
            assert!(check["help"].as_str().is_some_and(|help| help.len() > 5), "{check}");
        }
        check["state"].as_str().unwrap().to_owned()
    };
    for (what, expected) in
        [("port", "failed"), ("kafka", "failed"), ("sink pg", "failed"), ("sink lite", "ok"), ("file events", "ok")]
    {
        assert_eq!(state(what), expected, "{what}");
    }
    assert!(!answer.to_string().contains("hunter2"));
}
