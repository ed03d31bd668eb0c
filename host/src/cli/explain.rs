//! `wasmill explain`: what a code means, why it comes about, what to do.

use serde_json::json;

use super::{Failure, out};
use crate::codes::{self, Entry};
use crate::config::report::nearest;

#[derive(clap::Args, Debug)]
pub(super) struct ExplainArgs {
    /// A code such as reject, pg-23505, module.init or an exit code; without one all are listed
    code: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let Some(code) = &args.code else {
        list(args.json);
        return Ok(());
    };
    let Some(entry) = codes::explain(code) else {
        let near = nearest(code, codes::all().map(|entry| entry.code));
        let help =
            near.map_or_else(|| "`wasmill explain` lists them all".to_owned(), |near| format!("did you mean {near}?"));
        return Err(Failure::config(format!("there is no code {code}; {help}")));
    };
    if args.json {
        out::data(&value(entry).to_string());
    } else {
        out::data(&entry.to_string());
        out::say(&format!("\nmore in docs/operating.md#{}", entry.anchor()));
    }
    Ok(())
}

fn list(as_json: bool) {
    if as_json {
        out::data(&json!(codes::all().map(value).collect::<Vec<_>>()).to_string());
        return;
    }
    let style = out::Style::of(&std::io::stdout());
    let width = codes::all().map(|entry| entry.code.len()).max().unwrap_or(0);
    for group in codes::GROUPS {
        out::data(&style.bold(group.title));
        group.entries.iter().for_each(|entry| out::data(&format!("  {:width$}  {}", entry.code, entry.means)));
    }
}

fn value(entry: &Entry) -> serde_json::Value {
    json!({ "code": entry.code, "means": entry.means, "why": entry.why, "do": entry.act })
}
