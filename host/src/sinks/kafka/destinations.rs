//! The topics that a batch's outputs go to. Most outputs go where their neighbour went, so each name is made, checked
//! and looked up once, not once per output.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::manifest::TargetSpec;
use crate::sinks::SinkBatch;

/// The topics of one batch.
pub struct Destinations {
    names: Vec<String>,
    /// Index of the name by item.
    topics: Vec<usize>,
    /// Which span wants which topic.
    wanted: BTreeSet<(usize, usize)>,
}

/// What an output's topic depends on.
type Key<'a> = (*const TargetSpec, Option<&'a str>);

impl Destinations {
    pub fn of(batch: &SinkBatch) -> Self {
        let mut known: HashMap<Key<'_>, usize> = HashMap::new();
        let mut last: Option<(Key<'_>, usize, usize)> = None;
        let mut found = Destinations { names: Vec::new(), topics: Vec::new(), wanted: BTreeSet::new() };
        found.topics.reserve(batch.items.len());
        for item in &batch.items {
            let key: Key<'_> = (Arc::as_ptr(&item.output.target), item.output.suffix.as_deref());
            let topic = match last {
                Some((before, span, topic)) if before == key && span == item.span => topic,
                _ => {
                    let topic = *known.entry(key).or_insert_with(|| {
                        found.names.push(item.output.destination().into_owned());
                        found.names.len() - 1
                    });
                    found.wanted.insert((topic, item.span));
                    topic
                }
            };
            last = Some((key, item.span, topic));
            found.topics.push(topic);
        }
        found
    }

    /// All names; an output's is at the index that [`Destinations::topic`] gives.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The index of an output's topic.
    pub fn topic(&self, item: usize) -> usize {
        self.topics[item]
    }

    /// Each topic with each span that has an output for it.
    pub fn wanted(&self) -> impl Iterator<Item = (&str, usize)> {
        self.wanted.iter().map(|(topic, span)| (self.names[*topic].as_str(), *span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Operation;
    use crate::sinks::sql::testing::{batch, output, target};

    #[test]
    fn each_topic_is_named_once_and_each_output_finds_its_own() {
        let (plain, wild) = (target("kafka", "plain", None, &[], &[]), target("kafka", "tenant-*", None, &[], &[]));
        let to = |target: &Arc<TargetSpec>, suffix: Option<&str>| {
            let mut output = output(target, Operation::Write, None, Some("v"));
            output.suffix = suffix.map(Into::into);
            output
        };
        let outputs = vec![to(&plain, None), to(&wild, Some("a")), to(&wild, Some("b")), to(&wild, Some("a"))];
        let destinations = Destinations::of(&batch(0, outputs));
        assert_eq!(destinations.names(), ["plain", "tenant-a", "tenant-b"]);
        assert_eq!((0..4).map(|item| destinations.topic(item)).collect::<Vec<_>>(), [0, 1, 2, 1]);
        assert_eq!(destinations.wanted().map(|(topic, _)| topic).collect::<Vec<_>>(), destinations.names());
    }
}
