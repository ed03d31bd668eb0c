//! Where the letters of a flow lie, and reading them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::cli::check::plans;
use crate::cli::{Failure, kafka};
use crate::config::{Config, Limits};
use crate::flow::DeadLetters;
use crate::record::Slice;
use crate::redrive;
use crate::runtime::Chain;
use crate::sinks::dead_letter::{DeadLetter, Told};
use crate::sinks::{self, Sink};
use crate::source::peek;

/// A flow as its letters know it.
pub(super) struct Flow {
    pub(super) name: String,
    pub(super) group: String,
    /// Names or patterns.
    pub(super) topics: Vec<String>,
    dead_letters: DeadLetters,
    /// Its modules, where they could run.
    pub(super) chain: Option<Arc<Chain>>,
}

/// A letter and where it lies.
pub(super) struct Found {
    pub(super) letter: DeadLetter,
    /// `topic/partition/offset`, or `sink:table`.
    pub(super) place: String,
    /// Something of the record had to be left out.
    pub(super) cut: bool,
}

/// Everything that is needed to read letters.
pub(super) struct Post<'a> {
    config: &'a Config,
    tokio: tokio::runtime::Runtime,
    /// Partition counts by topic.
    pub(super) topics: BTreeMap<String, usize>,
}

/// Ids of letters that were copied, with the how-many-th time.
pub(super) type Copies = HashSet<(String, u32)>;

/// The flows of a configuration, or the one that is named. Those whose modules could not run are known by their topics.
pub(super) fn flows(config: &Config, name: Option<&str>) -> Result<Vec<Flow>, Failure> {
    let plans = plans(config)?;
    let mut flows: Vec<Flow> = plans
        .into_iter()
        .map(|plan| Flow {
            name: plan.name.to_string(),
            group: plan.group.to_string(),
            topics: plan.topics.clone(),
            dead_letters: plan.dead_letters.clone(),
            chain: Some(plan.chain.clone()),
        })
        .collect();
    for (name, flow) in &config.flow {
        if let Some(topics) = flow.topics.clone().filter(|_| flows.iter().all(|known| known.name != *name)) {
            let group = flow.group.clone().unwrap_or_else(|| format!("wasmill.{name}"));
            let dead_letters = DeadLetters::parse(flow.dead_letters.as_deref());
            flows.push(Flow { name: name.clone(), group, topics, dead_letters, chain: None });
        }
    }
    let Some(name) = name else { return Ok(flows) };
    let known: Vec<String> = flows.iter().map(|flow| flow.name.clone()).collect();
    flows.retain(|flow| flow.name == name);
    if flows.is_empty() {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::config(format!(
            "there is no flow {name}; flows: {known} (wasmill check says why a module has none)"
        )));
    }
    Ok(flows)
}

impl Flow {
    /// Limits as the flow has them.
    pub(super) fn limits(&self) -> Limits {
        self.chain.as_ref().map_or_else(Limits::default, |chain| chain.limits.clone())
    }
}

impl<'a> Post<'a> {
    pub(super) fn new(config: &'a Config) -> Result<Self, Failure> {
        let topics = kafka::topics(&config.kafka).map_err(|cause| {
            Failure::environment(format!("{cause}; start Kafka, or correct kafka.brokers (KAFKA_BROKERS)"))
        })?;
        Ok(Post { config, tokio: crate::cli::tokio_runtime()?, topics })
    }

    /// Hands out every letter of a flow, in order within each partition. Topics may be shared: letters of other flows are
    /// left out.
    pub(super) fn each(&self, flow: &Flow, mut take: impl FnMut(Found)) -> Result<(), Failure> {
        for topic in self.dead_topics(flow) {
            let read = peek::all(&self.config.kafka, &topic, |slice| {
                take_if_letter(&slice, &flow.name, &mut take);
            });
            read.map_err(|cause| Failure::environment(format!("could not read dead letters: {cause}")))?;
        }
        match &flow.dead_letters {
            DeadLetters::Table(table) => self.rows(flow, table, take),
            DeadLetters::PerTopic | DeadLetters::Topic(_) => Ok(()),
        }
    }

    /// Which letters of a group were copied to its redrive topic.
    pub(super) fn copies(&self, group: &str) -> Result<Copies, Failure> {
        let topic = redrive::topic(group);
        let mut copies = Copies::new();
        peek::all(&self.config.kafka, &topic, |slice| {
            let told = Told::of(&slice.record(0).headers);
            copies.extend(told.id.map(|id| (id.to_owned(), told.redriven)));
        })
        .map_err(|cause| Failure::environment(format!("could not read what was redriven: {cause}")))?;
        Ok(copies)
    }

    /// The largest partition count of a flow's source topics.
    pub(super) fn partitions(&self, flow: &Flow) -> usize {
        self.sources(flow).iter().filter_map(|topic| self.topics.get(topic)).copied().max().unwrap_or(1)
    }

    fn sources(&self, flow: &Flow) -> BTreeSet<String> {
        let pattern = |name: &String| regex::Regex::new(name).ok();
        let patterns: Vec<regex::Regex> =
            flow.topics.iter().filter(|t| t.starts_with('^')).filter_map(pattern).collect();
        let matching = self.topics.keys().filter(|topic| patterns.iter().any(|pattern| pattern.is_match(topic)));
        let literal = flow.topics.iter().filter(|topic| !topic.starts_with('^'));
        matching.chain(literal).filter(|topic| !topic.ends_with(".dlq")).cloned().collect()
    }

    fn dead_topics(&self, flow: &Flow) -> BTreeSet<String> {
        let topics = self.sources(flow);
        let dead = topics.iter().filter_map(|topic| flow.dead_letters.topic(topic));
        dead.filter(|topic| self.topics.contains_key(topic)).collect()
    }

    fn rows(&self, flow: &Flow, table: &str, mut take: impl FnMut(Found)) -> Result<(), Failure> {
        let Some(sink) = self.first_sql()? else { return Ok(()) };
        let mut after = String::new();
        loop {
            let page = self.tokio.block_on(sink.read_dead_letters(table, &after));
            let page = page.map_err(|error| Failure::environment(error.message))?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.id);
            for letter in page.into_iter().filter(|letter| letter.flow == flow.name) {
                take(Found { letter, place: format!("{}:{table}", sink.name()), cut: false });
            }
        }
    }

    fn first_sql(&self) -> Result<Option<Arc<dyn Sink>>, Failure> {
        let first = self.config.sinks.iter().find(|(_, sink)| sinks::is_sql(sink.url.expose()));
        first.map(|(name, sink)| sinks::open(name, sink, &self.config.base)).transpose().map_err(Failure::config)
    }
}

fn take_if_letter(slice: &Slice, flow: &str, take: &mut impl FnMut(Found)) {
    let record = slice.record(0);
    let told = Told::of(&record.headers);
    if told.flow != Some(flow) {
        return;
    }
    let place = format!("{}/{}/{}", slice.topic, slice.partition, record.offset);
    let letter = DeadLetter::parse(&told, slice.key(0), slice.value(0), &record.headers);
    if let Some(letter) = letter {
        take(Found { letter, place, cut: told.cut });
    }
}
