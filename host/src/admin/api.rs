//! `/api/…`: the snapshot, and the few things that can be changed.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shown;
use crate::board::What;
use crate::board::builds::Builds;
use crate::board::letters::Letter;
use crate::board::state::HostState;

/// Longest wait for the supervisor, which never waits for a server itself, and for a sink.
const PATIENCE: Duration = Duration::from_secs(4);
/// Dead letters and log lines that one answer has at most.
const MOST: usize = 500;

pub(super) async fn state(State(shown): State<Shown>) -> Json<HostState> {
    Json(shown.board.state())
}

/// Ten minutes of every flow, by name.
pub(super) async fn history(State(shown): State<Shown>) -> Json<Value> {
    let flows = shown.board.all().into_iter();
    Json(flows.map(|flow| (flow.name.to_string(), json!(flow.history()))).collect::<serde_json::Map<_, _>>().into())
}

#[derive(Deserialize)]
pub(super) struct LettersQuery {
    flow: Option<String>,
    code: Option<String>,
    n: Option<usize>,
}

/// The last dead letters that are in memory, newest first.
pub(super) async fn dead_letters(State(shown): State<Shown>, Query(query): Query<LettersQuery>) -> Json<Value> {
    let most = query.n.unwrap_or(50).min(MOST);
    let wanted = |letter: &Letter| query.code.as_ref().is_none_or(|code| *code == letter.code);
    let flows = shown.board.all().into_iter();
    let flows = flows.filter(|flow| query.flow.as_deref().is_none_or(|name| name == &*flow.name));
    let mut letters: Vec<Letter> = flows.flat_map(|flow| flow.letters(most, wanted)).collect();
    letters.sort_by_key(|letter| std::cmp::Reverse(letter.at));
    letters.truncate(most);
    Json(json!({ "letters": letters }))
}

#[derive(Deserialize)]
pub(super) struct FlowQuery {
    flow: String,
}

/// Which builds of a flow's modules were in force from where on, as its first SQL sink has it.
pub(super) async fn module_history(State(shown): State<Shown>, Query(query): Query<FlowQuery>) -> Response {
    let name = query.flow;
    let Some(flow) = shown.board.known(&name) else { return unknown(&shown, &name) };
    let Some(asked) = flow.builds() else {
        return Json(Builds { flow: name, ..Builds::default() }).into_response();
    };
    match tokio::time::timeout(PATIENCE, asked.builds()).await {
        Ok(Ok(builds)) => Json(builds).into_response(),
        Ok(Err(words)) => failed(StatusCode::SERVICE_UNAVAILABLE, words),
        Err(_) => failed(StatusCode::SERVICE_UNAVAILABLE, format!("the sink gave no answer within {PATIENCE:?}")),
    }
}

#[derive(Deserialize)]
pub(super) struct LogsQuery {
    n: Option<usize>,
}

/// The last log lines, oldest first.
pub(super) async fn logs(State(shown): State<Shown>, Query(query): Query<LogsQuery>) -> Json<Value> {
    let (lines, _) = shown.board.logs.listen(query.n.unwrap_or(100).min(MOST));
    let lines: Vec<&_> = lines.iter().map(|line| &**line).collect();
    Json(json!({ "lines": lines }))
}

#[derive(Deserialize)]
pub(super) struct ChangeQuery {
    #[serde(default)]
    undo: bool,
}

pub(super) async fn change(
    State(shown): State<Shown>,
    Path((name, action)): Path<(String, String)>,
    Query(query): Query<ChangeQuery>,
) -> Response {
    let Some(flow) = shown.board.known(&name) else {
        return unknown(&shown, &name);
    };
    let pause = |paused: bool| {
        let words = match (paused, flow.pause(paused)) {
            (true, true) => format!("flow {name} is paused: what was read already is written, no more is read"),
            (true, false) => format!("flow {name} was paused already"),
            (false, true) => format!("flow {name} goes on"),
            (false, false) => format!("flow {name} was not paused"),
        };
        tracing::info!(flow = %name, "asked by an operator: {words}");
        done(words)
    };
    match action.as_str() {
        "pause" => pause(true),
        "resume" => pause(false),
        "rollback" => rollback(&shown, &name, query.undo).await,
        _ => failed(
            StatusCode::NOT_FOUND,
            format!("a flow cannot be asked to `{action}`; use pause, resume or rollback"),
        ),
    }
}

async fn rollback(shown: &Shown, name: &str, undo: bool) -> Response {
    let what = if undo { What::UndoRollback } else { What::Rollback };
    match tokio::time::timeout(PATIENCE, shown.board.order(name, what)).await {
        Ok(Ok(Ok(words))) => done(words),
        Ok(Ok(Err(words))) => failed(StatusCode::CONFLICT, words),
        Ok(Err(_)) => failed(StatusCode::SERVICE_UNAVAILABLE, "the host is stopping".into()),
        Err(_) => failed(StatusCode::SERVICE_UNAVAILABLE, format!("flow {name}: no answer within {PATIENCE:?}")),
    }
}

fn unknown(shown: &Shown, name: &str) -> Response {
    let names: Vec<String> = shown.board.all().iter().map(|flow| flow.name.to_string()).collect();
    let names = if names.is_empty() { "none".into() } else { names.join(", ") };
    failed(StatusCode::NOT_FOUND, format!("there is no flow {name}; this host has {names}"))
}

fn done(words: String) -> Response {
    Json(json!({ "done": words })).into_response()
}

fn failed(status: StatusCode, words: String) -> Response {
    (status, Json(json!({ "error": words }))).into_response()
}
