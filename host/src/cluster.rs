//! A cluster seen from outside: its topics, their replicas, who reads them and how far, and making new ones. No group is
//! joined, nothing is committed.

pub mod tail;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigSource, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::{Kafka, properties};
use crate::source::trouble::{self, Telling};

/// Time for one question.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for hearing what the client complains of.
const HEARING: Duration = Duration::from_millis(100);
/// Groups that are asked for at once: each needs a client, which takes its time to connect.
const AT_ONCE: usize = 8;
/// Time for a new topic to have leaders.
const SHOWS_UP: Duration = Duration::from_secs(15);

/// A cluster.
pub struct Cluster {
    kafka: Kafka,
    consumer: BaseConsumer<Telling>,
}

/// A topic as the brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub partitions: Vec<Partition>,
}

/// A partition and the brokers that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub number: i32,
    /// None while there is none.
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    /// Those that have everything.
    pub in_sync: Vec<i32>,
}

/// A consumer group and its places in one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    pub group: String,
    /// As the coordinator calls it: `Stable`, `Empty`, …
    pub state: String,
    pub members: usize,
    /// The next offset by partition; only where something was committed.
    pub committed: BTreeMap<i32, i64>,
}

/// A topic to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// -1 for the brokers' default.
    pub partitions: i32,
    /// -1 for the brokers' default.
    pub replication: i32,
    /// Settings such as `cleanup.policy`.
    pub settings: Vec<(String, String)>,
}

impl Topic {
    /// Copies of each partition.
    pub fn replication(&self) -> usize {
        self.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(0)
    }

    /// Partitions with a copy that lags behind or is away.
    pub fn under_replicated(&self) -> usize {
        self.partitions.iter().filter(|partition| partition.in_sync.len() < partition.replicas.len()).count()
    }

    /// Partitions that nobody can read or write.
    pub fn leaderless(&self) -> usize {
        self.partitions.iter().filter(|partition| partition.leader.is_none()).count()
    }
}

impl Cluster {
    /// Makes the client; connects to nothing.
    pub fn connect(kafka: &Kafka) -> Result<Self, String> {
        let consumer = consumer(kafka, "wasmill.topics")?;
        Ok(Cluster { kafka: kafka.clone(), consumer })
    }

    /// Every topic, by name.
    pub fn topics(&self) -> Result<Vec<Topic>, String> {
        // All are asked for: a question for a missing one would create it on some clusters.
        let metadata = self.consumer.fetch_metadata(None, PATIENCE);
        let metadata = metadata.map_err(|cause| self.explain("read the list of topics", &cause))?;
        let mut topics: Vec<Topic> = metadata.topics().iter().map(topic).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// The topic of this name, if there is one.
    pub fn topic(&self, name: &str) -> Result<Option<Topic>, String> {
        Ok(self.topics()?.into_iter().find(|topic| topic.name == name && !topic.partitions.is_empty()))
    }

    /// The oldest and the next offset of a partition.
    pub fn ends(&self, topic: &str, partition: i32) -> Result<(i64, i64), String> {
        let ends = self.consumer.fetch_watermarks(topic, partition, PATIENCE);
        ends.map_err(|cause| self.explain(&format!("read the ends of {topic}/{partition}"), &cause))
    }

    /// The groups that have committed in a topic or are known under this name, by name; then why others are left out.
    pub fn readers(&self, topic: &Topic, only: Option<&str>) -> Result<(Vec<Reader>, Vec<String>), String> {
        let groups = self.consumer.fetch_group_list(only, PATIENCE);
        let groups = groups.map_err(|cause| self.explain("ask for the consumer groups", &cause))?;
        let groups = groups.groups().iter().filter(|group| only.is_none_or(|only| group.name() == only));
        let groups: Vec<Reader> = groups
            .map(|group| Reader {
                group: group.name().into(),
                state: group.state().into(),
                members: group.members().len(),
                committed: BTreeMap::new(),
            })
            .collect();
        let ask = |reader: &Reader| {
            let committed = self.committed(&reader.group, topic)?;
            Ok(Reader { committed, ..reader.clone() })
        };
        let found: Vec<Result<Reader, String>> = thread::scope(|scope| {
            let parts = groups.chunks(groups.len().div_ceil(AT_ONCE).max(1));
            let asking: Vec<_> =
                parts.map(|part| scope.spawn(move || part.iter().map(ask).collect::<Vec<_>>())).collect();
            let done = asking.into_iter().map(thread::ScopedJoinHandle::join);
            done.flat_map(|found| found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let (mut readers, mut unread) = (Vec::new(), Vec::new());
        for reader in found {
            match reader {
                Ok(reader) if reader.committed.is_empty() => {}
                Ok(reader) => readers.push(reader),
                Err(words) => unread.push(words),
            }
        }
        readers.sort_by(|a, b| a.group.cmp(&b.group));
        Ok((readers, unread))
    }

    fn committed(&self, group: &str, topic: &Topic) -> Result<BTreeMap<i32, i64>, String> {
        // A client can only ask for the offsets of its own group.
        let asking = consumer(&self.kafka, group)?;
        let mut list = TopicPartitionList::new();
        for partition in &topic.partitions {
            list.add_partition(&topic.name, partition.number);
        }
        let found = asking.committed_offsets(list, PATIENCE);
        let found = found.map_err(|cause| self.explain(&format!("read the offsets of group {group}"), &cause))?;
        let offsets = found.elements().into_iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some((element.partition(), offset)),
            _ => None,
        });
        Ok(offsets.collect())
    }

    /// The settings of a topic that are not the brokers' defaults.
    pub fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>, String> {
        let failed = |cause: String| format!("could not read the settings of {topic}: {cause}");
        let admin = self.admin().map_err(failed)?;
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let resources = [ResourceSpecifier::Topic(topic)];
        let answers = block_on(admin.describe_configs(&resources, &options))
            .map_err(failed)?
            .map_err(|cause| failed(cause.to_string()))?;
        let answer = answers.into_iter().next().ok_or_else(|| failed("no answer".into()))?;
        let entries = answer.map_err(|code| failed(code.to_string()))?.entries;
        let set = entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
        Ok(set.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect())
    }

    /// Makes a topic, waits until every partition has a leader, and returns it. `false`: it was there already.
    pub fn create(&self, new: &NewTopic) -> Result<(bool, Topic), String> {
        let failed = |cause: String| format!("could not create topic {}: {cause}", new.name);
        let admin = self.admin().map_err(failed)?;
        let mut topic =
            rdkafka::admin::NewTopic::new(&new.name, new.partitions, TopicReplication::Fixed(new.replication));
        for (key, value) in &new.settings {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let answers = block_on(admin.create_topics([&topic], &options)).map_err(failed)?;
        let answers = answers.map_err(|cause| self.explain(&format!("create topic {}", new.name), &cause))?;
        let made = match answers.into_iter().next() {
            None | Some(Ok(_)) => true,
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => false,
            Some(Err((_, code))) => return Err(failed(format!("{code}{}", advice(code)))),
        };
        Ok((made, self.wait_for(&new.name)?))
    }

    fn wait_for(&self, name: &str) -> Result<Topic, String> {
        let begun = Instant::now();
        while begun.elapsed() < SHOWS_UP {
            if let Some(topic) = self.topic(name)?.filter(|topic| topic.leaderless() == 0) {
                return Ok(topic);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("topic {name} was created, but not every partition of it has a leader yet"))
    }

    fn admin(&self) -> Result<AdminClient<Telling>, String> {
        let mut config = properties::producer(&self.kafka);
        for key in ["enable.idempotence", "transaction.timeout.ms"] {
            config.remove(key);
        }
        config.create_with_context(Telling).map_err(|cause: KafkaError| cause.to_string())
    }

    fn explain(&self, what: &str, cause: &KafkaError) -> String {
        // What the client complains of is heard by those who poll it. There may be no end of it.
        let until = Instant::now() + HEARING;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.consumer.poll(left).is_none() {
                break;
            }
        }
        let words = trouble::words();
        format!("could not {what}: {cause}{words}; check that Kafka is up at {}", self.kafka.brokers)
    }
}

fn consumer(kafka: &Kafka, group: &str) -> Result<BaseConsumer<Telling>, String> {
    let mut settings = properties::consumer(kafka);
    settings.set("group.id", group);
    settings.create_with_context(Telling).map_err(|cause| format!("cannot make a Kafka client: {cause}"))
}

fn topic(metadata: &rdkafka::metadata::MetadataTopic) -> Topic {
    let mut partitions: Vec<Partition> = metadata
        .partitions()
        .iter()
        .map(|partition| Partition {
            number: partition.id(),
            leader: (partition.leader() >= 0).then(|| partition.leader()),
            replicas: partition.replicas().to_vec(),
            in_sync: partition.isr().to_vec(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.number);
    Topic { name: metadata.name().to_owned(), partitions }
}

fn advice(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::InvalidReplicationFactor => "; there are not so many brokers",
        RDKafkaErrorCode::InvalidTopic => "; names have letters, digits, `.`, `_` and `-`, at most 249",
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "; create it with another user, or grant Create"
        }
        _ => "",
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|cause| cause.to_string())?;
    Ok(runtime.block_on(future))
}
