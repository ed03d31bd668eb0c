//! `wasmill tap`: records of a running flow with what becomes of them, as they pass.

use std::io::stdout;
use std::path::Path;

use serde_json::Value;

use super::Failure;
use super::ask::{AdminArgs, Ask, encoded};
use super::out::{self, Style};
use crate::board::payload::Payload;
use crate::board::tap::Tapped;
use crate::shutdown::Shutdown;

#[derive(clap::Args, Debug)]
pub(super) struct TapArgs {
    /// The flow
    #[arg(value_name = "FLOW")]
    flow: String,
    /// Only records that were refused, or of which an output was
    #[arg(long)]
    dead: bool,
    /// Only records in which, or in whose outputs, this text occurs
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// End after so many records [default: at Ctrl-C]
    #[arg(short, value_name = "COUNT")]
    n: Option<u64>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print each record as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TapArgs, file: Option<&Path>) -> Result<(), Failure> {
    let ask = Ask::new(&args.admin, file)?;
    let shutdown =
        Shutdown::listen().map_err(|error| Failure::environment(format!("cannot listen for signals: {error}")))?;
    let grep = args.grep.as_deref().map_or_else(String::new, |text| format!("&grep={}", encoded(text)));
    let path = format!("/api/tap?flow={}&dead={}{grep}", encoded(&args.flow), args.dead);
    let style = Style::of(&stdout());
    let (mut shown, mut hidden) = (0, 0);
    let ended = ask.events(&path, |event| {
        match event.name.as_str() {
            "record" => {
                shown += 1;
                match args.json {
                    true => out::data(&event.data),
                    false => tell(&event.data, style),
                }
            }
            "counts" => hidden = told(&event.data, hidden),
            _ => {}
        }
        !shutdown.requested() && args.n.is_none_or(|n| shown < n)
    });
    match args.n {
        Some(n) if shown >= n => out::say(&format!("{shown} records shown; more went by")),
        _ => out::say(&format!("{shown} records shown, {} not shown", out::number(hidden))),
    }
    ended
}

/// Says how many records were left out, whenever that grows.
fn told(counts: &str, before: u64) -> u64 {
    let counts: Value = serde_json::from_str(counts).unwrap_or_default();
    let hidden = counts["not_shown"].as_u64().unwrap_or(before);
    if hidden > before {
        out::say(&format!("… {} records not shown", out::number(hidden - before)));
    }
    hidden
}

fn tell(record: &str, style: Style) {
    match serde_json::from_str::<Tapped>(record) {
        Ok(record) => lines(&record, style).iter().for_each(|line| out::data(line)),
        Err(_) => out::data(record),
    }
}

/// The record, an arrow for each output, a cross for what was refused.
fn lines(record: &Tapped, style: Style) -> Vec<String> {
    let place = format!("{}/{}/{}", record.topic, record.partition, record.offset);
    let key = record.key.as_ref().map_or_else(String::new, |key| format!(" key={}", text(key)));
    let headers: Vec<String> =
        record.headers.iter().map(|(name, value)| format!(" {name}={}", value.as_deref().unwrap_or("NULL"))).collect();
    let value = record.value.as_ref().map_or_else(|| "NULL".into(), text);
    let mut lines = vec![format!("{}{key}{} {value}", style.bold(&place), style.dim(&headers.concat()))];
    for output in &record.outputs {
        let key = output.key.as_ref().map_or_else(String::new, |key| format!(" {}", text(key)));
        let value = output.value.as_ref().map_or_else(String::new, |value| format!(" {}", text(value)));
        let operation = if output.operation == "write" { String::new() } else { format!(" {}", output.operation) };
        let to = format!("{}:{}", output.sink, output.target);
        lines.push(format!("  {} {}{operation}{key}{value}", style.good("→"), style.bold(&to)));
    }
    for verdict in &record.dead {
        let whom = if verdict.sink.is_empty() { &verdict.module } else { &verdict.sink };
        lines.push(format!("  {} {}: {} ({whom})", style.bad("✗"), verdict.code, verdict.message));
    }
    if record.outputs.is_empty() && record.dead.is_empty() {
        lines.push(style.dim("  filtered"));
    }
    lines
}

fn text(payload: &Payload) -> String {
    let text: String = payload.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let hex = if payload.binary { "hex " } else { "" };
    match payload.cut {
        true => format!("{hex}{text}… ({} bytes)", out::number(payload.bytes as u64)),
        false => format!("{hex}{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tap::{TappedOutput, TappedVerdict, shown};

    #[test]
    fn a_record_stands_above_what_became_of_it() {
        let mut record = Tapped {
            flow: "f".into(),
            topic: "t".into(),
            partition: 1,
            offset: 7,
            timestamp: 0,
            key: None,
            value: shown(Some(b"{\"a\":\x1b1}")),
            headers: vec![("h".into(), None)],
            outputs: Vec::new(),
            dead: Vec::new(),
        };
        assert_eq!(lines(&record, Style::plain()), ["t/1/7 h=NULL {\"a\": 1}", "  filtered"]);
        record.outputs.push(TappedOutput {
            sink: "postgres".into(),
            target: "quotes".into(),
            operation: "upsert".into(),
            key: None,
            value: shown(Some(b"{}")),
        });
        record.dead.push(TappedVerdict {
            code: "mongo-121".into(),
            message: "refused".into(),
            module: "m".into(),
            sink: "mongodb".into(),
            target: "x".into(),
        });
        let told = lines(&record, Style::plain());
        assert_eq!(told[1..], ["  → postgres:quotes upsert {}", "  ✗ mongo-121: refused (mongodb)"]);
    }
}
