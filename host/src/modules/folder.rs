//! The scans: one pass over the folder, what each file has become since, and when to look again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, select};

use super::file::{self, Reading, Stat};
use super::store::{Kept, Store};
use super::watch::Watch;
use super::{Event, FolderSettings};
use crate::runtime::{Module, Runtime};

/// Between two readings of a file that was changed just now; both must agree.
const STABLE: Duration = Duration::from_millis(150);
/// How long a file may be missing: `rm` and `cp` replace a module, they do not remove it.
const GRACE: Duration = Duration::from_secs(5);
/// A file that never comes to rest must not hold up what waits for a complete scan.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a hint, so that a burst of events is one scan.
const BURST: Duration = Duration::from_millis(50);

/// The folder as it is known.
pub(super) struct Watched {
    settings: FolderSettings,
    runtime: Arc<Runtime>,
    events: Sender<Event>,
    watch: Watch,
    /// Device and inode of the folder that is being watched.
    folder: Option<(u64, u64)>,
    /// What was last said about a folder that cannot be read.
    missing: Option<String>,
    files: BTreeMap<String, Known>,
    /// Modules from the store, by file stem and digest: the folder mostly holds one of them, which is not loaded twice.
    recalled: BTreeMap<Kept, Arc<Module>>,
    /// What was last said about a store that cannot be written.
    unkept: Option<String>,
    /// Since when there has been a file that was not decided on.
    restless_since: Option<Instant>,
}

/// What is known of one file.
#[derive(Default)]
struct Known {
    /// State and digest of the file when it was last loaded or refused.
    decided: Option<(Stat, Arc<str>)>,
    /// A first reading that waits for a second one to agree.
    first: Option<(Stat, Arc<str>, Instant)>,
    /// Words of a refusal that has nothing to do with the file's content.
    barred: Option<String>,
    /// Whether the content was refused: touching the file has it tried again, since that may have come from a lack of
    /// time or memory.
    refused: bool,
    gone_since: Option<Instant>,
    /// Whether anybody was told of this file.
    told: bool,
}

impl Watched {
    pub(super) fn new(settings: FolderSettings, runtime: Arc<Runtime>, events: Sender<Event>) -> Self {
        let watch = Watch::new();
        Watched {
            settings,
            runtime,
            events,
            watch,
            folder: None,
            missing: None,
            files: BTreeMap::new(),
            recalled: BTreeMap::new(),
            unkept: None,
            restless_since: None,
        }
    }

    /// Scans until `stop` is closed.
    pub(super) fn run(mut self, stop: &Receiver<()>) {
        self.recall();
        loop {
            self.keep_again();
            let wait = self.scan(Instant::now());
            let hints = self.watch.hints.clone();
            select! {
                recv(stop) -> _ => return,
                recv(hints) -> _ => std::thread::sleep(BURST),
                default(wait) => {}
            }
        }
    }

    /// One pass. Returns the time until the next one.
    fn scan(&mut self, now: Instant) -> Duration {
        let names = match self.list() {
            Ok(names) => names,
            Err(message) => {
                self.folder_missing(message);
                return self.settings.scan_interval;
            }
        };
        let mut pending = false;
        for name in names {
            pending |= self.look(&name, now);
        }
        let gone = self.forget_gone(now);
        self.restless_since = if pending { self.restless_since.or(Some(now)) } else { None };
        if self.restless_since.is_none_or(|since| now.duration_since(since) > PATIENCE) {
            self.tell(Event::Scanned);
            // Whoever wants them has them by now.
            self.recalled.clear();
        }
        let soon = if pending { STABLE } else { self.settings.scan_interval };
        gone.map_or(soon, |gone| gone.min(soon))
    }

    /// The names of the files that count. Marks the known ones that are missing.
    fn list(&mut self) -> Result<Vec<String>, String> {
        let dir = self.settings.dir.clone();
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!("the modules folder {} does not exist: create it and put *.wasm files into it", dir.display())
            }
            std::io::ErrorKind::NotADirectory => format!("the modules folder {} is not a folder", dir.display()),
            _ => format!("the modules folder {} cannot be read: {error}", dir.display()),
        };
        let identity = fs::metadata(&dir).map(|m| (m.dev(), m.ino())).map_err(unreadable)?;
        // Watched before it is listed, so that nothing is missed in between.
        if self.folder != Some(identity) {
            self.watch.begin(&dir);
            self.folder = Some(identity);
        }
        let entries: Vec<_> = fs::read_dir(&dir).and_then(Iterator::collect::<Result<_, _>>).map_err(unreadable)?;
        if self.missing.take().is_some() {
            tracing::info!(dir = %dir.display(), "the modules folder is there");
            self.tell(Event::FolderFound);
        }
        let names = entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| file::stem(name).is_some()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn folder_missing(&mut self, message: String) {
        self.watch.end();
        self.folder = None;
        if self.missing.as_ref() != Some(&message) {
            tracing::warn!("{message}");
            self.missing = Some(message.clone());
            self.tell(Event::FolderMissing { dir: self.settings.dir.clone(), message });
        }
    }

    /// Looks at one file. True when it has to be looked at again soon.
    fn look(&mut self, name: &str, now: Instant) -> bool {
        let path = self.settings.dir.join(name);
        let stat = match file::stat(&self.settings.dir, &path) {
            Ok(Some(stat)) => stat,
            Ok(None) => return false,
            Err(message) => {
                self.bar(name, &path, "module.unreadable", message, None);
                return false;
            }
        };
        let known = self.files.entry(name.to_owned()).or_default();
        known.gone_since = None;
        let settled = stat.is_settled(SystemTime::now());
        let is_decided = known.barred.is_none() && known.decided.as_ref().is_some_and(|(decided, _)| *decided == stat);
        if settled && known.first.is_none() && is_decided {
            return false;
        }
        if known.first.as_ref().is_some_and(|(first, _, at)| *first == stat && now.duration_since(*at) < STABLE) {
            return true;
        }
        match file::read(&path, &stat) {
            Reading::Moving => {
                known.first = None;
                true
            }
            Reading::Refused { code, message } => {
                self.bar(name, &path, code, message, Some(stat));
                false
            }
            Reading::Bytes { bytes, digest } => self.weigh(name, &path, stat, bytes, digest, settled, now),
        }
    }

    /// Decides whether what was read is what the file is going to be. True when a second reading is needed.
    #[allow(clippy::too_many_arguments, reason = "the state of one file at one moment, used only here")]
    fn weigh(
        &mut self,
        name: &str,
        path: &Path,
        stat: Stat,
        bytes: Vec<u8>,
        digest: Arc<str>,
        settled: bool,
        now: Instant,
    ) -> bool {
        let known = self.files.entry(name.to_owned()).or_default();
        let is_known = |(decided, of): &(Stat, Arc<str>)| *of == digest && (!known.refused || *decided == stat);
        if known.barred.is_none() && known.decided.as_ref().is_some_and(is_known) {
            // Touched, or replaced by the same: nothing to say.
            known.decided = Some((stat, digest));
            known.first = None;
            return false;
        }
        let agrees = known.first.as_ref().is_some_and(|(first, before, _)| *first == stat && *before == digest);
        if !settled && !agrees {
            known.first = Some((stat, digest, now));
            return true;
        }
        *known = Known { decided: Some((stat, digest.clone())), told: true, ..Known::default() };
        let refused = !self.load(name, path, &bytes, digest);
        self.files.entry(name.to_owned()).or_default().refused = refused;
        // Loading takes its time; the file may have changed meanwhile, and the newer content wins.
        file::stat(&self.settings.dir, path).is_ok_and(|after| after != Some(stat))
    }

    /// Whether the module was taken.
    fn load(&mut self, name: &str, path: &Path, bytes: &[u8], digest: Arc<str>) -> bool {
        let stem = file::stem(name).unwrap_or(name);
        let limits = (self.settings.limits)(stem);
        let began = Instant::now();
        let known = self.recalled.remove(&Kept { name: stem.into(), digest: digest.to_string() });
        match known.map_or_else(|| self.runtime.load(stem, bytes, &limits), Ok) {
            Ok(module) => {
                self.keep(stem, &digest, bytes);
                let (version, took) = (&module.manifest.version, began.elapsed().as_millis() as u64);
                tracing::info!(
                    module = stem,
                    digest = short(&digest),
                    bytes = bytes.len(),
                    version,
                    ms = took,
                    "module loaded"
                );
                self.tell(Event::Loaded(module));
                true
            }
            Err(error) => {
                self.refuse(name, path, digest, error.code, error.message, bytes.len() as u64);
                false
            }
        }
    }

    /// Refuses a file for what it is rather than for what is in it: once, until that changes.
    fn bar(&mut self, name: &str, path: &Path, code: &'static str, message: String, stat: Option<Stat>) {
        let known = self.files.entry(name.to_owned()).or_default();
        known.gone_since = None;
        known.first = None;
        known.told = true;
        if known.barred.as_ref() == Some(&message) {
            return;
        }
        known.barred = Some(message.clone());
        self.refuse(name, path, "".into(), code, message, stat.map_or(0, |stat| stat.size));
    }

    fn refuse(&self, name: &str, path: &Path, digest: Arc<str>, code: &'static str, message: String, bytes: u64) {
        let stem: Arc<str> = file::stem(name).unwrap_or(name).into();
        let file = path.to_owned();
        let message = format!("{name} {message}");
        tracing::warn!(module = &*stem, digest = short(&digest), bytes, code, "module refused: {message}");
        self.tell(Event::Refused { stem, file, digest, code, message });
    }

    /// Reports files that have been gone for long enough. Returns the time until the next one will have been.
    fn forget_gone(&mut self, now: Instant) -> Option<Duration> {
        let dir = self.settings.dir.clone();
        let (mut next, mut removed) = (None::<Duration>, Vec::new());
        self.files.retain(|name, known| {
            if is_there(&dir.join(name)) {
                known.gone_since = None;
                return true;
            }
            known.first = None;
            let gone = now.saturating_duration_since(*known.gone_since.get_or_insert(now));
            if gone < GRACE {
                next = Some(next.map_or(GRACE - gone, |next| next.min(GRACE - gone)));
                return true;
            }
            if known.told {
                removed.push(Arc::from(file::stem(name).unwrap_or(name)));
            }
            false
        });
        for stem in removed {
            tracing::info!(module = &*stem, "module removed");
            if let Some(store) = &self.settings.store {
                store.release(&stem);
            }
            self.tell(Event::Removed { stem });
        }
        next
    }

    /// Loads the builds that ran before this start, so that they are there when the first flow begins.
    fn recall(&mut self) {
        let Some(store) = self.settings.store.clone() else { return };
        self.note_store(store.prepare());
        store.remove_orphans();
        for kept in Store::recalled(&store.flows()) {
            let wasm = store.wasm(&kept.digest);
            let limits = (self.settings.limits)(&kept.name);
            let load = |wasm: Vec<u8>| self.runtime.load(&kept.name, &wasm, &limits).map_err(|error| error.message);
            match wasm.and_then(load) {
                Ok(module) => {
                    self.tell(Event::Recalled(module.clone()));
                    self.recalled.insert(kept, module);
                }
                Err(cause) => {
                    let digest = short(&kept.digest);
                    tracing::warn!(module = kept.name, digest, "a build of before is not at hand: {cause}");
                }
            }
        }
    }

    fn keep(&mut self, stem: &str, digest: &str, bytes: &[u8]) {
        if let Some(store) = self.settings.store.clone() {
            self.note_store(store.keep(stem, digest, bytes));
        }
    }

    /// Once the store can be written again: keeps what it could not.
    fn keep_again(&mut self) {
        let Some(store) = self.settings.store.clone().filter(|_| self.unkept.is_some()) else { return };
        let mut kept = store.prepare();
        for (name, (stat, decided)) in
            self.files.iter().filter_map(|(name, known)| Some((name, known.decided.as_ref()?)))
        {
            let reading = file::read(&self.settings.dir.join(name), stat);
            if let (Ok(()), Reading::Bytes { bytes, digest }) = (&kept, reading)
                && digest == *decided
            {
                kept = store.keep(file::stem(name).unwrap_or(name), &digest, &bytes);
            }
        }
        self.note_store(kept);
    }

    fn note_store(&mut self, result: Result<(), String>) {
        let problem = result.err();
        if problem == self.unkept {
            return;
        }
        match &problem {
            Some(words) => tracing::warn!("{words}"),
            None => tracing::info!("the store can be written again"),
        }
        self.unkept.clone_from(&problem);
        self.tell(Event::Store { problem });
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more when the host is going down.
        drop(self.events.send(event));
    }
}

/// Whether there is something that may be read as a file, wherever links lead.
fn is_there(path: &PathBuf) -> bool {
    let is_file = fs::metadata(path).map(|metadata| metadata.is_file());
    is_file.unwrap_or_else(|error| error.kind() != std::io::ErrorKind::NotFound)
}

/// The beginning of a digest, as it is shown.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
