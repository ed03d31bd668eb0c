//! One file of the folder: whether it counts, what identifies it, and reading it only when nobody is writing it.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::runtime::{MAX_BYTES, digest};

/// A file that was changed longer ago than this is taken at its first reading.
pub(super) const SETTLED: Duration = Duration::from_secs(2);

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    /// Modification and change in nanoseconds: a copy may bring its own modification time along.
    modified: i128,
    changed: i128,
}

/// What a reading of a file gave.
#[derive(Debug)]
pub(super) enum Reading {
    Bytes {
        bytes: Vec<u8>,
        digest: Arc<str>,
    },
    /// Cannot become a module whatever is in it; code and words.
    Refused {
        code: &'static str,
        message: String,
    },
    /// Changed while it was read, or gone.
    Moving,
}

/// The stem of a file name that may be a module: `quotes` of `quotes.wasm`.
pub(super) fn stem(name: &str) -> Option<&str> {
    name.strip_suffix(".wasm").filter(|stem| !stem.is_empty() && !name.starts_with('.'))
}

/// The state of a file, following links that stay inside `dir`. `None` for what is not a file (or is gone).
pub(super) fn stat(dir: &Path, path: &Path) -> Result<Option<Stat>, String> {
    let Ok(link) = fs::symlink_metadata(path) else { return Ok(None) };
    if link.file_type().is_symlink() {
        inside(dir, path)?;
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(Stat::of(&metadata))),
        Ok(metadata) if metadata.file_type().is_fifo() || metadata.is_dir() => Ok(None),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot be read: {error}; give the host's user the right to read it")),
    }
}

/// Reads a file in the state `stat`.
pub(super) fn read(path: &Path, stat: &Stat) -> Reading {
    if stat.size > MAX_BYTES as u64 {
        let (size, limit) = (stat.size >> 20, MAX_BYTES >> 20);
        let message = format!("has {size} MiB; a module may have {limit} MiB");
        return Reading::Refused { code: "module.too-large", message };
    }
    match read_as(path, stat) {
        Ok(Some(bytes)) => {
            let digest = digest(&bytes).into();
            Reading::Bytes { bytes, digest }
        }
        Ok(None) => Reading::Moving,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Reading::Moving,
        Err(error) => {
            let message = format!("cannot be read: {error}; give the host's user the right to read it");
            Reading::Refused { code: "module.unreadable", message }
        }
    }
}

/// The bytes, if the file is the same before and after.
fn read_as(path: &Path, stat: &Stat) -> std::io::Result<Option<Vec<u8>>> {
    // Opening a pipe that took the file's place must not block.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if Stat::of(&file.metadata()?) != *stat {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(stat.size as usize);
    file.by_ref().take(stat.size + 1).read_to_end(&mut bytes)?;
    let same = bytes.len() as u64 == stat.size && Stat::of(&fs::metadata(path)?) == *stat;
    Ok(same.then_some(bytes))
}

/// A link may lead anywhere inside the folder (Kubernetes does so), but not out of it.
fn inside(dir: &Path, path: &Path) -> Result<(), String> {
    let canonical = |path: &Path| -> Option<PathBuf> { fs::canonicalize(path).ok() };
    let (Some(dir), Some(target)) = (canonical(dir), canonical(path)) else {
        // A link to nothing: gone, not refused.
        return Ok(());
    };
    match target.starts_with(&dir) {
        true => Ok(()),
        false => Err(format!("is a link out of the modules folder, to {}: copy the file instead", target.display())),
    }
}

impl Stat {
    fn of(metadata: &fs::Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Stat {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the last change is so long ago that no one can be in the middle of it, nor have hidden another change
    /// in the resolution of the file system's clock. A time in the future says nothing.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        now - self.modified.max(self.changed) >= SETTLED.as_nanos() as i128
    }
}
