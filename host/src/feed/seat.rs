//! One host at a time: a consumer group of which only one member runs a feed, the one that is assigned partition 0 of the
//! topic. Nothing is read. How far the feed has got is kept as the metadata of the group's offset, so that a host that
//! was displaced cannot note anything any more.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::{Kafka, properties};

/// Time for one question.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before a place in the metadata: other tools write other things there.
const MARK: &str = "wasmill-feed ";
/// Longest place that is kept; brokers take 4,096 bytes.
const LONGEST: usize = 4_000;

/// A member of the feed's group.
pub struct Seat {
    consumer: BaseConsumer,
    topic: String,
}

impl Seat {
    /// Joins; whether it gets the seat shows later.
    pub fn take(kafka: &Kafka, feed: &str, topic: &str) -> Result<Self, String> {
        let failed = |cause: rdkafka::error::KafkaError| format!("cannot join the hosts of feed {feed}: {cause}");
        let mut settings = properties::consumer(kafka);
        settings.set("group.id", format!("wasmill.feed.{feed}"));
        let consumer: BaseConsumer = settings.create().map_err(failed)?;
        consumer.subscribe(&[topic]).map_err(failed)?;
        Ok(Seat { consumer, topic: topic.to_owned() })
    }

    /// Keeps the membership alive; whether the seat is ours.
    pub fn look(&mut self, patience: Duration) -> Result<bool, String> {
        let failed = |cause: rdkafka::error::KafkaError| format!("cannot keep the seat of a feed: {cause}");
        // Errors of the consumer concern records, and none is wanted.
        drop(self.consumer.poll(patience));
        let assigned = self.consumer.assignment().map_err(failed)?;
        if assigned.count() > 0 {
            self.consumer.pause(&assigned).map_err(failed)?;
        }
        Ok(assigned.find_partition(&self.topic, 0).is_some())
    }

    /// What was noted last.
    pub fn place(&self) -> Result<Option<String>, String> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.topic, 0);
        let found = self.consumer.committed_offsets(asked, PATIENCE);
        let found = found.map_err(|cause| format!("could not read how far the feed has got: {cause}"))?;
        let element = found.find_partition(&self.topic, 0);
        Ok(element.and_then(|element| element.metadata().strip_prefix(MARK).map(str::to_owned)))
    }

    /// Notes a place; refused where another host has the seat.
    pub fn note(&self, place: &Option<String>) -> Result<(), String> {
        let failed = |cause: rdkafka::error::KafkaError| format!("could not note how far the feed has got: {cause}");
        let Some(place) = place.as_ref().filter(|place| place.len() <= LONGEST) else { return Ok(()) };
        // The end of the partition: a tool that shows lags shows none.
        let (_, end) = self.consumer.fetch_watermarks(&self.topic, 0, PATIENCE).map_err(failed)?;
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(&self.topic, 0);
        element.set_metadata(format!("{MARK}{place}"));
        element.set_offset(Offset::Offset(end)).map_err(failed)?;
        self.consumer.commit(&list, CommitMode::Sync).map_err(failed)
    }
}
