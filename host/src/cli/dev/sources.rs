//! Which files of a crate have changed. Events of the file system only hasten a look: what is true is what lies there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::modules::watch::Tree;

/// Editors write a file in several steps, formatters right after them.
const REST: Duration = Duration::from_millis(60);
/// Folders that hold what is made, not what is written.
const MADE: [&str; 3] = ["target", "modules", "node_modules"];

/// What a change asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Build, test, swap.
    Code,
    /// Test, and swap what was built.
    Samples,
}

type Stamps = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// The files of a crate as they were seen last.
pub(super) struct Sources {
    dir: PathBuf,
    tree: Tree,
    seen: Stamps,
}

impl Sources {
    pub(super) fn new(dir: &Path) -> Self {
        let deep: Vec<PathBuf> = ["src", "samples", "expected"].iter().map(|name| dir.join(name)).collect();
        Sources { dir: dir.into(), tree: Tree::watch(dir, &deep), seen: stamps(dir) }
    }

    /// What has changed since the last time, waiting at most so long for it.
    pub(super) fn changed(&mut self, timeout: Duration) -> Option<Changed> {
        self.tree.wait(timeout);
        let mut now = stamps(&self.dir);
        if now == self.seen {
            return None;
        }
        loop {
            std::thread::sleep(REST);
            let later = stamps(&self.dir);
            if later == now {
                break;
            }
            now = later;
        }
        let before = std::mem::replace(&mut self.seen, now);
        let differs = |path: &&PathBuf| before.get(*path) != self.seen.get(*path);
        let code = before.keys().chain(self.seen.keys()).filter(differs).any(|path| !is_sample(path));
        Some(if code { Changed::Code } else { Changed::Samples })
    }
}

fn is_sample(path: &Path) -> bool {
    path.starts_with("samples") || path.starts_with("expected")
}

/// Every file that somebody wrote, relative to the crate.
fn stamps(dir: &Path) -> Stamps {
    let (mut stamps, mut open) = (Stamps::new(), vec![PathBuf::new()]);
    while let Some(below) = open.pop() {
        for entry in std::fs::read_dir(dir.join(&below)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let path = below.join(&name);
            let Ok(metadata) = entry.metadata() else { continue };
            // Cargo writes the lock file itself.
            let made = MADE.iter().any(|made| name == *made) || name == "Cargo.lock";
            match metadata.is_dir() {
                _ if made || name.to_string_lossy().starts_with('.') => {}
                true => open.push(path),
                false => drop(stamps.insert(path, (metadata.modified().ok(), metadata.len()))),
            }
        }
    }
    stamps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_samples_are_told_apart_and_what_is_made_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["src/deep", "samples", "target", ".git"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("src/lib.rs"), "1").unwrap();
        let mut sources = Sources::new(dir.path());
        let soon = Duration::from_millis(1);
        assert_eq!(sources.changed(soon), None);
        for (file, expected) in [
            ("src/lib.rs", Some(Changed::Code)),
            ("src/deep/more.rs", Some(Changed::Code)),
            ("samples/a.jsonl", Some(Changed::Samples)),
            ("target/x", None),
            (".git/x", None),
            ("Cargo.lock", None),
            ("Cargo.toml", Some(Changed::Code)),
        ] {
            std::fs::write(dir.path().join(file), file).unwrap();
            assert_eq!(sources.changed(soon), expected, "{file}");
            assert_eq!(sources.changed(soon), None, "{file}");
        }
        std::fs::remove_file(dir.path().join("src/deep/more.rs")).unwrap();
        assert_eq!(sources.changed(soon), Some(Changed::Code));
    }
}
