//! `wasmill logs`: the last lines of the running host, and those that follow.

use std::io::stdout;
use std::path::Path;

use serde_json::Value;

use super::Failure;
use super::ask::{AdminArgs, Ask};
use super::out::{self, Style};
use crate::logs::recent::Line;
use crate::shutdown::Shutdown;

#[derive(clap::Args, Debug)]
pub(super) struct LogsArgs {
    /// So many lines from the past; the host keeps the last 500
    #[arg(short, value_name = "COUNT", default_value_t = 50)]
    n: usize,
    /// Go on with the lines that come
    #[arg(short, long)]
    follow: bool,
    /// Only lines about this flow
    #[arg(long, value_name = "FLOW")]
    flow: Option<String>,
    /// Only lines of modules
    #[arg(long)]
    guests: bool,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print each line as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &LogsArgs, file: Option<&Path>) -> Result<(), Failure> {
    let ask = Ask::new(&args.admin, file)?;
    let style = Style::of(&stdout());
    if !args.follow {
        let answer: Value = ask.get_json(&format!("/api/logs?n={}", args.n))?;
        answer["lines"].as_array().into_iter().flatten().for_each(|line| tell(args, &line.to_string(), style));
        return Ok(());
    }
    let shutdown =
        Shutdown::listen().map_err(|error| Failure::environment(format!("cannot listen for signals: {error}")))?;
    ask.events(&format!("/api/events?recent={}", args.n), |event| {
        match event.name.as_str() {
            "log" => tell(args, &event.data, style),
            "missed" => out::say(&format!("… lines not shown: {}", event.data)),
            _ => {}
        }
        !shutdown.requested()
    })
}

fn tell(args: &LogsArgs, text: &str, style: Style) {
    let Ok(line) = serde_json::from_str::<Line>(text) else { return };
    let of_flow = args.flow.as_ref().is_none_or(|flow| *flow == line.flow);
    if !of_flow || (args.guests && line.module.is_empty()) {
        return;
    }
    match args.json {
        true => out::data(text),
        false => out::data(&words(&line, style)),
    }
}

fn words(line: &Line, style: Style) -> String {
    let at = jiff::Timestamp::from_millisecond(line.at).map(|at| at.strftime("%H:%M:%S%.3f").to_string());
    let level = match line.level.as_str() {
        "ERROR" => style.bad("ERROR"),
        "WARN" => style.warn("WARN "),
        _ => style.dim("INFO "),
    };
    let from = match (line.flow.as_str(), line.module.as_str()) {
        ("", _) => String::new(),
        (flow, "") => format!("{flow}: "),
        (flow, module) => format!("{flow}/{module}: "),
    };
    let fields = if line.fields.is_empty() { String::new() } else { format!(" {}", style.dim(&line.fields)) };
    format!("{} {level} {from}{}{fields}", at.unwrap_or_default(), line.message)
}
