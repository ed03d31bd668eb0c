//! Whether everything is where it must be: reads the topics and the databases, and nothing else. It does not know what
//! was done, which host wrote what, or what the hosts say of themselves; what must be there follows from the input topic.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, bail};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use rdkafka::Message;
use rdkafka::message::Headers;
use serde_json::Value;

use super::broker::{Isolation, each};
use super::load::Kind;
use super::rig::Rig;
use super::{PARTITIONS, TOPIC};
use crate::postgres;
use crate::services::block_on;

/// Of a key's records, how many pass before the plain flow notes the last one again.
const NOTED: i64 = 32;
/// Patience with the MongoDB server, which may have come back a moment ago.
const SELECTION: Duration = Duration::from_secs(30);
/// Examples that are kept of what is wrong.
const EXAMPLES: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub records: u64,
    /// Outputs and dead letters that are not there.
    pub lost: u64,
    /// Copies beyond the first.
    pub doubled: u64,
    /// Outputs after a later one of the same key or source partition.
    pub out_of_order: u64,
    /// Outputs that must not be there, or that say something else than their input.
    pub wrong: u64,
    pub letters_expected: u64,
    pub letters: u64,
    /// Dead letters of the idempotent flow that came again, with the same id; that is allowed.
    pub letters_again: u64,
    /// Records of transactions that were aborted; readers of committed records do not see them.
    pub aborted: u64,
    /// Inputs whose outputs come from two builds of the module.
    pub two_builds: u64,
    pub examples: Vec<String>,
}

impl Found {
    pub fn is_well(&self) -> bool {
        self.lost + self.doubled + self.out_of_order + self.wrong == 0 && self.records > 0
    }

    fn example(&mut self, words: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(words());
        }
    }
}

/// A record of the input topic.
#[derive(Clone, Debug)]
struct Input {
    key: String,
    seq: i64,
    part: i64,
    at: i64,
    kind: Kind,
}

/// What an output says of itself.
#[derive(Clone, Debug, Default)]
struct Identity {
    id: i64,
    key: String,
    seq: i64,
    part: i64,
    at: i64,
    build: i64,
}

/// A destination: how often each input is in it, and from which build.
struct Book<'a> {
    name: &'static str,
    inputs: &'a [Input],
    counts: Vec<u8>,
    builds: Vec<u32>,
    /// Last offset by place and source partition, last number by key.
    last_at: HashMap<(i32, i64), i64>,
    last_seq: HashMap<String, i64>,
}

/// A client for the documents that gives up after `patience` where the server is away.
pub fn documents(url: &str, patience: Duration) -> anyhow::Result<Client> {
    let (with, millis) = (if url.contains('?') { '&' } else { '?' }, patience.as_millis());
    Ok(block_on(Client::with_uri_str(format!("{url}{with}serverSelectionTimeoutMS={millis}")))?)
}

/// Reads everything.
pub fn check(rig: &Rig) -> anyhow::Result<Found> {
    let inputs = inputs(rig)?;
    let mut found = Found { records: inputs.len() as u64, ..Found::default() };
    let mut books = Vec::new();
    for (flow, table, collection) in [("full", "chaos_rows", "documents"), ("plain", "plain_rows", "plain")] {
        let in_rows = rows(rig, table, &inputs, &mut found)?;
        let in_documents = in_collection(rig, collection, &inputs, &mut found)?;
        in_rows.judge(&mut found, |kind| kind == Kind::Good);
        in_documents.judge(&mut found, |kind| matches!(kind, Kind::Good | Kind::Long));
        books.push((in_rows, in_documents));
        letters(rig, flow, &inputs, &mut found)?;
    }
    let out = topic(rig, &inputs, &mut found)?;
    out.judge(&mut found, |kind| matches!(kind, Kind::Good | Kind::Long));
    latest(rig, &inputs, &mut found)?;
    let (rows, documents) = &books[0];
    let same = |id: &usize| rows.builds[*id] == documents.builds[*id] && documents.builds[*id] == out.builds[*id];
    found.two_builds = (0..inputs.len()).filter(|id| inputs[*id].kind == Kind::Good && !same(id)).count() as u64;
    Ok(found)
}

impl<'a> Book<'a> {
    fn new(name: &'static str, inputs: &'a [Input]) -> Self {
        let (counts, builds) = (vec![0; inputs.len()], vec![0; inputs.len()]);
        Book { name, inputs, counts, builds, last_at: HashMap::new(), last_seq: HashMap::new() }
    }

    fn take(&mut self, output: &Identity, found: &mut Found) {
        let Some(input) = usize::try_from(output.id).ok().and_then(|id| self.inputs.get(id)) else {
            found.wrong += 1;
            return found.example(|| format!("{}: nobody asked for {output:?}", self.name));
        };
        if (&input.key, input.seq, input.part, input.at) != (&output.key, output.seq, output.part, output.at) {
            found.wrong += 1;
            found.example(|| format!("{}: {output:?} is said of {input:?}", self.name));
        }
        let id = output.id as usize;
        self.counts[id] = self.counts[id].saturating_add(1);
        self.builds[id] = output.build as u32;
    }

    /// For destinations with an order; `place` is where there are several.
    fn take_in_order(&mut self, place: i32, output: &Identity, found: &mut Found) {
        self.take(output, found);
        let at = self.last_at.insert((place, output.part), output.at);
        let seq = self.last_seq.insert(output.key.clone(), output.seq);
        if at > Some(output.at) || seq > Some(output.seq) {
            found.out_of_order += 1;
            found.example(|| format!("{}: {output:?} comes after offset {at:?} and number {seq:?}", self.name));
        }
    }

    fn judge(&self, found: &mut Found, must_be: impl Fn(Kind) -> bool) {
        for (id, input) in self.inputs.iter().enumerate() {
            match (self.counts[id], must_be(input.kind)) {
                (1, true) | (0, false) => {}
                (0, true) => {
                    found.lost += 1;
                    found.example(|| format!("{} has no {id}: {input:?}", self.name));
                }
                (n, true) => {
                    found.doubled += u64::from(n) - 1;
                    found.example(|| format!("{} has {n} times {id}: {input:?}", self.name));
                }
                (n, false) => {
                    found.wrong += u64::from(n);
                    found.example(|| format!("{} must not have {id}: {input:?}", self.name));
                }
            }
        }
    }
}

/// The input topic by global id. The load itself must be without fault, or nothing follows from it.
fn inputs(rig: &Rig) -> anyhow::Result<Vec<Input>> {
    let mut by_id: Vec<Option<Input>> = Vec::new();
    each(&rig.brokers, TOPIC, Isolation::Committed, |message| {
        let value: Value = serde_json::from_slice(message.payload().context("no value")?)?;
        let kind = value["kind"].as_str().and_then(Kind::named).context("no kind")?;
        let Identity { id, key, seq, .. } = identity(&value)?;
        let id = usize::try_from(id)?;
        if by_id.len() <= id {
            by_id.resize(id + 1, None);
        }
        let input = Input { key, seq, part: i64::from(message.partition()), at: message.offset(), kind };
        match by_id[id].replace(input) {
            None => Ok(()),
            Some(_) => bail!("the load has produced {id} twice"),
        }
    })?;
    by_id.into_iter().enumerate().map(|(id, input)| input.with_context(|| format!("the load lacks {id}"))).collect()
}

fn rows<'a>(rig: &Rig, table: &'static str, inputs: &'a [Input], found: &mut Found) -> anyhow::Result<Book<'a>> {
    let mut book = Book::new(table, inputs);
    for partition in 0..PARTITIONS {
        let sql = format!("SELECT id, key, seq, part, at, build FROM {table} WHERE part = {partition} ORDER BY n");
        for row in block_on(postgres::query(&rig.postgres, &sql)).with_context(|| format!("reading {table}"))? {
            let text = |column: usize| row[column].as_deref().context("NULL");
            let number = |column: usize| anyhow::Ok(text(column)?.parse::<i64>()?);
            let (id, seq, part, at, build) = (number(0)?, number(2)?, number(3)?, number(4)?, number(5)?);
            let output = Identity { id, key: text(1)?.to_owned(), seq, part, at, build };
            book.take_in_order(0, &output, found);
        }
    }
    Ok(book)
}

fn in_collection<'a>(
    rig: &Rig,
    name: &'static str,
    inputs: &'a [Input],
    found: &mut Found,
) -> anyhow::Result<Book<'a>> {
    let mut book = Book::new(name, inputs);
    let collection = documents(&rig.mongodb, SELECTION)?.database("chaos").collection::<Document>(name);
    block_on(async {
        let mut cursor = collection.find(doc! {}).batch_size(5_000).await?;
        while cursor.advance().await? {
            let value = serde_json::to_value(cursor.deserialize_current()?)?;
            book.take(&identity(&value)?, found);
        }
        anyhow::Ok(())
    })
    .with_context(|| format!("reading collection {name}"))?;
    Ok(book)
}

fn topic<'a>(rig: &Rig, inputs: &'a [Input], found: &mut Found) -> anyhow::Result<Book<'a>> {
    let (mut book, mut committed, mut all) = (Book::new("chaos_out", inputs), 0, 0);
    each(&rig.brokers, "chaos_out", Isolation::Committed, |message| {
        let value: Value = serde_json::from_slice(message.payload().context("no value")?)?;
        committed += 1;
        book.take_in_order(message.partition(), &identity(&value)?, found);
        Ok(())
    })?;
    each(&rig.brokers, "chaos_out", Isolation::Uncommitted, |_| {
        all += 1;
        Ok(())
    })?;
    found.aborted = all - committed;
    Ok(book)
}

/// The dead letters of a flow: each poisoned record once, with the right code; the idempotent flow may repeat one.
fn letters(rig: &Rig, flow: &'static str, inputs: &[Input], found: &mut Found) -> anyhow::Result<()> {
    let mut book = Book::new(if flow == "full" { "full.dlq" } else { "plain.dlq" }, inputs);
    let mut seen: HashMap<String, ()> = HashMap::new();
    each(&rig.brokers, book.name, Isolation::Committed, |message| {
        let header = |name: &str| {
            let found = message.headers().and_then(|headers| headers.iter().find(|header| header.key == name));
            String::from_utf8_lossy(found.and_then(|header| header.value).unwrap_or_default()).into_owned()
        };
        if seen.insert(header("wasmill-id"), ()).is_some() && flow == "plain" {
            found.letters_again += 1;
            return Ok(());
        }
        found.letters += 1;
        let value: Value = serde_json::from_slice(message.payload().context("no value")?)?;
        let said = identity(&value)?;
        let (part, at) = (header("wasmill-partition").parse()?, header("wasmill-offset").parse()?);
        book.take(&Identity { part, at, ..said }, found);
        let code = value["kind"].as_str().and_then(Kind::named).and_then(Kind::code);
        if code != Some(&header("wasmill-code")) {
            found.wrong += 1;
            found.example(|| format!("{flow}: {value} is dead by {}", header("wasmill-code")));
        }
        Ok(())
    })?;
    found.letters_expected += inputs.iter().filter(|input| input.kind != Kind::Good).count() as u64;
    book.judge(found, |kind| kind != Kind::Good);
    Ok(())
}

/// What is kept by key is the last of that key.
fn latest(rig: &Rig, inputs: &[Input], found: &mut Found) -> anyhow::Result<()> {
    let mut expected: HashMap<&str, i64> = HashMap::new();
    for input in inputs.iter().filter(|i| matches!(i.kind, Kind::Good | Kind::Long) && i.seq % NOTED == 0) {
        let last = expected.entry(&input.key).or_default();
        *last = input.seq.max(*last);
    }
    let rows = block_on(postgres::query(&rig.postgres, "SELECT key, seq FROM plain_latest"))?;
    let text = |column: &Option<String>| column.clone().unwrap_or_default();
    let in_rows: HashMap<String, i64> =
        rows.iter().map(|row| Ok((text(&row[0]), text(&row[1]).parse()?))).collect::<anyhow::Result<_>>()?;
    let collection = documents(&rig.mongodb, SELECTION)?.database("chaos").collection::<Document>("latest");
    let mut in_documents = HashMap::new();
    block_on(async {
        let mut cursor = collection.find(doc! {}).await?;
        while cursor.advance().await? {
            let value = serde_json::to_value(cursor.deserialize_current()?)?;
            in_documents.insert(field(&value, "key")?.as_str().unwrap_or_default().to_owned(), number(&value, "seq")?);
        }
        anyhow::Ok(())
    })?;
    for (name, there) in [("plain_latest", in_rows), ("chaos.latest", in_documents)] {
        for (key, seq) in &expected {
            let has = there.get(*key).copied();
            if has != Some(*seq) {
                if has.is_none() {
                    found.lost += 1
                } else {
                    found.wrong += 1
                }
                found.example(|| format!("{name}: {key} is at {has:?} instead of {seq}"));
            }
        }
        found.wrong += there.keys().filter(|key| !expected.contains_key(key.as_str())).count() as u64;
    }
    Ok(())
}

fn identity(value: &Value) -> anyhow::Result<Identity> {
    let or_none = |name| value.get(name).and_then(Value::as_i64).unwrap_or(-1);
    Ok(Identity {
        id: number(value, "id")?,
        key: field(value, "key")?.as_str().context("key is no text")?.to_owned(),
        seq: number(value, "seq")?,
        part: or_none("part"),
        at: or_none("at"),
        build: or_none("build"),
    })
}

fn number(value: &Value, name: &str) -> anyhow::Result<i64> {
    field(value, name)?.as_i64().with_context(|| format!("{name} is no whole number"))
}

fn field<'v>(value: &'v Value, name: &str) -> anyhow::Result<&'v Value> {
    value.get(name).with_context(|| format!("no field {name}"))
}
