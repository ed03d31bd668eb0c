//! `--module FILE --dry-run`: what a module that is not in place yet would make of each letter. Nothing is written.

use std::path::Path;

use serde_json::json;

use super::letters::Flow;
use crate::cli::modules::Loader;
use crate::cli::test::show::cut;
use crate::cli::{Failure, out};
use crate::config::Config;
use crate::flow::plan::check_chain;
use crate::outcome::Ruling;
use crate::record::{Slice, SliceBuilder, decode_headers};
use crate::runtime::{Field, Made, Ran, Rehearsal, Trial, Tried};
use crate::samples::tell;
use crate::sinks::dead_letter::DeadLetter;

/// Longest value that is shown, in characters.
const WIDE: usize = 500;

/// How many letters would end how.
#[derive(Default)]
struct Sum {
    written: u64,
    skipped: u64,
    dead: u64,
}

pub(super) fn run(
    module: &Path,
    flow: &Flow,
    config: &Config,
    letters: &[DeadLetter],
    as_json: bool,
) -> Result<(), Failure> {
    let mut candidate = Candidate::new(module, flow, config)?;
    let mut sum = Sum::default();
    for letter in letters {
        let (ran, paths) = candidate.run(&slice(letter));
        let Some(tried) = ran.records.into_iter().next() else { continue };
        let tried = only_wanted(letter, tried, &paths);
        sum.add(&tried);
        if as_json {
            let mut told = tell::describe(&tried, &ran.lines);
            told["id"] = json!(letter.id);
            told["was"] = json!(letter.code);
            out::data(&told.to_string());
        } else {
            print(letter, &tried);
        }
    }
    let Sum { written, skipped, dead } = sum;
    out::say(&format!(
        "of {} letters {written} would be written, {skipped} filtered, {dead} refused again",
        letters.len()
    ));
    if written > 0 {
        out::say("a sink may still refuse what it has not seen");
    }
    Ok(())
}

/// What is tried: a module that makes all outputs of its flow, or a chain in which it has replaced the one of its name.
enum Candidate {
    Alone(Trial),
    Chain(Rehearsal),
}

impl Candidate {
    fn new(file: &Path, flow: &Flow, config: &Config) -> Result<Self, Failure> {
        let loader = Loader::new(config.modules.cache.clone())?;
        let module = loader.subject(file)?.module;
        let configured = config.flow.get(&flow.name);
        let names = configured.and_then(|flow| flow.modules.as_deref()).unwrap_or_default();
        if names.len() < 2 {
            let vars = configured.map(|flow| flow.vars.clone()).unwrap_or_default();
            let trial = Trial::new(loader.runtime(), &module, &vars, &flow.limits());
            let trial = trial.map_err(|cause| Failure::config(format!("{} does not start: {cause}", file.display())));
            return trial.map(Candidate::Alone);
        }
        let Some(chain) = &flow.chain else {
            let words = format!("the chain of flow {} does not load: wasmill check says why", flow.name);
            return Err(Failure::config(words));
        };
        let chain = chain.with(&module).ok_or_else(|| {
            let named: Vec<String> = names.iter().map(|name| format!("{name}.wasm")).collect();
            Failure::config(format!(
                "flow {} is a chain: name the file like the module that it is to replace ({})",
                flow.name,
                named.join(" or ")
            ))
        })?;
        check_chain(&flow.name, &chain.steps).map_err(|refusal| Failure::config(refusal.to_string()))?;
        Rehearsal::new(loader.runtime(), chain).map(Candidate::Chain).map_err(Failure::config)
    }

    /// What becomes of one record, and the path of each output.
    fn run(&mut self, slice: &Slice) -> (Ran, Vec<String>) {
        match self {
            Candidate::Alone(trial) => {
                let ran = trial.run(slice);
                let count = ran.records.first().map_or(0, |tried| tried.outputs.len());
                (ran, (0..count).map(|place| place.to_string()).collect())
            }
            Candidate::Chain(rehearsal) => rehearsal.run(slice),
        }
    }
}

fn slice(letter: &DeadLetter) -> Slice {
    let mut slice = SliceBuilder::new(letter.topic.as_str().into(), letter.partition);
    let headers = decode_headers(letter.headers.count, &letter.headers.encoded).unwrap_or_default();
    slice.push(letter.offset, letter.timestamp, letter.key.as_deref(), letter.value.as_deref(), headers.into_iter());
    slice.build()
}

/// Leaves the one output that a sink refused.
fn only_wanted(letter: &DeadLetter, tried: Tried, paths: &[String]) -> Tried {
    if letter.sink.is_empty() {
        return tried;
    }
    let place = letter.id.rsplit('/').next().unwrap_or_default();
    let to = format!("{}:{}", letter.sink, letter.target);
    let wanted = |(made, path): (Made, &String)| (path == place && made.to == to).then_some(made);
    Tried { outputs: tried.outputs.into_iter().zip(paths).filter_map(wanted).collect(), ..tried }
}

impl Sum {
    fn add(&mut self, tried: &Tried) {
        match &tried.ruling {
            None if tried.outputs.is_empty() => self.skipped += 1,
            None => self.written += 1,
            Some(Ruling::Skip { .. }) => self.skipped += 1,
            Some(_) => self.dead += 1,
        }
    }
}

fn print(letter: &DeadLetter, tried: &Tried) {
    let style = out::Style::of(&std::io::stdout());
    let what = match &tried.ruling {
        None if tried.outputs.is_empty() => vec![style.warn("· the refused output is not made any more")],
        None => tried
            .outputs
            .iter()
            .map(|made| format!("{} {}", style.good(&format!("→ {}", made.to)), field(letter, made)))
            .collect(),
        Some(Ruling::Skip { reason }) => vec![style.warn(&format!("· skip: {reason}"))],
        Some(Ruling::Dead { code, message }) => vec![style.bad(&format!("✗ {code}: {}", message.replace('\n', " ")))],
        Some(Ruling::Retry { message }) => vec![style.bad(&format!("✗ retry: {message}"))],
        Some(Ruling::Fatal { message }) => vec![style.bad(&format!("✗ fatal, the flow stops: {message}"))],
    };
    for line in what {
        out::data(&format!("{} {} {line}", letter.id, style.dim(&format!("was {}", letter.code))));
    }
}

fn field(letter: &DeadLetter, made: &Made) -> String {
    let value = match &made.value {
        Field::Unchanged => letter.value.as_deref(),
        Field::Null => None,
        Field::Data(data) => Some(&data[..]),
    };
    value.map_or_else(|| "NULL".to_owned(), |value| cut(&String::from_utf8_lossy(value), WIDE))
}
