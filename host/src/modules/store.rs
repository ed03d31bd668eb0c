//! Builds that are kept over restarts: each file once, by digest, and of each flow which builds ran, in order. It is read
//! at a start only; what runs is a matter of the modules folder and of operators.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::runtime::digest;

/// Builds that are kept of each flow.
pub const BUILDS: usize = 8;
/// Builds of a flow that are loaded at a start: what ran at the end, and what a rollback would bring back.
const RECALLED: usize = 2;
/// A file that no flow names is removed at a start once it is this old; a younger one may be another host's.
const ORPHANED: Duration = Duration::from_secs(3_600);

/// A folder of builds.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Digests of what the modules folder holds, by file stem: these files stay whether a flow names them or not.
    held: Mutex<BTreeMap<String, String>>,
}

/// What has run in one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    pub flow: String,
    /// The newest one last.
    pub builds: Vec<Build>,
    /// A rollback that is in force until the folder holds something else.
    #[serde(default)]
    pub rolled_back: Option<RolledBack>,
}

/// The modules of a flow, first to last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build(pub Vec<Kept>);

/// One module of a build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kept {
    /// File stem.
    pub name: String,
    pub digest: String,
}

/// What an operator sent away, and what runs in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// Digest of the modules as the folder has them.
    pub from: String,
    pub to: Build,
}

impl Build {
    /// As a chain has it.
    pub fn digest(&self) -> String {
        self.0.iter().map(|kept| kept.digest.as_str()).collect::<Vec<_>>().join("+")
    }
}

impl Ran {
    /// A flow runs with `build` from now on. What is too long ago is forgotten.
    pub fn runs(&mut self, build: Build) {
        self.builds.retain(|known| *known != build);
        self.builds.push(build);
        let surplus = self.builds.len().saturating_sub(BUILDS);
        self.builds.drain(..surplus);
    }

    fn modules(&self) -> impl Iterator<Item = &Kept> {
        let back = self.rolled_back.iter().map(|back| &back.to);
        self.builds.iter().chain(back).flat_map(|build| &build.0)
    }
}

impl Store {
    pub fn new(dir: PathBuf) -> Self {
        Store { dir, held: Mutex::default() }
    }

    /// Makes the folder ready to be written. The error says what to do.
    pub fn prepare(&self) -> Result<(), String> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(self.flows_dir());
        made.and_then(|()| tempfile::tempfile_in(&self.dir)).map(drop).map_err(|cause| self.unusable(&cause))
    }

    /// Whether a store could be kept in this folder, without creating anything; else why not.
    pub fn look(dir: &Path) -> Result<(), String> {
        let there = dir.ancestors().find(|dir| dir.symlink_metadata().is_ok()).unwrap_or(dir);
        let tried = tempfile::tempfile_in(there).map(drop);
        tried.map_err(|cause| format!("{} cannot be written: {cause}", there.display()))
    }

    /// What ran in each flow. A file that cannot be read is told and left out.
    pub fn flows(&self) -> Vec<Ran> {
        let entries = fs::read_dir(self.flows_dir()).into_iter().flatten().flatten();
        let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
        files.filter_map(|path| self.read(&path)).collect()
    }

    /// The builds that a start may need, each module once.
    pub fn recalled(flows: &[Ran]) -> BTreeSet<Kept> {
        let recent = flows.iter().flat_map(|ran| ran.builds.iter().rev().take(RECALLED));
        let backs = flows.iter().filter_map(|ran| Some(&ran.rolled_back.as_ref()?.to));
        recent.chain(backs).flat_map(|build| build.0.iter().cloned()).collect()
    }

    /// Keeps the file of a module that was taken from the folder.
    pub fn keep(&self, module: &str, digest: &str, wasm: &[u8]) -> Result<(), String> {
        self.held().insert(module.to_owned(), digest.to_owned());
        if self.wasm(digest).is_ok() { Ok(()) } else { self.write(&self.file(digest), wasm) }
    }

    /// A module is gone from the folder.
    pub fn release(&self, module: &str) {
        self.held().remove(module);
    }

    /// The bytes with this digest.
    pub fn wasm(&self, wanted: &str) -> Result<Vec<u8>, String> {
        let path = self.file(wanted);
        let bytes = fs::read(&path).map_err(|cause| format!("{} cannot be read: {cause}", path.display()))?;
        match digest(&bytes) == wanted {
            true => Ok(bytes),
            false => Err(format!("{} is damaged: its content has another digest", path.display())),
        }
    }

    /// Notes what ran in a flow, and removes files that nothing names any more.
    pub fn note(&self, ran: &Ran) -> Result<(), String> {
        let path = self.flows_dir().join(format!("{}.json", ran.flow));
        let before = if path.exists() { self.read(&path) } else { None };
        let text = serde_json::to_vec_pretty(ran).map_err(|cause| self.unusable(&cause.into()))?;
        self.write(&path, &text)?;
        let digests = |ran: &Ran| ran.modules().map(|kept| kept.digest.clone()).collect::<BTreeSet<_>>();
        let before = before.as_ref().map(digests).unwrap_or_default();
        self.remove_unnamed(before.difference(&digests(ran)).cloned().collect());
        Ok(())
    }

    /// Removes files that no flow names and that nobody can be about to name.
    pub fn remove_orphans(&self) {
        let old = |path: &Path| {
            let changed = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
            changed.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|age| age > ORPHANED)
        };
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let files: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.is_file() && old(path)).collect();
        let stem = |path: &PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(".wasm")?.to_owned());
        self.remove_unnamed(files.iter().filter_map(stem).collect());
        // What was being written when a host was killed.
        let is_part = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PART));
        files.iter().filter(is_part).for_each(|path| drop(fs::remove_file(path)));
    }

    /// Removes those files of `digests` that neither a flow nor the modules folder has a use for.
    fn remove_unnamed(&self, mut digests: BTreeSet<String>) {
        if digests.is_empty() {
            return;
        }
        let flows = self.flows();
        let named: BTreeSet<&str> = flows.iter().flat_map(Ran::modules).map(|kept| kept.digest.as_str()).collect();
        let held = self.held();
        digests.retain(|digest| !named.contains(digest.as_str()) && held.values().all(|other| other != digest));
        drop(held);
        // One that stays only takes room.
        digests.iter().for_each(|digest| drop(fs::remove_file(self.file(digest))));
    }

    fn read(&self, path: &Path) -> Option<Ran> {
        let read = fs::read(path).map_err(|cause| cause.to_string());
        let ran = read.and_then(|text| serde_json::from_slice(&text).map_err(|cause| cause.to_string()));
        ran.inspect_err(|cause| tracing::warn!(file = %path.display(), cause, "builds of a flow cannot be read")).ok()
    }

    /// Writes a file so that it is there whole or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), String> {
        let written = || -> std::io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.flows_dir())?;
            let mut file = tempfile::Builder::new().prefix(PART).tempfile_in(&self.dir)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        written().map_err(|cause| self.unusable(&cause))
    }

    fn unusable(&self, cause: &std::io::Error) -> String {
        let dir = self.dir.display();
        format!(
            "the store {dir} cannot be written: {cause}; builds are not kept over a restart: give the host's user the \
             right to write there, or correct modules.store"
        )
    }

    fn file(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}.wasm"))
    }

    fn flows_dir(&self) -> PathBuf {
        self.dir.join("flows")
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What names of files begin with that are not whole yet.
const PART: &str = ".part-";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn build(modules: &[(&str, &[u8])]) -> Build {
        let kept = |(name, wasm): &(&str, &[u8])| Kept { name: (*name).to_owned(), digest: digest(wasm) };
        Build(modules.iter().map(kept).collect())
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(dir.path().join("store"));
        store.prepare().expect("it can be written");
        (dir, store)
    }

    fn files(store: &Store) -> usize {
        fs::read_dir(&store.dir).expect("listed").flatten().filter(|entry| entry.path().is_file()).count()
    }

    #[test]
    fn what_is_kept_is_there_again_and_what_is_damaged_is_not() {
        let (_dir, store) = store();
        let (one, two) = (build(&[("a", b"1"), ("b", b"x")]), build(&[("a", b"2"), ("b", b"x")]));
        for wasm in [b"1", b"2", b"x"] {
            store.keep("a", &digest(wasm), wasm).expect("kept");
        }
        let mut ran = Ran { flow: "f".into(), ..Ran::default() };
        ran.runs(one.clone());
        ran.runs(two.clone());
        ran.rolled_back = Some(RolledBack { from: two.digest(), to: one.clone() });
        store.note(&ran).expect("noted");
        let again = Store::new(store.dir.clone());
        assert_eq!(again.flows(), [ran]);
        assert_eq!(Store::recalled(&again.flows()).len(), 3, "each module once");
        assert_eq!(again.wasm(&digest(b"2")).expect("whole"), b"2");
        fs::write(again.file(&digest(b"2")), b"3").expect("written");
        assert!(again.wasm(&digest(b"2")).expect_err("damaged").contains("damaged"));
        fs::write(again.flows_dir().join("g.json"), b"{").expect("written");
        assert_eq!(again.flows().len(), 1, "what cannot be read is left out");
    }

    #[test]
    fn files_go_with_the_last_flow_that_names_them_unless_the_folder_holds_them() {
        let (_dir, store) = store();
        let (mut f, mut g) = (Ran { flow: "f".into(), ..Ran::default() }, Ran { flow: "g".into(), ..Ran::default() });
        let shared = build(&[("m", b"shared")]);
        store.keep("m", &digest(b"shared"), b"shared").expect("kept");
        f.runs(shared.clone());
        g.runs(shared.clone());
        store.note(&f).and(store.note(&g)).expect("noted");
        for n in 0..BUILDS as u8 {
            store.keep("m", &digest(&[n]), &[n]).expect("kept");
            f.runs(build(&[("m", &[n])]));
            store.note(&f).expect("noted");
        }
        assert!(store.wasm(&digest(b"shared")).is_ok(), "g names it");
        g.runs(build(&[("m", &[0])]));
        g.builds.remove(0);
        store.keep("other", &digest(b"shared"), b"shared").expect("kept");
        store.note(&g).expect("noted");
        assert!(store.wasm(&digest(b"shared")).is_ok(), "the folder holds it");
        g.builds.push(shared);
        store.note(&g).expect("noted");
        g.builds.pop();
        store.release("other");
        store.note(&g).expect("noted");
        assert!(store.wasm(&digest(b"shared")).is_err(), "nobody has a use for it");
        assert_eq!(files(&store), BUILDS);
    }

    #[test]
    fn what_was_left_half_written_or_without_a_flow_goes_when_it_is_old() {
        let (_dir, store) = store();
        let old = SystemTime::now() - 2 * ORPHANED;
        for name in [format!("{PART}x"), format!("{}.wasm", digest(b"a")), format!("{}.wasm", digest(b"b"))] {
            let file = fs::File::create(store.dir.join(name)).expect("created");
            file.set_modified(old).expect("set");
        }
        store.keep("young", &digest(b"c"), b"c").expect("kept");
        store.release("young");
        let mut ran = Ran { flow: "f".into(), ..Ran::default() };
        ran.runs(build(&[("b", b"b")]));
        store.note(&ran).expect("noted");
        store.remove_orphans();
        assert!(store.file(&digest(b"b")).exists() && store.file(&digest(b"c")).exists());
        assert_eq!(files(&store), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        fs::write(&file, b"").expect("written");
        let inside = file.join("store");
        assert!(Store::look(&inside).expect_err("a file is no folder").contains("/file cannot be written"));
        let words = Store::new(inside).prepare().expect_err("a file is no folder");
        assert!(words.contains("/file/store") && words.contains("modules.store"), "{words}");
        let fine = dir.path().join("not/there/yet");
        assert_eq!(Store::look(&fine), Ok(()));
        assert!(!fine.exists(), "looking creates nothing");
    }

    proptest! {
        #[test]
        fn the_last_builds_are_kept_in_their_order(runs in proptest::collection::vec(0u8..12, 0..60)) {
            let mut ran = Ran::default();
            runs.iter().for_each(|n| ran.runs(build(&[("m", &[*n])])));
            let mut last: Vec<u8> = Vec::new();
            runs.iter().rev().for_each(|n| if !last.contains(n) { last.push(*n) });
            last.truncate(BUILDS);
            last.reverse();
            let expected: Vec<Build> = last.iter().map(|n| build(&[("m", &[*n])])).collect();
            prop_assert_eq!(ran.builds, expected);
        }
    }
}
