//! Looks into a database where no `psql` or `mongosh` is at hand: a line per row or document. What was fed a moment ago
//! may still be on its way: a query that finds nothing is asked again for a minute. `execute` is for set-up: it runs
//! statements once and prints nothing.
//!
//! `wasmill-query postgres "SELECT …"` · `wasmill-query mongodb db.collection ['{"field": "value"}']` ·
//! `wasmill-query execute "CREATE …"`

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mongodb::bson::Document;
use wasmill_tests::{mongo, postgres, services};

const USAGE: &str =
    "usage: wasmill-query postgres SQL | wasmill-query mongodb DB.COLLECTION [FILTER] | wasmill-query execute SQL";
/// How long an empty answer is asked again.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["execute", sql] = *arguments {
        return rows(sql).map(drop);
    }
    let end = Instant::now() + PATIENCE;
    let lines = loop {
        match ask(&arguments) {
            Ok(lines) if !lines.is_empty() => break lines,
            answer if Instant::now() > end => {
                answer?;
                bail!("nothing was found within {PATIENCE:?}");
            }
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    };
    let mut out = std::io::stdout().lock();
    match lines.iter().try_for_each(|line| writeln!(out, "{line}")) {
        // `head` has seen enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to stdout"),
    }
}

fn ask(arguments: &[&str]) -> anyhow::Result<Vec<String>> {
    match *arguments {
        ["postgres", sql] => rows(sql),
        ["mongodb", collection] => documents(collection, "{}"),
        ["mongodb", collection, filter] => documents(collection, filter),
        _ => {
            writeln!(std::io::stderr(), "{USAGE}")?;
            std::process::exit(2)
        }
    }
}

fn rows(sql: &str) -> anyhow::Result<Vec<String>> {
    let url = url("POSTGRES_URL")?;
    let rows = services::block_on(postgres::query(&url, sql)).context("querying Postgres")?;
    let line = |row: &postgres::TextRow| {
        let values: Vec<&str> = row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
        values.join(" | ")
    };
    Ok(rows.iter().map(line).collect())
}

fn documents(collection: &str, filter: &str) -> anyhow::Result<Vec<String>> {
    let url = url("MONGODB_URL")?;
    anyhow::ensure!(collection.contains('.'), "{collection} is not of the form db.collection");
    let filter: Document = serde_json::from_str(filter).context("the filter is not a JSON object")?;
    let found = services::block_on(mongo::find(&url, collection, filter)).context("querying MongoDB")?;
    Ok(found.iter().map(ToString::to_string).collect())
}

fn url(name: &str) -> anyhow::Result<String> {
    std::env::var(name)
        .with_context(|| format!("{name} is not set: `make up` starts the services, `. .wasmill/env` sets it"))
}
