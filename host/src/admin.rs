//! The HTTP server: `/`, `/health/live`, `/health/ready`, `/metrics`, `/api/state`. Read-only: nothing can be changed
//! through it and no payload passes through it.

mod connections;
mod pages;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use self::connections::Connections;
use crate::health::Health;
use crate::metrics::Metrics;

/// What the pages show.
#[derive(Clone)]
struct Shown {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    /// Whether only this machine can reach the server: then a foreign `Host` is another site's script.
    local: bool,
}

/// Starts the server and returns its address; it runs until the process ends.
pub fn start(
    listen: &str,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    tokio: &tokio::runtime::Handle,
) -> Result<SocketAddr, String> {
    let failed = |error: std::io::Error| refusal(listen, &error);
    let listener = TcpListener::bind(listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let _inside = tokio.enter();
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    let shown = Shown { metrics, health, local: address.ip().is_loopback() };
    tokio.spawn(async move {
        // `serve` only returns where accepting fails for good, and it never does: errors are retried.
        drop(axum::serve(Connections::new(listener), router(shown)).await);
    });
    writeln!(std::io::stderr(), "listening on {address}").ok();
    Ok(address)
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
        .route("/health/live", get(pages::live))
        .route("/health/ready", get(pages::ready))
        .route("/metrics", get(pages::metrics))
        .route("/api/state", get(pages::state))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found; / lists what there is\n") })
        .layer(middleware::from_fn_with_state(shown.clone(), check_host))
        .with_state(shown)
}

/// A page from elsewhere can make a browser send requests to this machine, but under its own host name.
async fn check_host(State(shown): State<Shown>, request: Request, next: Next) -> Response {
    if shown.local && !is_local(request.headers()) {
        let text = "this address answers to localhost, 127.0.0.1 and [::1] only\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "[::1]") || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
