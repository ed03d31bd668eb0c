//! `wasmill dlq redrive`: chooses letters and copies them for their flow, each at most once for each time that it died.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::filter::Filter;
use super::letters::{Copies, Flow, Found, Post, flows};
use super::rehearse;
use crate::cli::{Failure, out};
use crate::config::Config;
use crate::redrive;
use crate::sinks::dead_letter::DeadLetter;
use crate::sinks::kafka::redrive::Copier;

pub(super) const EXAMPLES: &str = "\
Examples:
  wasmill dlq redrive quotes --dry-run                        what would be processed once more
  wasmill dlq redrive quotes --code trap --since 2h
  wasmill dlq redrive quotes --dry-run --module fixed.wasm    what a fix would make of each letter";

#[derive(clap::Args, Debug)]
pub(super) struct RedriveArgs {
    /// The flow; of a dropped module its file stem
    #[arg(value_name = "FLOW")]
    flow: String,
    #[command(flatten)]
    filter: Filter,
    /// Show what would happen and copy nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: a module that is not in place yet, to see what it makes of each letter; in a chain it stands for the
    /// module that has its name
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    module: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// The letters that are meant, by what can be done with them.
#[derive(Default)]
pub(super) struct Choice {
    /// In order of topic, partition, offset and output.
    pub(super) chosen: Vec<DeadLetter>,
    /// Copied before and not dead again since.
    already: u64,
    /// Not whole.
    cut: Vec<String>,
}

pub(super) fn run(args: &RedriveArgs, file: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let flow = flows(&config, Some(&args.flow))?.remove(0);
    let post = Post::new(&config)?;
    if args.dry_run {
        let choice = choose(&post, &flow, &args.filter, &post.copies(&flow.group)?)?;
        if let Some(module) = &args.module {
            return rehearse::run(module, &flow, &config, &choice.chosen, args.json);
        }
        tell(args, &flow, &choice, false);
        return Ok(());
    }
    let topic = redrive::topic(&flow.group);
    let copier = Copier::begin(&config.kafka, &flow.group).map_err(Failure::environment)?;
    // From here on nobody else copies letters of this group, so what was copied is known for sure.
    let choice = choose(&post, &flow, &args.filter, &post.copies(&flow.group)?)?;
    if !choice.chosen.is_empty() {
        let count = copier.prepare(&topic, post.partitions(&flow)).map_err(Failure::environment)?;
        let place = |letter: &DeadLetter| letter.partition.rem_euclid(count);
        let letters: Vec<(i32, &DeadLetter)> = choice.chosen.iter().map(|letter| (place(letter), letter)).collect();
        copier.copy(&topic, &letters).map_err(|cause| {
            Failure::runtime(format!("{cause}; nothing was redriven, the same command can be run again"))
        })?;
    }
    tell(args, &flow, &choice, true);
    Ok(())
}

fn choose(post: &Post<'_>, flow: &Flow, filter: &Filter, copies: &Copies) -> Result<Choice, Failure> {
    // A letter may be there several times: written again after a crash, or dead again after it was redriven.
    let mut newest: HashMap<String, Found> = HashMap::new();
    post.each(flow, |found| {
        let known = newest.get(&found.letter.id);
        if known.is_none_or(|known| known.letter.redriven < found.letter.redriven) {
            newest.insert(found.letter.id.clone(), found);
        }
    })?;
    let mut choice = Choice::default();
    for Found { letter, cut, .. } in newest.into_values().filter(|found| filter.takes(&found.letter)) {
        let again = letter.redriven + 1;
        match (copies.contains(&(letter.id.clone(), again)), cut) {
            (true, _) => choice.already += 1,
            (false, true) => choice.cut.push(letter.id),
            (false, false) => choice.chosen.push(DeadLetter { redriven: again, ..letter }),
        }
    }
    choice.chosen.sort_by_cached_key(|letter| (letter.topic.clone(), letter.partition, letter.offset, path(letter)));
    choice.cut.sort();
    Ok(choice)
}

/// The output that a letter is about, as numbers: `10` comes after `9`.
fn path(letter: &DeadLetter) -> Vec<u32> {
    let path = letter.id.rsplit_once('/').filter(|_| !letter.sink.is_empty()).map_or("", |(_, path)| path);
    path.split('.').filter_map(|number| number.parse().ok()).collect()
}

fn tell(args: &RedriveArgs, flow: &Flow, choice: &Choice, copied: bool) {
    let (topic, count) = (redrive::topic(&flow.group), choice.chosen.len());
    if args.json {
        let ids: Vec<&str> = choice.chosen.iter().map(|letter| letter.id.as_str()).collect();
        let result = json!({
            "flow": flow.name, "topic": topic, "dry_run": !copied, "redriven": ids, "already": choice.already,
            "cut": choice.cut,
        });
        return out::data(&result.to_string());
    }
    if !copied {
        for letter in &choice.chosen {
            let what = if letter.sink.is_empty() {
                "all outputs".into()
            } else {
                format!("{}:{}", letter.sink, letter.target)
            };
            let DeadLetter { id, code, topic, partition, offset, .. } = letter;
            out::data(&format!("{id}  {code}  {topic}/{partition}/{offset}  → {what}"));
        }
    }
    out::say(&match (count, copied) {
        (0, _) => "nothing to redrive".to_owned(),
        (n, true) => {
            format!("{n} letters copied to {topic}; flow {} reads them, the first ones within 10 s", flow.name)
        }
        (n, false) => format!("{n} letters would be copied to {topic}"),
    });
    if choice.already > 0 {
        out::say(&format!("{} were redriven before and have not died again", choice.already));
    }
    for id in &choice.cut {
        out::say(&format!("{id} is not whole (wasmill-truncated): move the flow to it instead (wasmill flow reset)"));
    }
}
