//! The only place of notify. Its events carry no truth, they say that it is time to look; where it does not work (network
//! file systems, too few inotify watches) the scans go on alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// Hints that something in the folder has changed.
pub(super) struct Watch {
    hint: Sender<()>,
    pub(super) hints: Receiver<()>,
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let (hint, hints) = bounded(1);
        Watch { hint, hints, watcher: None }
    }

    /// Watches the folder anew; a folder that was replaced is another one to the system.
    pub(super) fn begin(&mut self, dir: &Path) {
        let hint = self.hint.clone();
        let on_event = move |event: notify::Result<notify::Event>| {
            // Our own readings are events as well. A full channel has its hint already.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                hint.try_send(()).unwrap_or_default();
            }
        };
        let watching = notify::recommended_watcher(on_event).and_then(|mut watcher| {
            watcher.watch(dir, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        self.watcher = watching
            .inspect_err(|cause| {
                tracing::warn!(dir = %dir.display(), %cause, "changes in the modules folder are seen by scans only");
            })
            .ok();
    }

    pub(super) fn end(&mut self) {
        self.watcher = None;
    }
}

/// Watches a folder for a moment, to see whether the system allows it.
pub fn rehearse(dir: &Path) -> Result<(), String> {
    let watching = notify::recommended_watcher(|_| {}).and_then(|mut w| w.watch(dir, RecursiveMode::NonRecursive));
    watching.map_err(|cause| cause.to_string())
}

/// Hints that something in a folder, or anywhere below some of its folders, has changed: for commands that look at sources.
pub struct Tree {
    hints: Receiver<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Tree {
    /// Watches `dir` itself and everything below the folders `deep` of it that exist.
    pub fn watch(dir: &Path, deep: &[PathBuf]) -> Tree {
        let (hint, hints) = bounded(1);
        let on_event = move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                hint.try_send(()).unwrap_or_default();
            }
        };
        let mut watcher = notify::recommended_watcher(on_event).ok();
        if let Some(watcher) = &mut watcher {
            // What cannot be watched is found by looking.
            watcher.watch(dir, RecursiveMode::NonRecursive).ok();
            let deep = deep.iter().filter(|dir| dir.is_dir());
            deep.for_each(|dir| drop(watcher.watch(dir, RecursiveMode::Recursive)));
        }
        Tree { hints, _watcher: watcher }
    }

    /// Waits for a hint, at most so long.
    pub fn wait(&self, timeout: Duration) {
        self.hints.recv_timeout(timeout).unwrap_or_default();
    }
}
