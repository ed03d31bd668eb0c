//! The modules folder: which files there are, and which of them have become modules. Events of the file system only
//! hasten a scan; what a file is, its digest decides. A file that is half-written, broken or foreign never displaces
//! anything: it is refused once, and whoever runs the module before keeps it. What runs is not decided here.

mod file;
mod folder;
pub mod store;
#[cfg(test)]
mod tests;
pub mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use self::store::Store;
use crate::config::Limits;
use crate::runtime::{Module, Runtime};

/// What happened in the folder, in order.
#[derive(Debug)]
pub enum Event {
    /// A file has become a module. Comes again with the same digest when a refused file is put back to what it was.
    Loaded(Arc<Module>),
    /// A module that ran before this start was loaded from the store. All of them come before the first scan is complete.
    Recalled(Arc<Module>),
    /// The store cannot be written, and why; or (`None`) it can again.
    Store { problem: Option<String> },
    /// A file was not taken. Once per content.
    Refused { stem: Arc<str>, file: PathBuf, digest: Arc<str>, code: &'static str, message: String },
    /// A file has been gone for the grace period.
    Removed { stem: Arc<str> },
    /// The folder cannot be looked through. The modules that run stay.
    FolderMissing { dir: PathBuf, message: String },
    /// The folder is there again, or for the first time.
    FolderFound,
    /// A scan is complete: every file in the folder has been loaded or refused.
    Scanned,
}

/// How the folder is watched.
pub struct FolderSettings {
    pub dir: PathBuf,
    /// How often the folder is looked through when no event of the file system says so earlier.
    pub scan_interval: Duration,
    /// Limits under which a module (given by its file stem) is tried.
    pub limits: Box<dyn Fn(&str) -> Limits + Send>,
    /// Where every module that is taken is kept.
    pub store: Option<Arc<Store>>,
    /// Called when the thread ends although it was not told to.
    pub died: Arc<dyn Fn(String) + Send + Sync>,
}

/// How long the end of the thread is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// The thread that watches the folder and loads what appears there, one file at a time.
pub struct Folder {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Folder {
    /// Begins with a scan at once.
    pub fn start(settings: FolderSettings, runtime: Arc<Runtime>) -> (Folder, Receiver<Event>) {
        let (events, receiver) = unbounded();
        let (stop, stopped) = bounded(1);
        let died = settings.died.clone();
        let run = move || {
            let watched = AssertUnwindSafe(|| folder::Watched::new(settings, runtime, events).run(&stopped));
            if catch_unwind(watched).is_err() {
                died("the thread of the modules folder panicked".into());
            }
        };
        let spawned = std::thread::Builder::new().name("modules".into()).spawn(run);
        // Without the thread the receiver is closed, which its reader takes for a death.
        (Folder { stop, thread: spawned.ok() }, receiver)
    }

    /// Ends the thread. One that is compiling a module, which takes seconds on a busy machine, is not waited for: it ends
    /// when it has done that, or with the process.
    pub fn stop(self) {
        drop(self.stop);
        let deadline = Instant::now() + PATIENCE;
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
