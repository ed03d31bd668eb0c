//! From configuration and manifests to what a flow will do, or to the words why it must not. Nothing is connected to
//! here: `check --offline` uses it as it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::DeadLetters;
use crate::config::{Config, Delivery, Flow, OnError, Start};
use crate::manifest::TargetSpec;
use crate::redrive;
use crate::router::KAFKA;
use crate::runtime::{Chain, Module, Step};
use crate::sinks;

/// The target that is no sink: the following module of the chain.
pub const NEXT: &str = "next";

/// A flow that may run.
#[derive(Debug)]
pub struct Plan {
    pub name: Arc<str>,
    pub group: Arc<str>,
    pub topics: Vec<String>,
    pub start: Start,
    pub delivery: Delivery,
    pub on_error: OnError,
    pub dead_letters: DeadLetters,
    /// Stop when nearly everything is refused.
    pub breaker: bool,
    /// Names of the sinks that it may write: SQL sinks by name, then document sinks by name. Kafka is not among them.
    pub sinks: Vec<String>,
    /// Every destination that it may write.
    pub targets: Vec<Arc<TargetSpec>>,
    pub chain: Arc<Chain>,
    /// Most records of a batch.
    pub records: usize,
    /// Most bytes of a batch.
    pub bytes: usize,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A module of the flow is not in the folder (yet).
    #[error("module {0} is not in the modules folder")]
    Missing(String),
    /// The modules or the configuration want what must not be.
    #[error("{0}")]
    Forbidden(String),
}

/// Plans the flow `name`; `adopted` flows come from a dropped module and not from the configuration.
pub fn plan(
    config: &Config,
    name: &str,
    flow: &Flow,
    adopted: bool,
    module: impl Fn(&str) -> Option<Arc<Module>>,
) -> Result<Plan, Refusal> {
    let names = flow.modules.clone().unwrap_or_else(|| vec![name.to_owned()]);
    let modules = names
        .iter()
        .map(|stem| module(stem).ok_or_else(|| Refusal::Missing(stem.clone())))
        .collect::<Result<Vec<_>, _>>()?;
    let topics = flow.topics.clone().unwrap_or_else(|| modules[0].manifest.topics.clone());
    check_topics(name, &topics)?;
    let steps: Vec<Step> = modules.into_iter().map(step).collect();
    let targets: Vec<Arc<TargetSpec>> =
        steps.iter().flat_map(|step| &step.targets).filter(|target| target.sink != NEXT).cloned().collect();
    check_chain(name, &steps)?;
    targets.iter().try_for_each(|target| check_target(config, name, target, &topics, adopted))?;
    let dead_letters = DeadLetters::parse(flow.dead_letters.as_deref());
    if let DeadLetters::Topic(topic) = &dead_letters
        && topics.contains(topic)
    {
        return forbid(format!(
            "flow {name} reads the topic `{topic}` that its dead letters go to: choose another one as dead_letters"
        ));
    }
    let sinks = used_sinks(config, name, &targets, &dead_letters)?;
    let writes_kafka = targets.iter().any(|target| target.sink == KAFKA);
    let default = if writes_kafka { Delivery::Transactional } else { Delivery::Idempotent };
    let digests: Vec<&str> = steps.iter().map(|step| &*step.module.digest).collect();
    let chain = Chain {
        flow: name.into(),
        digest: digests.join("+").into(),
        steps,
        limits: flow.limits.clone(),
        config: serde_json::json!({ "vars": flow.vars }).to_string(),
    };
    Ok(Plan {
        name: name.into(),
        group: flow.group.clone().unwrap_or_else(|| format!("wasmill.{name}")).into(),
        topics,
        start: flow.start.clone(),
        delivery: flow.delivery.unwrap_or(default),
        on_error: flow.on_error,
        dead_letters,
        breaker: flow.breaker.unwrap_or(flow.on_error == OnError::DeadLetter),
        records: batch_records(config, flow, &sinks),
        sinks,
        targets,
        chain: Arc::new(chain),
        bytes: flow.batch.bytes.bytes(),
    })
}

impl Plan {
    /// Whether a running flow of plan `other` only needs the other modules.
    pub fn same_shape(&self, other: &Plan) -> bool {
        (&self.topics, &self.sinks, self.delivery) == (&other.topics, &other.sinks, other.delivery)
            && self.unread_topics() == other.unread_topics()
    }

    /// What a subscription by patterns leaves out, as librdkafka's patterns: the topics that the flow writes itself.
    /// `None` where it names its topics.
    pub fn unread_topics(&self) -> Option<String> {
        if !self.topics.iter().any(|topic| topic.starts_with('^')) {
            return None;
        }
        let whole = |name: &str| format!("^{}$", regex::escape(name));
        let targets = self.targets.iter().filter(|target| target.sink == KAFKA);
        let written = targets.map(|target| match target.prefix() {
            Some(prefix) => format!("^{}.*", regex::escape(prefix)),
            None => whole(&target.name),
        });
        let letters = match &self.dead_letters {
            DeadLetters::Topic(topic) => Some(whole(topic)),
            DeadLetters::PerTopic | DeadLetters::Table(_) => None,
        };
        let foreign = redrive::foreign_topics(&self.group);
        Some(written.chain(letters).chain([foreign]).collect::<Vec<_>>().join(","))
    }

    /// Names a topic and target that both flows have: every row would be written twice.
    pub fn doubles(&self, other: &Plan) -> Option<(String, String)> {
        let topic = self.topics.iter().find(|topic| other.topics.contains(topic))?;
        let target = self.targets.iter().find(|t| other.targets.iter().any(|o| o.label() == t.label()))?;
        Some((topic.clone(), target.label()))
    }
}

fn step(module: Arc<Module>) -> Step {
    let targets = module.manifest.targets.iter().cloned().map(Arc::new).collect();
    Step { module, targets }
}

/// Topics that no flow may read, and why.
pub fn check_topics(flow: &str, topics: &[String]) -> Result<(), Refusal> {
    if topics.is_empty() {
        return forbid(format!(
            "flow {flow} reads no topic: name topics in the module's #[transform] or in [flow.{flow}]"
        ));
    }
    for topic in topics {
        if let Some(pattern) = topic.strip_prefix('^') {
            if let Err(cause) = regex::Regex::new(&format!("^{pattern}")) {
                return forbid(format!("flow {flow}: topic pattern {topic} is not a regular expression: {cause}"));
            }
        } else if topic.ends_with(".dlq") || topic.starts_with("__") || topic.is_empty() {
            return forbid(format!(
                "flow {flow} must not read topic `{topic}`: dead-letter topics and Kafka's own topics are no sources"
            ));
        } else if topic.ends_with(redrive::SUFFIX) {
            return forbid(format!(
                "flow {flow} must not name topic `{topic}`: it reads the redriven records of its own group by itself"
            ));
        }
    }
    Ok(())
}

/// Whether each module but the last hands records on, and why not.
pub fn check_chain(flow: &str, steps: &[Step]) -> Result<(), Refusal> {
    for (index, step) in steps.iter().enumerate() {
        let module = &step.module.name;
        let hands_on = step.targets.iter().any(|target| target.sink == NEXT);
        match (hands_on, steps.get(index + 1)) {
            (true, None) => {
                return forbid(format!(
                    "module {module} hands records on to a following module, but it is the last one of flow {flow}: \
                     name the chain in [flow.{flow}] modules = [\"{module}\", …]"
                ));
            }
            (false, Some(next)) => {
                return forbid(format!(
                    "module {} follows {module} in flow {flow}, but {module} hands nothing on: declare `next` in its \
                     #[transform]",
                    next.module.name
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_target(
    config: &Config,
    flow: &str,
    target: &TargetSpec,
    topics: &[String],
    adopted: bool,
) -> Result<(), Refusal> {
    let label = target.label();
    if target.sink == KAFKA {
        let reads = |topic: &String| match target.prefix() {
            Some(prefix) => topic.starts_with(prefix),
            None => *topic == target.name,
        };
        if let Some(topic) = topics.iter().find(|topic| reads(topic)) {
            return forbid(format!("flow {flow} would read what it writes: {label} and its source topic {topic}"));
        }
    } else if !config.sinks.contains_key(&target.sink) {
        let sink = &target.sink;
        return forbid(format!(
            "flow {flow} wants to write {label}, but there is no sink `{sink}`: configure [sinks.{sink}] with a url"
        ));
    }
    let own = ["wasmill.", "wasmill_progress", "wasmill_verdict", "wasmill_module_history"];
    if target.sink != KAFKA && own.iter().any(|name| target.name.starts_with(name)) {
        return forbid(format!("flow {flow} must not write {label}: that is wasmill's own"));
    }
    let granted = |pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => label.starts_with(prefix),
        None => *pattern == label,
    };
    match &config.modules.targets {
        Some(patterns) if adopted && !patterns.iter().any(granted) => forbid(format!(
            "module {flow} wants to write {label}, which [modules] targets does not grant: add it there, or write a \
             [flow.{flow}]"
        )),
        _ => Ok(()),
    }
}

fn used_sinks(
    config: &Config,
    flow: &str,
    targets: &[Arc<TargetSpec>],
    dead_letters: &DeadLetters,
) -> Result<Vec<String>, Refusal> {
    let mut used: BTreeSet<&str> = targets.iter().map(|t| t.sink.as_str()).filter(|sink| *sink != KAFKA).collect();
    let is_sql = |name: &str| config.sinks.get(name).is_some_and(|sink| sinks::is_sql(sink.url.expose()));
    if let DeadLetters::Table(table) = dead_letters {
        let first = config.sinks.keys().find(|name| is_sql(name)).ok_or_else(|| {
            Refusal::Forbidden(format!("flow {flow}: dead_letters = \"table:{table}\" needs a postgres or sqlite sink"))
        })?;
        used.insert(first);
    }
    let (sql, documents): (Vec<&str>, Vec<&str>) = used.into_iter().partition(|name| is_sql(name));
    Ok(sql.into_iter().chain(documents).map(str::to_owned).collect())
}

/// A sink with a cap gets a tenth of a second's worth at a time, so that no second holds more than the cap.
fn batch_records(config: &Config, flow: &Flow, sinks: &[String]) -> usize {
    let caps = sinks.iter().filter_map(|name| config.sinks.get(name)?.max_rows_per_second);
    caps.map(|cap| (cap as usize / 10).max(1)).chain([flow.batch.records]).min().unwrap_or(flow.batch.records)
}

fn forbid<T>(words: String) -> Result<T, Refusal> {
    Err(Refusal::Forbidden(words))
}
