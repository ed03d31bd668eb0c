//! What other people do to a cluster while a flow knows nothing of it: move its group, delete topics and records, leave
//! transactions open.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::services::{block_on, brokers};
use crate::{kafka, wait_until};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until nobody is in a group: a host gives up leaving it after some seconds, and its member stays for a session.
#[track_caller]
pub fn wait_until_empty(group: &str) {
    wait_until(&format!("{group} has no members"), 120, || kafka::members(group) == 0);
}

/// Sets the offsets of a group whose members have gone, with this metadata; other tools leave it empty.
pub fn move_group(group: &str, topic: &str, places: &[(i32, i64)], metadata: &str) {
    wait_until_empty(group);
    let consumer: BaseConsumer = client().set("group.id", group).create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for (partition, offset) in places {
        let mut element = list.add_partition(topic, *partition);
        element.set_metadata(metadata);
        element.set_offset(Offset::Offset(*offset)).expect("an offset");
    }
    let commit = || consumer.commit(&list, CommitMode::Sync);
    kafka::answer("the coordinator takes it: the group has no members", commit);
}

/// What a group has noted along with its offset of partition 0.
pub fn metadata(group: &str, topic: &str) -> String {
    let consumer: BaseConsumer = client().set("group.id", group).create().expect("a consumer");
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let found =
        kafka::answer("the coordinator has the metadata", || consumer.committed_offsets(asked.clone(), kafka::ASK));
    found.elements().first().map(|element| element.metadata().to_owned()).unwrap_or_default()
}

/// Deletes a topic and waits until it is gone.
pub fn delete_topic(topic: &str) {
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    let results = block_on(admin().delete_topics(&[topic], &options)).expect("the brokers answer");
    assert!(results.iter().all(Result::is_ok), "topic {topic} could not be deleted: {results:?}");
    wait_until(&format!("topic {topic} is gone"), 30, || kafka::partition_count(topic) == 0);
}

/// Deletes the records of a partition before an offset, as retention does.
pub fn delete_records(topic: &str, partition: i32, before: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
    block_on(admin().delete_records(&list, &AdminOptions::new())).expect("the brokers delete");
}

/// A transaction that stays open while it lives.
pub struct OpenTransaction(BaseProducer);

impl OpenTransaction {
    /// With one record in partition 0.
    pub fn on(topic: &str) -> Self {
        let producer = begun(topic);
        producer.send(BaseRecord::<str, str>::to(topic).partition(0).payload("unfinished")).expect("queued");
        producer.flush(TIMEOUT).expect("sent");
        OpenTransaction(producer)
    }

    /// With the offset of a group.
    pub fn holding(group: &str, topic: &str, offset: i64) -> Self {
        let producer = begun(group);
        let consumer: BaseConsumer = client().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).expect("an offset");
        let metadata = consumer.group_metadata().expect("a group");
        producer.send_offsets_to_transaction(&list, &metadata, TIMEOUT).expect("taken");
        OpenTransaction(producer)
    }

    pub fn abort(self) {
        self.0.abort_transaction(TIMEOUT).expect("aborted");
    }
}

fn begun(what: &str) -> BaseProducer {
    let id = crate::case::unique(what);
    let mut settings = client();
    settings.set("transactional.id", id).set("transaction.timeout.ms", "600000");
    let producer: BaseProducer = settings.create().expect("a producer");
    producer.init_transactions(TIMEOUT).expect("ready");
    producer.begin_transaction().expect("begun");
    producer
}

fn admin() -> AdminClient<DefaultClientContext> {
    client().create().expect("an admin client")
}

fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers());
    config
}
