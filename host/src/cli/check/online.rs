//! The part of `check` that asks Kafka and the sinks.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lines, TIMEOUT};
use crate::cli::kafka;
use crate::config::{self, Config};
use crate::flow::plan::Plan;
use crate::{reach, sinks};

/// Whether everything that is sent in the clear stays near enough; nothing else is asked where it does not.
pub(in crate::cli) fn plaintext(config: &Config, lines: &mut Lines) -> bool {
    match config::plaintext::check(config, reach::find) {
        Ok(unknown) => {
            for open in unknown {
                let found = format!("{} has no address now, so nobody can tell whether it is private", open.host);
                lines.note(open.key(), found, format!("where it is not: {}", open.help));
            }
            true
        }
        Err(report) => {
            lines.problems(&report);
            false
        }
    }
}

/// Whether the cluster answers, and which of the flows' topics it has.
pub(in crate::cli) fn kafka(config: &Config, flows: &[Plan], lines: &mut Lines) -> bool {
    let topics = match kafka::topics(&config.kafka) {
        Ok(topics) => topics,
        Err(error) => {
            let help =
                "start Kafka, or correct kafka.brokers (KAFKA_BROKERS); in a container, localhost is the container";
            lines.environment("kafka", error, help);
            return false;
        }
    };
    lines.fine("kafka", format!("{} answers, {} topics", config.kafka.brokers, topics.len()));
    for flow in flows {
        sources(flow, &topics, lines);
        outputs(config, flow, &topics, lines);
    }
    true
}

fn sources(flow: &Plan, topics: &BTreeMap<String, usize>, lines: &mut Lines) {
    for topic in &flow.topics {
        let what = format!("flow {}", flow.name);
        if topic.starts_with('^') {
            let pattern = regex::Regex::new(topic);
            let count = pattern.map_or(0, |pattern| topics.keys().filter(|name| pattern.is_match(name)).count());
            match count {
                0 => lines.note(what, format!("no topic matches {topic} yet"), "the flow waits for one"),
                n => lines.fine(what, format!("{topic} matches {n} topics")),
            }
        } else {
            match topics.get(topic) {
                Some(partitions) => lines.fine(what, format!("reads {topic}, {partitions} partitions")),
                None => lines.note(what, format!("the topic {topic} does not exist yet"), "the flow waits for it"),
            }
        }
    }
}

fn outputs(config: &Config, flow: &Plan, topics: &BTreeMap<String, usize>, lines: &mut Lines) {
    let written = flow.targets.iter().filter(|target| target.sink == "kafka" && target.prefix().is_none());
    let literal = flow.topics.iter().filter(|topic| !topic.starts_with('^'));
    let dead = literal.filter_map(|topic| flow.dead_letters.topic(topic));
    for topic in written.map(|target| target.name.clone()).chain(dead).collect::<BTreeSet<_>>() {
        if topics.contains_key(&topic) {
            continue;
        }
        let what = format!("flow {}", flow.name);
        if config.kafka.create_topics {
            lines.fine(what, format!("{topic} will be created"));
        } else {
            let help = format!("create it, or set kafka.create_topics = true (kafka-topics --create --topic {topic})");
            lines.environment(what, format!("the topic {topic} does not exist"), help);
        }
    }
}

pub(super) async fn sinks(config: &Config, lines: &mut Lines) {
    for (name, sink) in &config.sinks {
        let what = format!("sink {name}");
        let help = format!("start the server, or correct sinks.{name}.url");
        let opened = match sinks::open(name, sink, &config.base) {
            Ok(opened) => opened,
            Err(error) => {
                lines.config(what, error, help);
                continue;
            }
        };
        match tokio::time::timeout(TIMEOUT, opened.ping()).await {
            Ok(Ok(())) => lines.fine(what, format!("{} answers", opened.kind())),
            Ok(Err(error)) => lines.environment(what, error.message, help),
            Err(_) => lines.environment(what, format!("no answer within {} s", TIMEOUT.as_secs()), help),
        }
    }
}
