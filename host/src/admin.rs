//! The HTTP server: the page `/`, `/health/live`, `/health/ready`, `/metrics`, and `/api/…`, of which `page`, `ls`, `top`
//! and `tap` are made. Changes need a token always, everything but health needs it where other machines can connect.

mod access;
mod api;
mod connections;
mod pages;
mod streams;
pub mod token;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use self::access::Access;
use self::connections::{Connections, Life};
use self::token::TokenFile;
use crate::board::Board;
use crate::config::Admin;

/// Streams at the same time: each keeps a connection.
const STREAMS: usize = 24;
/// Between two points of the history.
const SAMPLE: Duration = Duration::from_secs(1);

/// What the handlers work with.
#[derive(Clone)]
struct Shown {
    board: Arc<Board>,
    access: Arc<Access>,
    streams: Arc<Semaphore>,
}

/// A server that runs until the process ends.
pub struct Server {
    pub address: SocketAddr,
    /// Where the token for this machine's user lies, where none is configured. Removed with this value.
    _token: Option<TokenFile>,
}

/// Starts the server, unless `listen` is empty.
pub fn start(admin: &Admin, board: &Arc<Board>, tokio: &tokio::runtime::Handle) -> Result<Option<Server>, String> {
    if admin.listen.is_empty() {
        return Ok(None);
    }
    let failed = |error: std::io::Error| refusal(&admin.listen, &error);
    let listener = TcpListener::bind(&admin.listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let local = address.ip().is_loopback();
    if !local && admin.token().is_none() {
        return Err(format!(
            "refused to listen on {address}: other machines reach it and no token is set; set [admin] token = \
             \"${{file:/run/secrets/wasmill_token}}\", or listen on 127.0.0.1"
        ));
    }
    let file = match admin.token() {
        Some(_) => None,
        None => TokenFile::create(address.port()).inspect_err(|words| tracing::warn!("{words}")).ok(),
    };
    let token = admin.token().or_else(|| file.as_ref().map(TokenFile::token));
    let access = Arc::new(Access::new(local, token));
    let shown = Shown { board: board.clone(), access, streams: Arc::new(Semaphore::new(STREAMS)) };
    let _inside = tokio.enter();
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    tokio.spawn(sample(board.clone()));
    tokio.spawn(async move {
        let service = router(shown).into_make_service_with_connect_info::<Life>();
        // `serve` only returns where accepting fails for good, and it never does: errors are retried.
        drop(axum::serve(Connections::new(listener), service).await);
    });
    writeln!(std::io::stderr(), "listening on {address}").ok();
    Ok(Some(Server { address, _token: file }))
}

fn refusal(listen: &str, error: &std::io::Error) -> String {
    let what_to_do = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another process listens there; stop it, or set admin.listen to another port (0 takes any free one)"
        }
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; set admin.listen to a higher port",
        _ => "set admin.listen to an address of this machine, such as 127.0.0.1:8686",
    };
    format!("cannot listen on {listen}: {error}; {what_to_do}")
}

fn router(shown: Shown) -> Router {
    Router::new()
        .route("/", get(pages::index))
        .route("/page.css", get(pages::style))
        .route("/page.js", get(pages::script))
        .route("/health/live", get(pages::live))
        .route("/health/ready", get(pages::ready))
        .route("/metrics", get(pages::metrics))
        .route("/api/state", get(api::state))
        .route("/api/history", get(api::history))
        .route("/api/module-history", get(api::module_history))
        .route("/api/dead-letters", get(api::dead_letters))
        .route("/api/logs", get(api::logs))
        .route("/api/flows/{flow}/{action}", post(api::change))
        .route("/api/tap", get(streams::tap))
        .route("/api/events", get(streams::events))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found; docs/operating.md lists what there is\n") })
        .layer(middleware::from_fn_with_state(shown.clone(), access::admit))
        .with_state(shown)
}

/// Takes a point of every flow's history per second.
async fn sample(board: Arc<Board>) {
    let mut ticks = tokio::time::interval(SAMPLE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        board.all().iter().for_each(|flow| flow.sample());
    }
}

#[cfg(test)]
mod tests;
