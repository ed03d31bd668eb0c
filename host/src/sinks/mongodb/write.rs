//! Carries out a plan. After an error the whole batch is written again, so every operation must bear repetition:
//! inserts by their `_id`, the others because they end in the same state when they are repeated in order. What an author
//! gave an `_id` is guarded against a late writer of an older batch (`guard`).

use std::borrow::Cow;
use std::collections::HashSet;

use mongodb::bson::{Bson, Document as BsonDocument, RawDocumentBuf};

use super::command::{self, OpError, Reply};
use super::document::Value;
use super::errors::{self, DUPLICATE_KEY, Verdict};
use super::guard::{Created, FIELD, Guards};
use super::isolate::is_broken;
use super::plan::{Clash, Kind, Namespace, Op, Plan, Run};
use super::server::{CallError, Server};
use crate::outcome::Code;
use crate::sinks::limiter::Limiter;
use crate::sinks::{Refusal, SinkBatch, SinkError, Written};

/// A plan on its way to the server.
pub(super) struct Write<'a> {
    pub(super) server: &'a Server,
    pub(super) limiter: &'a Limiter,
    /// Whose progress it is.
    pub(super) batch: &'a SinkBatch,
}

impl Write<'_> {
    /// Carries out everything, in order.
    pub(super) async fn carry_out(&self, mut plan: Plan) -> Result<Written, SinkError> {
        let mut written = Written { refused: std::mem::take(&mut plan.refused), ..Written::default() };
        if plan.runs.iter().any(|run| run.ops.iter().any(|op| op.place.is_some())) {
            self.carry_out_guarded(plan, &mut written).await?;
        } else {
            for run in &plan.runs {
                self.run(run, None, &mut written).await?;
            }
        }
        written.refused.sort_by_key(|refusal| refusal.item);
        Ok(written)
    }

    async fn carry_out_guarded(&self, mut plan: Plan, written: &mut Written) -> Result<(), SinkError> {
        let places = self.batch.places();
        let mut guards = Guards::read(self.server, &self.batch.group, &places).await?;
        for run in &plan.runs {
            guards.announce(&run.namespace, &run.ops, run.kind).await?;
        }
        let mut created = Vec::new();
        for run in &mut plan.runs {
            for op in &mut run.ops {
                op.stamp = guards.stamp(&run.namespace, run.kind, op.place);
            }
            if run.kind == Kind::Delete {
                guards.bury(&run.namespace, &run.ops).await?;
            } else {
                let mut overtaken = guards.overtaken(&run.namespace, &run.ops).await?.into_iter();
                run.ops.retain(|_| !overtaken.next().unwrap_or(false));
                created.extend(run.ops.iter().filter_map(|op| creation(run, op)));
            }
            self.run(run, Some(&guards), written).await?;
        }
        // What was refused was not created: there is nothing to take back.
        let refused: HashSet<usize> = written.refused.iter().map(|refusal| refusal.item).collect();
        created.retain(|(item, _)| !refused.contains(item));
        let created: Vec<Created> = created.into_iter().map(|(_, created)| created).collect();
        guards.verify(&created).await?;
        if plan.runs.iter().any(|run| run.kind == Kind::Delete) && self.server.is_purge_due() {
            guards.purge().await?;
        }
        Ok(())
    }

    async fn run(&self, run: &Run, guards: Option<&Guards<'_>>, written: &mut Written) -> Result<(), SinkError> {
        for chunk in command::chunks(&run.ops, self.limiter.smooth_batch().unwrap_or(usize::MAX)) {
            self.limiter.take(chunk.len()).await;
            let ops = &run.ops[chunk];
            match guards.filter(|_| run.kind != Kind::Insert) {
                Some(guards) if self.in_two_steps(run).await? => self.compare_here(run, guards, ops, written).await?,
                _ => self.chunk(run, guards, ops, written).await?,
            }
        }
        Ok(())
    }

    /// One command's worth; where the server refuses the command for one of its documents, or does not say what became
    /// of all, in halves.
    pub(super) async fn chunk(
        &self,
        run: &Run,
        guards: Option<&Guards<'_>>,
        ops: &[Op],
        written: &mut Written,
    ) -> Result<(), SinkError> {
        let mut parts = vec![Cow::Borrowed(ops)];
        while let Some(ops) = parts.pop() {
            match self.command(run, &ops).await {
                Ok(reply) if reply.concern.is_none() && reply.leaves_open(run.kind, ops.len()) => {
                    let open = self.open(run, guards, &ops).await?;
                    parts.extend(halves(&open).map(|half| Cow::Owned(half.to_vec())));
                }
                Ok(reply) => self.settle(run, guards, &ops, reply, written).await?,
                Err(error) if is_broken(&error) => return Err(self.isolate(run, &ops, error).await),
                Err(CallError::Server(error)) => match (errors::of_command(&error), &*ops) {
                    (Verdict::Data(code), [op]) => {
                        let words = errors::words(code, &error.kind.to_string());
                        written.refused.push(refusal(op, code, words));
                    }
                    (Verdict::Data(_), ops) => parts.extend(halves(ops).map(|half| Cow::Owned(half.to_vec()))),
                    _ => return Err(self.failed(run, &CallError::Server(error))),
                },
                Err(silent) => return Err(self.failed(run, &silent)),
            }
        }
        Ok(())
    }

    pub(super) async fn command(&self, run: &Run, ops: &[Op]) -> Result<Reply, CallError> {
        let Namespace { database, collection } = &run.namespace;
        let command = command::command(run.kind, collection, ops)
            .map_err(|words| CallError::Server(mongodb::error::Error::custom(words)))?;
        Ok(command::reply(&self.server.run(database, command).await?))
    }

    /// Sorts the operations that the server did not carry out.
    async fn settle(
        &self,
        run: &Run,
        guards: Option<&Guards<'_>>,
        ops: &[Op],
        reply: Reply,
        written: &mut Written,
    ) -> Result<(), SinkError> {
        if let Some(words) = reply.concern {
            let what = format!("sink {}: {} was written but not confirmed", self.server.name(), run.namespace);
            return Err(SinkError::wait(format!("{what} by a majority: {words}; it is written again")));
        }
        written.outputs += (ops.len() - reply.errors.len().min(ops.len())) as u64;
        let mut clashes = Vec::new();
        for error in &reply.errors {
            let Some(op) = ops.get(error.index) else { continue };
            match errors::of_operation(error.code) {
                Verdict::Data(DUPLICATE_KEY) => clashes.push((op, error)),
                Verdict::Data(code) => written.refused.push(refusal(op, code, errors::words(code, &error.message))),
                Verdict::Wait => return Err(self.refused_operation(run, error, SinkError::wait)),
                Verdict::Operator => return Err(self.refused_operation(run, error, SinkError::operator)),
            }
        }
        match (run.kind, clashes.is_empty()) {
            (_, true) => Ok(()),
            (Kind::Insert, _) => self.settle_inserts(run, guards, &clashes, written).await,
            (Kind::Update | Kind::Delete, _) => self.settle_upserts(run, guards, &clashes, written).await,
        }
    }

    /// Inserts whose `_id` or other unique value is there already: done before, or refused.
    async fn settle_inserts(
        &self,
        run: &Run,
        guards: Option<&Guards<'_>>,
        clashes: &[(&Op, &OpError)],
        written: &mut Written,
    ) -> Result<(), SinkError> {
        let untold = clashes.iter().any(|(_, error)| error.on_id.is_none());
        let only_id = (untold && self.server.only_ids_are_unique(&run.namespace).await).then_some(true);
        let unclear = clashes.iter().filter(|(op, error)| match error.on_id.or(only_id) {
            Some(on_id) => on_id && op.clash == Clash::Compare,
            None => true,
        });
        let found = self.look_up(run, unclear.map(|(op, _)| *op)).await?;
        for (op, error) in clashes {
            let there = found.get(&op.id.identity());
            if self.is_overtaken(guards, op, there).await? {
                continue;
            }
            let done = match (op.clash, error.on_id.or(only_id)) {
                (_, Some(false)) => false,
                (Clash::Compare, _) => there.is_some_and(|there| is_same(there, &op.body)),
                (Clash::Ours | Clash::Leave, Some(true)) => true,
                (Clash::Ours | Clash::Leave, None) => there.is_some(),
            };
            if done {
                continue;
            }
            let words = match there {
                Some(_) => "another document with this _id is there already".into(),
                None => errors::words(error.code, &error.message),
            };
            written.refused.push(refusal(op, error.code, words));
        }
        Ok(())
    }

    /// Two writers that upsert the same new `_id` can clash once; a value in another unique index clashes each time.
    async fn settle_upserts(
        &self,
        run: &Run,
        guards: Option<&Guards<'_>>,
        clashes: &[(&Op, &OpError)],
        written: &mut Written,
    ) -> Result<(), SinkError> {
        // A guarded upsert of a document that stands further on finds none to change and clashes with it.
        let guarded = clashes.iter().map(|(op, _)| *op).filter(|op| op.stamp.is_some());
        let found = self.look_up(run, guarded).await?;
        for (op, _) in clashes {
            if self.is_overtaken(guards, op, found.get(&op.id.identity())).await? {
                continue;
            }
            let again = self.command(run, std::slice::from_ref(*op)).await.map_err(|error| self.failed(run, &error))?;
            match again.errors.first().map(|error| (errors::of_operation(error.code), error)) {
                None => written.outputs += 1,
                Some((Verdict::Data(code), error)) => {
                    written.refused.push(refusal(op, code, errors::words(code, &error.message)));
                }
                Some((_, error)) => return Err(self.refused_operation(run, error, SinkError::wait)),
            }
        }
        Ok(())
    }

    pub(super) fn failed(&self, run: &Run, error: &CallError) -> SinkError {
        self.server.error(&format!("write {}", run.namespace), error)
    }

    fn refused_operation(&self, run: &Run, error: &OpError, class: impl Fn(String) -> SinkError) -> SinkError {
        let Run { namespace, .. } = run;
        let OpError { code, message, .. } = error;
        let words = format!("sink {}: could not write {namespace}: {message} (code {code})", self.server.name());
        class(format!("{words}: {}", errors::advice(Some(*code))))
    }
}

/// The later half first, as a stack wants them.
fn halves(ops: &[Op]) -> impl Iterator<Item = &[Op]> {
    let (first, second) = ops.split_at(ops.len() / 2);
    [second, first].into_iter().filter(|half| !half.is_empty())
}

fn refusal(op: &Op, code: i32, message: String) -> Refusal {
    Refusal { item: op.item, code: Code::sink("mongo", code), message }
}

/// A document that an operation may bring into being, with the item that did it.
fn creation(run: &Run, op: &Op) -> Option<(usize, Created)> {
    let creates = run.kind == Kind::Insert || op.upsert;
    let place = op.place.filter(|_| creates)?;
    let created = Created { namespace: run.namespace.clone(), id: op.id.clone(), place, stamp: op.stamp.clone() };
    Some((op.item, created))
}

/// A value as the driver has it.
pub(super) fn bson(value: &Value) -> Option<Bson> {
    let mut bytes = Vec::new();
    super::document::begin(&mut bytes);
    super::document::put(&mut bytes, value.kind, "", &value.bytes);
    super::document::end(&mut bytes, 0);
    let mut document = BsonDocument::try_from(RawDocumentBuf::from_bytes(bytes).ok()?).ok()?;
    document.remove("")
}

/// Whether a stored document is the one that was sent, its guard aside; the bytes differ where a server keeps a value in
/// another form.
fn is_same(there: &RawDocumentBuf, sent: &[u8]) -> bool {
    let parsed = |raw: RawDocumentBuf| {
        let mut document = BsonDocument::try_from(raw).ok()?;
        document.remove(FIELD);
        Some(document)
    };
    there.as_bytes() == sent
        || parsed(there.clone())
            .zip(RawDocumentBuf::from_bytes(sent.to_vec()).ok().and_then(parsed))
            .is_some_and(|(there, sent)| there == sent)
}
