//! From a batch's outputs to runs of operations that one command can carry: pure. Within a collection the order is
//! kept: a run ends where the kind of operation changes or an `_id` occurs again, since a command is unordered inside.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::document::{Document, Flaw, Value, id};
use super::guard::{FIELD, Place, Stamp};
use crate::config::{Mode, Table};
use crate::manifest::TargetSpec;
use crate::outcome::{Code, Operation, Output};
use crate::sinks::{Refusal, SinkBatch, SourceIds};

/// A collection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Namespace {
    pub(super) database: String,
    pub(super) collection: String,
}

/// Which command carries an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Insert,
    Update,
    Delete,
}

/// What an insert does where its `_id` is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clash {
    /// The `_id` is the source id: it was this output, in an earlier attempt.
    Ours,
    /// The author's `_id`: an equal document was this output, another one is somebody else's.
    Compare,
    /// Whoever it was, it stays.
    Leave,
}

/// One operation on one document.
#[derive(Clone, Debug)]
pub(super) struct Op {
    /// Index of the batch's item.
    pub(super) item: usize,
    pub(super) id: Value,
    /// The document of an insert, the change of an update; empty for a delete.
    pub(super) body: Vec<u8>,
    /// Insert where there is nothing to update.
    pub(super) upsert: bool,
    pub(super) clash: Clash,
    /// Of an operation that is guarded against a late writer: one with an `_id` of the author's.
    pub(super) place: Option<Place>,
    /// What it compares and leaves behind; known when the guards were read.
    pub(super) stamp: Option<Stamp>,
}

/// Operations of one kind on different documents of one collection.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) namespace: Namespace,
    pub(super) kind: Kind,
    pub(super) ops: Vec<Op>,
}

/// What is to be done for a batch, and what cannot be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In order; runs of different collections may be carried out in any.
    pub(super) runs: Vec<Run>,
    pub(super) refused: Vec<Refusal>,
}

impl Namespace {
    /// `db.collection`.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (database, collection) = name.split_once('.')?;
        let legal_database = (1..=63).contains(&database.len())
            && !database.contains(['/', '\\', ' ', '"', '$', '*', '<', '>', ':', '|', '?', '\0']);
        let legal_collection = !collection.is_empty()
            && name.len() <= 255
            && !collection.contains(['$', '\0'])
            && !collection.starts_with("system.")
            && !collection.starts_with('.');
        (legal_database && legal_collection)
            .then(|| Namespace { database: database.to_owned(), collection: collection.to_owned() })
    }
}

impl std::fmt::Display for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.database, self.collection)
    }
}

/// How a collection is written, by its full name or its name within the database.
pub(super) fn settings<'t>(tables: &'t BTreeMap<String, Table>, destination: &str) -> Option<&'t Table> {
    let short = || destination.split_once('.').and_then(|(_, collection)| tables.get(collection));
    tables.get(destination).or_else(short)
}

/// Plans a batch.
pub(super) fn plan(batch: &SinkBatch, tables: &BTreeMap<String, Table>) -> Plan {
    let mut plan = Plan::default();
    // A letter may have been redriven twice; else no two source ids of a batch are equal.
    let mut open = OpenRuns { distinct: batch.redriven.is_none(), ..OpenRuns::default() };
    let mut ordinals = Ordinals::default();
    let mut ids = SourceIds::of(batch);
    let mut targets = Targets { tables, last: None };
    for (item, output) in batch.items.iter().map(|item| &item.output).enumerate() {
        let place = ordinals.place(batch.place(&batch.items[item]));
        let planned = targets.of(output).and_then(|(namespace, mode)| {
            let source_id = || Value::string(ids.id(&batch.items[item]));
            let (kind, op) = operation(item, output, mode, place, source_id)?;
            // Without progress a batch may be written twice anyway.
            let place = op.place.filter(|_| batch.progress);
            Ok((namespace, (kind, Op { place, ..op })))
        });
        match planned {
            Ok((namespace, (kind, op))) => plan.add(&mut open, namespace, kind, op),
            Err(Flaw { code, message }) => plan.refused.push(Refusal { item, code, message }),
        }
    }
    plan
}

/// Finds the collection of an output; most go where the one before went.
struct Targets<'t> {
    tables: &'t BTreeMap<String, Table>,
    last: Option<Found>,
}

struct Found {
    target: *const TargetSpec,
    suffix: Option<Arc<str>>,
    namespace: Arc<Namespace>,
    mode: Mode,
}

impl Targets<'_> {
    fn of(&mut self, output: &Output) -> Result<(Arc<Namespace>, Mode), Flaw> {
        let target = Arc::as_ptr(&output.target);
        if let Some(last) = &self.last
            && last.target == target
            && last.suffix == output.suffix
        {
            return Ok((last.namespace.clone(), last.mode));
        }
        let destination = output.destination();
        let namespace = Arc::new(Namespace::parse(&destination).ok_or_else(|| no_collection(&destination))?);
        let mode = settings(self.tables, &destination).map_or(Mode::Insert, |table| table.mode);
        self.last = Some(Found { target, suffix: output.suffix.clone(), namespace: namespace.clone(), mode });
        Ok((namespace, mode))
    }
}

/// Numbers the outputs of each record.
#[derive(Default)]
struct Ordinals {
    last: Option<Place>,
}

impl Ordinals {
    fn place(&mut self, (span, offset): (usize, i64)) -> Place {
        let again = self.last.filter(|last| (last.span, last.offset) == (span, offset));
        let place = Place { span, offset, ordinal: again.map_or(0, |last| last.ordinal + 1) };
        self.last = Some(place);
        place
    }
}

/// The runs that may still take operations, one per collection.
#[derive(Default)]
struct OpenRuns {
    /// Whether all source ids of the batch differ.
    distinct: bool,
    of: HashMap<Arc<Namespace>, usize>,
    runs: Vec<Open>,
    /// The collection of the operation before: most go where their neighbour went.
    last: Option<(Arc<Namespace>, usize)>,
}

/// A run that may still take operations.
struct Open {
    run: usize,
    /// The `_id`s in it, once there is one that may come again: source ids alone need no comparing.
    ids: Option<HashSet<Value>>,
}

impl OpenRuns {
    /// Whether its `_id` is a source id that no other operation has as such.
    fn is_distinct(&self, op: &Op) -> bool {
        self.distinct && op.clash == Clash::Ours
    }

    fn of(&mut self, namespace: &Arc<Namespace>) -> Option<&mut Open> {
        let index = match &self.last {
            Some((last, index)) if Arc::ptr_eq(last, namespace) => *index,
            _ => {
                let index = *self.of.get(namespace)?;
                self.last = Some((namespace.clone(), index));
                index
            }
        };
        self.runs.get_mut(index)
    }

    /// From now on the run that begins with this operation takes what is for the collection.
    fn open(&mut self, namespace: Arc<Namespace>, run: usize, op: &Op) {
        let ids = (!self.is_distinct(op)).then(|| HashSet::from([op.id.identity()]));
        let open = Open { run, ids };
        match self.of(&namespace) {
            Some(before) => *before = open,
            None => {
                self.of.insert(namespace, self.runs.len());
                self.runs.push(open);
            }
        }
    }
}

impl Open {
    /// Whether no operation of the run is on the same document; notes this one.
    fn is_new(&mut self, op: &Op, distinct: bool, ops: &[Op]) -> bool {
        if distinct && self.ids.is_none() {
            return true;
        }
        let ids = self.ids.get_or_insert_with(|| ops.iter().map(|op| op.id.identity()).collect());
        ids.insert(op.id.identity())
    }
}

impl Plan {
    fn add(&mut self, open: &mut OpenRuns, namespace: Arc<Namespace>, kind: Kind, op: Op) {
        let distinct = open.is_distinct(&op);
        if let Some(current) = open.of(&namespace)
            && let run = &mut self.runs[current.run]
            && run.kind == kind
            && current.is_new(&op, distinct, &run.ops)
        {
            run.ops.push(op);
            return;
        }
        open.open(namespace.clone(), self.runs.len(), &op);
        self.runs.push(Run { namespace: Namespace::clone(&namespace), kind, ops: vec![op] });
    }
}

fn no_collection(destination: &str) -> Flaw {
    let message =
        format!("`{}` is not the name of a collection: write `db.collection`", super::document::shown(destination));
    // The code that the server has for it.
    Flaw { code: Code::sink("mongo", 73), message }
}

fn operation(
    item: usize,
    output: &Output,
    mode: Mode,
    place: Place,
    source_id: impl FnOnce() -> Value,
) -> Result<(Kind, Op), Flaw> {
    let operation = match (output.operation, mode) {
        (Operation::Write, Mode::Upsert) => Operation::Upsert,
        (Operation::Write, Mode::Ignore) => Operation::Ignore,
        (Operation::Write, Mode::Update) => Operation::Update,
        (operation, _) => operation,
    };
    let key = output.key.as_deref().map(id).transpose()?;
    let mut own_place = Some(place);
    if operation == Operation::Delete {
        let id = key.ok_or_else(|| Flaw::decode("a delete needs the document's _id as its key"))?;
        let clash = Clash::Leave;
        return Ok((
            Kind::Delete,
            Op { item, id, body: Vec::new(), upsert: false, clash, place: own_place, stamp: None },
        ));
    }
    let bytes = output.value.as_deref().ok_or_else(|| Flaw::decode("there is no document: the value is NULL"))?;
    let mut document = Document::parse(bytes)?;
    let own = key.or_else(|| document.id.take());
    let clash = match (operation, &own) {
        (Operation::Ignore, _) => Clash::Leave,
        (_, Some(_)) => Clash::Compare,
        (_, None) => Clash::Ours,
    };
    let id = match own {
        Some(id) => id,
        None if operation == Operation::Update => {
            return Err(Flaw::decode("an update needs the document's _id, as its key or in the document"));
        }
        None => {
            // Nobody else writes under it.
            own_place = None;
            source_id()
        }
    };
    if own_place.is_some() && document.has(FIELD) {
        return Err(Flaw::decode(format!("the field `{FIELD}` of a document with an _id of its own is wasmill's")));
    }
    let op = |id, body, upsert, clash| Op { item, id, body, upsert, clash, place: own_place, stamp: None };
    if let Some(flaw) = document.flaw_in_size(&id) {
        return Err(flaw);
    }
    let (kind, body, upsert) = match operation {
        Operation::Upsert => (Kind::Update, document.set(&id), true),
        Operation::Update => (Kind::Update, document.set(&id), false),
        Operation::Replace => (Kind::Update, document.with_id(&id), true),
        _ => (Kind::Insert, document.with_id(&id), false),
    };
    Ok((kind, op(id, body, upsert, clash)))
}

#[cfg(test)]
mod tests;
