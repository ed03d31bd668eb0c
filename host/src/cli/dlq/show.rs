//! `wasmill dlq show`: whole letters.

use std::collections::VecDeque;
use std::path::Path;

use serde_json::{Value, json};

use super::filter::Filter;
use super::letters::{Found, Post, flows};
use crate::cli::test::show::cut;
use crate::cli::{Failure, out};
use crate::config::Config;
use crate::record::decode_headers;
use crate::samples::tell;

/// Longest value that is shown, in characters; `--json` shows all of it.
const WIDE: usize = 4_000;

#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    /// The wasmill-id of a letter [default: the last ones that the filters let through]
    id: Option<String>,
    /// Only this flow
    #[arg(long)]
    flow: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// How many letters to show
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    number: u32,
    /// One JSON object per letter
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ShowArgs, file: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let flows = flows(&config, args.flow.as_deref())?;
    let post = Post::new(&config)?;
    let mut last: VecDeque<(Found, bool)> = VecDeque::new();
    for flow in &flows {
        let copies = post.copies(&flow.group)?;
        post.each(flow, |found| {
            let is_meant = args.id.as_ref().is_none_or(|id| *id == found.letter.id);
            if is_meant && args.filter.takes(&found.letter) {
                let redriven = copies.contains(&(found.letter.id.clone(), found.letter.redriven + 1));
                last.push_back((found, redriven));
                if last.len() > args.number as usize {
                    last.pop_front();
                }
            }
        })?;
    }
    if last.is_empty() {
        return Err(Failure::runtime("there is no such dead letter; `wasmill dlq ls` counts what is there"));
    }
    for (number, (found, redriven)) in last.iter().enumerate() {
        if args.json {
            out::data(&value(found, *redriven).to_string());
        } else {
            if number > 0 {
                out::data("");
            }
            lines(found, *redriven).iter().for_each(|line| out::data(line));
        }
    }
    Ok(())
}

/// A point in time as people read it.
pub(super) fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| time.to_string())
}

fn lines(found: &Found, redriven: bool) -> Vec<String> {
    let style = out::Style::of(&std::io::stdout());
    let Found { letter, place, cut: is_cut } = found;
    let when = if letter.timestamp >= 0 { format!(" of {}", time(letter.timestamp)) } else { String::new() };
    let line = |name: &str, text: String| format!("{}  {text}", style.dim(&format!("{name:>9}")));
    let mut lines = vec![
        line("id", letter.id.clone()),
        line("record", format!("{}/{}/{}{when}", letter.topic, letter.partition, letter.offset)),
        line(
            "code",
            format!(
                "{} (flow {}, stage {}, module {})",
                style.bad(letter.code.as_str()),
                letter.flow,
                letter.stage,
                letter.module
            ),
        ),
        line("message", letter.message.clone()),
    ];
    if !letter.sink.is_empty() {
        lines.push(line("refused", format!("{}:{}", letter.sink, letter.target)));
    }
    lines.push(line("letter", place.clone()));
    match (redriven, letter.redriven) {
        (true, _) => lines.push(line("redriven", "yes, it was copied for another attempt".into())),
        (false, 0) => {}
        (false, times) => lines.push(line("redriven", format!("{times} times, and refused again"))),
    }
    if *is_cut {
        lines.push(line("cut", "the record did not fit into its dead letter: it cannot be redriven".into()));
    }
    for (name, value) in headers(found) {
        lines.push(line("header", format!("{name} = {}", shown(value))));
    }
    lines.push(line("key", shown(letter.key.as_deref())));
    lines.push(line("value", shown(letter.value.as_deref())));
    lines
}

fn headers(found: &Found) -> Vec<(&str, Option<&[u8]>)> {
    let headers = &found.letter.headers;
    decode_headers(headers.count, &headers.encoded).unwrap_or_default()
}

fn shown(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "NULL".to_owned() };
    match tell::bytes_of(bytes) {
        Value::String(text) => cut(&text, WIDE),
        // As it was made: parsing it would lose digits.
        _ => cut(&String::from_utf8_lossy(bytes), WIDE),
    }
}

fn value(found: &Found, redriven: bool) -> Value {
    let Found { letter, place, cut } = found;
    let bytes = |bytes: Option<&[u8]>| bytes.map_or(Value::Null, tell::bytes_of);
    let headers: Vec<Value> = headers(found).into_iter().map(|(name, value)| json!([name, bytes(value)])).collect();
    json!({
        "id": letter.id, "flow": letter.flow, "topic": letter.topic, "partition": letter.partition,
        "offset": letter.offset, "timestamp": letter.timestamp, "stage": letter.stage, "code": letter.code,
        "message": letter.message, "module": letter.module, "sink": letter.sink, "target": letter.target,
        "letter": place, "cut": cut, "redriven": redriven, "times": letter.redriven,
        "key": bytes(letter.key.as_deref()), "value": bytes(letter.value.as_deref()), "headers": headers,
    })
}
