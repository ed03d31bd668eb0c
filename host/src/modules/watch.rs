//! The only place of notify. Its events carry no truth, they say that it is time to look; where it does not work (network
//! file systems, too few inotify watches) the scans go on alone.

use std::path::Path;

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
