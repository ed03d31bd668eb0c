//! A TCP proxy between the host and a database, so that one test can take the database away, break its connections at
//! any byte or make it slow, without hurting another test. It knows nothing of what it carries.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Time between two looks at whether a stalled proxy goes on.
const STEP: Duration = Duration::from_millis(5);
/// No connection is to be broken at a byte.
const NEVER: i64 = i64::MAX;

/// Forwards to one address while it is open.
#[derive(Debug)]
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: String,
    open: AtomicBool,
    stalled: AtomicBool,
    /// Milliseconds that each portion of an answer waits.
    delay: AtomicU64,
    /// Bytes of answers that still pass before every connection breaks.
    budget: AtomicI64,
    connections: Mutex<Vec<Connection>>,
    accepted: AtomicU64,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    inside: TcpStream,
    outside: TcpStream,
}

impl Proxy {
    /// `target` is `host:port`.
    pub fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            target: target.into(),
            open: AtomicBool::new(true),
            stalled: AtomicBool::new(false),
            delay: AtomicU64::new(0),
            budget: AtomicI64::new(NEVER),
            connections: Mutex::default(),
            accepted: AtomicU64::new(0),
        });
        let accepting = shared.clone();
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| accepting.accept(stream)));
        Proxy { port, shared }
    }

    /// A proxy to the server of a URL, and the URL that leads through it.
    pub fn before(url: &str) -> (Self, String) {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, address) = authority.rsplit_once('@').map_or(("", authority), |(user, address)| (user, address));
        let proxy = Proxy::to(address);
        let at = if user.is_empty() { "" } else { "@" };
        let through = format!("{scheme}://{user}{at}127.0.0.1:{}/{path}", proxy.port);
        (proxy, through)
    }

    /// Breaks every connection and each new one.
    pub fn cut(&self) {
        self.shared.open.store(false, Ordering::SeqCst);
        self.snap();
    }

    pub fn restore(&self) {
        self.shared.open.store(true, Ordering::SeqCst);
    }

    /// Breaks every connection; new ones are taken. Returns how many there were.
    pub fn snap(&self) -> usize {
        self.shared.snap()
    }

    /// Breaks every connection after this many more bytes of answers, wherever in an answer that is.
    pub fn snap_after(&self, bytes: i64) {
        self.shared.budget.store(bytes, Ordering::SeqCst);
    }

    /// Whether the breaking that `snap_after` ordered is still to come; it is called off.
    pub fn call_off(&self) -> bool {
        self.shared.budget.swap(NEVER, Ordering::SeqCst) != NEVER
    }

    /// Connections stay, but nothing passes.
    pub fn stall(&self, stalled: bool) {
        self.shared.stalled.store(stalled, Ordering::SeqCst);
    }

    /// Each portion of an answer waits this long.
    pub fn slow(&self, delay: Duration) {
        self.shared.delay.store(delay.as_millis() as u64, Ordering::SeqCst);
    }
}

impl Shared {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snap(&self) -> usize {
        let broken: Vec<Connection> = self.connections().drain(..).collect();
        for stream in broken.iter().flat_map(|connection| [&connection.inside, &connection.outside]) {
            stream.shutdown(Shutdown::Both).ok();
        }
        broken.len()
    }

    fn accept(self: &Arc<Self>, inside: TcpStream) {
        if !self.open.load(Ordering::SeqCst) {
            return;
        }
        let Ok(outside) = TcpStream::connect(&self.target) else { return };
        // Without this, small messages wait for the acknowledgement of those before.
        inside.set_nodelay(true).ok();
        outside.set_nodelay(true).ok();
        let number = self.accepted.fetch_add(1, Ordering::SeqCst);
        let copy = |stream: &TcpStream| stream.try_clone().expect("the proxy can copy its handles");
        self.connections().push(Connection { number, inside: copy(&inside), outside: copy(&outside) });
        for (from, to, answers) in [(copy(&inside), copy(&outside), false), (outside, inside, true)] {
            let shared = self.clone();
            thread::spawn(move || {
                shared.forward(from, &to, answers);
                // Either way the connection is over; the other direction must notice.
                to.shutdown(Shutdown::Both).ok();
                shared.connections().retain(|connection| connection.number != number);
            });
        }
    }

    fn forward(&self, mut from: TcpStream, mut to: &TcpStream, answers: bool) {
        let mut buffer = [0; 16 << 10];
        while let Ok(length) = from.read(&mut buffer)
            && length > 0
        {
            let passing = if answers { self.pass(length) } else { length };
            while self.stalled.load(Ordering::SeqCst) {
                thread::sleep(STEP);
            }
            if to.write_all(&buffer[..passing]).is_err() {
                return;
            }
            if passing < length {
                self.snap();
                return;
            }
        }
    }

    /// How many bytes of this portion may pass, after what it has to wait.
    fn pass(&self, length: usize) -> usize {
        let delay = self.delay.load(Ordering::SeqCst);
        if delay > 0 {
            thread::sleep(Duration::from_millis(delay));
        }
        if self.budget.load(Ordering::SeqCst) == NEVER {
            return length;
        }
        let left = self.budget.fetch_sub(length as i64, Ordering::SeqCst);
        if left >= length as i64 {
            return length;
        }
        self.budget.store(NEVER, Ordering::SeqCst);
        left.clamp(0, length as i64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each byte with a hundred.
    fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[byte[0]; 100]).is_ok() {}
                });
            }
        });
        address
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port)).expect("the proxy listens")
    }

    fn ask(stream: &mut TcpStream) -> usize {
        stream.write_all(b"x").expect("sent");
        let (mut answer, mut total) = ([0; 100], 0);
        while total < 100
            && let Ok(length) = stream.read(&mut answer)
            && length > 0
        {
            total += length;
        }
        total
    }

    #[test]
    fn a_connection_breaks_at_the_byte_that_was_named_and_the_next_one_is_whole() {
        let proxy = Proxy::to(&echo());
        let mut first = connect(&proxy);
        assert_eq!(ask(&mut first), 100);
        proxy.snap_after(130);
        assert_eq!((ask(&mut first), ask(&mut first)), (100, 30));
        assert!(!proxy.call_off(), "it has happened");
        assert_eq!(ask(&mut connect(&proxy)), 100);
    }

    #[test]
    fn what_is_stalled_passes_afterwards() {
        let proxy = Proxy::to(&echo());
        let mut stream = connect(&proxy);
        proxy.stall(true);
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        assert_eq!(ask(&mut stream), 0);
        proxy.stall(false);
        stream.set_read_timeout(None).expect("no timeout");
        let mut answer = [0; 100];
        stream.read_exact(&mut answer).expect("the answer comes late");
    }
}
