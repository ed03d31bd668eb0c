//! The SDK's sources inside this program, so that a binary is all that an author needs. A test holds the list against the
//! folder: a file that is forgotten here is found there.

use crate::runtime;

macro_rules! embed {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../../../../", $file)))),*]
    };
}

const FILES: &[(&str, &str)] = embed![
    "guest-sdk/Cargo.toml",
    "guest-sdk/macros/Cargo.toml",
    "guest-sdk/macros/src/attribute.rs",
    "guest-sdk/macros/src/declared.rs",
    "guest-sdk/macros/src/forward.rs",
    "guest-sdk/macros/src/lib.rs",
    "guest-sdk/macros/src/table.rs",
    "guest-sdk/macros/src/types.rs",
    "guest-sdk/src/bindings.rs",
    "guest-sdk/src/bindings/flat.rs",
    "guest-sdk/src/bindings/typed.rs",
    "guest-sdk/src/bytes.rs",
    "guest-sdk/src/codec.rs",
    "guest-sdk/src/error.rs",
    "guest-sdk/src/frame.rs",
    "guest-sdk/src/host.rs",
    "guest-sdk/src/json.rs",
    "guest-sdk/src/lib.rs",
    "guest-sdk/src/log.rs",
    "guest-sdk/src/manifest.rs",
    "guest-sdk/src/module.rs",
    "guest-sdk/src/outputs.rs",
    "guest-sdk/src/outputs/document.rs",
    "guest-sdk/src/outputs/message.rs",
    "guest-sdk/src/outputs/row.rs",
    "guest-sdk/src/process.rs",
    "guest-sdk/src/recipes.rs",
    "guest-sdk/src/record.rs",
    "guest-sdk/src/strict.rs",
    "guest-sdk/src/testing.rs",
    "guest-sdk/src/testing/base64.rs",
    "guest-sdk/src/testing/samples.rs",
    "guest-sdk/src/vars.rs",
    "wit/frame.md",
    "wit/transform.wit",
];
/// The workspace that the SDK inherits from.
const WORKSPACE: &str = include_str!("../../../../../Cargo.toml");

/// Names and texts of all files, with a workspace of their own.
pub(super) fn files() -> impl Iterator<Item = (&'static str, String)> {
    let copied = FILES.iter().map(|(name, text)| (*name, (*text).to_owned()));
    copied.chain([("Cargo.toml", workspace())])
}

/// Tells one copy from another.
pub(super) fn digest() -> String {
    let all: String = files().map(|(name, text)| format!("{name}\n{}\n{text}", text.len())).collect();
    runtime::digest(all.as_bytes())
}

/// What the SDK inherits, without the host's members, profiles and comments.
fn workspace() -> String {
    let whole: toml::Table = WORKSPACE.parse().expect("this program was built with it");
    let mut kept = toml::Table::new();
    for key in ["resolver", "package", "dependencies", "lints"] {
        if let Some(value) = whole.get("workspace").and_then(|workspace| workspace.get(key)) {
            kept.insert(key.to_owned(), value.clone());
        }
    }
    let members = ["guest-sdk", "guest-sdk/macros"].map(|member| toml::Value::String(member.to_owned()));
    kept.insert("members".to_owned(), toml::Value::Array(members.into()));
    toml::Table::from_iter([("workspace".to_owned(), toml::Value::Table(kept))]).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Every file below `dir` that a build needs, relative to `root`.
    fn list(root: &Path, dir: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(root.join(dir)).unwrap().flatten() {
            let name = format!("{dir}/{}", entry.file_name().to_string_lossy());
            let tests = name.ends_with("tests.rs") || name.ends_with("/tests");
            match entry.file_type().unwrap().is_dir() {
                true if !tests => list(root, &name, found),
                false if !tests && (name.ends_with(".rs") || name.ends_with("Cargo.toml")) => found.push(name),
                _ => {}
            }
        }
    }

    #[test]
    fn no_file_of_the_sdk_is_forgotten() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = Vec::new();
        list(&root, "guest-sdk", &mut found);
        found.sort();
        let mut listed: Vec<&str> =
            FILES.iter().map(|(name, _)| *name).filter(|name| !name.starts_with("wit/")).collect();
        listed.sort_unstable();
        assert_eq!(listed, found);
    }

    #[test]
    fn the_copy_has_a_workspace_with_what_it_inherits() {
        let table: toml::Table = workspace().parse().unwrap();
        let workspace = &table["workspace"];
        assert_eq!(workspace["package"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
        assert!(workspace["dependencies"].get("wasmill-sdk-macros").is_some());
        assert_eq!(table.len(), 1, "no profile: the one of the crate counts");
    }
}
