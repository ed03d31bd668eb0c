//! The pages. Health pages say why in a line per reason, so that `curl` is enough to know.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use serde_json::{Value, json};

use super::Shown;
use crate::health::BEAT_LIMIT;

/// What a scraper needs to know about the format of `/metrics`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn index() -> Html<String> {
    let entries = [
        ("/health/live", "200 while every thread works"),
        ("/health/ready", "200 while records flow; else the reasons by name"),
        ("/metrics", "in, out, filtered by reason, dead by code, lag"),
        ("/api/state", "the same as JSON"),
    ];
    let list: String =
        entries.iter().map(|(path, text)| format!("<li><a href=\"{path}\">{path}</a> {text}\n")).collect();
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>wasmill</title><style>:root{{color-scheme:light dark;font:16px/1.5 system-ui;margin:2rem}}</style>\n\
         <h1>wasmill {}</h1>\n<ul>\n{list}</ul>\n",
        env!("CARGO_PKG_VERSION")
    ))
}

pub(super) async fn live(State(shown): State<Shown>) -> (StatusCode, String) {
    let late = shown.health.late(BEAT_LIMIT);
    if late.is_empty() {
        return (StatusCode::OK, "live\n".into());
    }
    let seconds = BEAT_LIMIT.as_secs();
    let lines = late.iter().map(|name| format!("{name}: no sign of life for {seconds} s\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

pub(super) async fn ready(State(shown): State<Shown>) -> (StatusCode, Json<Value>) {
    let ready = shown.health.ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "draining": shown.health.is_draining(), "problems": problems(&shown) })))
}

pub(super) async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPENMETRICS)], shown.metrics.page())
}

pub(super) async fn state(State(shown): State<Shown>) -> Json<Value> {
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": shown.health.uptime().as_secs_f64(),
        "ready": shown.health.ready(),
        "draining": shown.health.is_draining(),
        "problems": problems(&shown),
        "late": shown.health.late(BEAT_LIMIT),
    }))
}

fn problems(shown: &Shown) -> Value {
    let problems = shown.health.problems();
    problems.into_iter().map(|(name, reason)| json!({ "name": name, "reason": reason })).collect()
}
