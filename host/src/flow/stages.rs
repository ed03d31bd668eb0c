//! The stages of the commit protocol, each as one call: what goes to the sink, what comes back, what it means. Which
//! stage comes next is not decided here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{CommitMode, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, warn};

use super::letters::dead_letters;
use super::{DeadLetters, Shared, lock};
use crate::commit::decisions::is_told;
use crate::commit::stages::{Publication, event_of_publish, publication};
use crate::commit::{Decisions, Event, Stage, epochs, event_of, lanes};
use crate::config::{Delivery, OnError};
use crate::failpoint;
use crate::record::Slice;
use crate::redrive::{self, Redrives};
use crate::router::{KAFKA, Routed};
use crate::sinks::dead_letter::DeadLetter;
use crate::sinks::kafka::{Destinations, Publish, PublishError, TransactionCommit};
use crate::sinks::{Item, Refusal, SinkBatch, Span, StoredVerdict, Written};
use crate::source::resolve::{self, CommitMark, add_marked};
use crate::source::{Partition, Sealed, SealedSpan, topics};

/// A batch on its way through the stages.
pub struct Batch {
    pub spans: Vec<SealedSpan>,
    /// The records themselves, for dead letters.
    pub slices: Vec<(usize, Slice)>,
    pub decisions: Decisions,
    /// What each sink gets, by index of the sink.
    sinks: Vec<SinkBatch>,
    kafka: SinkBatch,
    group: Option<ConsumerGroupMetadata>,
    /// The module whose outputs these are: the last one of the chain.
    module: Arc<str>,
}

impl Batch {
    pub fn new(shared: &Shared, sealed: Sealed, spans: Vec<SealedSpan>, routed: Routed) -> Self {
        let plain: Arc<[Span]> = spans.iter().map(|sealed| sealed.span.clone()).collect();
        let progress = shared.delivery != Delivery::AtLeastOnce;
        let redriven = Redrives::of(&sealed.slices);
        let batch = |items: Vec<Item>, journal: bool| SinkBatch {
            flow: shared.name.clone(),
            group: shared.group.clone(),
            spans: plain.clone(),
            items,
            verdicts: Vec::new(),
            journal,
            progress,
            strict: shared.on_error == OnError::Stop,
            redriven: redriven.clone(),
            settled: Vec::new(),
        };
        let journal = shared.sinks.iter().position(|sink| sink.is_sql());
        let last = sealed.chain.steps.last();
        let module = last.map_or_else(|| "".into(), |step| step.module.name.clone());
        let sinks = routed.sinks.into_iter().enumerate().map(|(i, items)| batch(items, progress && Some(i) == journal));
        let sinks = sinks.collect();
        Batch {
            sinks,
            kafka: batch(routed.kafka, false),
            decisions: Decisions::new(routed.verdicts),
            slices: sealed.slices,
            group: sealed.group,
            module,
            spans,
        }
    }

    /// Takes out the spans that are not kept; what sinks refused before is forgotten, they are asked again.
    pub fn keep(&mut self, keep: &[bool]) {
        let numbers = epochs::renumbered(keep);
        let mut kept = keep.iter();
        self.spans.retain(|_| *kept.next().unwrap_or(&false));
        let plain: Arc<[Span]> = self.spans.iter().map(|sealed| sealed.span.clone()).collect();
        self.slices.retain_mut(|(span, _)| epochs::renumber(span, &numbers));
        self.decisions.begin_again(&numbers);
        let redriven = Redrives::of(&self.slices);
        for batch in self.sinks.iter_mut().chain([&mut self.kafka]) {
            batch.items.retain_mut(|item| epochs::renumber(&mut item.span, &numbers));
            batch.spans = plain.clone();
            batch.redriven = redriven.clone();
        }
    }

    /// What went to each sink, and last to Kafka.
    pub fn items(&self) -> impl Iterator<Item = &[Item]> {
        self.sinks.iter().chain([&self.kafka]).map(|batch| batch.items.as_slice())
    }

    /// Whether records are in it that were dead letters before.
    pub fn is_redriven(&self) -> bool {
        self.kafka.redriven.is_some()
    }

    fn plain_spans(&self) -> &[Span] {
        &self.kafka.spans
    }

    /// Drops the outputs of records that the journal condemned in an earlier attempt.
    fn drop_condemned(&mut self) {
        let condemned = self.decisions.condemned();
        if !condemned.is_empty() {
            for batch in self.sinks.iter_mut().chain([&mut self.kafka]) {
                batch.items.retain(|item| !condemned.contains(&(item.span, item.offset)));
            }
        }
    }

    /// The offset to commit per span: never below what the group already has.
    fn commits(&self) -> impl Iterator<Item = (&SealedSpan, i64, CommitMark)> {
        self.spans.iter().map(|sealed| {
            let span = &sealed.span;
            let digest = span.digest.to_string();
            let mark = CommitMark { born: sealed.born, topic_id: span.topic_id.clone(), digest };
            (sealed, lanes::to_commit(&sealed.span, sealed.kafka_lane), mark)
        })
    }
}

/// What the stages remember from one batch to the next. Two batches may be at different stages at a time.
#[derive(Default)]
pub struct Stages {
    /// Partition counts of source topics, for the topics that are created like them.
    counts: Mutex<HashMap<String, i32>>,
    /// Problems that are told, by key.
    told: Mutex<HashSet<String>>,
}

impl Stages {
    /// Runs one stage. An error stops the flow.
    pub fn run(&self, shared: &Shared, stage: Stage, batch: &mut Batch) -> Result<Event, String> {
        let (before, after) = match stage {
            Stage::Sql(_) => ("sql.before", "sql.after"),
            Stage::Documents(_) => ("documents.before", "documents.after"),
            Stage::Publish => ("publish.before", "publish.after"),
            Stage::DeadTable => ("dead-table.before", "dead-table.after"),
            Stage::Offsets => ("offsets.before", "offsets.after"),
        };
        failpoint::step(before);
        let event = match stage {
            Stage::Sql(sink) | Stage::Documents(sink) => self.write(shared, sink, batch),
            Stage::Publish => self.publish(shared, batch),
            Stage::DeadTable => Ok(self.dead_table(shared, batch)),
            Stage::Offsets => Ok(self.offsets(shared, batch)),
        };
        failpoint::step(after);
        event
    }

    fn write(&self, shared: &Shared, index: usize, batch: &mut Batch) -> Result<Event, String> {
        let sink = &shared.sinks[index];
        let to_write = &mut batch.sinks[index];
        let needs_progress = sink.is_sql() && to_write.progress;
        if to_write.items.is_empty() && !needs_progress {
            return Ok(Event::Done);
        }
        if needs_progress && is_told(to_write.journal) {
            to_write.verdicts = batch.decisions.all().to_vec();
        }
        if needs_progress {
            to_write.settled = settled(shared, &to_write.spans);
        }
        let begun = Instant::now();
        match shared.wait_for(sink.write(to_write)) {
            Ok(written) => {
                self.solved(shared, sink.name());
                shared.wrote(sink.name(), written.outputs, begun.elapsed());
                match self.moved_on(shared, index, batch, &written) {
                    Some(event) => Ok(event),
                    None => take_written(shared, index, batch, written),
                }
            }
            Err(error) => {
                self.failed(shared, sink.name(), &error.message);
                Ok(event_of(&error))
            }
        }
    }

    /// Whether another host goes on with a partition of which the journal's sink has more than we knew: decisions that
    /// counted then may be deleted.
    fn moved_on(&self, shared: &Shared, index: usize, batch: &Batch, written: &Written) -> Option<Event> {
        let to_write = &batch.sinks[index];
        if !to_write.journal || !lanes::is_replay(&to_write.spans, &written.found) {
            return None;
        }
        let partitions: Vec<Partition> =
            batch.spans.iter().map(|sealed| (sealed.span.topic.clone(), sealed.span.partition)).collect();
        match resolve::committed(&shared.consumer, &partitions) {
            Ok(committed) => {
                let mut all = batch.spans.iter().zip(committed);
                let stale = |(sealed, committed): (&SealedSpan, Option<(i64, String)>)| {
                    lanes::moved_on(&sealed.span, sealed.kafka_lane, committed.map(|(offset, _)| offset))
                };
                all.any(stale).then_some(Event::Late)
            }
            Err(words) => {
                self.failed(shared, "consumer group", &words);
                Some(Event::Failed)
            }
        }
    }

    /// Kafka outputs and dead letters, and in a transaction the offsets.
    fn publish(&self, shared: &Shared, batch: &mut Batch) -> Result<Event, String> {
        let spans = &batch.spans;
        batch.kafka.items.retain(|item| lanes::is_due(item.offset, spans[item.span].kafka_lane));
        let destinations = Destinations::of(&batch.kafka);
        let refused = shared.kafka.precheck(&batch.kafka, &destinations);
        if !refused.is_empty() {
            refuse_outputs(shared, batch, &refused)?;
            return Ok(Event::Refused);
        }
        let letters: Vec<(String, DeadLetter)> = letters(shared, batch, &unpublished(batch))
            .into_iter()
            .filter_map(|letter| Some((shared.dead_letters.topic(&letter.topic)?, letter)))
            .collect();
        let transactional = batch.group.is_some() && shared.delivery == Delivery::Transactional;
        let publication = publication(transactional, batch.kafka.items.len(), letters.len());
        if publication == Publication::Nothing {
            return Ok(Event::Done);
        }
        if let Err(event) = self.ensure_topics(shared, batch, &destinations, &letters) {
            return Ok(event);
        }
        let offsets: Vec<(Arc<str>, i32, i64, String)> = batch
            .commits()
            .map(|(sealed, offset, mark)| (sealed.span.topic.clone(), sealed.span.partition, offset, mark.to_string()))
            .collect();
        let group = batch.group.as_ref().filter(|_| publication == Publication::Transaction);
        let commit = group.map(|group| TransactionCommit { offsets: &offsets, group });
        let transaction = commit.is_some();
        let begun = Instant::now();
        match shared.kafka.publish(&Publish { batch: &batch.kafka, dead_letters: &letters, commit }) {
            Ok(published) => {
                self.solved(shared, KAFKA);
                shared.wrote(KAFKA, published.outputs, begun.elapsed());
                if transaction {
                    note_committed(shared, batch);
                }
                Ok(if transaction { Event::DoneWithOffsets } else { Event::Done })
            }
            // They become dead letters; what is left is published without them.
            Err(PublishError::Refused(refused)) => {
                refuse_outputs(shared, batch, &refused)?;
                // Without a name there is nothing to leave out.
                Ok(if refused.is_empty() { Event::Failed } else { Event::Refused })
            }
            Err(error) => Ok(self.publish_failed(shared, error)),
        }
    }

    fn publish_failed(&self, shared: &Shared, error: PublishError) -> Event {
        let event = event_of_publish(&error);
        match error {
            PublishError::Refused(_) => {}
            PublishError::Wait(words) | PublishError::Operator(words) => self.failed(shared, KAFKA, &words),
            PublishError::StaleGeneration(words) => debug!(flow = %shared.name, "{words}"),
            // It is read and published again; until it is, somebody may have to know.
            PublishError::Unknown(words) => self.failed(shared, KAFKA, &words),
            PublishError::Fenced(words) => warn!(flow = %shared.name, "{words}"),
        }
        event
    }

    /// Creates the topics of this batch that are not there yet, with as many partitions as their largest source.
    fn ensure_topics(
        &self,
        shared: &Shared,
        batch: &Batch,
        destinations: &Destinations,
        letters: &[(String, DeadLetter)],
    ) -> Result<(), Event> {
        let mut wanted: BTreeSet<(String, usize)> =
            destinations.wanted().map(|(topic, span)| (topic.to_owned(), span)).collect();
        let redrive = redrive::topic(&shared.group);
        let reads = |topic: &str| batch.spans.iter().position(|sealed| *sealed.span.topic == *topic);
        let source = |letter: &DeadLetter| reads(&letter.topic).or_else(|| reads(&redrive));
        wanted.extend(letters.iter().filter_map(|(topic, letter)| Some((topic.clone(), source(letter)?))));
        let mut topics = BTreeMap::new();
        for (topic, span) in wanted {
            match self.count(shared, &batch.spans[span].span.topic) {
                Ok(count) => {
                    let most = topics.entry(topic).or_insert(count);
                    *most = count.max(*most);
                }
                Err(words) => {
                    self.failed(shared, KAFKA, &words);
                    return Err(Event::Failed);
                }
            }
        }
        shared.kafka.ensure_topics(&topics).map_err(|error| self.publish_failed(shared, error))
    }

    fn count(&self, shared: &Shared, topic: &str) -> Result<i32, String> {
        if let Some(count) = lock(&self.counts).get(topic) {
            return Ok(*count);
        }
        let counts = topics::partition_counts(&shared.consumer, &[topic.to_owned()])?;
        let count = *counts.get(topic).ok_or_else(|| format!("topic {topic} is gone"))?;
        lock(&self.counts).insert(topic.to_owned(), count);
        Ok(count)
    }

    fn dead_table(&self, shared: &Shared, batch: &Batch) -> Event {
        let DeadLetters::Table(table) = &shared.dead_letters else { return Event::Done };
        let letters = letters(shared, batch, batch.decisions.all());
        let Some(sink) = shared.sinks.iter().find(|sink| sink.is_sql()).filter(|_| !letters.is_empty()) else {
            return Event::Done;
        };
        match shared.wait_for(sink.write_dead_letters(table, &letters)) {
            Ok(()) => {
                self.solved(shared, sink.name());
                Event::Done
            }
            Err(error) => {
                self.failed(shared, sink.name(), &error.message);
                event_of(&error)
            }
        }
    }

    fn offsets(&self, shared: &Shared, batch: &Batch) -> Event {
        let mut list = TopicPartitionList::new();
        for (sealed, offset, mark) in batch.commits() {
            let partition = (sealed.span.topic.clone(), sealed.span.partition);
            if let Err(words) = add_marked(&mut list, &partition, offset, &mark) {
                self.failed(shared, "consumer group", &words);
                return Event::Failed;
            }
        }
        match shared.consumer.commit(&list, CommitMode::Sync) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {
                self.solved(shared, "consumer group");
                note_committed(shared, batch);
                Event::Done
            }
            Err(cause) => {
                let words = format!("could not commit the offsets of consumer group {}: {cause}", shared.group);
                self.failed(shared, "consumer group", &words);
                Event::Failed
            }
        }
    }

    fn failed(&self, shared: &Shared, what: &str, words: &str) {
        let key = format!("flow {} sink {what}", shared.name);
        shared.retried(what).inc();
        shared.board.failed(what, words);
        warn!(flow = %shared.name, sink = what, "{words}");
        shared.health.problem(&key, words);
        lock(&self.told).insert(key);
    }

    fn solved(&self, shared: &Shared, what: &str) {
        let mut told = lock(&self.told);
        if told.is_empty() {
            return;
        }
        let key = format!("flow {} sink {what}", shared.name);
        if told.remove(&key) {
            tracing::info!(flow = %shared.name, sink = what, "works again");
            shared.health.solved(&key);
            shared.board.works_again(what);
        }
    }
}

/// Takes what a sink refused, and what it found decided.
fn take_written(shared: &Shared, index: usize, batch: &mut Batch, written: Written) -> Result<Event, String> {
    let sink = shared.sinks[index].name();
    let verdicts = refusals(sink, &batch.module, &batch.sinks[index], &written.refused);
    let passed: Vec<i64> = batch.spans.iter().map(|sealed| sealed.passed).collect();
    let of_sink = &batch.sinks[index];
    let Written { found, journalled, .. } = written;
    if let Some(event) = batch.decisions.learn(of_sink.journal, &of_sink.spans, &passed, &found, journalled) {
        return Ok(event);
    }
    if let (OnError::Stop, Some(first)) = (shared.on_error, verdicts.first()) {
        let span = &batch.spans[first.span].span;
        return Err(format!(
            "stopped: sink {sink} refused an output of {}/{}/{}: {}: {}",
            span.topic, span.partition, first.offset, first.code, first.message
        ));
    }
    verdicts.into_iter().for_each(|verdict| batch.decisions.add(verdict));
    batch.drop_condemned();
    Ok(Event::Done)
}

/// Takes outputs that Kafka does not accept out of the batch; with `on_error = "stop"` the flow stops instead.
fn refuse_outputs(shared: &Shared, batch: &mut Batch, refused: &[Refusal]) -> Result<(), String> {
    let verdicts = refusals(KAFKA, &batch.module, &batch.kafka, refused);
    if let (OnError::Stop, Some(first)) = (shared.on_error, verdicts.first()) {
        return Err(format!("stopped: an output to {} was refused: {}", first.target, first.message));
    }
    verdicts.into_iter().for_each(|verdict| batch.decisions.add(verdict));
    let gone: HashSet<usize> = refused.iter().map(|refusal| refusal.item).collect();
    let mut index = 0..;
    batch.kafka.items.retain(|_| index.next().is_none_or(|index| !gone.contains(&index)));
    Ok(())
}

/// How far the group is, per span; where that is not known, nothing is settled.
fn settled(shared: &Shared, spans: &[Span]) -> Vec<i64> {
    let committed = |span: &Span| shared.ownership.committed(&(span.topic.clone(), span.partition));
    spans.iter().map(|span| committed(span).unwrap_or(0)).collect()
}

fn note_committed(shared: &Shared, batch: &Batch) {
    for (sealed, offset, _) in batch.commits() {
        shared.ownership.commit(&(sealed.span.topic.clone(), sealed.span.partition), sealed.epoch, offset);
    }
}

/// The dead letters for verdicts of a batch, if the flow writes any.
fn letters(shared: &Shared, batch: &Batch, verdicts: &[StoredVerdict]) -> Vec<DeadLetter> {
    match shared.on_error {
        OnError::DeadLetter => dead_letters(&shared.name, batch.plain_spans(), &batch.slices, verdicts),
        OnError::Skip | OnError::Stop => Vec::new(),
    }
}

/// The verdicts of which Kafka does not have the dead letter yet.
fn unpublished(batch: &Batch) -> Vec<StoredVerdict> {
    let is_new = |v: &&StoredVerdict| lanes::is_due(v.offset, batch.spans[v.span].kafka_lane);
    batch.decisions.all().iter().filter(is_new).cloned().collect()
}

fn refusals(sink: &str, module: &str, batch: &SinkBatch, refused: &[Refusal]) -> Vec<StoredVerdict> {
    let verdict = |refusal: &Refusal| {
        let item = &batch.items[refusal.item];
        StoredVerdict {
            span: item.span,
            offset: item.offset,
            path: item.output.path.to_string(),
            stage: "sink".into(),
            code: refusal.code.clone(),
            message: refusal.message.clone(),
            module: module.to_owned(),
            sink: sink.to_owned(),
            target: item.output.destination().into_owned(),
        }
    };
    refused.iter().map(verdict).collect()
}
