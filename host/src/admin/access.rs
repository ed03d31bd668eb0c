//! Who may do what: decided here for every request, before it reaches a page.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Shown;

/// Largest body: nothing here needs one.
const BODY: u64 = 16 << 10;
/// What the browser may do with the page: nothing but what came from here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// What is open to everybody who can connect: they hold nothing of the flows.
const OPEN: [&str; 5] = ["/", "/page.css", "/page.js", "/health/live", "/health/ready"];

/// The rules of this server.
pub(super) struct Access {
    /// Whether only this machine can reach it: then a foreign `Host` is another site's script.
    local: bool,
    /// sha256 of the token.
    token: Option<[u8; 32]>,
}

impl Access {
    pub(super) fn new(local: bool, token: Option<&str>) -> Self {
        Access { local, token: token.map(digest) }
    }

    /// Whether a request may see what other machines may not see without the token.
    pub(super) fn sees_all(&self, headers: &HeaderMap) -> bool {
        self.local || self.knows(headers)
    }

    /// Whether it brings the token.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = bearer.and_then(|value| value.strip_prefix("Bearer "));
        match (self.token, given) {
            // Digests are compared, so that the time tells nothing about the token.
            (Some(token), Some(given)) => digest(given.trim()) == token,
            _ => false,
        }
    }

    fn refuse(&self, request: &Request) -> Option<(StatusCode, &'static str)> {
        let headers = request.headers();
        if self.local && !is_local(headers) {
            let words = "this address answers to localhost, 127.0.0.1 and [::1] only";
            return Some((StatusCode::FORBIDDEN, words));
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > BODY) || headers.contains_key(header::TRANSFER_ENCODING) {
            return Some((StatusCode::PAYLOAD_TOO_LARGE, "requests here need no body"));
        }
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
        if changes && !is_from_here(headers) {
            return Some((StatusCode::FORBIDDEN, "another site's page must not change anything here"));
        }
        let open = OPEN.contains(&request.uri().path()) || self.local;
        match (changes || !open, self.knows(headers)) {
            (true, false) => Some((StatusCode::UNAUTHORIZED, self.advice())),
            _ => None,
        }
    }

    fn advice(&self) -> &'static str {
        match (self.token, self.local) {
            (None, _) => "changes need a token and this host has none: set [admin] token and start it again",
            (Some(_), true) => {
                "a token is needed: `wasmill page` prints the page's address with it; in requests it is \
                 `Authorization: Bearer TOKEN`"
            }
            (Some(_), false) => "a token is needed, the one of [admin] token: `Authorization: Bearer TOKEN`",
        }
    }
}

/// The gate.
pub(super) async fn admit(State(shown): State<Shown>, request: Request, next: Next) -> Response {
    let mut response = match shown.access.refuse(&request) {
        Some((status, words)) => (status, Json(json!({ "error": words }))).into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    let mut set = |name, value| drop(headers.insert(name, HeaderValue::from_static(value)));
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-store");
    response
}

fn is_local(headers: &HeaderMap) -> bool {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).is_some_and(is_local_name)
}

fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "[::1]") || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// A browser says where the page is from that asks; other programs say nothing.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        (Some(_), None) => false,
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
