//! Guards documents that have an author's `_id` against a late writer of an older batch: a host that was stopped and
//! woke up, a request that the network held back. Each such document carries, per consumer group and source partition,
//! how far its last write came (`_wasmill`), and every write asks the server to compare. A document that is gone can
//! carry nothing: a delete leaves its guard in the collection `wasmill.guard`, and whoever creates a document looks there
//! before and after. Collections into which a flow only inserts carry nothing.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use sha2::{Digest, Sha256};

use super::document::{self, Value, kind};
use super::errors;
use super::plan::{Kind, Namespace, Op};
use super::server::{CallError, Server};
use crate::sinks::{SinkError, Span};

/// The field that guarded documents have.
pub(super) const FIELD: &str = "_wasmill";
/// How long the guard of a deleted document is kept: far longer than a stopped host or a held request is believed to
/// come back.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// Guards that are written in one go.
const AT_ONCE: usize = 500;

/// Where an output stands in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) span: usize,
    pub(super) offset: i64,
    /// Among the record's outputs to this sink.
    pub(super) ordinal: u32,
}

/// What a guarded operation compares and leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Names group, topic id and partition.
    pub(super) lane: String,
    /// Grows along the partition, and with each reset of the flow; as text it has the same order.
    pub(super) position: String,
    /// Whether the server is to compare it; not where it cannot, and the host has (`standing`).
    pub(super) compare: bool,
}

impl Stamp {
    fn new(lane: &Lane, place: Place) -> Self {
        let (offset, ordinal) = (place.offset.max(0), place.ordinal.min(0xffff));
        let position = format!("{:04x}{offset:012x}{ordinal:04x}", lane.generation);
        Stamp { lane: lane.key.clone(), position, compare: true }
    }

    /// The path of the document's field for this lane.
    pub(super) fn path(&self) -> String {
        format!("{FIELD}.{}", self.lane)
    }

    /// `{"_wasmill": {lane: position}}` as an element.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        document::put(out, kind::DOCUMENT, FIELD, &[]);
        let at = document::begin(out);
        self.put_position(out, &self.lane);
        document::end(out, at);
    }

    pub(super) fn put_position(&self, out: &mut Vec<u8>, name: &str) {
        document::put(out, kind::STRING, name, &[]);
        document::put_string(out, &self.position);
    }

    /// The position that a stored document has in this lane.
    pub(super) fn of<'d>(&self, there: &'d RawDocumentBuf) -> Option<&'d str> {
        there.get_document(FIELD).ok()?.get_str(&self.lane).ok()
    }

    /// Whether `position` was written after a reset that this one does not know of.
    pub(super) fn is_outdated_by(&self, position: &str) -> bool {
        position.get(..4) > self.position.get(..4)
    }
}

/// A consumer group's part in one source partition, as `wasmill.guard` has it.
#[derive(Clone, Debug, Default)]
struct Lane {
    key: String,
    /// Resets of the flow so far.
    generation: u32,
    /// Collections in which it changes documents.
    writes: BTreeSet<String>,
    /// Collections from which it deletes documents.
    deletes: BTreeSet<String>,
}

/// The lanes of a batch and what is to be asked of their guards.
pub(super) struct Guards<'a> {
    server: &'a Server,
    group: &'a str,
    spans: &'a [Span],
    lanes: Vec<Lane>,
}

/// A document that was created, to be looked at once more.
#[derive(Clone, Debug)]
pub(super) struct Created {
    pub(super) namespace: Namespace,
    pub(super) id: Value,
    pub(super) place: Place,
    pub(super) stamp: Option<Stamp>,
}

impl<'a> Guards<'a> {
    /// Reads the lanes of a batch: of the partitions that its places refer to.
    pub(super) async fn read(server: &'a Server, group: &'a str, spans: &'a [Span]) -> Result<Guards<'a>, SinkError> {
        let lanes = spans.iter().map(|span| Lane { key: lane_key(group, span), ..Lane::default() }).collect();
        let mut guards = Guards { server, group, spans, lanes };
        guards.refresh().await?;
        Ok(guards)
    }

    async fn refresh(&mut self) -> Result<(), SinkError> {
        let keys: Vec<Bson> = self.lanes.iter().map(|lane| lane.key.as_str().into()).collect();
        let found = self.find(&keys).await?;
        for stored in found {
            let Ok(stored) = Document::try_from(stored) else { continue };
            let Some(lane) = self.lanes.iter_mut().find(|lane| stored.get_str("_id").is_ok_and(|id| id == lane.key))
            else {
                continue;
            };
            let names =
                |field| stored.get_array(field).into_iter().flatten().filter_map(Bson::as_str).map(str::to_owned);
            lane.generation = number(&stored, "generation");
            lane.writes = names("writes").collect();
            lane.deletes = names("deletes").collect();
        }
        Ok(())
    }

    /// Notes, before the first change, that documents of a collection are changed or deleted.
    pub(super) async fn announce(&mut self, namespace: &Namespace, ops: &[Op], kind: Kind) -> Result<(), SinkError> {
        let name = namespace.to_string();
        let mut updates = Vec::new();
        let touched: BTreeSet<usize> = ops.iter().filter_map(|op| op.place).map(|place| place.span).collect();
        for span in touched {
            let lane = &mut self.lanes[span];
            let known = lane.writes.contains(&name) && (kind != Kind::Delete || lane.deletes.contains(&name));
            if kind == Kind::Insert || known {
                continue;
            }
            let mut sets = vec!["writes"];
            lane.writes.insert(name.clone());
            if kind == Kind::Delete {
                sets.push("deletes");
                lane.deletes.insert(name.clone());
            }
            let Span { topic, partition, .. } = &self.spans[span];
            for set in sets {
                updates.push(doc! {
                    "q": { "_id": &lane.key },
                    "u": { "$set": { "group": self.group, "topic": &**topic, "partition": partition }, "$addToSet": { set: &name } },
                    "upsert": true,
                });
            }
        }
        self.update(updates).await
    }

    /// What an operation compares; inserts into a collection that is only inserted into compare nothing.
    pub(super) fn stamp(&self, namespace: &Namespace, kind: Kind, place: Option<Place>) -> Option<Stamp> {
        let place = place?;
        let lane = &self.lanes[place.span];
        let guarded = kind != Kind::Insert || lane.writes.contains(&namespace.to_string());
        guarded.then(|| Stamp::new(lane, place))
    }

    /// For each operation whether a later delete of the same document was carried out.
    pub(super) async fn overtaken(&self, namespace: &Namespace, ops: &[Op]) -> Result<Vec<bool>, SinkError> {
        let asked: Vec<(&Value, Place)> = ops.iter().filter_map(|op| Some((&op.id, op.place?))).collect();
        let gone = self.gone(namespace, &asked).await?;
        let later = |op: &Op| op.place.is_some_and(|place| self.is_before(&gone, namespace, &op.id, place));
        Ok(ops.iter().map(later).collect())
    }

    /// Leaves the guards of documents that are about to be deleted.
    pub(super) async fn bury(&self, namespace: &Namespace, ops: &[Op]) -> Result<(), SinkError> {
        let guards = ops.iter().filter_map(|op| Some((op, op.place?))).map(|(op, place)| {
            doc! {
                "q": { "_id": self.guard_key(namespace, &op.id, place) },
                "u": { "$max": { "position": self.position(place) }, "$set": { "collection": namespace.to_string(), "at": DateTime::now() } },
                "upsert": true,
            }
        });
        self.update(guards.collect()).await
    }

    /// Looks once more at documents that were created: where one was deleted later meanwhile, the creation came too
    /// late and is taken back.
    pub(super) async fn verify(&mut self, created: &[Created]) -> Result<(), SinkError> {
        self.refresh().await?;
        let mut by_collection: HashMap<&Namespace, Vec<&Created>> = HashMap::new();
        for document in created {
            if self.lanes[document.place.span].deletes.contains(&document.namespace.to_string()) {
                by_collection.entry(&document.namespace).or_default().push(document);
            }
        }
        for (namespace, created) in by_collection {
            let asked: Vec<(&Value, Place)> = created.iter().map(|document| (&document.id, document.place)).collect();
            let gone = self.gone(namespace, &asked).await?;
            let late = created.iter().filter(|document| self.is_before(&gone, namespace, &document.id, document.place));
            let deletes: Vec<Document> = late.filter_map(|document| take_back(document)).collect();
            if !deletes.is_empty() {
                let command = doc! { "delete": &namespace.collection, "deletes": deletes, "ordered": false };
                self.run(&namespace.database, command).await?;
            }
        }
        Ok(())
    }

    /// Takes over the generation of a reset that `wasmill.guard` does not know of any more; the batch is written again.
    pub(super) async fn catch_up(&self, place: Place, position: &str) -> SinkError {
        let generation = u32::from_str_radix(position.get(..4).unwrap_or_default(), 16).unwrap_or_default();
        let lane = &self.lanes[place.span];
        let update = doc! { "q": { "_id": &lane.key }, "u": { "$max": { "generation": i64::from(generation) } }, "upsert": true };
        match self.update(vec![update]).await {
            Ok(()) => SinkError::wait(format!(
                "sink {}: documents were written after a reset of the flow that wasmill.guard does not know of; it is \
                 noted and the batch is written again",
                self.server.name()
            )),
            Err(error) => error,
        }
    }

    /// Removes guards of deleted documents that nobody can need any more.
    pub(super) async fn purge(&self) -> Result<(), SinkError> {
        let before = DateTime::from_millis(DateTime::now().timestamp_millis() - KEEP.as_millis() as i64);
        let deletes = vec![doc! { "q": { "at": { "$lt": before } }, "limit": 0 }];
        self.run("wasmill", doc! { "delete": "guard", "deletes": deletes }).await.map(drop)
    }

    /// Positions of the deletes of these documents, by key.
    async fn gone(
        &self,
        namespace: &Namespace,
        asked: &[(&Value, Place)],
    ) -> Result<HashMap<String, String>, SinkError> {
        let name = namespace.to_string();
        let asked = asked.iter().filter(|(_, place)| self.lanes[place.span].deletes.contains(&name));
        let keys: Vec<Bson> = asked.map(|(id, place)| self.guard_key(namespace, id, *place).into()).collect();
        let found = self.find(&keys).await?;
        let gone = found.iter().filter_map(|found| {
            let field = |name| found.get_str(name).map(str::to_owned).ok();
            Some((field("_id")?, field("position")?))
        });
        Ok(gone.collect())
    }

    fn is_before(&self, gone: &HashMap<String, String>, namespace: &Namespace, id: &Value, place: Place) -> bool {
        gone.get(&self.guard_key(namespace, id, place)).is_some_and(|deleted| *deleted > self.position(place))
    }

    fn position(&self, place: Place) -> String {
        Stamp::new(&self.lanes[place.span], place).position
    }

    fn guard_key(&self, namespace: &Namespace, id: &Value, place: Place) -> String {
        let id = id.exact();
        let hash = Sha256::new().chain_update([id.kind]).chain_update(&id.bytes).finalize();
        format!("{}/{namespace}/{}", self.lanes[place.span].key, hex(&hash[..16]))
    }

    async fn find(&self, ids: &[Bson]) -> Result<Vec<RawDocumentBuf>, SinkError> {
        let own = own();
        self.server.find(&own, ids).await.map_err(|error| self.server.error(&format!("read {own}"), &error))
    }

    /// Carries out updates of `wasmill.guard`; two that create the same document at the same time are both repeated.
    async fn update(&self, updates: Vec<Document>) -> Result<(), SinkError> {
        for updates in updates.chunks(AT_ONCE) {
            let command = doc! {
                "update": "guard", "updates": updates, "ordered": false, "writeConcern": { "w": "majority", "j": true },
            };
            let clashed = |reply: &Document| reply.get_array("writeErrors").is_ok_and(|errors| !errors.is_empty());
            let mut reply = self.run("wasmill", command.clone()).await?;
            if clashed(&reply) {
                reply = self.run("wasmill", command).await?;
            }
            if clashed(&reply) || reply.contains_key("writeConcernError") {
                let name = self.server.name();
                return Err(SinkError::wait(format!("sink {name}: could not write wasmill.guard; it is tried again")));
            }
        }
        Ok(())
    }

    async fn run(&self, database: &str, command: Document) -> Result<Document, SinkError> {
        run(self.server, database, &command).await.map_err(|error| {
            let name = command.keys().next().cloned().unwrap_or_default();
            self.server.error(&format!("{name} guards of documents in {database}"), &error)
        })
    }
}

/// Makes everything that was written before count as older than what comes: the flow is to write it again. Lanes that
/// never changed a document have nothing to forget, and so has a server on which `wasmill.guard` may not be read.
pub(super) async fn reset(server: &Server, group: &str, spans: &[Span]) -> Result<(), SinkError> {
    let updates: Vec<Document> = spans
        .iter()
        .map(|span| doc! { "q": { "_id": lane_key(group, span) }, "u": { "$inc": { "generation": 1_i64 } }, "upsert": false })
        .collect();
    let command = doc! { "update": "guard", "updates": updates, "ordered": false };
    match run(server, "wasmill", &command).await {
        Ok(_) => Ok(()),
        Err(CallError::Server(error)) if errors::code(&error) == Some(errors::UNAUTHORIZED) => Ok(()),
        Err(error) => Err(server.error("reset the guards in wasmill.guard", &error)),
    }
}

/// The operation without which the document would be gone.
fn take_back(document: &Created) -> Option<Document> {
    let id = super::write::bson(&document.id)?;
    let own = match &document.stamp {
        Some(stamp) => doc! { "_id": id, stamp.path(): &stamp.position },
        None => doc! { "_id": id, FIELD: { "$exists": false } },
    };
    Some(doc! { "q": own, "limit": 1 })
}

/// Where guards are kept.
fn own() -> Namespace {
    Namespace { database: "wasmill".into(), collection: "guard".into() }
}

async fn run(server: &Server, database: &str, command: &Document) -> Result<Document, CallError> {
    let raw = RawDocumentBuf::try_from(command);
    let raw = raw.map_err(|error| CallError::Server(mongodb::error::Error::custom(error.to_string())))?;
    server.run(database, raw).await
}

/// Short, since each guarded document carries it.
fn lane_key(group: &str, span: &Span) -> String {
    let topic = if span.topic_id.is_empty() { &span.topic } else { &span.topic_id };
    let hash = Sha256::digest(format!("{group}\0{topic}\0{}", span.partition));
    // Never a number, which some servers would take for a place in an array.
    format!("p{}", hex(&hash[..8]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn number(document: &Document, name: &str) -> u32 {
    let value = document.get(name);
    let value = value.and_then(|value| value.as_i64().or_else(|| value.as_i32().map(i64::from)));
    value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn positions_as_text_have_the_order_of_generation_offset_and_output(
            a in (0u32..99, 0i64..1 << 40, 0u32..70_000),
            b in (0u32..99, 0i64..1 << 40, 0u32..70_000),
        ) {
            let position = |(generation, offset, ordinal): (u32, i64, u32)| {
                Stamp::new(&Lane { generation, ..Lane::default() }, Place { span: 0, offset, ordinal }).position
            };
            let capped = |(generation, offset, ordinal): (u32, i64, u32)| (generation, offset, ordinal.min(0xffff));
            prop_assert_eq!(position(a).cmp(&position(b)), capped(a).cmp(&capped(b)));
        }
    }
}
