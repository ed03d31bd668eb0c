//! Flows: names, topics, groups, limits, and that two flows do not get into each other's way.

use std::collections::BTreeMap;

use crate::config::{Batch, Config, Flow, Limits};

use super::Finding;
use super::sink::is_sql;

/// Kafka's own limit for topic names.
const MAX_TOPIC: usize = 249;
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

pub(super) fn check(config: &Config, whole: bool, findings: &mut Vec<Finding>) {
    let mut groups: BTreeMap<String, &str> = BTreeMap::new();
    for (name, flow) in &config.flow {
        if !super::is_name(name) {
            let help =
                "use letters, digits, `.`, `_` and `-`, at most 200: the name is part of group and transactional ids";
            findings.push(Finding::new(&["flow", name], "not a name for a flow", help).on_key());
        }
        let group = flow.group.clone().unwrap_or_else(|| format!("wasmill.{name}"));
        if let Some(other) = groups.insert(group, name) {
            let help = "give each flow its own group: each one keeps its own progress";
            let message = format!("the flow `{other}` has the same consumer group");
            findings.push(Finding::new(&["flow", name, "group"], message, help));
        }
        modules(name, flow, findings);
        topics(name, flow, findings);
        group_name(name, flow, findings);
        dead_letters(config, whole, name, flow, findings);
        limits(name, &flow.limits, findings);
        batch(name, &flow.batch, findings);
    }
}

fn modules(name: &str, flow: &Flow, findings: &mut Vec<Finding>) {
    let path = ["flow", name, "modules"];
    if flow.modules.as_ref().is_some_and(Vec::is_empty) {
        findings.push(Finding::new(
            &path,
            "a flow needs a module",
            "name one, or leave the key out for the flow's own name",
        ));
    }
    for (index, module) in flow.modules.iter().flatten().enumerate() {
        let stem = module.strip_suffix(".wasm").unwrap_or(module);
        if stem != module {
            let help = format!("write the file's name without its ending: \"{stem}\"");
            findings.push(Finding::new(&path, "a module is named without `.wasm`", help).item(index));
        } else if module.is_empty() || module.contains(['/', '\\']) {
            let help = "write the name of a file in the modules folder, without folder and ending";
            findings.push(Finding::new(&path, "not a module's name", help).item(index));
        }
    }
}

fn topics(name: &str, flow: &Flow, findings: &mut Vec<Finding>) {
    let path = ["flow", name, "topics"];
    if flow.topics.as_ref().is_some_and(Vec::is_empty) {
        let help = "name one, or leave the key out for those of the module";
        findings.push(Finding::new(&path, "a flow needs a topic", help));
    }
    for (index, topic) in flow.topics.iter().flatten().enumerate() {
        if let Err((message, help)) = source_topic(topic) {
            findings.push(Finding::new(&path, message, help).item(index));
        }
    }
}

fn source_topic(topic: &str) -> Result<(), (String, String)> {
    let wrong = |message: &str, help: &str| Err((message.to_owned(), help.to_owned()));
    if topic.starts_with('^') {
        return match regex::Regex::new(topic) {
            Ok(_) => Ok(()),
            Err(error) => {
                let cause =
                    error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Err((
                    format!("not a regular expression: {cause}"),
                    "names that begin with `^` are regular expressions".into(),
                ))
            }
        };
    }
    if topic.ends_with(".dlq") {
        return wrong("dead letters are not read back by a flow", "read another topic; `.dlq` is for dead letters");
    }
    if topic.starts_with("__") {
        return wrong("topics that begin with `__` are Kafka's own", "read another topic");
    }
    topic_name(topic)
}

fn topic_name(topic: &str) -> Result<(), (String, String)> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let legal = (1..=MAX_TOPIC).contains(&topic.len()) && topic.chars().all(allowed) && topic != "." && topic != "..";
    let help = if topic.contains(['*', '[', '(', '+']) {
        "a regular expression begins with `^`, such as \"^logs\\\\..*\""
    } else {
        "use letters, digits, `.`, `_` and `-`, at most 249"
    };
    if legal { Ok(()) } else { Err(("not a topic's name".into(), help.into())) }
}

fn group_name(name: &str, flow: &Flow, findings: &mut Vec<Finding>) {
    let Some(group) = &flow.group else { return };
    if group.trim().is_empty() || group.len() > 255 || group.chars().any(char::is_control) {
        let help = "write 1 to 255 characters, or leave the key out for `wasmill.<flow>`";
        findings.push(Finding::new(&["flow", name, "group"], "not a consumer group's name", help));
    }
}

fn dead_letters(config: &Config, whole: bool, name: &str, flow: &Flow, findings: &mut Vec<Finding>) {
    let path = ["flow", name, "dead_letters"];
    let Some(target) = &flow.dead_letters else { return };
    if let Some(table) = target.strip_prefix("table:") {
        if table.trim().is_empty() {
            findings.push(Finding::new(&path, "the table has no name", "write \"table:NAME\""));
        } else if whole && !config.sinks.values().any(is_sql) {
            let help = "declare a sink with a postgres:// or sqlite:// URL, or name a topic instead";
            findings.push(Finding::new(&path, "there is no SQL sink to hold the table", help));
        }
        return;
    }
    if let Err((message, help)) = topic_name(target) {
        findings.push(Finding::new(&path, message, format!("{help}; or write \"table:NAME\"")));
    } else if flow.topics.iter().flatten().any(|topic| reads(topic, target)) {
        let help = "choose another topic: the flow would read its own dead letters for ever";
        findings.push(Finding::new(&path, "the flow reads this topic itself", help));
    }
}

/// Whether the subscription covers the topic. Subscriptions never cover `*.dlq`.
fn reads(subscription: &str, topic: &str) -> bool {
    let covers = |pattern| regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(topic));
    subscription == topic || subscription.starts_with('^') && !topic.ends_with(".dlq") && covers(subscription)
}

fn limits(name: &str, limits: &Limits, findings: &mut Vec<Finding>) {
    let mut within = |key: &str, value: u64, least: u64, most: u64, range: &str| {
        if !(least..=most).contains(&value) {
            findings.push(Finding::new(&["flow", name, "limits", key], "out of range", format!("write {range}")));
        }
    };
    within("memory", limits.memory.0, KIB * KIB, 4 * GIB, "1MiB to 4GiB");
    within("record", limits.record.0, KIB, GIB, "1KiB to 1GiB");
    let millis = u64::try_from(limits.time_per_record.0.as_millis()).unwrap_or(u64::MAX);
    within("time_per_record", millis, 1, 600_000, "1ms to 10m");
    within("fuel", limits.fuel, 100_000, u64::MAX / 2, "at least 100000");
    within("outputs", limits.outputs.into(), 1, 10_000_000, "1 to 10000000");
    within("output_bytes", limits.output_bytes.0, KIB, GIB, "1KiB to 1GiB");
}

fn batch(name: &str, batch: &Batch, findings: &mut Vec<Finding>) {
    if !(1..=1_000_000).contains(&batch.records) {
        findings.push(Finding::new(&["flow", name, "batch", "records"], "out of range", "write 1 to 1000000"));
    }
    if !(KIB..=GIB).contains(&batch.bytes.0) {
        findings.push(Finding::new(&["flow", name, "batch", "bytes"], "out of range", "write 1KiB to 1GiB"));
    }
}
