//! Accepts connections under limits: how many, how long they may take for a request or be silent, how long they live.
//! Without them a few slow clients could hold all file descriptors.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at the same time; further ones wait in the kernel.
const CONNECTIONS: usize = 128;
/// Longest time until a request is complete, and longest silence after that. What a client sends does not prolong it: a
/// request that comes byte by byte is cut off.
const IDLE: Duration = Duration::from_secs(5);
/// Longest life of a connection, whatever happens on it, unless it carries a stream.
const LIFE: Duration = Duration::from_secs(60);
/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listener.
pub(super) struct Connections {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

/// A connection with its deadlines.
pub(super) struct Connection {
    stream: TcpStream,
    end: Instant,
    timer: Pin<Box<Sleep>>,
    life: Life,
    _permit: OwnedSemaphorePermit,
}

/// What a handler may say about its connection.
#[derive(Clone, Default)]
pub(super) struct Life(Arc<AtomicBool>);

impl Life {
    /// It carries a stream of events, which may last.
    pub(super) fn is_stream(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, Connections>> for Life {
    fn connect_info(stream: axum::serve::IncomingStream<'_, Connections>) -> Self {
        stream.io().life.clone()
    }
}

impl Connections {
    pub(super) fn new(listener: TcpListener) -> Self {
        Connections { listener, permits: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

impl axum::serve::Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = self.permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let timer = Box::pin(tokio::time::sleep(IDLE));
                    let (end, life) = (Instant::now() + LIFE, Life::default());
                    return (Connection { stream, end, timer, life, _permit: permit }, address);
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connection {
    /// The client took something: the next silence begins now.
    fn progress(&mut self) {
        let silence = Instant::now() + IDLE;
        let deadline = if self.life.0.load(Ordering::Relaxed) { silence } else { silence.min(self.end) };
        self.timer.as_mut().reset(deadline);
    }

    /// Fails when the time is up, else waits for it beside the operation.
    fn expired<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        // Also where there is something to read: a client could keep that up for ever.
        match self.expired(cx) {
            Poll::Pending => result,
            expired => expired,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Pending => self.expired(cx),
            done => {
                self.progress();
                done
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        if result.is_pending() { self.expired(cx) } else { result }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        if result.is_pending() { self.expired(cx) } else { result }
    }
}
