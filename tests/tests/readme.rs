//! What README.md and docs/author.md tell to type works as it stands there: their ```sh blocks are executed in order, in
//! one shell. Left out: `make demo` and `make test`, and blocks that are marked `sh external`.

use std::path::Path;
use std::process::{Command, Stdio};

/// Set by `make test` for the other tests and by cargo for this one; a reader's shell has none of it, and cargo would
/// build crates again whose build scripts look at it.
const NOT_THE_READERS: [&str; 14] = [
    "CARGO",
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_PACKAGE",
    "KAFKA_BROKERS",
    "POSTGRES_URL",
    "POSTGRES_DATA",
    "MONGODB_URL",
    "MONGODB_VOLUME_URL",
    "MONGODB_KIND",
    "MAKEFLAGS",
    "MAKELEVEL",
];

#[test]
fn the_commands_of_the_readme_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    assert!(!root.join(".wasmill/pids").exists(), "`make up` is running here: run `make down` first");
    let text = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let blocks = blocks(&text);
    assert!(blocks.iter().any(|block| block.contains("make up")), "no block of README.md says `make up`");
    // What was started is ended on failure too.
    let script = format!("set -eo pipefail\ntrap 'make down' EXIT\nset -x\n{}", blocks.join("\n"));
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).current_dir(root).stdin(Stdio::null());
    let foreign = |name: &str| NOT_THE_READERS.iter().any(|n| name == *n || n.ends_with('_') && name.starts_with(n));
    std::env::vars().filter(|(name, _)| foreign(name)).for_each(|(name, _)| _ = command.env_remove(name));
    let output = command.output().expect("bash can be started");
    let words = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "a command of README.md failed:\n{words}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.lines().filter(|line| line.contains(" | ")).count() >= 3, "the rows are printed:\n{words}");
    assert!(printed.lines().any(|line| line.contains("\"characterDirection\"")), "documents are printed:\n{words}");
}

#[test]
fn the_commands_of_the_authors_page_work_in_an_empty_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let text = std::fs::read_to_string(root.join("docs/author.md")).expect("docs/author.md");
    let folder = tempfile::TempDir::with_prefix("wasmill-page-").expect("a temporary directory");
    let program = wasmill_tests::services::variable("WASMILL_BIN");
    let path = format!(
        "{}:{}",
        Path::new(&program).parent().expect("a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = Command::new("bash");
    command.arg("-c").arg(format!("set -eo pipefail\nset -x\n{}", blocks(&text).join("\n")));
    let output = command.current_dir(folder.path()).env("PATH", path).stdin(Stdio::null()).output().expect("bash");
    let printed = String::from_utf8_lossy(&output.stdout);
    let words = format!("{}{printed}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "a command of docs/author.md failed:\n{words}");
    assert!(printed.contains("4 passed, 0 failed") && printed.contains("1 → postgres:orders"), "{words}");
    assert!(folder.path().join("modules/orders.wasm").is_file(), "{words}");
}

/// The text of the blocks to execute.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```sh" {
            let body: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != "```").collect();
            let kept = body.into_iter().filter(|l| !["make demo", "make test"].iter().any(|m| l.trim().starts_with(m)));
            blocks.push(kept.collect::<Vec<_>>().join("\n"));
        }
    }
    blocks
}

#[test]
fn only_plain_blocks_are_executed() {
    let text = "```sh\nmake demo\nmake up   # x\n```\nwords\n```sh external\nrm -r /\n```\n```toml\nx = 1\n```\n";
    assert_eq!(blocks(text), ["make up   # x"]);
}
