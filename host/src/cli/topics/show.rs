//! Topics for people and for programs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::out::{self, Style};
use crate::cli::test::show::cut;
use crate::cluster::tail::Found;
use crate::cluster::{Partition, Reader, Topic};
use crate::samples::tell;

/// Longest value that is shown, in characters; `--json` shows all of it.
const WIDE: usize = 2_000;

pub(super) fn list(topics: &[Topic], json: bool) {
    if json {
        let topics: Vec<Value> = topics.iter().map(summary).collect();
        return out::data(&Value::Array(topics).to_string());
    }
    let mut rows = vec![["topic", "partitions", "replicas", "state"].map(str::to_owned).to_vec()];
    for topic in topics {
        rows.push(vec![
            topic.name.clone(),
            topic.partitions.len().to_string(),
            topic.replication().to_string(),
            state(topic),
        ]);
    }
    table(&rows, &[1, 2]);
}

fn state(topic: &Topic) -> String {
    match (topic.leaderless(), topic.under_replicated()) {
        (0, 0) => "in sync".into(),
        (0, behind) => format!("{behind} under-replicated"),
        (without, _) => format!("{without} without a leader"),
    }
}

fn summary(topic: &Topic) -> Value {
    json!({
        "topic": topic.name,
        "partitions": topic.partitions.len(),
        "replication_factor": topic.replication(),
        "under_replicated": topic.under_replicated(),
        "leaderless": topic.leaderless(),
    })
}

/// A topic with everything that was found out about it.
pub(super) struct Described<'a> {
    pub(super) topic: &'a Topic,
    /// The oldest and the next offset, by partition.
    pub(super) ends: &'a [(i64, i64)],
    pub(super) settings: &'a BTreeMap<String, String>,
    pub(super) readers: &'a [Reader],
}

pub(super) fn describe(it: &Described<'_>, json: bool) {
    if json { out::data(&described(it).to_string()) } else { tell_all(it) }
}

fn tell_all(it: &Described<'_>) {
    let style = Style::of(&std::io::stdout());
    let Topic { name, partitions } = it.topic;
    let held: i64 = it.ends.iter().map(|(low, high)| high - low).sum();
    out::data(&format!(
        "{}  {} partitions, replication factor {}, {} offsets held, {}",
        style.bold(name),
        partitions.len(),
        it.topic.replication(),
        out::number(held.unsigned_abs()),
        state(it.topic)
    ));
    for (key, value) in it.settings {
        out::data(&format!("  {key} = {value}"));
    }
    let header = ["partition", "leader", "replicas", "in sync", "first", "next"].map(str::to_owned).to_vec();
    let rows = partitions.iter().zip(it.ends).map(|(partition, (low, high))| {
        let Partition { number, leader, replicas, in_sync } = partition;
        let leader = leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
        vec![number.to_string(), leader, ids(replicas), ids(in_sync), low.to_string(), high.to_string()]
    });
    table(&[header].into_iter().chain(rows).collect::<Vec<_>>(), &[0, 1, 4, 5]);
    if it.readers.is_empty() {
        return out::data("no consumer group has committed here");
    }
    let header = ["group", "state", "members", "partition", "committed", "lag"].map(str::to_owned).to_vec();
    let mut rows = vec![header];
    for reader in it.readers {
        let Reader { group, state, members, .. } = reader;
        let (group, state, members) = (group.clone(), state.clone(), members.to_string());
        rows.push(vec![group, state, members, "all".into(), String::new(), total_lag(it, reader).to_string()]);
        for (partition, committed, lag) in lags(it, reader) {
            let committed = committed.map_or_else(|| "none".to_owned(), |offset| offset.to_string());
            rows.push(vec![
                String::new(),
                String::new(),
                String::new(),
                partition.to_string(),
                committed,
                lag.to_string(),
            ]);
        }
    }
    table(&rows, &[2, 3, 4, 5]);
}

/// Partition, committed offset and lag. What was never committed is all still to be read.
fn lags<'a>(it: &'a Described<'_>, reader: &'a Reader) -> impl Iterator<Item = (i32, Option<i64>, i64)> + 'a {
    it.topic.partitions.iter().zip(it.ends).map(|(partition, (low, high))| {
        let committed = reader.committed.get(&partition.number).copied();
        (partition.number, committed, (high - committed.unwrap_or(*low).max(*low)).max(0))
    })
}

fn total_lag(it: &Described<'_>, reader: &Reader) -> i64 {
    lags(it, reader).map(|(_, _, lag)| lag).sum()
}

fn described(it: &Described<'_>) -> Value {
    let mut value = summary(it.topic);
    value["settings"] = json!(it.settings);
    value["partitions"] = it
        .topic
        .partitions
        .iter()
        .zip(it.ends)
        .map(|(partition, (low, high))| {
            let Partition { number, leader, replicas, in_sync } = partition;
            json!({
                "partition": number, "leader": leader, "replicas": replicas, "in_sync": in_sync, "first": low, "next": high,
            })
        })
        .collect();
    let groups = it.readers.iter().map(|reader| {
        let places = lags(it, reader)
            .map(|(partition, committed, lag)| json!({ "partition": partition, "committed": committed, "lag": lag }));
        json!({
            "group": reader.group,
            "state": reader.state,
            "members": reader.members,
            "lag": total_lag(it, reader),
            "partitions": places.collect::<Vec<_>>(),
        })
    });
    value["groups"] = groups.collect();
    value
}

/// One record, as a line.
pub(super) fn record(record: &Found, json: bool) -> String {
    let Found { partition, offset, timestamp, key, value, headers } = record;
    if json {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_deref().map_or(Value::Null, tell::bytes_of);
        let headers: Vec<Value> =
            headers.iter().map(|(name, value)| json!({ "name": name, "value": bytes(value) })).collect();
        let told = json!({
            "partition": partition, "offset": offset, "timestamp": timestamp, "key": bytes(key), "value": bytes(value),
            "headers": headers,
        });
        return told.to_string();
    }
    let style = Style::of(&std::io::stdout());
    let time = timestamp.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    let time = time.map_or_else(String::new, |time| format!(" {time}"));
    let key = key.as_ref().map_or_else(String::new, |key| format!(" key {}", text(key)));
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!(" {name}={}", value.as_deref().map_or_else(|| "NULL".to_owned(), text)))
        .collect();
    let place = style.dim(&format!("{partition}@{offset}{time}{key}{headers}"));
    format!("{place} {}", value.as_deref().map_or_else(|| "NULL".to_owned(), text))
}

/// Bytes in one line. JSON is shown as it is: parsing it could lose digits.
fn text(bytes: &[u8]) -> String {
    let shown = match std::str::from_utf8(bytes) {
        Ok(text) => {
            text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
        }
        Err(_) => match tell::bytes_of(bytes) {
            Value::String(text) => text,
            other => other.to_string(),
        },
    };
    cut(&shown, WIDE)
}

fn ids(brokers: &[i32]) -> String {
    brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Columns as wide as what is in them; `right` names those of numbers.
fn table(rows: &[Vec<String>], right: &[usize]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let style = Style::of(&std::io::stdout());
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match right.contains(&column) {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        let line = line.trim_end();
        out::data(&if index == 0 { style.dim(line) } else { line.to_owned() });
    }
}
