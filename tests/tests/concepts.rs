//! docs/concepts.md and docs/scaling.md: their commands are run in order, in one shell, and print what stands below them.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wasmill_tests::guests;
use wasmill_tests::services::variable;

/// What the other tests are given and a reader's shell has not.
const GIVEN: [&str; 6] =
    ["KAFKA_BROKERS", "POSTGRES_URL", "POSTGRES_DATA", "MONGODB_URL", "MONGODB_VOLUME_URL", "MONGODB_KIND"];

/// Brokers and a Postgres of this test's own.
struct Services {
    directory: PathBuf,
    brokers: &'static str,
}

impl Services {
    fn start(directory: PathBuf, brokers: &'static str) -> Self {
        let services = Services { directory, brokers };
        services.call("up");
        services
    }

    fn call(&self, what: &str) {
        let mut command = Command::new(root().join("tests/services/services.sh"));
        command.arg(what).arg(&self.directory).env("SERVICES", "kafka postgres").env("KAFKA_NODES", self.brokers);
        command.env("SERVICES_FROM", "native").env("READY_TIMEOUT", "240").stdin(Stdio::null()).stdout(Stdio::null());
        GIVEN.iter().for_each(|name| _ = command.env_remove(name));
        let status = command.status().expect("services.sh can be started");
        assert!(status.success() || std::thread::panicking(), "services.sh {what} failed");
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.call("down");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

/// Commands, each with what it should print.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut body = || lines.by_ref().take_while(|line| *line != "```").collect::<Vec<_>>().join("\n");
        match line {
            "```sh" => blocks.push((body(), String::new())),
            "```text" => blocks.last_mut().expect("a command before its output").1 = body(),
            _ => {}
        }
    }
    blocks
}

/// Whether a line is as expected; `…` stands for anything.
fn fits(line: &str, expected: &str) -> bool {
    let mut parts = expected.trim().split('…').map(str::trim);
    let line = line.trim();
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    for part in &parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty() || parts.last() == Some(&"")
}

#[test]
fn the_commands_of_the_concepts_page_print_what_stands_below_them() {
    try_page("docs/concepts.md", 7, "3");
}

#[test]
fn the_commands_of_the_scaling_page_print_what_stands_below_them() {
    try_page("docs/scaling.md", 3, "1");
}

/// Runs the commands of a page, which has at least so many, on so many brokers.
fn try_page(page: &str, least: usize, brokers: &'static str) {
    let text = std::fs::read_to_string(root().join(page)).expect("the page");
    let blocks = blocks(&text);
    assert!(blocks.len() >= least && blocks.iter().all(|(_, expected)| !expected.is_empty()), "{blocks:?}");
    let folder = tempfile::TempDir::with_prefix("wasmill-concepts-").expect("a temporary directory");
    std::fs::create_dir_all(folder.path().join("modules")).expect("a modules folder");
    std::fs::create_dir_all(folder.path().join(".wasmill/services")).expect("a folder of services");
    std::fs::copy(guests::path("quotes"), folder.path().join("modules/quotes.wasm")).expect("the module");
    symlink(root().join("tests"), folder.path().join("tests")).expect("a link");
    let services = Services::start(folder.path().join(".wasmill/services"), brokers);

    let program = variable("WASMILL_BIN");
    let programs = Path::new(&program).parent().expect("a folder").display().to_string();
    let mut script = "set -eo pipefail\nset -a; . .wasmill/services/env; set +a\n".to_owned();
    for (command, _) in &blocks {
        script.push_str(&format!("{command}\nprintf '== end of a block\\n'\n"));
    }
    let mut command = Command::new("timeout");
    command.args(["900", "bash", "-c", &script]).current_dir(folder.path()).stdin(Stdio::null());
    GIVEN.iter().for_each(|name| _ = command.env_remove(name));
    command.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap_or_default())).env("NO_COLOR", "1");
    command.env("READY_TIMEOUT", "240");
    let output = command.output().expect("bash can be started");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = String::from_utf8_lossy(&output.stderr);
    drop(services);
    assert!(output.status.success(), "a command failed:\n{printed}\n{words}");
    for ((command, expected), printed) in blocks.iter().zip(printed.split("== end of a block\n")) {
        let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), printed.lines().collect());
        let same = expected.len() == found.len() && expected.iter().zip(&found).all(|(e, f)| fits(f, e));
        assert!(same, "printed:\n{printed}\ninstead of:\n{}\nby:\n{command}\n{words}", expected.join("\n"));
    }
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    assert!(fits("  0   1  1,2,3   0    4", "0  …  0    4"));
    assert!(fits("2@1 2026 key A-6 {x}", "2@1 … key A-6 {…"));
    assert!(!fits("300 rows", "300") && !fits("301", "300") && !fits("0 1 2", "0 … 3"));
}
