//! What commands want to know of a Kafka cluster: whether it answers and which topics it has.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, Producer as _};

use crate::config::{Kafka, properties};

/// Longest wait for the cluster's answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Partition counts by topic.
pub(super) fn topics(kafka: &Kafka) -> Result<BTreeMap<String, usize>, String> {
    let client: BaseProducer =
        properties::producer(kafka).create().map_err(|error| format!("cannot make a Kafka client: {error}"))?;
    let metadata = client.client().fetch_metadata(None, TIMEOUT).map_err(|error| {
        let seconds = TIMEOUT.as_secs();
        format!("no answer from {} within {seconds} s: {error}", kafka.brokers)
    })?;
    Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
}
