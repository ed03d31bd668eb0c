//! A TCP proxy between the host and a database, so that one test can take the database away without hurting another.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

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
    connections: Mutex<Vec<TcpStream>>,
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
            connections: Mutex::default(),
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
        for stream in self.shared.connections().drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// Keeps every connection and lets nothing through, as a network that has gone dead.
    pub fn stall(&self) {
        self.shared.stalled.store(true, Ordering::SeqCst);
    }

    pub fn restore(&self) {
        self.shared.stalled.store(false, Ordering::SeqCst);
        self.shared.open.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, inside: TcpStream) {
        if !self.open.load(Ordering::SeqCst) {
            return;
        }
        let Ok(outside) = TcpStream::connect(&self.target) else { return };
        if let Err(e) = self.join(&inside, &outside) {
            panic!("the proxy cannot copy its handles: {e}");
        }
    }

    fn join(self: &Arc<Self>, inside: &TcpStream, outside: &TcpStream) -> io::Result<()> {
        for (mut from, mut to) in
            [(inside.try_clone()?, outside.try_clone()?), (outside.try_clone()?, inside.try_clone()?)]
        {
            let shared = self.clone();
            thread::spawn(move || {
                // Either way the connection is over; the other direction must notice.
                shared.copy(&mut from, &mut to).ok();
                to.shutdown(Shutdown::Both).ok();
            });
        }
        self.connections().extend([inside.try_clone()?, outside.try_clone()?]);
        Ok(())
    }

    fn copy(&self, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = from.read(&mut bytes)?;
            while self.stalled.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            if read == 0 {
                return Ok(());
            }
            to.write_all(&bytes[..read])?;
        }
    }
}
