//! Promises of the folder, kept with files on a real file system.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::runtime::tests::{guest, runtime};

const SOON: Duration = Duration::from_secs(60);

struct Fixture {
    dir: TempDir,
    folder: Option<Folder>,
    events: Receiver<Event>,
}

impl Fixture {
    fn new() -> Self {
        Self::over(|_| {})
    }

    /// Starts over a folder with these files.
    fn over(prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        prepare(dir.path());
        let settings = FolderSettings {
            dir: dir.path().join("modules"),
            scan_interval: Duration::from_millis(200),
            limits: Box::new(|_| Limits::default()),
            store: None,
            died: Arc::new(|words| panic!("{words}")),
        };
        let (folder, events) = Folder::start(settings, runtime());
        Fixture { dir, folder: Some(folder), events }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("modules").join(name)
    }

    /// At once: a scan between two steps of a copy would see half of it.
    fn write(&self, name: &str, bytes: &[u8]) {
        let part = self.path(&format!(".{name}.part"));
        fs::write(&part, bytes).expect("a file");
        fs::rename(part, self.path(name)).expect("renamed");
    }

    /// In place, and as long as before.
    fn overwrite(&self, name: &str, bytes: &[u8]) {
        let mut file = fs::OpenOptions::new().write(true).open(self.path(name)).expect("a file");
        std::io::Write::write_all(&mut file, bytes).expect("written");
    }

    /// The next event that is not about a scan.
    #[track_caller]
    fn next(&self) -> String {
        self.next_within(SOON).expect("an event")
    }

    fn next_within(&self, time: Duration) -> Option<String> {
        let end = Instant::now() + time;
        loop {
            match self.events.recv_deadline(end).ok()? {
                Event::Scanned => {}
                event => return Some(told(&event)),
            }
        }
    }

    /// Waits until this many scans have ended; whatever else is said on the way is returned.
    fn scans(&self, count: usize) -> Vec<String> {
        let (mut scans, mut others) = (0, Vec::new());
        while scans < count {
            match self.events.recv_timeout(SOON).expect("a scan") {
                Event::Scanned => scans += 1,
                event => others.push(told(&event)),
            }
        }
        others
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.folder.take().expect("stopped once").stop();
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Loaded(module) => format!("loaded {} {}", module.name, &module.digest[..8]),
        Event::Refused { stem, code, .. } => format!("refused {stem} {code}"),
        Event::Removed { stem } => format!("removed {stem}"),
        Event::FolderMissing { message, .. } => format!("missing: {message}"),
        Event::Recalled(module) => format!("recalled {} {}", module.name, &module.digest[..8]),
        Event::Store { problem } => format!("store: {}", problem.as_deref().unwrap_or("fine")),
        Event::FolderFound => "found".into(),
        Event::Scanned => "scanned".into(),
    }
}

fn loaded(name: &str, wasm: &[u8]) -> String {
    format!("loaded {name} {}", &crate::runtime::digest(wasm)[..8])
}

/// An empty modules folder.
fn empty(dir: &Path) {
    fs::create_dir(dir.join("modules")).expect("a folder");
}

/// Two versions of the same module.
fn versions() -> Option<(Vec<u8>, Vec<u8>)> {
    let first = guest("numbered")?;
    let mut second = first.clone();
    let marker = b"@@NUMBER:0000000";
    let at = second.windows(marker.len()).position(|window| window == marker).expect("the marker") + marker.len();
    second[at] = b'7';
    Some((first, second))
}

#[test]
fn a_dropped_file_becomes_a_module_and_a_new_version_follows() {
    let Some((first, second)) = versions() else { return };
    let fixture = Fixture::over(empty);
    fixture.write("n.wasm", &first);
    assert_eq!(fixture.next(), loaded("n", &first));
    fixture.overwrite("n.wasm", &second);
    assert_eq!(fixture.next(), loaded("n", &second));
    fs::write(fixture.path(".n.tmp"), &first).expect("a file");
    fs::rename(fixture.path(".n.tmp"), fixture.path("n.wasm")).expect("renamed");
    assert_eq!(fixture.next(), loaded("n", &first));
}

#[test]
fn a_touched_file_is_no_event() {
    let Some((first, _)) = versions() else { return };
    let fixture = Fixture::over(empty);
    fixture.write("n.wasm", &first);
    assert_eq!(fixture.next(), loaded("n", &first));
    fixture.overwrite("n.wasm", &first);
    assert_eq!(fixture.scans(15), Vec::<String>::new());
}

#[test]
fn a_half_written_file_waits_for_its_end() {
    let Some((first, _)) = versions() else { return };
    let fixture = Fixture::over(empty);
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let mut file = fs::File::create(fixture.path("n.wasm")).expect("a file");
    for part in first.chunks(first.len() / 40 + 1) {
        let begun = Instant::now();
        std::io::Write::write_all(&mut file, part).expect("written");
        longest = longest.max(last.elapsed());
        last = begun;
        // The writer's pace is what is being tested; nothing is waited for here.
        std::thread::sleep(Duration::from_millis(25));
    }
    let mut told = fixture.next();
    // A writer that was held up for so long has left a file that seemed to be whole.
    while longest > Duration::from_millis(100) && told.starts_with("refused n ") {
        told = fixture.next();
    }
    assert_eq!(told, loaded("n", &first));
}

#[test]
fn a_broken_version_is_refused_once_and_the_old_one_can_be_put_back() {
    let Some((first, _)) = versions() else { return };
    let fixture = Fixture::over(empty);
    fixture.write("n.wasm", &first);
    assert_eq!(fixture.next(), loaded("n", &first));
    fixture.write("n.wasm", &first[..first.len() / 2]);
    assert_eq!(fixture.next(), "refused n module.invalid");
    assert_eq!(fixture.scans(15), Vec::<String>::new());
    fixture.write("n.wasm", b"");
    assert_eq!(fixture.next(), "refused n module.not-wasm");
    fixture.write("n.wasm", &first);
    assert_eq!(fixture.next(), loaded("n", &first));
}

#[test]
fn a_refused_file_that_is_copied_again_is_tried_again() {
    let fixture = Fixture::over(empty);
    for _ in 0..2 {
        fixture.write("n.wasm", b"text");
        assert_eq!(fixture.next(), "refused n module.not-wasm");
        assert_eq!(fixture.scans(15), Vec::<String>::new());
    }
}

#[test]
fn a_link_that_is_put_back_brings_the_module_back() {
    let Some((first, _)) = versions() else { return };
    let fixture = Fixture::over(|dir| {
        empty(dir);
        fs::write(dir.join("outside.wasm"), b"text").expect("a file");
        fs::create_dir(dir.join("modules/..1")).expect("a folder");
        fs::write(dir.join("modules/..1/n.wasm"), &first).expect("a file");
        symlink("..1/n.wasm", dir.join("modules/n.wasm")).expect("a link");
    });
    assert_eq!(fixture.next(), loaded("n", &first));
    for (target, told) in [("../outside.wasm", "refused n module.unreadable"), ("..1/n.wasm", &loaded("n", &first))] {
        symlink(target, fixture.path("..next")).expect("a link");
        fs::rename(fixture.path("..next"), fixture.path("n.wasm")).expect("swapped");
        assert_eq!(fixture.next(), told);
    }
}

#[test]
fn removing_and_copying_again_keeps_the_module() {
    let Some((first, second)) = versions() else { return };
    let fixture = Fixture::over(empty);
    fixture.write("n.wasm", &first);
    assert_eq!(fixture.next(), loaded("n", &first));
    fs::remove_file(fixture.path("n.wasm")).expect("removed");
    assert_eq!(fixture.scans(2), Vec::<String>::new());
    fixture.write("n.wasm", &first);
    assert_eq!(fixture.scans(5), Vec::<String>::new());
    fs::remove_file(fixture.path("n.wasm")).expect("removed");
    fixture.write("n.wasm", &second);
    assert_eq!(fixture.next(), loaded("n", &second));
    let gone = Instant::now();
    fs::remove_file(fixture.path("n.wasm")).expect("removed");
    assert_eq!(fixture.next(), "removed n");
    assert!(gone.elapsed() >= Duration::from_secs(4), "after {:?}", gone.elapsed());
    fixture.write("n.wasm", &second);
    assert_eq!(fixture.next(), loaded("n", &second));
}

#[test]
fn what_is_no_module_by_its_name_or_kind_is_left_alone() {
    let fixture = Fixture::over(|dir| {
        empty(dir);
        let modules = dir.join("modules");
        for name in [".hidden.wasm", "n.wasm.tmp", "n.wasm.part", "README.md", ".wasm", "n.wasm~"] {
            fs::write(modules.join(name), b"text").expect("a file");
        }
        fs::create_dir(modules.join("folder.wasm")).expect("a folder");
        let pipe = std::process::Command::new("mkfifo").arg(modules.join("pipe.wasm")).status().expect("mkfifo");
        assert!(pipe.success());
        symlink(modules.join("nothing"), modules.join("dangling.wasm")).expect("a link");
    });
    assert_eq!(fixture.scans(3), Vec::<String>::new());
    fixture.write("text.wasm", b"text");
    assert_eq!(fixture.next(), "refused text module.not-wasm");
}

#[test]
fn a_swap_of_kubernetes_links_is_seen() {
    let Some((first, second)) = versions() else { return };
    let fixture = Fixture::over(|dir| {
        empty(dir);
        let modules = dir.join("modules");
        for (version, wasm) in [("..1", &first), ("..2", &second)] {
            fs::create_dir(modules.join(version)).expect("a folder");
            fs::write(modules.join(version).join("n.wasm"), wasm).expect("a file");
        }
        symlink("..1", modules.join("..data")).expect("a link");
        symlink("..data/n.wasm", modules.join("n.wasm")).expect("a link");
    });
    assert_eq!(fixture.next(), loaded("n", &first));
    symlink("..2", fixture.path("..next")).expect("a link");
    fs::rename(fixture.path("..next"), fixture.path("..data")).expect("swapped");
    assert_eq!(fixture.next(), loaded("n", &second));
}

#[test]
fn a_link_out_of_the_folder_is_refused_by_name() {
    let fixture = Fixture::over(|dir| {
        empty(dir);
        fs::write(dir.join("outside.wasm"), b"text").expect("a file");
        symlink("../outside.wasm", dir.join("modules/n.wasm")).expect("a link");
    });
    let event = fixture.events.recv_timeout(SOON).expect("an event");
    let Event::Refused { message, digest, .. } = &event else { panic!("{event:?}") };
    assert!(
        message.contains("n.wasm is a link out of the modules folder") && message.contains("outside.wasm"),
        "{message}"
    );
    assert_eq!(&**digest, "");
    assert_eq!(fixture.scans(5), Vec::<String>::new());
    fs::remove_file(fixture.path("n.wasm")).expect("removed");
    fixture.write("n.wasm", b"text");
    assert_eq!(fixture.next(), "refused n module.not-wasm");
}

#[test]
fn a_missing_folder_is_named_and_waited_for() {
    let Some((first, _)) = versions() else { return };
    let fixture = Fixture::new();
    let missing = fixture.next();
    assert!(missing.contains("modules does not exist: create it"), "{missing}");
    assert_eq!(fixture.next_within(Duration::from_secs(1)), None, "said once");
    empty(fixture.dir.path());
    assert_eq!(fixture.next(), "found");
    fixture.write("n.wasm", &first);
    assert_eq!(fixture.next(), loaded("n", &first));
    fs::rename(fixture.dir.path().join("modules"), fixture.dir.path().join("away")).expect("moved");
    assert!(fixture.next().starts_with("missing: "));
    fs::rename(fixture.dir.path().join("away"), fixture.dir.path().join("modules")).expect("moved");
    assert_eq!(fixture.next(), "found");
    assert_eq!(fixture.scans(3), Vec::<String>::new(), "the module was there all the time");
}

#[test]
fn a_file_beyond_the_limit_is_refused_unread() {
    let fixture = Fixture::over(empty);
    let file = fs::File::create(fixture.path("huge.wasm")).expect("a file");
    file.set_len(1 << 40).expect("sparse");
    assert_eq!(fixture.next(), "refused huge module.too-large");
    assert_eq!(fixture.scans(5), Vec::<String>::new());
}

#[test]
fn a_scan_is_told_only_when_every_file_has_been_decided_on() {
    let Some((first, second)) = versions() else { return };
    let fixture = Fixture::over(|dir| {
        empty(dir);
        fs::write(dir.join("modules/a.wasm"), &first).expect("a file");
        fs::write(dir.join("modules/b.wasm"), &second).expect("a file");
        fs::write(dir.join("modules/c.wasm"), b"text").expect("a file");
    });
    let mut before = fixture.scans(1);
    before.sort();
    assert_eq!(before, [loaded("a", &first), loaded("b", &second), "refused c module.not-wasm".into()]);
}
