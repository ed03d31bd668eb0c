//! How a run over samples is shown: a line per case, and for each one that fails the difference of what was expected and
//! what came out.

use std::time::Duration;

use serde_json::{Value, json};

use super::diff::{self, Side};
use crate::cli::modules::summary;
use crate::cli::out::{self, Style};
use crate::runtime::Module;
use crate::samples::check::Case;

/// Lines around a difference that are shown.
const AROUND: usize = 3;
/// Longest line of a case without its cost.
const NARROW: usize = 90;
/// Longest sample and longest line of a difference, in characters.
const WIDE: usize = 1_000;

/// The whole report.
pub(in crate::cli) fn report(module: &Module, cases: &[Case], style: Style) -> Vec<String> {
    let mut lines = vec![style.bold(&summary(module))];
    let mut file = "";
    for case in cases {
        if case.file != file {
            file = &case.file;
            lines.push(file.to_owned());
        }
        lines.push(line(case, style));
        if !case.passed {
            lines.extend(difference(case, style).into_iter().map(|line| format!("      {line}")));
        }
    }
    lines.push(total(cases, style));
    lines
}

/// `3 passed, 1 failed`.
pub(in crate::cli) fn total(cases: &[Case], style: Style) -> String {
    let failed = cases.iter().filter(|case| !case.passed).count();
    let words = format!("{} passed, {failed} failed", cases.len() - failed);
    if failed == 0 { style.good(&words) } else { style.bad(&words) }
}

fn line(case: &Case, style: Style) -> String {
    let mark = if case.passed { style.good("✓") } else { style.bad("✗") };
    let name = case.name.as_deref().map(|name| format!("{name}: ")).unwrap_or_default();
    let fate = format!("{:<28}", short(&format!("{name}{}", fate(&case.actual))));
    let cost = case.cost.map(|cost| match cost.memory {
        0 => format!(", {} fuel", out::number(cost.fuel)),
        bytes => format!(", {} fuel, {}", out::number(cost.fuel), out::size(bytes)),
    });
    let cost = style.dim(&format!("{}{}", time(case.time), cost.unwrap_or_default()));
    format!("  {mark} {:>3}  {fate}  {cost}", case.line)
}

fn short(text: &str) -> String {
    match text.char_indices().nth(NARROW) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// What became of the record, in a few words.
fn fate(actual: &Value) -> String {
    let first = actual.as_object().and_then(|object| object.iter().find(|(name, _)| *name != "logs"));
    match first {
        Some((_, Value::Array(outputs))) if outputs.is_empty() => "no output".to_owned(),
        Some((_, Value::Array(outputs))) => {
            let to: Vec<&str> = outputs.iter().filter_map(|output| output["to"].as_str()).collect();
            format!("→ {}", to.join(", "))
        }
        Some((fate, words)) => format!("{fate}: {}", words.as_str().unwrap_or_default()),
        None => String::new(),
    }
}

/// The sample, the notes, and what differs.
pub(super) fn difference(case: &Case, style: Style) -> Vec<String> {
    let mut lines = vec![style.dim(&format!("sample {}", cut(&case.sample, WIDE)))];
    lines.extend(case.notes.iter().map(|note| style.warn(note)));
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    let expected = case.expected.as_ref().map(pretty).unwrap_or_default();
    let actual = pretty(&case.actual);
    let merged = diff::lines(&expected, &actual);
    if merged.iter().all(|(side, _)| *side == Side::Both) {
        return lines;
    }
    lines.push(format!("{} {}", style.bad("- expected"), style.good("+ came out")));
    let near = |at: usize| {
        let around = at.saturating_sub(AROUND)..(at + AROUND + 1).min(merged.len());
        merged[around].iter().any(|(side, _)| *side != Side::Both)
    };
    let mut left_out = false;
    for (at, (side, text)) in merged.iter().enumerate() {
        let text = cut(text, WIDE);
        match side {
            Side::Expected => lines.push(style.bad(&format!("- {text}"))),
            Side::Actual => lines.push(style.good(&format!("+ {text}"))),
            Side::Both if near(at) => lines.push(format!("  {text}")),
            Side::Both if left_out => continue,
            Side::Both => lines.push(style.dim("  …")),
        }
        left_out = *side == Side::Both && !near(at);
    }
    lines
}

/// The report as one object.
pub(super) fn json(module: &Module, cases: &[Case]) -> Value {
    let case = |case: &Case| {
        json!({
            "file": case.file, "line": case.line, "name": case.name, "passed": case.passed, "notes": case.notes,
            "expected": case.expected, "actual": case.actual, "milliseconds": case.time.as_secs_f64() * 1e3,
            "fuel": case.cost.map(|cost| cost.fuel),
            "memory": case.cost.map(|cost| cost.memory).filter(|bytes| *bytes > 0),
        })
    };
    let failed = cases.iter().filter(|case| !case.passed).count();
    json!({
        "module": *module.name, "version": module.manifest.version, "digest": *module.digest,
        "passed": cases.len() - failed, "failed": failed, "cases": cases.iter().map(case).collect::<Vec<_>>(),
    })
}

/// At most `width` characters.
pub(in crate::cli) fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text.to_owned(),
    }
}

fn time(time: Duration) -> String {
    match time.as_secs_f64() * 1e3 {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms => format!("{ms:.0} ms"),
    }
}
