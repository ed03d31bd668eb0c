//! Feeds: one source each, and only the keys that it has.

use std::ops::RangeInclusive;

use crate::config::{Config, Feed};

use super::Finding;

/// Kafka's own limit for topic names.
const MAX_TOPIC: usize = 249;

pub(super) fn check(config: &Config, whole: bool, findings: &mut Vec<Finding>) {
    for (name, feed) in &config.feed {
        if !super::is_name(name) {
            let help = "use letters, digits, `.`, `_` and `-`, at most 200";
            findings.push(Finding::new(&["feed", name], "not a name for a feed", help).on_key());
        }
        let mut find = |key: &'static str, message: &str, help: &str| {
            findings.push(Finding::new(&["feed", name, key], message, help));
        };
        if !is_topic(&feed.topic) && (whole || !feed.topic.is_empty()) {
            find("topic", "not a name for a topic", "write `topic = \"…\"`: letters, digits, `.`, `_` and `-`");
        }
        source(feed, whole, &mut find);
        numbers(feed, &mut find);
        if feed.key.is_some() && feed.key_field.is_some() {
            find("key", "a record has one key", "remove `key` or `key_field`");
        }
        let has_sink = || config.sinks.values().any(crate::config::Sink::is_postgres);
        if whole && feed.postgres.is_some() && feed.url.is_none() && !has_sink() {
            find("postgres", "no database is named", "add `url = \"postgres://…\"`, or a Postgres sink");
        }
    }
}

fn source(feed: &Feed, whole: bool, find: &mut impl FnMut(&'static str, &str, &str)) {
    let sources =
        [("http", feed.http.is_some()), ("postgres", feed.postgres.is_some()), ("generate", feed.generate.is_some())];
    let named: Vec<&str> = sources.iter().filter(|(_, named)| *named).map(|(name, _)| *name).collect();
    match named.as_slice() {
        [one] => {
            for (key, belongs, set) in keys(feed) {
                if set && belongs != *one {
                    find(
                        key,
                        &format!("a feed from `{one}` has no such key"),
                        &format!("remove it; it belongs to `{belongs}`"),
                    );
                }
            }
        }
        [] if whole => find("http", "nothing says where the records come from", "add `http`, `postgres` or `generate`"),
        [] => {}
        _ => find(
            if feed.http.is_some() { "http" } else { "postgres" },
            "a feed has one source",
            "remove one, or make two feeds",
        ),
    }
}

/// Keys with the source that they belong to, and whether they are set.
fn keys(feed: &Feed) -> [(&'static str, &'static str, bool); 11] {
    [
        ("pointer", "http", !feed.pointer.is_empty()),
        ("headers", "http", !feed.headers.is_empty()),
        ("timeout", "http", feed.timeout.is_some()),
        ("raw", "http", feed.raw),
        ("ca", "http", feed.ca.is_some()),
        ("url", "postgres", feed.url.is_some()),
        ("column", "postgres", feed.column.is_some()),
        ("count", "generate", feed.count.is_some()),
        ("seed", "generate", feed.seed.is_some()),
        ("keys", "generate", feed.keys.is_some()),
        ("bad", "generate", feed.bad.is_some()),
    ]
}

fn numbers(feed: &Feed, find: &mut impl FnMut(&'static str, &str, &str)) {
    let mut check = |key, value: Option<f64>, range: RangeInclusive<f64>, help| {
        if value.is_some_and(|value| !range.contains(&value)) {
            find(key, "out of range", help);
        }
    };
    check("rate", feed.rate, 0.001..=1e6, "write records per second, 0.001 to 1000000");
    check("keys", feed.keys, 0.0..=1.0, "write a share from 0 to 1");
    check("bad", feed.bad, 0.0..=1.0, "write a share from 0 to 1");
    check("partitions", feed.partitions.map(f64::from), 1.0..=1e5, "write 1 to 100000");
    check("replication_factor", feed.replication_factor.map(f64::from), 1.0..=1e3, "write 1 to 1000");
    check("every", feed.every.map(|every| every.0.as_secs_f64()), 0.01..=1e6, "write 10ms or more, such as \"10s\"");
    check("timeout", feed.timeout.map(|time| time.0.as_secs_f64()), 0.01..=1e4, "write 10ms or more, such as \"30s\"");
}

fn is_topic(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_TOPIC).contains(&name.len()) && name.chars().all(allowed) && name != "." && name != ".."
}
