//! Loads modules for commands that look at them: with the same checks as the running host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Failure, build};
use crate::config::{Limits, Modules};
use crate::metrics::Metrics;
use crate::runtime::Module;
use crate::runtime::{Runtime, apart::Apart, cache};

/// Largest file that is taken for a module; the host has the same limit.
const MAX_MODULE: u64 = 256 << 20;

pub(super) struct Loader {
    runtime: Arc<Runtime>,
}

/// A module that an author wants to look at.
pub(super) struct Subject {
    pub(super) module: Arc<Module>,
    /// Bytes of the file.
    pub(super) size: usize,
    /// The crate's folder, or the one that the file lies in: where samples are looked for.
    pub(super) dir: PathBuf,
}

impl Loader {
    /// With `cache`, or the user's own cache directory: a second look at a module then takes no compilation.
    pub(super) fn new(cache: Option<PathBuf>) -> Result<Self, Failure> {
        let runtime = Runtime::new(Metrics::new(), cache::directory(cache), Apart::of(&Modules::default()))
            .map_err(|error| Failure::environment(format!("cannot start the Wasm runtime: {error:#}")))?;
        Ok(Loader { runtime })
    }

    pub(super) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// What a command line names: a file is taken as it is, a crate is built.
    pub(super) fn subject(&self, path: &Path) -> Result<Subject, Failure> {
        if !path.is_file() || path.ends_with("Cargo.toml") {
            if path.extension().is_some_and(|extension| extension == "wasm") {
                return Err(Failure::environment(format!("there is no file {}: build it first", path.display())));
            }
            return build::load(self, &build::built(path)?);
        }
        let (module, size) = self
            .load(path, &Limits::default())
            .map_err(|error| Failure::environment(format!("{} does not load: {error}", path.display())))?;
        let dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let dir = if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir };
        Ok(Subject { module, size, dir })
    }

    /// The module in a file, or why it is none.
    pub(super) fn load(&self, path: &Path, limits: &Limits) -> Result<(Arc<Module>, usize), String> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
        if size > MAX_MODULE {
            return Err(format!("the file has {size} bytes; a module has at most {MAX_MODULE}"));
        }
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        self.load_bytes(&name, &bytes, limits).map(|module| (module, bytes.len()))
    }

    pub(super) fn load_bytes(&self, name: &str, bytes: &[u8], limits: &Limits) -> Result<Arc<Module>, String> {
        self.runtime.load(name, bytes, limits).map_err(|error| error.message)
    }
}

/// What a module says of itself, in a line.
pub(super) fn summary(module: &Module) -> String {
    let manifest = &module.manifest;
    let list = |items: Vec<String>| if items.is_empty() { "nothing".to_owned() } else { items.join(", ") };
    let targets = list(manifest.targets.iter().map(|target| target.label()).collect());
    format!("{} {}: reads {}, writes {targets}", manifest.name, manifest.version, list(manifest.topics.clone()))
}

/// Where this program keeps what it can make again.
pub(super) fn user_dir() -> Option<PathBuf> {
    crate::runtime::cache::user_dir()
}
