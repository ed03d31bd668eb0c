//! Sinks: names, URLs and tables.

use crate::config::{Mode, Sink};

use super::Finding;

/// Schemes of sink URLs.
const SCHEMES: [&str; 5] = ["postgres", "postgresql", "mongodb", "mongodb+srv", "sqlite"];

pub(super) fn check(name: &str, sink: &Sink, findings: &mut Vec<Finding>) {
    let path = ["sinks", name];
    match name {
        "kafka" => {
            let help = "remove it: the sink `kafka` is the cluster of [kafka] and always exists";
            findings.push(Finding::new(&path, "the name `kafka` is taken", help).on_key());
        }
        "next" => {
            let help = "choose another name: `next` stands for the following module of a chain";
            findings.push(Finding::new(&path, "the name `next` is taken", help).on_key());
        }
        _ if !super::is_name(name) => {
            let help = "use letters, digits, `.`, `_` and `-`";
            findings.push(Finding::new(&path, "not a name for a sink", help).on_key());
        }
        _ => {}
    }
    url(name, sink.url.expose(), findings);
    if sink.max_rows_per_second == Some(0) {
        let help = "write 1 or more, or leave it out for no limit";
        findings.push(Finding::new(&["sinks", name, "max_rows_per_second"], "nothing could ever be written", help));
    }
    tables(name, sink, findings);
}

/// Whether a sink with this URL keeps tables.
pub(super) fn is_sql(sink: &Sink) -> bool {
    matches!(scheme(sink.url.expose()), Some("postgres" | "postgresql" | "sqlite"))
}

fn url(name: &str, url: &str, findings: &mut Vec<Finding>) {
    let path = ["sinks", name, "url"];
    let forms = "write postgres://user@host/database, mongodb://host/ or sqlite://file.db";
    // The URL itself is not shown: it may hold a password.
    match scheme(url) {
        _ if url.is_empty() => findings.push(Finding::new(&path, "the URL is empty", forms)),
        None => findings.push(Finding::new(&path, "not a URL", forms)),
        Some(scheme) if !SCHEMES.contains(&scheme) => {
            findings.push(Finding::new(&path, "no sink for URLs of this scheme", forms));
        }
        Some("sqlite") if url == "sqlite://" => findings.push(Finding::new(&path, "the URL names no file", forms)),
        Some(scheme) if scheme != "sqlite" && url.len() <= scheme.len() + 3 => {
            findings.push(Finding::new(&path, "the URL names no host", forms));
        }
        Some(_) => {}
    }
}

fn scheme(url: &str) -> Option<&str> {
    if url.starts_with("sqlite:") {
        return Some("sqlite");
    }
    url.split_once("://").map(|(scheme, _)| scheme)
}

fn tables(name: &str, sink: &Sink, findings: &mut Vec<Finding>) {
    for (table, spec) in &sink.tables {
        let path = |key| ["sinks", name, "tables", table, key];
        if table.is_empty() {
            let help = "name the table, such as [sinks.postgres.tables.quotes]";
            findings.push(Finding::new(&path("")[..4], "a table has no name", help).on_key());
        }
        if spec.key.iter().any(String::is_empty) {
            findings.push(Finding::new(&path("key"), "a key column has no name", "name the columns, such as [\"id\"]"));
        }
        if matches!(spec.mode, Mode::Upsert | Mode::Update) && !spec.columns.is_empty() && spec.key.is_empty() {
            let help = "name the key columns: key = [\"id\"]";
            findings.push(Finding::new(&path("mode"), "upsert and update need a key", help));
        }
        for column in spec.key.iter().filter(|column| !spec.columns.is_empty() && !spec.columns.contains_key(*column)) {
            let known = spec.columns.keys().cloned().collect::<Vec<_>>().join(", ");
            let message = format!("the key column `{column}` is not among the columns");
            findings.push(Finding::new(&path("key"), message, format!("columns: {known}")));
        }
    }
}
