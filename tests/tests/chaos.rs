//! A short run of `make chaos`, on services of its own.

use std::process::Command;

#[test]
fn nothing_is_lost_doubled_or_reordered_while_everything_fails() {
    let ran = Command::new(env!("CARGO_BIN_EXE_wasmill-chaos"))
        .envs([("SEED", "5"), ("SECONDS_OF_FAULTS", "60"), ("RATE", "1500")])
        .output()
        .expect("the driver can be started");
    let (table, words) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && table.contains("| good |"), "{words}\n{table}");
}
