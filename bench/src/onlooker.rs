//! Somebody who looks while it runs, as the page does: both streams read as they come, the snapshot once per second.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two snapshots.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at whether it is over.
const BEAT: Duration = Duration::from_millis(50);

/// An open page.
pub(crate) struct Watching {
    over: Arc<AtomicBool>,
    /// Records that the tap has shown.
    shown: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Watching {
    /// Looks at one flow of the host at this address.
    pub(crate) fn begin(address: &str, flow: &str) -> Self {
        let (over, shown) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let stream = |path: String| {
            let (address, over, shown) = (address.to_owned(), over.clone(), shown.clone());
            std::thread::spawn(move || follow(&address, &path, &over, &shown))
        };
        let mut threads = vec![stream(format!("/api/tap?flow={flow}")), stream("/api/events".to_owned())];
        let (asked, ended) = (address.to_owned(), over.clone());
        threads.push(std::thread::spawn(move || look(&asked, &ended)));
        Watching { over, shown, threads }
    }

    /// Closes the page; how many records it has shown.
    pub(crate) fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a watcher has panicked"));
        self.shown.load(Ordering::Relaxed)
    }
}

/// Reads a stream until it is over; one that is not there yet is asked for again.
fn follow(address: &str, path: &str, over: &AtomicBool, shown: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        let Ok(mut stream) = ask(address, path) else { continue };
        let (mut bytes, mut rest) = (vec![0; 64 << 10], Vec::new());
        while !over.load(Ordering::Relaxed) {
            match stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => rest.extend_from_slice(&bytes[..count]),
                Err(cause) if matches!(cause.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                }
                Err(_) => break,
            }
            let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let records = rest[..whole].split(|byte| *byte == b'\n').filter(|line| *line == b"event: record").count();
            shown.fetch_add(records as u64, Ordering::Relaxed);
            rest.drain(..whole);
        }
        std::thread::sleep(BEAT);
    }
}

/// Asks for the snapshot, again and again.
fn look(address: &str, over: &AtomicBool) {
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            next = Instant::now() + LOOK;
            if let Ok(mut stream) = ask(address, "/api/state") {
                stream.set_read_timeout(Some(LOOK)).ok();
                stream.read_to_end(&mut Vec::new()).ok();
            }
        }
        std::thread::sleep(BEAT);
    }
}

fn ask(address: &str, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BEAT))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    Ok(stream)
}
