//! The stages as external calls, as `flow::stages` and the sinks make them.

use super::batch::{Batch, Item, verdict};
use super::host::Host;
use super::kafka::{Fenced, Sent};
use super::plan::Dest;
use super::sinks::Sql;
use super::world::World;
use super::writer::{At, Step, Writing};
use crate::commit::decisions::{is_journalled, is_told};
use crate::commit::stages::{Publication, event_of_publish, publication};
use crate::commit::{Event, event_of, lanes};
use crate::outcome::Code;
use crate::router::KAFKA;
use crate::sinks::kafka::PublishError;
use crate::sinks::{Class, SinkError, Span, StoredVerdict};

impl Host {
    /// One transaction: rows, verdicts, progress.
    pub(super) fn sql(&mut self, world: &mut World, sink: usize, writing: &mut Writing) -> Event {
        if world.fails(60) {
            return Event::Failed;
        }
        let batch = &mut writing.batch;
        let of_sink = |item: &&Item| item.out.dest == Dest::Sql(sink);
        let blind = std::mem::take(&mut writing.unknown) && mutant!(BlindRetry);
        let items: Vec<Item> = batch.items.iter().filter(of_sink).cloned().collect();
        let spans: Vec<Span> = batch.spans.iter().map(|sealed| sealed.span.clone()).collect();
        let committed = |span: &Span| self.epochs.committed(&world.plan.names[span.partition as usize]).unwrap_or(0);
        let settled: Vec<i64> = spans.iter().map(|span| lanes::settled(span, Some(committed(span)))).collect();
        let database = &mut world.sql[sink];
        if blind {
            let again = items.iter().filter(|item| !item.out.refused);
            database.rows.extend(again.map(|item| (batch.partition(item.span), item.offset, item.path)));
        }
        let journal = sink == 0;
        let told = if is_told(journal) { batch.decisions.all() } else { &[] };
        let (found, refused, journalled) = match write_sql(database, (&spans, &settled), &items, told) {
            Ok(written) => written,
            Err(error) => return event_of(&error),
        };
        if world.fails(40) {
            writing.unknown = true;
            return Event::Failed;
        }
        if journal && lanes::is_replay(&spans, &found) {
            for sealed in &batch.spans {
                match world.kafka.stable(sealed.span.partition as usize) {
                    Some(committed) if lanes::moved_on(&sealed.span, sealed.kafka_lane, committed) => {
                        return Event::Late;
                    }
                    Some(_) => {}
                    None => return Event::Failed,
                }
            }
        }
        let passed: Vec<i64> = batch.spans.iter().map(|sealed| sealed.passed).collect();
        if let Some(event) = batch.decisions.learn(journal, &spans, &passed, &found, journalled) {
            return event;
        }
        refused.into_iter().for_each(|verdict| batch.decisions.add(verdict));
        batch.drop_condemned();
        Event::Done
    }

    pub(super) fn documents(&mut self, world: &mut World, batch: &mut Batch) -> Event {
        let broken = world.fails(60);
        let of_sink = |item: &&Item| matches!(item.out.dest, Dest::Insert | Dest::Upsert(_));
        let items: Vec<Item> = batch.items.iter().filter(of_sink).cloned().collect();
        let most = if broken { world.rng.below(items.len() + 1) } else { items.len() };
        for item in items.iter().take(most).filter(|item| !item.out.refused) {
            let id = (batch.partition(item.span), item.offset, item.path);
            match item.out.dest {
                Dest::Upsert(key) => world.documents[0].upsert(key, id),
                _ => world.documents[0].insert(id),
            }
        }
        if broken {
            return Event::Failed;
        }
        refuse(batch, &items, "");
        batch.drop_condemned();
        Event::Done
    }

    pub(super) fn dead_table(&mut self, world: &mut World, batch: &Batch) -> Event {
        if !world.plan.table {
            return Event::Done;
        }
        if world.fails(60) {
            return Event::Failed;
        }
        for letter in letters(batch) {
            let Sent::Letter(partition, offset, path) = letter else { continue };
            let dead = &mut world.sql[0].dead;
            if !dead.contains(&(partition, offset, path.clone())) {
                dead.push((partition, offset, path));
            }
        }
        Event::Done
    }

    pub(super) fn publish(&mut self, world: &mut World, at: At, batch: &mut Batch) -> Step {
        let id = self.producer_id(world);
        if at == At::Call {
            let spans = &batch.spans;
            let due = |item: &Item| lanes::is_due(item.offset, spans[item.span].kafka_lane);
            batch.items.retain(|item| !is_kafka(&item) || due(item));
            let items: Vec<Item> = batch.items.iter().filter(is_kafka).cloned().collect();
            if items.iter().any(|item| item.out.refused) {
                refuse(batch, &items, KAFKA);
                batch.items.retain(|item| !is_kafka(&item) || !item.out.refused);
                return Step::Over(event_of_publish(&PublishError::Refused(Vec::new())));
            }
        }
        let outputs: Vec<Sent> = batch.items.iter().filter(is_kafka).map(|item| sent(batch, item)).collect();
        let lane = |partition: usize| batch.spans.iter().find(|s| s.span.partition as usize == partition);
        let is_new = |letter: &Sent| match letter {
            Sent::Letter(partition, offset, _) => lane(*partition).is_none_or(|s| lanes::is_due(*offset, s.kafka_lane)),
            Sent::Output(_) => true,
        };
        let letters: Vec<Sent> = match world.plan.table {
            true => Vec::new(),
            false => letters(batch).into_iter().filter(is_new).collect(),
        };
        match publication(world.plan.transactional, outputs.len(), letters.len()) {
            Publication::Nothing => Step::Over(Event::Done),
            Publication::Plain => Step::Over(publish_plain(world, batch, outputs.into_iter().chain(letters))),
            Publication::Transaction => {
                let Some(epoch) = self.producer else {
                    self.producer = Some(world.kafka.init(id));
                    return Step::Next(At::Call);
                };
                let step = self.transaction(world, (id, epoch), at, batch, outputs.into_iter().chain(letters));
                step.unwrap_or_else(|error| self.publish_failed(world, error))
            }
        }
    }

    fn transaction(
        &mut self,
        world: &mut World,
        (id, epoch): (u32, u32),
        at: At,
        batch: &Batch,
        messages: impl Iterator<Item = Sent>,
    ) -> Result<Step, PublishError> {
        match at {
            At::Check | At::Call => {
                world.kafka.send(id, epoch, messages)?;
                if world.fails(30) {
                    world.kafka.abort(id, epoch)?;
                    return Err(PublishError::Wait(String::new()));
                }
                Ok(Step::Next(At::Sent))
            }
            At::Sent => {
                let generation = if mutant!(FreshGen) { self.generation } else { batch.generation };
                if !world.group.accepts(self.index, self.process, generation) {
                    world.kafka.abort(id, epoch)?;
                    return Err(PublishError::StaleGeneration(String::new()));
                }
                world.kafka.add_offsets(id, epoch, &batch.offsets())?;
                Ok(Step::Next(At::Offsets))
            }
            At::Offsets => {
                if world.fails(30) {
                    return Err(PublishError::Unknown(String::new()));
                }
                let before = world.kafka.committed;
                world.kafka.commit(id, epoch)?;
                world.check_commit(&batch.offsets(), before);
                if world.fails(50) {
                    return Err(PublishError::Unknown(String::new()));
                }
                self.note_committed(world, batch);
                Ok(Step::Over(Event::DoneWithOffsets))
            }
        }
    }

    fn publish_failed(&mut self, world: &World, error: PublishError) -> Step {
        if matches!(error, PublishError::Unknown(_)) {
            self.producer = None;
            self.say(world, || "producer given up".into());
        }
        Step::Over(event_of_publish(&error))
    }

    /// The client sends the generation that it knows of, not the batch's.
    pub(super) fn offsets(&mut self, world: &mut World, writing: &Writing) -> Event {
        let generation = if world.plan.late_commits { self.generation } else { writing.checked };
        if world.fails(60) || !world.group.accepts(self.index, self.process, generation) {
            return Event::Failed;
        }
        let offsets = writing.batch.offsets();
        world.check_commit(&offsets, world.kafka.committed);
        offsets.into_iter().for_each(|(partition, offset)| world.kafka.committed[partition] = Some(offset));
        if world.fails(50) {
            return Event::Failed;
        }
        self.note_committed(world, &writing.batch);
        Event::Done
    }
}

impl From<Fenced> for PublishError {
    /// Who stood still for longer than a transaction may take was fenced by the coordinator.
    fn from(_: Fenced) -> Self {
        PublishError::Unknown(String::new())
    }
}

type Written = (Vec<i64>, Vec<StoredVerdict>, Vec<StoredVerdict>);

/// What the statements of a SQL sink do.
fn write_sql(
    database: &mut Sql,
    (spans, settled): (&[Span], &[i64]),
    items: &[Item],
    handed: &[StoredVerdict],
) -> Result<Written, SinkError> {
    let partition = |span: usize| spans[span].partition as usize;
    let mut found: Vec<i64> =
        (0..spans.len()).map(|s| database.lanes[partition(s)].unwrap_or(spans[s].start)).collect();
    if mutant!(NoCas) {
        found = spans.iter().map(|span| span.start).collect();
    }
    if spans.iter().zip(&found).any(|(span, found)| lanes::went_back(span, *found)) {
        return Err(SinkError { class: Class::Rewind, message: String::new() });
    }
    let (mut refused, mut journalled) = (Vec::new(), Vec::new());
    for (index, (span, found)) in spans.iter().zip(&found).enumerate() {
        let Some(range) = lanes::decided(span, *found) else { continue };
        let kept = database.journal.iter().filter(|(p, v)| *p == partition(index) && range.contains(&v.offset));
        journalled.extend(kept.map(|(_, verdict)| StoredVerdict { span: index, ..verdict.clone() }));
    }
    for item in items.iter().filter(|item| lanes::is_due(item.offset, found[item.span])) {
        match item.out.refused {
            true => refused.push(verdict(item.span, item.offset, item.path.to_string(), Code::TOO_LARGE)),
            false => database.rows.push((partition(item.span), item.offset, item.path)),
        }
    }
    for verdict in handed.iter().filter(|verdict| is_journalled(verdict, &found)).chain(&refused) {
        keep(database, partition(verdict.span), verdict);
    }
    for (index, (span, found)) in spans.iter().zip(&found).enumerate() {
        if let Some(next) = lanes::advanced(span, *found) {
            database.lanes[partition(index)] = Some(next);
            database.journal.retain(|(p, verdict)| *p != partition(index) || verdict.offset >= settled[index]);
        }
    }
    Ok((found, refused, journalled))
}

fn keep(database: &mut Sql, partition: usize, verdict: &StoredVerdict) {
    let same =
        |(p, v): &(usize, StoredVerdict)| *p == partition && v.offset == verdict.offset && v.path == verdict.path;
    if !database.journal.iter().any(same) {
        database.journal.push((partition, verdict.clone()));
    }
}

/// Without a transaction a failure leaves some delivered; the client knows which.
fn publish_plain(world: &mut World, batch: &mut Batch, messages: impl Iterator<Item = Sent>) -> Event {
    let broken = world.fails(60);
    for message in messages {
        if broken && world.rng.chance(300) {
            return Event::Failed;
        }
        if !batch.delivered.contains(&message) {
            batch.delivered.push(message.clone());
            world.kafka.send_plain(message);
        }
    }
    if broken { Event::Failed } else { Event::Done }
}

fn refuse(batch: &mut Batch, items: &[Item], sink: &str) {
    for item in items.iter().filter(|item| item.out.refused) {
        let verdict = verdict(item.span, item.offset, item.path.to_string(), Code::TOO_LARGE);
        batch.decisions.add(StoredVerdict { sink: sink.to_owned(), ..verdict });
    }
}

fn is_kafka(item: &&Item) -> bool {
    item.out.dest == Dest::Kafka
}

fn sent(batch: &Batch, item: &Item) -> Sent {
    Sent::Output((batch.partition(item.span), item.offset, item.path))
}

/// The dead letters of a batch, each once.
fn letters(batch: &Batch) -> Vec<Sent> {
    let mut all: Vec<(usize, i64, String)> =
        batch.decisions.all().iter().map(|v| (batch.partition(v.span), v.offset, v.path.clone())).collect();
    all.sort();
    all.into_iter().map(|(partition, offset, path)| Sent::Letter(partition, offset, path)).collect()
}
