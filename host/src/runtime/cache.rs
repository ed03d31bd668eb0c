//! Compiled code on disk, so that a restart does not compile again. The directory is the host's own (0700) and never the
//! modules folder: what lies in it is run as native code. A cache that fails only costs time.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

const CHECKSUM: usize = 32;
/// Bits of a directory's mode that would let others write or look into it.
const OTHERS: u32 = 0o077;

/// Entries that are kept; the oldest go first. One is about twice the size of its module.
const ENTRIES: usize = 256;

/// Where compiled code is kept: the directory that is configured, none where that is empty, the user's own cache where
/// nothing is.
pub fn directory(configured: Option<PathBuf>) -> Option<PathBuf> {
    match configured {
        Some(dir) => Some(dir).filter(|dir| !dir.as_os_str().is_empty()),
        None => user_cache(),
    }
}

/// Where this user's programs keep what they can make again: `wasmill` in `$XDG_CACHE_HOME` or `~/.cache`.
pub fn user_dir() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("wasmill"))
}

/// Whether a directory can hold compiled modules.
#[derive(Debug)]
pub enum Usable {
    Yes,
    /// Others could write to it.
    Shared,
    /// Why not.
    No(String),
}

/// Looks whether a directory, which is created where it is missing, can be used.
pub fn look(dir: &Path) -> Usable {
    if let Err(cause) = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        return Usable::No(cause.to_string());
    }
    match is_ours(dir) {
        Ok(false) => Usable::Shared,
        Err(cause) => Usable::No(cause.to_string()),
        Ok(true) => match tempfile::tempfile_in(dir) {
            Ok(_) => Usable::Yes,
            Err(cause) => Usable::No(cause.to_string()),
        },
    }
}

/// The user's own cache, where there is one and it can be used.
fn user_cache() -> Option<PathBuf> {
    let dir = user_dir()?.join("modules");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).ok()?;
    is_ours(&dir).is_ok_and(|ours| ours).then_some(dir)
}

/// A directory of compiled components.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Opens or creates the directory; `None` where it cannot be created. One that others could have written to is an error.
    pub(super) fn open(dir: PathBuf) -> anyhow::Result<Option<Cache>> {
        if let Err(cause) = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir) {
            tracing::warn!(dir = %dir.display(), %cause, "no compile cache: the directory cannot be created");
            return Ok(None);
        }
        match is_ours(&dir) {
            Ok(true) => Ok(Some(Cache { dir })),
            Ok(false) => anyhow::bail!(
                "refused to use {} as compile cache: it holds native code, so it must belong to this user alone; \
                 name another directory or run `chmod 700` on it as its owner",
                dir.display()
            ),
            Err(cause) => {
                tracing::warn!(dir = %dir.display(), %cause, "no compile cache: the directory cannot be written");
                Ok(None)
            }
        }
    }

    /// The compiled component; `None` where there is none or it is not what was stored.
    pub(super) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let entry = fs::read(self.path(engine, digest)).ok()?;
        let (checksum, code) = entry.split_at_checked(CHECKSUM)?;
        if Sha256::digest(code)[..] != *checksum {
            tracing::warn!(digest, "compile cache: an entry is damaged and will be written again");
            return None;
        }
        deserialize(engine, code)
    }

    /// Stores a compiled component. A failure is logged and otherwise ignored.
    pub(super) fn store(&self, engine: &Engine, digest: &str, component: &Component) {
        match component.serialize() {
            Ok(code) => self.keep(engine, digest, &code),
            Err(cause) => tracing::warn!(digest, %cause, "compile cache: an entry cannot be written"),
        }
    }

    /// Stores compiled code. A failure is logged and otherwise ignored.
    pub(super) fn keep(&self, engine: &Engine, digest: &str, code: &[u8]) {
        if let Err(cause) = self.write(&self.path(engine, digest), code) {
            tracing::warn!(digest, %cause, "compile cache: an entry cannot be written");
        }
    }

    fn write(&self, path: &Path, code: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        file.persist(path).map_err(|e| e.error)?;
        self.prune()
    }

    /// Removes what is oldest beyond what is kept.
    fn prune(&self) -> std::io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "cwasm") {
                entries.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        entries.sort();
        let surplus = entries.len().saturating_sub(ENTRIES);
        entries[..surplus].iter().try_for_each(|(_, path)| fs::remove_file(path))
    }

    /// One file per module and engine: another version of the host, other settings or another CPU never meet.
    fn path(&self, engine: &Engine, digest: &str) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        self.dir.join(format!("{digest}-{:016x}.cwasm", hasher.finish()))
    }
}

/// Whether the directory is this user's and nobody else may touch it. A file made in it tells who we are.
fn is_ours(dir: &Path) -> std::io::Result<bool> {
    let directory = fs::symlink_metadata(dir)?;
    if !directory.is_dir() || directory.mode() & OTHERS != 0 {
        return Ok(false);
    }
    let probe = tempfile::tempfile_in(dir)?.metadata()?;
    Ok(probe.uid() == directory.uid())
}

#[allow(
    unsafe_code,
    reason = "deserialize trusts its input to be code that wasmtime compiled: the directory is ours alone and the \
              checksum written with the entry has just been compared, or it came from our own process this moment"
)]
pub(super) fn deserialize(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: see the reason above; version and settings are checked by wasmtime itself.
    unsafe { Component::deserialize(engine, code) }.ok()
}
