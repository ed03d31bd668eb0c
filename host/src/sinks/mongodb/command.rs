//! The commands `insert`, `update` and `delete` as raw BSON, and what their replies say. They work on every version
//! that the driver speaks to; the server's newer bulk command needs 8.0.

use std::io::Write as _;
use std::ops::Range;

use mongodb::bson::{Document, RawDocumentBuf};

use super::document::{begin, end, kind, put, put_string};
use super::plan::{Kind, Op};

/// Operations per command; the server takes 100,000, but a reply within the time-out matters more.
const MAX_OPS: usize = 5_000;
/// Bytes of operations per command: below the 16 MiB that a command may have. A larger operation goes alone.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Milliseconds that the server waits for other members before it says that it does not know; then all is sent again.
const WTIMEOUT_MS: i64 = 20_000;

/// What the server says about one operation of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpError {
    pub(super) index: usize,
    pub(super) code: i32,
    pub(super) message: String,
    /// For 11000: whether the index is that of `_id`; stand-ins for a server do not always tell.
    pub(super) on_id: Option<bool>,
}

/// What a reply says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    /// Documents that were inserted, matched or removed.
    pub(super) done: usize,
    pub(super) errors: Vec<OpError>,
    /// The write concern was not met: the outcome is unknown.
    pub(super) concern: Option<String>,
}

impl Reply {
    /// Whether operations may have been left out, and the errors be those of others: FerretDB 1 ends an unordered update
    /// at its first error, and says that it was the first operation's. An update that found nothing counts as left out too.
    pub(super) fn leaves_open(&self, kind: Kind, ops: usize) -> bool {
        kind != Kind::Insert && ops > 1 && !self.errors.is_empty() && self.done + self.errors.len() < ops
    }
}

/// Cuts operations into what single commands take.
pub(super) fn chunks(ops: &[Op], most: usize) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (index, op) in ops.iter().enumerate() {
        let size = op.body.len() + op.id.bytes.len();
        if index > from && (index - from >= most.min(MAX_OPS) || bytes + size > MAX_BYTES) {
            chunks.push(from..index);
            (from, bytes) = (index, 0);
        }
        bytes += size;
    }
    if from < ops.len() {
        chunks.push(from..ops.len());
    }
    chunks
}

/// The command that carries these operations.
pub(super) fn command(kind: Kind, collection: &str, ops: &[Op]) -> Result<RawDocumentBuf, String> {
    let (name, list) = match kind {
        Kind::Insert => ("insert", "documents"),
        Kind::Update => ("update", "updates"),
        Kind::Delete => ("delete", "deletes"),
    };
    let bytes: usize = ops.iter().map(|op| op.body.len() + op.id.bytes.len() + 64).sum();
    let mut out = Vec::with_capacity(bytes + 256);
    begin(&mut out);
    put_text(&mut out, name, collection);
    put(&mut out, kind::BOOLEAN, "ordered", &[0]);
    put_write_concern(&mut out);
    put(&mut out, kind::ARRAY, list, &[]);
    let array = begin(&mut out);
    for (index, op) in ops.iter().enumerate() {
        out.push(kind::DOCUMENT);
        write!(out, "{index}\0").map_err(|error| error.to_string())?;
        match kind {
            Kind::Insert => put_document(&mut out, op),
            Kind::Update => put_update(&mut out, op),
            Kind::Delete => put_delete(&mut out, op),
        }
    }
    end(&mut out, array);
    end(&mut out, 0);
    RawDocumentBuf::from_bytes(out).map_err(|error| error.to_string())
}

fn put_update(out: &mut Vec<u8>, op: &Op) {
    let at = begin(out);
    put_query(out, op, "$gte");
    put(out, kind::DOCUMENT, "u", &[]);
    match &op.stamp {
        // The change is `{"$set": {…}}`: the position goes inside.
        Some(stamp) if is_set(&op.body) => {
            put_extended(out, &op.body, &[0, SET], |out| stamp.put_position(out, &stamp.path()))
        }
        _ => put_document(out, op),
    }
    put(out, kind::BOOLEAN, "upsert", &[u8::from(op.upsert)]);
    end(out, at);
}

fn put_delete(out: &mut Vec<u8>, op: &Op) {
    let at = begin(out);
    // Repeated where it stands itself: its guard is written first.
    put_query(out, op, "$gt");
    put(out, kind::INT32, "limit", &1i32.to_le_bytes());
    end(out, at);
}

/// Where `$set`'s document begins in a change.
const SET: usize = 4 + 1 + 5;

fn is_set(body: &[u8]) -> bool {
    body.get(4..SET) == Some(b"\x03$set\0")
}

/// The document of an insert or a replacement, with its guard.
fn put_document(out: &mut Vec<u8>, op: &Op) {
    match &op.stamp {
        Some(stamp) => put_extended(out, &op.body, &[0], |out| stamp.put(out)),
        None => out.extend_from_slice(&op.body),
    }
}

/// A document to whose innermost of `levels`, given by where they begin, an element is added.
fn put_extended(out: &mut Vec<u8>, body: &[u8], levels: &[usize], add: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&body[..body.len() - levels.len()]);
    add(out);
    levels.iter().rev().for_each(|level| end(out, at + level));
}

/// The document, where nothing of this lane stands at or behind (`not`) the operation's own position.
fn put_query(out: &mut Vec<u8>, op: &Op, not: &str) {
    put(out, kind::DOCUMENT, "q", &[]);
    let at = begin(out);
    put(out, op.id.kind, "_id", &op.id.bytes);
    if let Some(stamp) = op.stamp.as_ref().filter(|stamp| stamp.compare) {
        put(out, kind::DOCUMENT, &stamp.path(), &[]);
        let field = begin(out);
        put(out, kind::DOCUMENT, "$not", &[]);
        let inner = begin(out);
        stamp.put_position(out, not);
        end(out, inner);
        end(out, field);
    }
    end(out, at);
}

/// A write counts when it survives the loss of a member.
fn put_write_concern(out: &mut Vec<u8>) {
    put(out, kind::DOCUMENT, "writeConcern", &[]);
    let at = begin(out);
    put_text(out, "w", "majority");
    put(out, kind::BOOLEAN, "j", &[1]);
    put(out, kind::INT64, "wtimeout", &WTIMEOUT_MS.to_le_bytes());
    end(out, at);
}

fn put_text(out: &mut Vec<u8>, name: &str, text: &str) {
    put(out, kind::STRING, name, &[]);
    put_string(out, text);
}

/// Reads a reply.
pub(super) fn reply(reply: &Document) -> Reply {
    let errors = reply.get_array("writeErrors").into_iter().flatten();
    let errors = errors.filter_map(|error| op_error(error.as_document()?)).collect();
    let concern = reply.get_document("writeConcernError").ok();
    let concern = concern.map(|error| error.get_str("errmsg").unwrap_or("unknown").to_owned());
    let done = integer(reply, "n").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    Reply { done, errors, concern }
}

fn op_error(error: &Document) -> Option<OpError> {
    let message = error.get_str("errmsg").unwrap_or_default().to_owned();
    let by_pattern = error.get_document("keyPattern").ok().map(|pattern| pattern.keys().eq(["_id"]));
    Some(OpError {
        index: usize::try_from(integer(error, "index")?).ok()?,
        code: i32::try_from(integer(error, "code")?).ok()?,
        message,
        on_id: by_pattern,
    })
}

fn integer(document: &Document, name: &str) -> Option<i64> {
    let value = document.get(name)?;
    value.as_i64().or_else(|| value.as_i32().map(i64::from)).or_else(|| value.as_f64().map(|value| value as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::mongodb::document::Value;
    use crate::sinks::mongodb::plan::Clash;
    use mongodb::bson::doc;
    use proptest::prelude::*;

    fn op(item: usize, bytes: usize) -> Op {
        Op {
            item,
            id: Value::string("k"),
            body: vec![0; bytes],
            upsert: false,
            clash: Clash::Ours,
            place: None,
            stamp: None,
        }
    }

    proptest! {
        #[test]
        fn chunks_hold_every_operation_once_and_stay_small(
            sizes in proptest::collection::vec(0usize..5 * 1024 * 1024, 0..12),
            most in 1usize..8,
        ) {
            let ops: Vec<Op> = sizes.iter().enumerate().map(|(i, size)| op(i, *size)).collect();
            let chunks = chunks(&ops, most);
            let covered: Vec<usize> = chunks.iter().flat_map(|chunk| chunk.clone()).collect();
            prop_assert_eq!(covered, (0..ops.len()).collect::<Vec<_>>());
            for chunk in chunks {
                let bytes: usize = ops[chunk.clone()].iter().map(|op| op.body.len()).sum();
                prop_assert!(chunk.len() == 1 || (chunk.len() <= most && bytes <= MAX_BYTES));
            }
        }
    }

    #[test]
    fn a_command_is_what_the_server_reads() {
        let mut ops = [op(0, 0), op(1, 0)];
        ops[0].body = mongodb::bson::serialize_to_vec(&doc! { "$set": { "a": 1 } }).expect("a document");
        ops[0].upsert = true;
        let update =
            command(Kind::Update, "c", &ops[..1]).and_then(|raw| Document::try_from(raw).map_err(|e| e.to_string()));
        let concern = doc! { "w": "majority", "j": true, "wtimeout": 20_000_i64 };
        let change = doc! { "q": { "_id": "k" }, "u": { "$set": { "a": 1 } }, "upsert": true };
        let wanted = doc! { "update": "c", "ordered": false, "writeConcern": concern.clone(), "updates": [change] };
        assert_eq!(update, Ok(wanted));
        let delete =
            command(Kind::Delete, "c", &ops[1..]).and_then(|raw| Document::try_from(raw).map_err(|e| e.to_string()));
        let deletes = [doc! { "q": { "_id": "k" }, "limit": 1 }];
        let wanted = doc! { "delete": "c", "ordered": false, "writeConcern": concern, "deletes": deletes };
        assert_eq!(delete, Ok(wanted));
    }

    #[test]
    fn a_reply_names_each_operation_that_failed() {
        let reply = reply(&doc! {
            "ok": 1, "n": 1,
            "writeErrors": [
                { "index": 1, "code": 11000, "errmsg": "dup", "keyPattern": { "_id": 1 } },
                { "index": 2.0, "code": 11000_i64, "errmsg": "dup", "keyPattern": { "email": 1 } },
                { "index": 4, "code": 121, "errmsg": "Document failed validation" },
            ],
            "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" },
        });
        let seen: Vec<_> = reply.errors.iter().map(|e| (e.index, e.code, e.on_id)).collect();
        assert_eq!(seen, [(1, 11000, Some(true)), (2, 11000, Some(false)), (4, 121, None)]);
        assert_eq!(reply.concern.as_deref(), Some("waiting for replication timed out"));
        assert!(reply.leaves_open(Kind::Update, 5) && !reply.leaves_open(Kind::Update, 4));
    }
}
