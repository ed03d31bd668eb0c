//! Runs the samples of a folder and compares. Each sample has a new instance, so that no record hides what another one
//! left behind; afterwards they run together, as they would in a batch, and must come out the same.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::read::{self, Sample};
use super::{Trouble, tell};
use crate::config::Limits;
use crate::outcome::Code;
use crate::runtime::{Cost, Module, Runtime, Trial, Tried};

/// Codes of verdicts that only the host makes. A hand-written expectation names a part of the message.
const HOSTS: [&str; 6] = ["trap", "deadline", "memory", "output-limit", "too-large", "unknown-target"];
const TOGETHER: &str = "comes out differently in one batch with the samples before it: a module must carry nothing from \
                        record to record, because batches are cut differently when they are repeated";

/// One sample with what became of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Relative to the folder: `samples/quotes.jsonl`.
    pub file: String,
    pub line: usize,
    pub name: Option<String>,
    /// The line as it is written.
    pub sample: String,
    /// `None` where the expected file has no such line.
    pub expected: Option<Value>,
    pub actual: Value,
    /// Why it fails, where it is not (only) the difference of the two.
    pub notes: Vec<String>,
    pub passed: bool,
    pub time: Duration,
    pub cost: Option<Cost>,
}

/// A module over the samples of a folder.
pub struct Check<'a> {
    pub runtime: &'a Arc<Runtime>,
    pub module: &'a Arc<Module>,
    /// Holds `samples/` and `expected/`.
    pub dir: &'a Path,
    pub limits: Limits,
    /// Write the expected files instead of only comparing. What the host condemned is never written.
    pub update: bool,
}

struct Line {
    number: usize,
    text: String,
    sample: Sample,
}

impl Check<'_> {
    /// All cases, in the order of the files.
    pub fn run(&self) -> Result<Vec<Case>, Trouble> {
        let mut cases = Vec::new();
        for name in files(self.dir)? {
            let lines = self.samples(&name)?;
            let expected = self.expected(&name)?;
            let mut of_file = self.run_file(&name, &lines, &expected)?;
            if self.update {
                self.write(&name, &mut of_file, &expected)?;
            } else if expected.len() > lines.len() {
                let note =
                    format!("expected/{name} has {} lines more than samples/{name}", expected.len() - lines.len());
                if let Some(last) = of_file.last_mut() {
                    last.passed = false;
                    last.notes.push(note);
                }
            }
            cases.append(&mut of_file);
        }
        Ok(cases)
    }

    fn samples(&self, name: &str) -> Result<Vec<Line>, Trouble> {
        let mut lines = Vec::new();
        for (number, text) in read_lines(&self.dir.join("samples").join(name))? {
            let bad = |error| Trouble::Bad(format!("samples/{name}:{number}: {error}"));
            let sample = read::parse(&text).map_err(bad)?;
            lines.push(Line { number, text, sample });
        }
        match lines.is_empty() {
            true => Err(Trouble::Bad(format!("samples/{name} has no lines: write one JSON object per line"))),
            false => Ok(lines),
        }
    }

    fn expected(&self, name: &str) -> Result<Vec<Value>, Trouble> {
        let path = self.dir.join("expected").join(name);
        if !path.exists() {
            let words = format!(
                "there is no expected/{name} for samples/{name}: write what should come out, or let `wasmill test \
                 --update` write what does, and read it"
            );
            return if self.update { Ok(Vec::new()) } else { Err(Trouble::Bad(words)) };
        }
        let parse = |(number, text): (usize, String)| {
            let bad = |error| Trouble::Bad(format!("expected/{name}:{number}: not JSON: {error}"));
            serde_json::from_str(&text).map_err(bad)
        };
        match read_lines(&path)?.into_iter().map(parse).collect() {
            // It is about to be written anew.
            Err(_) if self.update => Ok(Vec::new()),
            read => read,
        }
    }

    fn run_file(&self, name: &str, lines: &[Line], expected: &[Value]) -> Result<Vec<Case>, Trouble> {
        let mut trials = BTreeMap::new();
        let (mut cases, mut fates) = (Vec::new(), Vec::new());
        for (index, line) in lines.iter().enumerate() {
            let trial = self.trial(&mut trials, name, line)?;
            trial.renew();
            let slice = Sample::slice(&[&line.sample], self.topic(&line.sample));
            let mut ran = trial.run(&slice);
            let Some(tried) = ran.records.pop() else { continue };
            let condemned = tell::condemned(&tried).map(|(code, message)| (code.clone(), message.to_owned()));
            let cost = match &condemned {
                // Running into the limit once more takes seconds and says nothing new.
                Some((code, _)) if *code == Code::DEADLINE => Some(Cost { fuel: self.limits.fuel, memory: 0 }),
                _ => trial.cost(&slice),
            };
            let actual = tell::describe(&tried, &ran.lines);
            let expected = expected.get(index).cloned();
            let passed = expected.as_ref().is_some_and(|expected| agrees(expected, &actual));
            let notes = if passed { Vec::new() } else { notes(expected.as_ref(), condemned) };
            let (sample, time) = (line.text.clone(), ran.time);
            let case_name = line.sample.name.clone();
            let file = format!("samples/{name}");
            cases.push(Case {
                file,
                line: line.number,
                name: case_name,
                sample,
                expected,
                actual,
                notes,
                passed,
                time,
                cost,
            });
            fates.push(tried);
        }
        self.run_together(&mut trials, lines, &fates, &mut cases);
        Ok(cases)
    }

    /// The same records in one call per partition.
    fn run_together(&self, trials: &mut Trials, lines: &[Line], fates: &[Tried], cases: &mut [Case]) {
        let mut groups: BTreeMap<(&Vars, &str, i32), Vec<usize>> = BTreeMap::new();
        for (index, line) in lines.iter().enumerate().filter(|(index, _)| tell::condemned(&fates[*index]).is_none()) {
            let sample = &line.sample;
            groups.entry((&sample.vars, self.topic(sample), sample.partition)).or_default().push(index);
        }
        for ((vars, topic, _), members) in groups.into_iter().filter(|(_, members)| members.len() > 1) {
            let Some(trial) = trials.get_mut(vars) else { continue };
            let samples: Vec<&Sample> = members.iter().map(|index| &lines[*index].sample).collect();
            trial.renew();
            let ran = trial.run(&Sample::slice(&samples, topic));
            for (index, tried) in members.into_iter().zip(ran.records) {
                if tried != fates[index] {
                    cases[index].passed = false;
                    let told = tell::describe(&tried, &[]);
                    cases[index].notes.push(format!("{TOGETHER}; there it is {told}"));
                }
            }
        }
    }

    fn trial<'t>(&self, trials: &'t mut Trials, name: &str, line: &Line) -> Result<&'t mut Trial, Trouble> {
        let vars = &line.sample.vars;
        if !trials.contains_key(vars) {
            let trial = Trial::new(self.runtime, self.module, vars, &self.limits).map_err(|error| {
                Trouble::Bad(format!(
                    "samples/{name}:{}: the module does not start with these vars: {error}",
                    line.number
                ))
            })?;
            trial.warm();
            trials.insert(vars.clone(), trial);
        }
        Ok(trials.get_mut(vars).expect("it was inserted above"))
    }

    fn topic<'s>(&'s self, sample: &'s Sample) -> &'s str {
        sample.topic.as_deref().unwrap_or_else(|| default_topic(self.module))
    }

    /// Writes the expected file where it would change.
    fn write(&self, name: &str, cases: &mut [Case], before: &[Value]) -> Result<(), Trouble> {
        let mut written = Vec::new();
        for (index, case) in cases.iter_mut().enumerate() {
            let host = HOSTS.iter().any(|code| case.actual.get(code).is_some());
            let line = match host {
                true => before.get(index).cloned().unwrap_or_else(|| json!({ "outputs": [] })),
                false => case.actual.clone(),
            };
            if !host {
                case.passed = case.notes.is_empty() || case.notes.iter().all(|note| !note.starts_with(TOGETHER));
                case.notes.retain(|note| note.starts_with(TOGETHER));
            }
            case.expected = Some(line.clone());
            written.push(line);
        }
        if written == before {
            return Ok(());
        }
        let path = self.dir.join("expected").join(name);
        let text: String = written.iter().map(|line| format!("{line}\n")).collect();
        write_whole(&path, text.as_bytes()).map_err(|error| {
            Trouble::Environment(format!("cannot write {}: {error}; check the rights of its folder", path.display()))
        })
    }
}

type Vars = BTreeMap<String, String>;
type Trials = BTreeMap<Vars, Trial>;

/// The topic that records of a module have where nothing else is said.
pub fn default_topic(module: &Module) -> &str {
    module.manifest.topics.iter().find(|topic| !topic.starts_with('^')).map_or("test", String::as_str)
}

/// The sample files of a folder, sorted.
pub fn files(dir: &Path) -> Result<Vec<String>, Trouble> {
    let samples = dir.join("samples");
    let entries = match std::fs::read_dir(&samples) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Trouble::Bad(format!(
                "there are no samples in {}: write records into {}, one JSON object per line",
                dir.display(),
                samples.join("NAME.jsonl").display()
            )));
        }
        Err(error) => return Err(Trouble::Environment(format!("cannot read {}: {error}", samples.display()))),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".jsonl") && !name.starts_with('.')).collect();
    names.sort_unstable();
    match names.is_empty() {
        true => {
            Err(Trouble::Bad(format!("there is no *.jsonl in {}: write one JSON object per line", samples.display())))
        }
        false => Ok(names),
    }
}

/// Whether a record came out as expected.
fn agrees(expected: &Value, actual: &Value) -> bool {
    let host = HOSTS.iter().find(|code| expected.get(code).is_some());
    match host {
        None => expected == actual,
        Some(code) => match (&expected[code], &actual[code]) {
            (Value::String(part), Value::String(message)) => message.contains(part.as_str()),
            _ => false,
        },
    }
}

fn notes(expected: Option<&Value>, condemned: Option<(Code, String)>) -> Vec<String> {
    let mut notes = Vec::new();
    if expected.is_none() {
        notes.push("the expected file has no line for it".to_owned());
    }
    if let Some((code, message)) = condemned {
        // A panic's message has its line ends escaped.
        notes.push(format!("{code}: {}", message.replace(":\\n", ": ")));
    }
    notes
}

/// The lines that are not blank, with their numbers.
fn read_lines(path: &Path) -> Result<Vec<(usize, String)>, Trouble> {
    let bytes = std::fs::read(path)
        .map_err(|error| Trouble::Environment(format!("cannot read {}: {error}", path.display())))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Trouble::Bad(format!("{} is not UTF-8; bytes are written as `value_base64`", path.display())))?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim().to_owned()));
    Ok(lines.filter(|(_, line)| !line.is_empty()).collect())
}

/// Writes a file in one step, with its folder.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().map(PathBuf::from).unwrap_or_default();
    std::fs::create_dir_all(&dir)?;
    let mut file = tempfile::Builder::new().prefix(".wasmill-").permissions(readable()).tempfile_in(&dir)?;
    file.write_all(bytes)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// A temporary file is its owner's alone, the expected lines are everybody's.
fn readable() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::Permissions::from_mode(0o644)
}

#[cfg(test)]
mod tests;
