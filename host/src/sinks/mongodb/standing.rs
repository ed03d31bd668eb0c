//! Where documents stand: how far the writes of this batch's lane came in them. On servers that compare and write in one
//! step it is asked after a clash; FerretDB 1 is asked before and after every write of a guarded document. What
//! remains there is a late writer that finds before our write and writes after our second look.

use std::collections::{HashMap, HashSet};

use mongodb::bson::{Bson, RawDocumentBuf};

use super::document::Value;
use super::guard::Guards;
use super::plan::{Kind, Op, Run};
use super::write::{Write, bson};
use crate::sinks::{SinkError, Written};

impl Write<'_> {
    pub(super) async fn in_two_steps(&self, run: &Run) -> Result<bool, SinkError> {
        self.server.writes_in_two_steps().await.map_err(|error| self.failed(run, &error))
    }

    /// Does what the server cannot: compares where each document stands, writes what is not there yet, and looks whether
    /// it is there now.
    pub(super) async fn compare_here(
        &self,
        run: &Run,
        guards: &Guards<'_>,
        ops: &[Op],
        written: &mut Written,
    ) -> Result<(), SinkError> {
        let mut open = self.open(run, Some(guards), ops).await?;
        for stamp in open.iter_mut().filter_map(|op| op.stamp.as_mut()) {
            stamp.compare = false;
        }
        self.chunk(run, Some(guards), &open, written).await?;
        if run.kind == Kind::Update { self.look_again(run, &open, written).await } else { Ok(()) }
    }

    /// The operations that do not stand in their documents, nor anything behind them.
    pub(super) async fn open(&self, run: &Run, guards: Option<&Guards<'_>>, ops: &[Op]) -> Result<Vec<Op>, SinkError> {
        let found = self.look_up(run, ops.iter().filter(|op| op.stamp.is_some())).await?;
        let mut open = Vec::with_capacity(ops.len());
        for op in ops {
            if !self.is_overtaken(guards, op, found.get(&op.id.identity())).await? {
                open.push(op.clone());
            }
        }
        Ok(open)
    }

    async fn look_again(&self, run: &Run, ops: &[Op], written: &Written) -> Result<(), SinkError> {
        let refused: HashSet<usize> = written.refused.iter().map(|refusal| refusal.item).collect();
        let found = self.look_up(run, ops.iter().filter(|op| op.stamp.is_some())).await?;
        for op in ops.iter().filter(|op| !refused.contains(&op.item)) {
            let (Some(stamp), Some(there)) = (&op.stamp, found.get(&op.id.identity())) else { continue };
            if stamp.of(there).is_some_and(|position| position < stamp.position.as_str()) {
                let (sink, namespace) = (self.server.name(), &run.namespace);
                let what = format!("sink {sink}: a late writer of an older batch changed a document of {namespace}");
                return Err(SinkError::wait(format!("{what} at the same time; the batch is written again")));
            }
        }
        Ok(())
    }

    /// Whether the document that is there stands at or behind this operation: it was carried out, or came too late.
    pub(super) async fn is_overtaken(
        &self,
        guards: Option<&Guards<'_>>,
        op: &Op,
        there: Option<&RawDocumentBuf>,
    ) -> Result<bool, SinkError> {
        let (Some(guards), Some(stamp), Some(place), Some(there)) = (guards, &op.stamp, op.place, there) else {
            return Ok(false);
        };
        match stamp.of(there) {
            Some(position) if stamp.is_outdated_by(position) => Err(guards.catch_up(place, position).await),
            position => Ok(position.is_some_and(|position| position >= stamp.position.as_str())),
        }
    }

    /// The documents that have the `_id` of these operations.
    pub(super) async fn look_up<'o>(
        &self,
        run: &Run,
        ops: impl Iterator<Item = &'o Op>,
    ) -> Result<HashMap<Value, RawDocumentBuf>, SinkError> {
        let ids: Vec<Bson> = ops.filter_map(|op| bson(&op.id)).collect();
        let found = self.server.find(&run.namespace, &ids).await.map_err(|error| self.failed(run, &error))?;
        Ok(found.into_iter().filter_map(|document| Some((id_of(&document)?.identity(), document))).collect())
    }
}

fn id_of(document: &RawDocumentBuf) -> Option<Value> {
    super::bson::document(document.as_bytes()).ok()?.id
}
