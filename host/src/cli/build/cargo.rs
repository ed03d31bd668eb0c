//! What is asked of cargo: which package lies in a folder, and to build it for Wasm.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::toolchain::{Environment, TARGET};
use crate::cli::modules::user_dir;
use crate::cli::{Failure, out};

/// The profile of modules. `panic = "abort"` because a trap is how a panic ends anyway, fat LTO and one unit because
/// they halve the time per record. Overflow is checked in the author's own code: wrong numbers must not become rows.
const PROFILE: [&str; 8] = [
    "profile.wasmill.inherits=\"release\"",
    "profile.wasmill.opt-level=3",
    "profile.wasmill.lto=\"fat\"",
    "profile.wasmill.codegen-units=1",
    "profile.wasmill.panic=\"abort\"",
    "profile.wasmill.strip=\"debuginfo\"",
    "profile.wasmill.overflow-checks=true",
    "profile.wasmill.package.\"*\".overflow-checks=false",
];
/// The SDK brings the random numbers: seeded, so that a replay sees the same ones.
const RUSTFLAGS: &str = "target.wasm32-unknown-unknown.rustflags=['--cfg','getrandom_backend=\"custom\"']";

/// A package that can become a module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    manifest: PathBuf,
    /// Target directory of the package's workspace.
    target: PathBuf,
    /// Whether the workspace is this package alone.
    alone: bool,
}

/// The package in this folder.
pub(super) fn find(path: &Path) -> Result<Package, Failure> {
    let dir = if path.ends_with("Cargo.toml") { path.parent().unwrap_or(path) } else { path };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let manifest = dir.join("Cargo.toml");
    let manifest = manifest.canonicalize().map_err(|_| {
        Failure::environment(format!(
            "there is no crate in {}: it has no Cargo.toml; name the folder of a transform",
            dir.display()
        ))
    })?;
    let output = cargo(dir)
        .args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"])
        .arg(&manifest)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| no_cargo(&error))?;
    if !output.status.success() {
        return Err(Failure::runtime(format!("cargo cannot read {}: see above", manifest.display())));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::environment(format!("cargo metadata answers in an unknown form: {error}")))?;
    package(&metadata, &manifest)
}

fn package(metadata: &Value, manifest: &Path) -> Result<Package, Failure> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let here = |package: &&Value| package["manifest_path"].as_str().map(Path::new) == Some(manifest);
    let Some(package) = packages.iter().find(here) else {
        let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
        return Err(Failure::config(format!(
            "{} is a workspace without a package of its own; name the folder of one of its members: {}",
            manifest.display(),
            names.join(", ")
        )));
    };
    let name = package["name"].as_str().unwrap_or_default().to_owned();
    let is_cdylib = |target: &Value| list(&target["crate_types"]).any(|kind| kind == "cdylib");
    if !package["targets"].as_array().into_iter().flatten().any(is_cdylib) {
        return Err(Failure::config(format!(
            "{name} does not build a module: its library is no cdylib; add these two lines to {}:\n\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]",
            manifest.display()
        )));
    }
    let target = metadata["target_directory"].as_str().unwrap_or("target").into();
    let dir = manifest.parent().unwrap_or(manifest).to_path_buf();
    let alone = metadata["workspace_root"].as_str().map(Path::new) == Some(&dir);
    Ok(Package { name, dir, manifest: manifest.into(), target, alone })
}

/// Builds the package and returns the file that came out.
pub(super) fn build(package: &Package, environment: &Environment) -> Result<PathBuf, Failure> {
    let mut command = cargo(&package.dir);
    command.args(["build", "--lib", "--target", TARGET, "--profile", "wasmill"]);
    command.arg("--manifest-path").arg(&package.manifest).args(["--package", &package.name]);
    // Its own directory: another compiler than for the host may be at work here.
    command.arg("--target-dir").arg(package.target.join("wasm")).arg("--message-format=json-render-diagnostics");
    for setting in PROFILE.iter().chain([&RUSTFLAGS]) {
        command.args(["--config", setting]);
    }
    // Crates that stand alone share what they all depend on: the SDK is compiled once, not once per crate.
    if let Some(shared) = user_dir().filter(|_| package.alone && std::env::var_os("CARGO_BUILD_BUILD_DIR").is_none()) {
        command.args(["--config", &format!("build.build-dir={:?}", shared.join("build").display().to_string())]);
    }
    // These would replace our flags, and a module must not depend on who builds it.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(variable);
    }
    command.envs(environment.iter().map(|(key, value)| (key, value)));
    out::say(&format!("building {} for {TARGET}", package.name));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| no_cargo(&error))?;
    let mut file = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            file = produced(&line, &package.manifest).or(file);
        }
    }
    let status = child.wait().map_err(|error| Failure::environment(format!("cargo was lost: {error}")))?;
    match file {
        Some(file) if status.success() => Ok(file),
        _ if status.success() => {
            Err(Failure::environment(format!("cargo built {}, but named no .wasm file", package.name)))
        }
        _ => Err(Failure::runtime(format!("{} does not compile: see above", package.name))),
    }
}

/// The Wasm file that a line of cargo's messages tells of.
fn produced(line: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let ours =
        message["reason"] == "compiler-artifact" && message["manifest_path"].as_str().map(Path::new) == Some(manifest);
    let file = list(&message["filenames"]).find(|file| file.ends_with(".wasm"))?;
    ours.then(|| file.into())
}

fn list(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(dir).stdin(Stdio::null());
    command
}

fn no_cargo(error: &std::io::Error) -> Failure {
    Failure::environment(format!("cannot start cargo: {error}; install Rust from https://rustup.rs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(types: &[&str]) -> Value {
        json!({ "target_directory": "/w/target", "packages": [
            { "name": "quotes", "manifest_path": "/w/quotes/Cargo.toml", "targets": [{ "crate_types": types }] },
        ]})
    }

    #[test]
    fn a_library_that_is_no_cdylib_is_told_the_two_lines() {
        let failure = package(&metadata(&["lib"]), Path::new("/w/quotes/Cargo.toml")).unwrap_err();
        assert_eq!(failure.code, 2);
        assert!(failure.message.ends_with("\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]"), "{}", failure.message);
        let found = package(&metadata(&["cdylib", "rlib"]), Path::new("/w/quotes/Cargo.toml")).unwrap();
        assert_eq!((found.name.as_str(), found.target.as_path()), ("quotes", Path::new("/w/target")));
    }

    #[test]
    fn a_workspace_names_its_members() {
        let failure = package(&metadata(&["cdylib"]), Path::new("/w/Cargo.toml")).unwrap_err();
        assert!(failure.message.ends_with("one of its members: quotes"), "{}", failure.message);
    }

    #[test]
    fn the_file_is_found_among_cargos_messages() {
        let manifest = Path::new("/w/quotes/Cargo.toml");
        let line = |manifest: &str, file: &str| {
            json!({ "reason": "compiler-artifact", "manifest_path": manifest, "filenames": [file] }).to_string()
        };
        assert_eq!(produced(&line("/w/quotes/Cargo.toml", "/t/quotes.wasm"), manifest), Some("/t/quotes.wasm".into()));
        assert_eq!(produced(&line("/w/sdk/Cargo.toml", "/t/sdk.wasm"), manifest), None);
        assert_eq!(produced(&line("/w/quotes/Cargo.toml", "/t/libquotes.rlib"), manifest), None);
        assert_eq!(produced("not JSON", manifest), None);
    }
}
