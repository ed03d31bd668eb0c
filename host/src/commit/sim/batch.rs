//! A batch as the stages see it: outputs, decisions, spans.

use super::kafka::Sent;
use super::plan::{Out, Reject};
use super::world::World;
use crate::commit::decisions::is_late;
use crate::commit::epochs::{renumber, renumbered};
use crate::commit::{Decisions, lanes};
use crate::outcome::Code;
use crate::sinks::StoredVerdict;
use crate::source::SealedSpan;

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) span: usize,
    pub(super) offset: i64,
    pub(super) path: usize,
    pub(super) out: Out,
}

#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) spans: Vec<SealedSpan>,
    /// The generation that it was sealed in.
    pub(super) generation: u32,
    pub(super) version: u32,
    pub(super) items: Vec<Item>,
    pub(super) decisions: Decisions,
    /// What this process has delivered, without a transaction, for the batch as it is.
    pub(super) delivered: Vec<Sent>,
    pub(super) transformed: bool,
}

impl Batch {
    pub(super) fn partition(&self, span: usize) -> usize {
        self.spans[span].span.partition as usize
    }

    /// Takes out the spans that are not kept, as `flow::stages` does.
    pub(super) fn keep(&mut self, keep: &[bool]) {
        let numbers = renumbered(keep);
        let mut kept = keep.iter();
        self.spans.retain(|_| *kept.next().unwrap_or(&false));
        self.items.retain_mut(|item| renumber(&mut item.span, &numbers));
        self.decisions.begin_again(&numbers);
        self.delivered.clear();
    }

    pub(super) fn drop_condemned(&mut self) {
        let condemned = self.decisions.condemned();
        if !condemned.is_empty() {
            self.items.retain(|item| !condemned.contains(&(item.span, item.offset)));
        }
    }

    pub(super) fn offsets(&self) -> Vec<(usize, i64)> {
        let offset = |s: &SealedSpan| (s.span.partition as usize, lanes::to_commit(&s.span, s.kafka_lane));
        self.spans.iter().map(offset).collect()
    }

    /// What the modules make of it.
    pub(super) fn transform(&mut self, world: &mut World) {
        self.transformed = true;
        for span in 0..self.spans.len() {
            let partition = self.partition(span);
            for offset in self.spans[span].span.start..self.spans[span].span.end {
                let rejects = match world.plan.records[partition][offset as usize].reject {
                    Reject::Never => false,
                    Reject::Always => true,
                    Reject::Since(version) => self.version >= version,
                };
                let timed_out = !rejects && self.times_out(world, span, offset);
                if rejects || timed_out {
                    let code = if rejects { Code::REJECT } else { Code::DEADLINE };
                    self.decisions.add(verdict(span, offset, String::new(), code));
                    continue;
                }
                let outs = &world.plan.records[partition][offset as usize].outs;
                let item = |(path, out): (usize, &Out)| Item { span, offset, path, out: *out };
                self.items.extend(outs.iter().enumerate().map(item));
            }
        }
    }

    /// Time-outs come from load and pass; who tries again often enough gets through.
    fn times_out(&self, world: &mut World, span: usize, offset: i64) -> bool {
        let flaky = world.plan.flaky;
        if !world.fails(flaky) || is_late(offset, self.spans[span].passed) {
            return false;
        }
        world.timed_out.push((self.partition(span), offset));
        true
    }
}

pub(super) fn verdict(span: usize, offset: i64, path: String, code: Code) -> StoredVerdict {
    StoredVerdict {
        span,
        offset,
        path,
        stage: String::new(),
        code,
        message: String::new(),
        module: String::new(),
        sink: String::new(),
        target: String::new(),
    }
}
