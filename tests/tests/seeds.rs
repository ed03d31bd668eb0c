//! The seed systems: each starts by its one command and prints what the README beside its transform says. They bring
//! their own services. The data lake takes a minute of waiting for its cap, so the others run beside it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the other tests are given and a reader's shell has not.
const GIVEN: [&str; 6] =
    ["KAFKA_BROKERS", "POSTGRES_URL", "POSTGRES_DATA", "MONGODB_URL", "MONGODB_VOLUME_URL", "MONGODB_KIND"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

/// The block of this kind, or why there is none.
fn block(readme: &str, kind: &str) -> String {
    let fence = format!("```{kind}\n");
    let (_, rest) = readme.split_once(&fence).unwrap_or_else(|| panic!("no block {kind}"));
    rest.split_once("```").expect("the block ends").0.to_owned()
}

/// Runs the command of a README and returns what it prints beside what it should.
fn run(transform: &str) -> (String, String) {
    let readme =
        std::fs::read_to_string(root().join("transforms").join(transform).join("README.md")).expect("a README");
    let mut command = Command::new("bash");
    command.arg("-c").arg(block(&readme, "sh seed")).current_dir(root()).stdin(Stdio::null());
    command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    GIVEN.iter().for_each(|name| _ = command.env_remove(name));
    let output = command.output().expect("bash can be started");
    let words = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "the seed of {transform} failed:\n{printed}\n{words}");
    // Figures of the run, where they are asked for.
    eprintln!("{words}");
    (printed, block(&readme, "text expected"))
}

#[test]
fn the_web_api_and_the_rows_of_a_database_arrive_as_their_readmes_say() {
    let (printed, expected) = run("quotes");
    assert_eq!(printed, expected);

    let (printed, expected) = run("users");
    assert_eq!(printed, expected);
}

#[test]
fn sixty_thousand_waiting_records_reach_the_lake_under_its_cap() {
    let (printed, expected) = run("log-data");
    assert_eq!(printed, expected);
}
