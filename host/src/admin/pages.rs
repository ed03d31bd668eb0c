//! The page and what machines read. Health pages say why in a line per reason, so that `curl` is enough to know.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse};
use serde_json::{Value, json};

use super::Shown;
use crate::health::BEAT_LIMIT;

/// What a scraper needs to know about the format of `/metrics`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn index() -> Html<&'static str> {
    Html(include_str!("page/index.html"))
}

pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page/page.css"))
}

pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page/page.js"))
}

pub(super) async fn live(State(shown): State<Shown>) -> (StatusCode, String) {
    let late = shown.board.health.late(BEAT_LIMIT);
    if late.is_empty() {
        return (StatusCode::OK, "live\n".into());
    }
    let seconds = BEAT_LIMIT.as_secs();
    let lines = late.iter().map(|name| format!("{name}: no sign of life for {seconds} s\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

pub(super) async fn ready(State(shown): State<Shown>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let health = &shown.board.health;
    let ready = health.ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut answer = json!({ "ready": ready, "draining": health.is_draining() });
    // Reasons name servers and tables: not for everybody on the network.
    if shown.access.sees_all(&headers) {
        let problems = health.problems().into_iter();
        answer["problems"] = problems.map(|(name, reason)| json!({ "name": name, "reason": reason })).collect();
    }
    (status, Json(answer))
}

pub(super) async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    shown.board.metrics.ready.set(i64::from(shown.board.health.ready()));
    ([(header::CONTENT_TYPE, OPENMETRICS)], shown.board.metrics.page())
}
