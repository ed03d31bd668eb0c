//! Questions about topics: which exist, how many partitions they have, and Kafka's id of each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

use super::{ffi, trouble};

/// Time for one question to the cluster.
const PATIENCE: Duration = Duration::from_secs(10);

/// The id of a topic, or an empty text where the cluster has no ids. Asked at each assignment: a recreated topic has
/// another one.
pub fn id<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str) -> Result<Arc<str>, String> {
    let id = ffi::topic_id(consumer.client(), topic, PATIENCE)
        .map_err(|cause| format!("could not read the id of topic {topic}: {cause}"))?;
    Ok(id.unwrap_or_default().into())
}

/// Partition counts of the existing topics among `names`; regular expressions are matched.
pub fn partition_counts<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    names: &[String],
) -> Result<HashMap<String, i32>, String> {
    let metadata = consumer
        .fetch_metadata(None, PATIENCE)
        .map_err(|cause| format!("could not read the list of topics: {cause}{}", trouble::words()))?;
    trouble::over();
    let patterns: Vec<regex::Regex> =
        names.iter().filter(|name| name.starts_with('^')).filter_map(|name| regex::Regex::new(name).ok()).collect();
    let wanted = |name: &str| names.iter().any(|n| n == name) || patterns.iter().any(|p| p.is_match(name));
    let topics = metadata.topics().iter().filter(|topic| topic.error().is_none() && wanted(topic.name()));
    Ok(topics.map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32)).collect())
}
