//! Finds a compiler with a standard library for Wasm, or prepares one: `scripts/wasm-target.sh` knows how (rustup, else
//! Debian's packages in a private directory; the variable WASMILL_WASM_TOOLCHAIN chooses).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::Failure;

pub(in crate::cli) const TARGET: &str = "wasm32-unknown-unknown";
const SCRIPT: &str = include_str!("../../../../scripts/wasm-target.sh");
/// What to do by hand where nothing else works.
pub(in crate::cli) const BY_HAND: &str = "rustup target add wasm32-unknown-unknown";

/// Variables for cargo.
pub(super) type Environment = Vec<(String, String)>;

/// The environment that builds for Wasm in `dir`, whose toolchain file counts.
pub(super) fn find(dir: &Path) -> Result<Environment, Failure> {
    if has_std(dir) {
        return Ok(Vec::new());
    }
    let mut child = Command::new("bash")
        .args(["-s", "--", "--env"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::environment(format!("cannot prepare it: no bash ({error}); run: {BY_HAND}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A script that ends early says so by its exit code.
        stdin.write_all(SCRIPT.as_bytes()).ok();
    }
    let output =
        child.wait_with_output().map_err(|error| Failure::environment(format!("cannot prepare it: {error}")))?;
    if !output.status.success() {
        return Err(Failure::environment(format!(
            "no toolchain for {TARGET} could be prepared: see above; by hand: {BY_HAND}"
        )));
    }
    Ok(variables(&String::from_utf8_lossy(&output.stdout)))
}

/// Whether the compiler itself has the target.
pub(in crate::cli) fn has_std(dir: &Path) -> bool {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(compiler)
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let Ok(output) = output else { return false };
    let libraries = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let is_core = |name: &str| name.starts_with("libcore-") && name.ends_with(".rlib");
    let entries = std::fs::read_dir(libraries).into_iter().flatten().flatten();
    output.status.success() && entries.map(|entry| entry.file_name()).any(|name| is_core(&name.to_string_lossy()))
}

/// Whether the script has prepared a compiler of its own before.
pub(in crate::cli) fn is_prepared() -> bool {
    let named = std::env::var_os("WASMILL_WASM_CACHE").map(PathBuf::from);
    let dir = named.or_else(|| Some(crate::cli::modules::user_dir()?.join("wasm-toolchain")));
    dir.is_some_and(|dir| dir.join(".complete").exists())
}

fn variables(text: &str) -> Environment {
    text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_answer_becomes_variables() {
        let expected =
            vec![("RUSTC".to_owned(), "/x=y/rustc".to_owned()), ("RUSTUP_TOOLCHAIN".to_owned(), "1".to_owned())];
        assert_eq!(variables("RUSTC=/x=y/rustc\nRUSTUP_TOOLCHAIN=1\n"), expected);
        assert!(variables("").is_empty());
    }
}
