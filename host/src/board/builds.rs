//! Which builds of a flow's modules were in force, and from which offset of which partition on: asked of its first SQL
//! sink whenever somebody looks.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::sinks::{InForce, Sink};

/// Changes that one answer has at most.
const MOST: usize = 2_000;

/// Where a flow's builds can be asked for.
#[async_trait]
pub trait AskBuilds: Send + Sync {
    /// The error names what was asked and the cause.
    async fn builds(&self) -> Result<Builds, String>;
}

/// The builds of one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builds {
    pub flow: String,
    /// The sink that has told them; none where the flow has no SQL sink, or keeps no progress in it.
    pub sink: Option<String>,
    /// Newest first.
    pub builds: Vec<Build>,
}

/// One build, for as long as no other came after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// sha256 of the modules, joined by `+` in a chain.
    pub digest: String,
    /// When its first batch was written, in milliseconds since 1970.
    pub since: i64,
    pub from: Vec<Place>,
}

/// Where a build came into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
    /// The first offset that it made.
    pub offset: i64,
}

/// Asks the first SQL sink by name.
pub struct OfSinks {
    pub flow: Arc<str>,
    pub group: Arc<str>,
    /// SQL sinks by name come first.
    pub sinks: Vec<Arc<dyn Sink>>,
}

#[async_trait]
impl AskBuilds for OfSinks {
    async fn builds(&self) -> Result<Builds, String> {
        let flow = self.flow.to_string();
        let Some(sink) = self.sinks.iter().find(|sink| sink.is_sql()) else {
            return Ok(Builds { flow, ..Builds::default() });
        };
        let changes = sink.module_history(&self.group, MOST).await.map_err(|error| error.message)?;
        Ok(Builds { flow, sink: Some(sink.name().to_owned()), builds: grouped(changes) })
    }
}

/// Changes of single partitions as builds, newest first. A build that ran twice, with another in between, is there twice.
fn grouped(mut changes: Vec<InForce>) -> Vec<Build> {
    changes.sort_by(|a, b| (b.since, &a.topic, a.partition).cmp(&(a.since, &b.topic, b.partition)));
    let mut builds: Vec<Build> = Vec::new();
    for change in changes {
        let place = Place { topic: change.topic, partition: change.partition, offset: change.from };
        match builds.last_mut() {
            Some(build) if build.digest == change.digest && !build.has(&place) => {
                build.since = change.since;
                build.from.push(place);
            }
            _ => builds.push(Build { digest: change.digest, since: change.since, from: vec![place] }),
        }
    }
    builds
}

impl Build {
    fn has(&self, place: &Place) -> bool {
        self.from.iter().any(|known| (&known.topic, known.partition) == (&place.topic, place.partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_one_change_are_told_together_and_a_rollback_by_itself() {
        let change = |partition: i32, from: i64, digest: &str, since: i64| InForce {
            topic: "t".into(),
            topic_id: "id".into(),
            partition,
            from,
            digest: digest.into(),
            since,
        };
        // Partition 1 has its first record after the swap only after the rollback.
        let changes = vec![change(1, 3, "x", 1), change(0, 0, "x", 1), change(0, 10, "y", 5), change(0, 20, "x", 9)];
        let builds = grouped(changes);
        let from = |build: &Build| build.from.iter().map(|p| (p.partition, p.offset)).collect::<Vec<_>>();
        let told: Vec<_> = builds.iter().map(|build| (&*build.digest, build.since, from(build))).collect();
        assert_eq!(told, [("x", 9, vec![(0, 20)]), ("y", 5, vec![(0, 10)]), ("x", 1, vec![(0, 0), (1, 3)])]);
        assert_eq!(grouped(Vec::new()), []);
    }
}
