//! Looks at the run while it runs: what hosts use, whether a committed offset is ahead of a sink or goes back, whether
//! a transaction hangs. Asks Kafka, Postgres and the MongoDB server directly and takes no answer for no news.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::{Document, doc};

use super::broker::{Asker, Isolation};
use super::faults::Tally;
use super::load::{Kind, Load};
use super::rig::Rig;
use super::{FLOWS, PARTITIONS, TOPIC, check};
use crate::postgres;
use crate::services::block_on;

/// Time between two looks.
const STEP: Duration = Duration::from_millis(300);
/// How long Kafka may answer with offsets of the past; the second where it was killed a moment ago.
const STALE: Duration = Duration::from_secs(3);
const STALE_AFTER_A_KILL: Duration = Duration::from_secs(20);
/// Patience of a look with the MongoDB server.
const SELECTION: Duration = Duration::from_secs(2);
/// The coordinator ends a transaction 15 s after its beginning, and looks each 10 s. What stands for longer hangs.
const HANGING: Duration = Duration::from_secs(45);
/// Topics that transactions write; the last holds their offsets.
const TRANSACTIONAL: [&str; 3] = ["chaos_out", "full.dlq", "__consumer_offsets"];

/// What is compared.
struct Books<'a> {
    rig: &'a Rig,
    load: &'a Load,
    tally: &'a Tally,
    documents: &'a Client,
}

/// What was seen.
#[derive(Default)]
pub struct Watch {
    over: AtomicBool,
    /// Times that committed offsets were compared with the sinks.
    pub compared: AtomicU64,
    pub hanging: AtomicU64,
    pub aborted: AtomicU64,
}

impl Watch {
    pub fn stop(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn goes_on(&self) -> bool {
        sleep(STEP);
        !self.over.load(Ordering::SeqCst)
    }

    /// Starts hosts again that ended by themselves.
    pub fn keep_hosts(&self, rig: &Rig, tally: &Tally) {
        while self.goes_on() {
            for host in &rig.hosts {
                match host.look() {
                    Ok(None) => {}
                    Ok(Some(code)) => {
                        tally.say(format_args!("{} ended by itself with {code}, started again", host.name))
                    }
                    Err(cause) => tally.find(format!("{} could not be started again: {cause:#}", host.name)),
                }
            }
        }
    }

    /// Compares offsets with sinks.
    pub fn compare(&self, rig: &Rig, load: &Load, tally: &Tally) -> anyhow::Result<()> {
        let groups: Vec<Asker> = FLOWS
            .iter()
            .map(|flow| Asker::new(&rig.brokers, &format!("wasmill.{flow}"), Isolation::Committed))
            .collect::<anyhow::Result<_>>()?;
        let documents = check::documents(&rig.mongodb, SELECTION)?;
        let mut known: HashMap<(usize, i32), i64> = HashMap::new();
        while self.goes_on() {
            let mut consumed = u64::MAX;
            for (flow, group) in groups.iter().enumerate() {
                let Ok(offsets) = group.committed(TOPIC, PARTITIONS) else { break };
                consumed = consumed.min(offsets.iter().flatten().sum::<i64>() as u64);
                if never_back(&mut known, flow, &offsets).is_some() {
                    self.look_again(group, tally, &mut known, flow);
                    continue;
                }
                self.compare_flow(&Books { rig, load, tally, documents: &documents }, FLOWS[flow], &offsets);
            }
            if consumed != u64::MAX {
                load.note_consumed(consumed);
            }
        }
        Ok(())
    }

    /// A broker that was killed and has just come back was seen to answer with offsets of minutes ago, all of one moment,
    /// and a second later with the true ones. Offsets that are really lower stay so.
    fn look_again(&self, group: &Asker, tally: &Tally, known: &mut HashMap<(usize, i32), i64>, flow: usize) {
        let begun = Instant::now();
        let mut lower = None;
        let patience = || if tally.kafka_is_shaken() { STALE_AFTER_A_KILL } else { STALE };
        while begun.elapsed() < patience() && self.goes_on() {
            let Ok(offsets) = group.committed(TOPIC, PARTITIONS) else { continue };
            lower = never_back(known, flow, &offsets);
            if lower.is_none() {
                tally.say(format_args!("{}: the broker answered with old offsets for a moment", FLOWS[flow]));
                return;
            }
        }
        if let Some(words) = lower {
            tally.find(words);
        }
    }

    /// The offsets were read before the sinks are, and the sinks only go on. One document per look is enough.
    fn compare_flow(&self, books: &Books<'_>, flow: &str, offsets: &[Option<i64>]) {
        let Books { rig, load, tally, documents } = books;
        let sql = format!(
            "SELECT \"partition\", topic_id, next_offset FROM wasmill.progress WHERE consumer_group = 'wasmill.{flow}'"
        );
        let Ok(rows) = block_on(postgres::query(&rig.postgres, &sql)) else { return };
        let lanes: HashMap<i32, (String, i64)> = rows.into_iter().filter_map(lane).collect();
        let looked_at = self.compared.fetch_add(1, Ordering::SeqCst) as usize / FLOWS.len() % offsets.len();
        for (partition, offset) in offsets.iter().enumerate().filter_map(|(p, offset)| Some((p as i32, (*offset)?))) {
            let (topic, next) = lanes.get(&partition).cloned().unwrap_or_default();
            if offset > 0 && next < offset {
                tally.find(format!("{flow}: {TOPIC}/{partition} is committed to {offset}, Postgres has it to {next}"));
            }
            let written = || load.kind(partition, offset - 1).is_some_and(|k| matches!(k, Kind::Good | Kind::Long));
            if partition as usize == looked_at && offset > 0 && written() {
                document_is_there(documents, tally, flow, &format!("{flow}/{topic}/{partition}/{}", offset - 1));
            }
        }
    }

    /// Ends transactions that hang with Kafka's own tool, and counts them.
    pub fn find_hanging(&self, rig: &Rig, tally: &Tally) -> anyhow::Result<()> {
        let committed = Asker::new(&rig.brokers, "wasmill-chaos", Isolation::Committed)?;
        let all = Asker::new(&rig.brokers, "wasmill-chaos", Isolation::Uncommitted)?;
        let mut standing: HashMap<(&str, usize), (i64, Instant)> = HashMap::new();
        while self.goes_on() {
            for topic in TRANSACTIONAL {
                let (Ok(stable), Ok(ends)) = (committed.ends(topic), all.ends(topic)) else { continue };
                for (partition, (stable, end)) in stable.into_iter().zip(ends).enumerate() {
                    let since = standing.entry((topic, partition)).or_insert((stable, Instant::now()));
                    if stable >= end || since.0 != stable {
                        *since = (stable, Instant::now());
                    } else if since.1.elapsed() > HANGING {
                        *since = (stable, Instant::now());
                        let moved = || committed.ends(topic).is_ok_and(|ends| ends.get(partition) != Some(&stable));
                        self.abort(rig, tally, topic, partition, stable, moved);
                    }
                }
            }
        }
        Ok(())
    }

    /// `moved` tells whether readers of committed records have come past `stable` meanwhile.
    fn abort(&self, rig: &Rig, tally: &Tally, topic: &str, partition: usize, stable: i64, moved: impl Fn() -> bool) {
        self.hanging.fetch_add(1, Ordering::SeqCst);
        tally.say(format_args!("{topic}/{partition}: a transaction hangs at {stable}"));
        let partition = partition.to_string();
        let place = ["--topic", topic, "--partition", &partition];
        let listed = match rig.transactions(&[&["describe-producers"], &place[..]].concat()) {
            Ok(listed) => listed,
            Err(cause) => return tally.find(format!("a hanging transaction could not be looked up: {cause:#}")),
        };
        tally.say(&listed);
        match rig.transactions(&["list"]) {
            Ok(states) => tally.say(states),
            Err(cause) => tally.say(format_args!("what the coordinator says could not be looked up: {cause:#}")),
        }
        // The others of the partition may be well.
        let starts = listed.lines().filter_map(|line| line.split_whitespace().last()?.parse::<i64>().ok());
        for start in starts.filter(|start| *start == stable) {
            match rig.transactions(&[&["abort"], &place[..], &["--start-offset", &start.to_string()]].concat()) {
                Ok(_) => {
                    self.aborted.fetch_add(1, Ordering::SeqCst);
                    tally.say(format_args!("{topic}/{partition}: the transaction that began at {start} is aborted"));
                }
                Err(_) if moved() => tally.say(format_args!("{topic}/{partition}: it has ended by itself")),
                Err(cause) => tally.find(format!("a hanging transaction could not be aborted: {cause:#}")),
            }
        }
    }
}

/// Records of the load that some flow has not committed, by asking anew; `None` where Kafka does not answer.
pub fn lag(rig: &Rig) -> Option<i64> {
    let mut lag = 0;
    for flow in FLOWS {
        let asker = Asker::new(&rig.brokers, &format!("wasmill.{flow}"), Isolation::Uncommitted).ok()?;
        let (ends, committed) = (asker.ends(TOPIC).ok()?, asker.committed(TOPIC, PARTITIONS).ok()?);
        lag += ends.iter().zip(committed).map(|(end, offset)| end - offset.unwrap_or(0)).sum::<i64>();
    }
    Some(lag)
}

/// Whether readers of committed records see the end of every topic.
pub fn all_stable(rig: &Rig) -> Option<bool> {
    let ends = |isolation| {
        let asker = Asker::new(&rig.brokers, "wasmill-chaos", isolation).ok()?;
        TRANSACTIONAL.iter().map(|topic| asker.ends(topic).ok()).collect::<Option<Vec<_>>>()
    };
    Some(ends(Isolation::Committed)? == ends(Isolation::Uncommitted)?)
}

fn lane(row: postgres::TextRow) -> Option<(i32, (String, i64))> {
    let [partition, topic, next] = <[Option<String>; 3]>::try_from(row).ok()?;
    Some((partition?.parse().ok()?, (topic?, next?.parse().ok()?)))
}

/// The first offset that is lower than it was, in words.
fn never_back(known: &mut HashMap<(usize, i32), i64>, flow: usize, offsets: &[Option<i64>]) -> Option<String> {
    let mut lower = None;
    for (partition, offset) in offsets.iter().enumerate().filter_map(|(p, offset)| Some((p as i32, (*offset)?))) {
        let before = known.entry((flow, partition)).or_default();
        if offset < *before {
            let words = || format!("{}: {TOPIC}/{partition} went back from {before} to {offset}", FLOWS[flow]);
            lower.get_or_insert_with(words);
        }
        *before = offset.max(*before);
    }
    lower
}

/// The document of a record is its second output.
fn document_is_there(documents: &Client, tally: &Tally, flow: &str, record: &str) {
    let name = if flow == "full" { "documents" } else { "plain" };
    let id = format!("{record}/1");
    let collection = documents.database("chaos").collection::<Document>(name);
    if let Ok(None) = block_on(async { collection.find_one(doc! { "_id": &id }).await }) {
        tally.find(format!("{flow}: the offset after {record} is committed, but there is no document {id}"));
    }
}
