//! Where a crate finds wasmill-sdk, which is in no registry: named, above the crate or this program, else the copy that
//! this program carries, unpacked once into the user's cache. What is there already is taken as it is.

mod embedded;

use std::path::{Path, PathBuf};

use crate::cli::modules::user_dir;
use crate::cli::{Failure, out};

/// The SDK's folder as a crate in `place` names it: relative where both belong to one tree, else absolute.
pub(super) fn find(named: Option<&Path>, place: &Path) -> Result<String, Failure> {
    if let Some(named) = named {
        let found = [named.to_path_buf(), named.join("guest-sdk")].into_iter().find(|dir| is_sdk(dir));
        let found = found.and_then(|dir| dir.canonicalize().ok()).ok_or_else(|| {
            Failure::config(format!(
                "there is no wasmill-sdk in {}: name the folder guest-sdk of wasmill's sources, or leave --sdk and \
                 WASMILL_SDK out",
                named.display()
            ))
        })?;
        return Ok(found.display().to_string());
    }
    if let Some((up, _)) = above(place) {
        return Ok(format!("{}guest-sdk", "../".repeat(up)));
    }
    let program = std::env::current_exe().and_then(|file| file.canonicalize()).ok();
    let here = std::env::current_dir().ok();
    let found = [here, program].into_iter().flatten().find_map(|from| above(&from));
    match found {
        Some((_, dir)) => Ok(dir.display().to_string()),
        None => unpack().map(|dir| dir.display().to_string()),
    }
}

/// Before a build: says so where the SDK that a crate names is not there, and unpacks it where it was this program's.
pub(in crate::cli) fn check(path: &Path) -> Result<(), Failure> {
    let dir = if path.ends_with("Cargo.toml") { path.parent().unwrap_or(path) } else { path };
    let text = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
    let Ok(table) = text.parse::<toml::Table>() else { return Ok(()) };
    let named = table.get("dependencies").and_then(|all| all.get("wasmill-sdk")).and_then(|sdk| sdk.get("path"));
    let Some(named) = named.and_then(|path| path.as_str()) else { return Ok(()) };
    if dir.join(named).join("Cargo.toml").is_file() {
        return Ok(());
    }
    let ours = unpacked().is_some_and(|ours| ours == Path::new(named));
    if ours {
        return unpack().map(drop);
    }
    let own = unpack()?;
    Err(Failure::environment(format!(
        "{} names wasmill-sdk at {named}, where there is none; this program's own copy is path = {:?}",
        dir.join("Cargo.toml").display(),
        own.display().to_string()
    )))
}

/// How many folders up a folder with the SDK in it is, and the SDK.
fn above(from: &Path) -> Option<(usize, PathBuf)> {
    from.ancestors().map(|dir| dir.join("guest-sdk")).enumerate().find(|(_, dir)| is_sdk(dir))
}

fn is_sdk(dir: &Path) -> bool {
    std::fs::read_to_string(dir.join("Cargo.toml")).is_ok_and(|text| text.contains("name = \"wasmill-sdk\""))
}

/// Where this program's copy belongs.
fn unpacked() -> Option<PathBuf> {
    let digest = embedded::digest();
    Some(user_dir()?.join(format!("sdk-{}-{}", env!("CARGO_PKG_VERSION"), &digest[..12])).join("guest-sdk"))
}

/// Unpacks this program's copy where it is not there yet, in one step.
fn unpack() -> Result<PathBuf, Failure> {
    let sdk = unpacked().ok_or_else(|| {
        Failure::environment(
            "there is no place for wasmill-sdk: set HOME or XDG_CACHE_HOME, or name its folder with --sdk",
        )
    })?;
    if is_sdk(&sdk) {
        return Ok(sdk);
    }
    let root = sdk.parent().unwrap_or(&sdk);
    let write = || -> std::io::Result<()> {
        let cache = root.parent().unwrap_or(root);
        std::fs::create_dir_all(cache)?;
        let half = tempfile::Builder::new().prefix(".sdk-").tempdir_in(cache)?;
        for (name, text) in embedded::files() {
            let file = half.path().join(name);
            file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(file, text)?;
        }
        match std::fs::rename(half.path(), root) {
            // Another process was first.
            Err(_) if is_sdk(&sdk) => Ok(()),
            renamed => renamed,
        }
    };
    write().map_err(|error| {
        Failure::environment(format!(
            "cannot unpack wasmill-sdk to {}: {error}; name its folder with --sdk",
            root.display()
        ))
    })?;
    out::say(&format!("wasmill-sdk is in {}", sdk.display()));
    Ok(sdk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_above_a_crate_is_named_relative_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a/b");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::create_dir(dir.path().join("guest-sdk")).unwrap();
        std::fs::write(dir.path().join("guest-sdk/Cargo.toml"), "[package]\nname = \"wasmill-sdk\"\n").unwrap();
        assert_eq!(find(None, &place).unwrap(), "../../guest-sdk");
        assert_eq!(find(Some(&place), &place).unwrap_err().code, 2);
        let named = find(Some(dir.path()), &place).unwrap();
        assert!(named.starts_with('/') && named.ends_with("/guest-sdk"), "{named}");
    }
}
