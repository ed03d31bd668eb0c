//! Which topics exist, and creating those that do not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use tracing::info;

use super::producer::Producer;
use super::{PATIENCE, PublishError, Settings};
use crate::config::{Kafka, properties};
use crate::source::trouble::{self, Telling};

/// Time for a new topic to show up.
const SHOWS_UP: Duration = Duration::from_secs(10);
/// Time for asking how large a record topics take: worth less than a delay.
const LIMITS: Duration = Duration::from_secs(1);
/// Longest name of a topic.
const NAME_BYTES: usize = 249;

/// Whether Kafka allows this name.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES && name.bytes().all(allowed)
}

/// Makes sure that topics exist that seem to be missing; those that do are remembered in `existing`, and in `refused`
/// those whose names the brokers do not take.
pub(super) fn ensure(
    producer: &Producer,
    settings: &Settings,
    mut missing: BTreeMap<&str, i32>,
    existing: &mut HashSet<String>,
    refused: &mut HashSet<String>,
) -> Result<(), PublishError> {
    // All topics are asked for: a question for a missing one would create it on some clusters, with their defaults.
    existing.extend(names(producer)?);
    missing.retain(|topic, _| !existing.contains(*topic));
    if missing.is_empty() {
        return Ok(());
    }
    if !settings.create_topics {
        let names: Vec<&str> = missing.into_keys().collect();
        return Err(PublishError::Operator(format!(
            "topic {} does not exist and [kafka] create_topics is false: create it",
            names.join(", ")
        )));
    }
    create(settings, &missing, refused)?;
    let begun = Instant::now();
    while begun.elapsed() < SHOWS_UP {
        existing.extend(names(producer)?);
        if missing.keys().all(|topic| existing.contains(*topic)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(PublishError::Wait("a topic was created, but the brokers do not show it yet".into()))
}

fn names(producer: &Producer) -> Result<Vec<String>, PublishError> {
    let metadata = producer.client().client().fetch_metadata(None, PATIENCE);
    let metadata = metadata.map_err(|cause| {
        PublishError::Wait(format!("could not read the list of topics: {cause}{}", trouble::words()))
    })?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

/// A map, since no name may be asked for twice: brokers refuse it, and librdkafka 2.12 then hands out a result that is null.
fn create(
    settings: &Settings,
    missing: &BTreeMap<&str, i32>,
    refused: &mut HashSet<String>,
) -> Result<(), PublishError> {
    let failed = |cause: String| PublishError::Wait(format!("could not create topics: {cause}{}", trouble::words()));
    let config = settings.admin();
    let admin: AdminClient<Telling> = config.create_with_context(Telling).map_err(|cause| failed(cause.to_string()))?;
    // A count of -1 is the brokers' default.
    let topics: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|(name, partitions)| NewTopic::new(name, *partitions, TopicReplication::Fixed(-1)))
        .collect();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|cause| failed(cause.to_string()))?;
    let results =
        runtime.block_on(admin.create_topics(&topics, &options)).map_err(|cause| failed(cause.to_string()))?;
    for result in results {
        match result {
            Ok(topic) => info!(topic, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((
                topic,
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed),
            )) => {
                return Err(PublishError::Operator(format!(
                    "could not create topic {topic}: {code}; create it, or grant Create"
                )));
            }
            Err((topic, code @ RDKafkaErrorCode::InvalidTopic)) => {
                let words = format!(
                    "could not create topic {topic}: {code}; there may be one whose name differs only in `.` and `_`: \
                     create it or another one, and name that"
                );
                refused.insert(topic);
                return Err(PublishError::Operator(words));
            }
            Err((topic, code)) => return Err(failed(format!("{topic}: {code}"))),
        }
    }
    Ok(())
}

/// Asks whether a topic could be created; it is not.
pub fn rehearse(kafka: &Kafka, name: &str) -> Result<(), PublishError> {
    let failed = |cause: String| {
        PublishError::Wait(format!("could not ask whether topics may be created: {cause}{}", trouble::words()))
    };
    let config = properties::producer(kafka);
    let admin: AdminClient<Telling> = config.create_with_context(Telling).map_err(|cause| failed(cause.to_string()))?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).validate_only(true);
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|cause| failed(cause.to_string()))?;
    let topics = [NewTopic::new(name, 1, TopicReplication::Fixed(-1))];
    let results =
        runtime.block_on(admin.create_topics(&topics, &options)).map_err(|cause| failed(cause.to_string()))?;
    match results.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
            Err(PublishError::Operator(format!("topics may not be created: {code}")))
        }
        _ => Ok(()),
    }
}

/// The largest record that each topic takes.
pub(super) fn limits(settings: &Settings, names: &[&str]) -> Result<HashMap<String, usize>, KafkaError> {
    let described = describe(settings, names)?;
    let limit = |name: &&str| ((*name).to_owned(), described.get(*name).copied().unwrap_or(usize::MAX));
    Ok(names.iter().map(limit).collect())
}

/// Whether the brokers will not tell limits the next time either.
pub(super) fn never_told(cause: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, TopicAuthorizationFailed, UnsupportedFeature, UnsupportedVersion,
    };
    let final_ones = [ClusterAuthorizationFailed, TopicAuthorizationFailed, UnsupportedFeature, UnsupportedVersion];
    matches!(cause, KafkaError::AdminOp(code) if final_ones.contains(code))
}

fn describe(settings: &Settings, names: &[&str]) -> Result<HashMap<String, usize>, KafkaError> {
    let admin: AdminClient<Telling> = settings.admin().create_with_context(Telling)?;
    let resources: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|cause| KafkaError::AdminOpCreation(cause.to_string()))?;
    let options = AdminOptions::new().request_timeout(Some(LIMITS));
    let answers = runtime.block_on(admin.describe_configs(&resources, &options));
    // Its end takes 100 ms, for which the first batch need not wait.
    std::thread::spawn(move || drop(admin));
    let answers = answers?;
    let limits = answers.into_iter().filter_map(Result::ok).filter_map(|answer| {
        let limit = answer.get("max.message.bytes")?.value.as_ref()?.parse().ok()?;
        match answer.specifier {
            OwnedResourceSpecifier::Topic(name) => Some((name, limit)),
            _ => None,
        }
    });
    Ok(limits.collect())
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn only_kafkas_names_are_names() {
        assert!(is_name("orders_eu.v1-2"));
        for name in ["", ".", "..", "a b", "ü", "a/b", &"x".repeat(250)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
