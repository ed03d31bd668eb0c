//! What commands want to know of a Kafka cluster: whether it answers and which topics it has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::producer::{BaseProducer, Producer as _};

use crate::config::{Kafka, properties};
use crate::source::trouble::{self, Telling};

/// Longest wait for the cluster's answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait before the client's complaints are looked at.
const ATTEMPT: Duration = Duration::from_millis(2500);
/// Time for hearing them: its log lines come by the same way.
const HEARING: Duration = Duration::from_millis(100);

/// Partition counts by topic.
pub(super) fn topics(kafka: &Kafka) -> Result<BTreeMap<String, usize>, String> {
    let mut settings = properties::producer(kafka);
    // A broker that hangs up is in no error, only in a line of this level.
    settings.set_log_level(RDKafkaLogLevel::Info);
    let client: BaseProducer<Telling> =
        settings.create_with_context(Telling).map_err(|error| format!("cannot make a Kafka client: {error}"))?;
    let begun = Instant::now();
    let metadata = loop {
        // What the client complains of is heard between two attempts.
        match client.client().fetch_metadata(None, ATTEMPT) {
            Ok(metadata) => break metadata,
            Err(error) => {
                client.poll(HEARING);
                if trouble::is_refused() || begun.elapsed() >= TIMEOUT {
                    let seconds = begun.elapsed().as_secs_f32().ceil();
                    let words = trouble::words();
                    return Err(format!("no answer from {} within {seconds} s: {error}{words}", kafka.brokers));
                }
            }
        }
    };
    Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
}
