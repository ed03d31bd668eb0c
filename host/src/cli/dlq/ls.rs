//! `wasmill dlq ls`: dead letters counted.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::filter::Filter;
use super::letters::{Copies, Found, Post, flows};
use super::show::time;
use crate::cli::test::show::cut;
use crate::cli::{Failure, out};
use crate::config::Config;
use crate::samples::tell;

/// Characters of a sample that are shown.
const SAMPLE: usize = 120;

#[derive(clap::Args, Debug)]
pub(super) struct LsArgs {
    /// Only this flow
    #[arg(long)]
    flow: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// Letters of one flow, code and source topic.
#[derive(Default)]
struct Count {
    letters: u64,
    /// Copied for another attempt since they died.
    redriven: u64,
    first: Option<i64>,
    last: Option<i64>,
    /// The newest one: message, value, place, sink and target.
    sample: Option<(String, Option<String>, String, String)>,
}

pub(super) fn run(args: &LsArgs, file: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let flows = flows(&config, args.flow.as_deref())?;
    let post = Post::new(&config)?;
    let mut counts: BTreeMap<(String, String, String), Count> = BTreeMap::new();
    for flow in &flows {
        let copies = post.copies(&flow.group)?;
        post.each(flow, |found| {
            if args.filter.takes(&found.letter) {
                let letter = &found.letter;
                let key = (letter.flow.clone(), letter.code.to_string(), letter.topic.clone());
                counts.entry(key).or_default().add(&found, &copies);
            }
        })?;
    }
    if args.json {
        out::data(&json!(counts.iter().map(value).collect::<Vec<_>>()).to_string());
        return Ok(());
    }
    counts.iter().for_each(print);
    let letters: u64 = counts.values().map(|count| count.letters).sum();
    let redriven: u64 = counts.values().map(|count| count.redriven).sum();
    let names: Vec<&str> = flows.iter().map(|flow| flow.name.as_str()).collect();
    out::say(&match letters {
        0 => format!("no dead letters of {}", if names.is_empty() { "any flow".into() } else { names.join(", ") }),
        _ => format!("{} dead letters, {} of them redriven", out::number(letters), out::number(redriven)),
    });
    Ok(())
}

impl Count {
    fn add(&mut self, found: &Found, copies: &Copies) {
        let letter = &found.letter;
        self.letters += 1;
        self.redriven += u64::from(copies.contains(&(letter.id.clone(), letter.redriven + 1)));
        if letter.timestamp >= 0 {
            self.first = Some(self.first.map_or(letter.timestamp, |first| first.min(letter.timestamp)));
            self.last = Some(self.last.map_or(letter.timestamp, |last| last.max(letter.timestamp)));
        }
        let value = letter.value.as_deref().map(|value| match tell::bytes_of(value) {
            serde_json::Value::String(text) => text,
            value => value.to_string(),
        });
        let refused = if letter.sink.is_empty() { String::new() } else { format!("{}:{}", letter.sink, letter.target) };
        self.sample = Some((letter.message.clone(), value, found.place.clone(), refused));
    }
}

fn print(((flow, code, topic), count): (&(String, String, String), &Count)) {
    let style = out::Style::of(&std::io::stdout());
    let Count { letters, redriven, first, last, sample } = count;
    let times = match (first, last) {
        (Some(first), Some(last)) if first != last => format!("  {} … {}", time(*first), time(*last)),
        (Some(first), _) => format!("  {}", time(*first)),
        _ => String::new(),
    };
    let redriven = if *redriven > 0 { format!("  {} redriven", out::number(*redriven)) } else { String::new() };
    let head = format!("{flow}  {}  {topic}  {}", style.bad(code), style.bold(&out::number(*letters)));
    out::data(&format!("{head}{}{}", style.dim(&times), redriven));
    if let Some((message, value, place, refused)) = sample {
        let refused = if refused.is_empty() { String::new() } else { format!("{refused}: ") };
        out::data(&format!("    {refused}{}", cut(&message.replace('\n', " "), SAMPLE)));
        let value = value.as_ref().map_or_else(|| "NULL".to_owned(), |value| cut(&value.replace('\n', " "), SAMPLE));
        out::data(&format!("    {} {value}", style.dim(place)));
    }
}

fn value(((flow, code, topic), count): (&(String, String, String), &Count)) -> serde_json::Value {
    let (message, value, place, _) = count.sample.clone().unwrap_or_default();
    json!({
        "flow": flow, "code": code, "topic": topic, "letters": count.letters, "redriven": count.redriven,
        "first": count.first.map(time), "last": count.last.map(time),
        "sample": { "message": message, "value": value, "letter": place },
    })
}
