//! Server-sent events: records as they pass (`/api/tap`) and log lines (`/api/events`). A client that is too slow loses
//! events, which are counted; it never holds anything up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::{self, Sender};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio_stream::wrappers::ReceiverStream;

use super::Shown;
use super::connections::Life;
use crate::board::tap::{Listening, Wanted};
use crate::logs::recent::Line;

/// Between two events at least, so that both sides notice when the other is gone.
const TICK: Duration = Duration::from_secs(1);
/// Events that wait for a slow client.
const WAITING: usize = 32;
/// Longest text to look for.
const GREP: usize = 256;

type Out = Sender<Result<Bytes, Infallible>>;

#[derive(Deserialize)]
pub(super) struct TapQuery {
    flow: String,
    grep: Option<String>,
    #[serde(default)]
    dead: bool,
}

/// Records of one flow: `record` events, and each second `counts`.
pub(super) async fn tap(
    State(shown): State<Shown>,
    ConnectInfo(life): ConnectInfo<Life>,
    Query(query): Query<TapQuery>,
) -> Response {
    let Some(flow) = shown.board.known(&query.flow) else {
        return refused(StatusCode::NOT_FOUND, &format!("there is no flow {}", query.flow));
    };
    let grep = query.grep.filter(|text| !text.is_empty());
    if grep.as_ref().is_some_and(|text| text.len() > GREP) {
        return refused(StatusCode::BAD_REQUEST, &format!("a text to look for has at most {GREP} bytes"));
    }
    stream(&shown, &life, move |out, permit| {
        let listening = flow.tap.listen(Wanted { grep, dead: query.dead });
        tokio::spawn(send_records(listening, out, permit));
    })
}

async fn send_records(mut listening: Listening, out: Out, _permit: OwnedSemaphorePermit) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            record = listening.records.recv() => match record {
                Some(record) => if !send(&out, "record", &*record).await { return },
                None => return,
            },
            _ = ticks.tick() => {
                let counts = &listening.counts;
                let told = json!({ "seen": counts.seen(), "shown": counts.shown(), "not_shown": counts.not_shown() });
                if !send(&out, "counts", &told).await { return }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    recent: Option<usize>,
}

/// Log lines: `log` events, `missed` where lines were lost, and each second a comment.
pub(super) async fn events(
    State(shown): State<Shown>,
    ConnectInfo(life): ConnectInfo<Life>,
    Query(query): Query<EventsQuery>,
) -> Response {
    let (recent, next) = shown.board.logs.listen(query.recent.unwrap_or(50));
    stream(&shown, &life, move |out, permit| drop(tokio::spawn(send_lines(recent, next, out, permit))))
}

async fn send_lines(
    recent: Vec<Arc<Line>>,
    mut next: broadcast::Receiver<Arc<Line>>,
    out: Out,
    _permit: OwnedSemaphorePermit,
) {
    for line in recent {
        if !send(&out, "log", &*line).await {
            return;
        }
    }
    let mut ticks = tokio::time::interval(TICK);
    loop {
        let alive = tokio::select! {
            line = next.recv() => match line {
                Ok(line) => send(&out, "log", &*line).await,
                Err(RecvError::Lagged(lines)) => send(&out, "missed", &json!({ "lines": lines })).await,
                Err(RecvError::Closed) => return,
            },
            _ = ticks.tick() => out.send(Ok(Bytes::from_static(b": \n\n"))).await.is_ok(),
        };
        if !alive {
            return;
        }
    }
}

/// Answers with events, where there is room for one more stream.
fn stream(shown: &Shown, life: &Life, start: impl FnOnce(Out, OwnedSemaphorePermit)) -> Response {
    let Ok(permit) = shown.streams.clone().try_acquire_owned() else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "too many streams are open; close a page or a `wasmill tap`");
    };
    life.is_stream();
    let (out, events) = mpsc::channel(WAITING);
    start(out, permit);
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(ReceiverStream::new(events))).into_response()
}

/// False where the client is gone.
async fn send(out: &Out, name: &str, data: &impl Serialize) -> bool {
    // What is sent are strings and numbers: they always become JSON.
    let data = serde_json::to_string(data).unwrap_or_default();
    out.send(Ok(Bytes::from(format!("event: {name}\ndata: {data}\n\n")))).await.is_ok()
}

fn refused(status: StatusCode, words: &str) -> Response {
    (status, Json(json!({ "error": words }))).into_response()
}
