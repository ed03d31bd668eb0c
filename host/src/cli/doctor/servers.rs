//! The servers: which they are, and whether this user may do there what the flows need.

use std::sync::Arc;

use crate::cli::check::{Lines, TIMEOUT};
use crate::config::Config;
use crate::flow::plan::Plan;
use crate::manifest::TargetSpec;
use crate::sinks::{self, kafka};
use crate::source::group::Group;

/// A topic that is never created.
const REHEARSED: &str = "wasmill.doctor";

/// Rights at the cluster, which is known to answer.
pub(super) fn kafka(config: &Config, flows: &[Plan], lines: &mut Lines) {
    if config.kafka.create_topics {
        match kafka::rehearse_topic(&config.kafka, REHEARSED) {
            Ok(()) => lines.fine("kafka", "topics may be created"),
            Err(error) => {
                let help = "grant Create on the cluster, or create output and dead-letter topics by hand and set \
                            kafka.create_topics = false";
                lines.environment("kafka", error.words(), help);
            }
        }
    }
    for flow in flows {
        let what = format!("flow {}", flow.name);
        let stands = Group::open(&config.kafka, &flow.group).and_then(|group| group.standings(&flow.topics));
        match stands {
            Ok(standings) => {
                let committed = standings.iter().filter(|standing| standing.committed.is_some()).count();
                let all = standings.len();
                lines.fine(what, format!("group {} has an offset in {committed} of {all} partitions", flow.group));
            }
            Err(error) => {
                let help = format!("grant Read on the group {} and Read and Describe on its topics", flow.group);
                lines.environment(what, error, help);
            }
        }
    }
}

/// Products, versions and rights of the sinks.
pub(super) async fn sinks(config: &Config, flows: &[Plan], lines: &mut Lines) {
    for (name, sink) in &config.sinks {
        let what = format!("sink {name}");
        let opened = match sinks::open(name, sink, &config.base) {
            Ok(opened) => opened,
            Err(error) => {
                lines.config(what, error, format!("correct sinks.{name}.url"));
                continue;
            }
        };
        let targets: Vec<Arc<TargetSpec>> =
            flows.iter().flat_map(|flow| &flow.targets).filter(|target| target.sink == *name).cloned().collect();
        let help = format!("start the server, or correct sinks.{name}.url");
        match tokio::time::timeout(TIMEOUT, opened.examine(&targets)).await {
            Ok(Ok(examined)) => {
                lines.fine(&what, examined.product);
                for sinks::Lack { found, help } in examined.lacks {
                    lines.environment(&what, found, help);
                }
            }
            Ok(Err(error)) => lines.environment(what, error.message, help),
            Err(_) => lines.environment(what, format!("no answer within {} s", TIMEOUT.as_secs()), help),
        }
    }
}
