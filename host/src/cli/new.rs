//! `wasmill new`: a crate that builds, tests and runs as it is. What lies in the way is never overwritten; what it becomes
//! is the author's.

mod names;
pub(super) mod sdk;
mod templates;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use self::templates::Template;
use super::{Failure, out};

#[derive(clap::Args, Debug)]
pub(super) struct NewArgs {
    /// Name of the crate, the module and the flow: small letters, digits, - and _
    name: String,
    /// The folder to create [default: the name]
    dir: Option<PathBuf>,
    /// What it begins with
    #[arg(short, long, value_enum, default_value_t)]
    template: Template,
    /// The folder of wasmill-sdk [default: WASMILL_SDK, a guest-sdk folder above, else this program's own copy]
    #[arg(long, value_name = "DIR", env = "WASMILL_SDK")]
    sdk: Option<PathBuf>,
}

pub(super) fn run(args: &NewArgs) -> Result<(), Failure> {
    names::check(&args.name).map_err(Failure::config)?;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    refuse_what_is_there(&dir)?;
    let cannot = |what: &Path, error: std::io::Error| {
        Failure::environment(format!(
            "cannot create {}: {error}; choose another folder: wasmill new {} DIR",
            what.display(),
            args.name
        ))
    };
    std::fs::create_dir_all(&dir).map_err(|error| cannot(&dir, error))?;
    let place = dir.canonicalize().map_err(|error| cannot(&dir, error))?;
    let written = sdk::find(args.sdk.as_deref(), &place)
        .and_then(|sdk| write_all(&place, &files(args, &place, &sdk)).map_err(|(file, error)| cannot(&file, error)));
    if let Err(failure) = written {
        // Only ever an empty folder, and only this one.
        std::fs::remove_dir(&dir).ok();
        return Err(failure);
    }
    let style = out::Style::of(&std::io::stderr());
    out::say(&format!("{} a crate with samples. What to do next:", style.good("✓")));
    let shown = dir.display();
    out::say(&format!("  wasmill test {shown}     # its samples through the compiled module; --update after a change"));
    out::say(&format!("  wasmill dev {shown}      # build, test and swap at every change, nothing else running"));
    out::say(&format!("  wasmill build {shown} -o modules      # into the folder of a running host"));
    out::data(&shown.to_string());
    Ok(())
}

fn refuse_what_is_there(dir: &Path) -> Result<(), Failure> {
    match std::fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::config(format!(
            "{} exists and is not empty: nothing is overwritten; choose another name or folder",
            dir.display()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Err(Failure::config(format!(
            "{} is a file: nothing is overwritten; choose another name or folder",
            dir.display()
        ))),
        Err(error) => Err(Failure::environment(format!("cannot look into {}: {error}", dir.display()))),
    }
}

type File = (&'static str, String);

fn files(args: &NewArgs, place: &Path, sdk: &str) -> Vec<File> {
    let function = args.name.replace('-', "_");
    let fill = |text: &str| text.replace("{{name}}", &args.name).replace("{{fn}}", &function);
    let parts = args.template.parts();
    vec![
        ("Cargo.toml", manifest(&args.name, sdk, in_a_workspace(place))),
        (".gitignore", "/target\n".to_owned()),
        ("README.md", fill(templates::README).replace("{{idea}}", parts.idea)),
        ("src/lib.rs", fill(parts.source)),
        ("samples/records.jsonl", fill(parts.samples)),
        ("expected/records.jsonl", fill(parts.expected)),
    ]
}

fn manifest(name: &str, sdk: &str, member: bool) -> String {
    let mut text = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n[lib]\n\
         # The module, and what its native tests link to.\ncrate-type = [\"cdylib\", \"rlib\"]\n\n[dependencies]\n\
         wasmill-sdk = {{ path = {sdk:?} }}\n"
    );
    if !member {
        // Alone, whatever lies above. The profile is for builds by hand; `wasmill build` brings its own flags.
        text.push_str("\n[workspace]\n\n");
        text.push_str(templates::GUEST_PROFILE);
    }
    text
}

/// Whether the members of a workspace above take this folder in; a crate of its own would be refused there.
fn in_a_workspace(place: &Path) -> bool {
    place.ancestors().skip(1).any(|root| {
        let text = std::fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
        let Ok(table) = text.parse::<toml::Table>() else { return false };
        let members = table.get("workspace").and_then(|w| w.get("members")).and_then(|m| m.as_array());
        let within = place.strip_prefix(root).unwrap_or(place).to_string_lossy().into_owned();
        members.into_iter().flatten().filter_map(|member| member.as_str()).any(|member| covers(member, &within))
    })
}

/// Whether a member's pattern covers a path; `*` is one whole name, which is what people write.
fn covers(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len() && pattern.iter().zip(&path).all(|(p, name)| *p == "*" || p == name)
}

fn write_all(place: &Path, files: &[File]) -> Result<(), (PathBuf, std::io::Error)> {
    for (name, text) in files {
        let path = place.join(name);
        let write = || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::File::create_new(&path)?.write_all(text.as_bytes())
        };
        write().map_err(|error| (path.clone(), error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_below_a_workspace_belongs_to_it_only_where_its_members_say_so() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Cargo.toml"), "[workspace]\nmembers = [\"host\", \"transforms/*\"]\n").unwrap();
        for (place, member) in [("transforms/x", true), ("transforms/x/y", false), ("x", false), ("host", true)] {
            assert_eq!(in_a_workspace(&dir.path().join(place)), member, "{place}");
        }
    }

    #[test]
    fn every_manifest_is_toml_and_stands_alone() {
        let alone: toml::Table = manifest("x", "/a \"quoted\" path", false).parse().unwrap();
        assert_eq!(alone["dependencies"]["wasmill-sdk"]["path"].as_str(), Some("/a \"quoted\" path"));
        assert!(alone.contains_key("workspace") && alone["profile"]["guest"]["lto"].as_str() == Some("fat"));
        assert!(!manifest("x", "y", true).contains("[workspace]"));
    }
}
