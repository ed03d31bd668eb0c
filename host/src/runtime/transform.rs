//! A chain over a slice: outputs to `next` become the records of the following module, everything else is collected
//! under the root record it came of. A verdict anywhere below a root record covers the whole of it.

use std::sync::Arc;

use bytes::Bytes;

use super::Chain;
use super::contract::{Emitted, Field};
use super::step::{CALL_BYTES, CALL_RECORDS, Instances, NO_OUTPUT, Stepped, run};
use crate::manifest::TargetSpec;
use crate::outcome::{Headers, Output, Path, Ruling, Transformed, Verdict};
use crate::record::{Slice, SliceBuilder};

/// Runs a chain over a slice.
pub(super) fn transform(instances: &mut dyn Instances, chain: &Arc<Chain>, slice: &Slice) -> Transformed {
    let mut work = Work { chain, roots: vec![Root::default(); slice.len()], done: Transformed::default() };
    let mut layer = vec![Derived { slice: slice.clone(), origins: None }];
    for step in 0..chain.steps.len() {
        let mut next = Next::new(slice);
        for derived in &layer {
            let stepped = run(instances, chain, step, &derived.slice);
            work.collect(step, derived, stepped, &mut next);
        }
        layer = next.close();
    }
    work.finish()
}

/// Records of one step: the slice read from Kafka, or what the step before handed on.
struct Derived {
    slice: Slice,
    /// Which root record each record comes of, and by which outputs; `None` for the root slice itself.
    origins: Option<Vec<(u32, Path)>>,
}

#[derive(Clone, Default)]
struct Root {
    /// The weightiest ruling other than a skip, with the step that made it.
    ruling: Option<(Ruling, usize)>,
    skipped: Option<(Ruling, usize)>,
    outputs: usize,
}

struct Work<'a> {
    chain: &'a Chain,
    roots: Vec<Root>,
    done: Transformed,
}

impl Work<'_> {
    fn collect(&mut self, step: usize, derived: &Derived, stepped: Stepped, next: &mut Next) {
        self.done.slow += stepped.slow;
        self.done.traps += stepped.traps;
        if stepped.traps > 0 {
            self.done.trapped.push((self.chain.steps[step].module.name.clone(), stepped.traps));
        }
        for (index, ruling) in stepped.rulings.into_iter().enumerate() {
            if let Some(ruling) = ruling {
                self.roots[derived.root(index as u32) as usize].note(ruling, step);
            }
        }
        let targets = &self.chain.steps[step].targets;
        let (mut source, mut place) = (None, 0);
        if step + 1 == self.chain.steps.len() {
            self.done.outputs.reserve(stepped.outputs.len());
        }
        for output in stepped.outputs {
            place = if source == Some(output.source) { place + 1 } else { 0 };
            source = Some(output.source);
            let root = derived.root(output.source);
            if self.roots[root as usize].ruling.is_some() {
                continue;
            }
            let path = derived.path(output.source, place);
            let target = &targets[output.target as usize];
            if target.sink == "next" {
                next.push(root, path, output, &derived.slice);
            } else {
                self.roots[root as usize].outputs += 1;
                self.done.outputs.push(resolve(output, root, path, target, &derived.slice));
            }
        }
    }

    fn finish(self) -> Transformed {
        let Work { chain, roots, mut done } = self;
        if chain.steps.len() > 1 {
            done.outputs.sort_by(|a, b| (a.record, &a.path).cmp(&(b.record, &b.path)));
        }
        if roots.iter().any(|root| root.ruling.is_some()) {
            done.outputs.retain(|output| roots[output.record as usize].ruling.is_none());
        }
        for (record, root) in roots.into_iter().enumerate() {
            let nothing = || (Ruling::Skip { reason: NO_OUTPUT.into() }, 0);
            let ruling = root.ruling.or_else(|| (root.outputs == 0).then(|| root.skipped.unwrap_or_else(nothing)));
            if let Some((ruling, step)) = ruling {
                let module = chain.steps[step].module.name.clone();
                done.verdicts.push(Verdict { record: record as u32, ruling, module });
            }
        }
        done
    }
}

impl Derived {
    fn root(&self, index: u32) -> u32 {
        self.origins.as_ref().map_or(index, |origins| origins[index as usize].0)
    }

    fn path(&self, index: u32, place: u32) -> Path {
        self.origins.as_ref().map_or_else(|| Path::new(place), |origins| origins[index as usize].1.then(place))
    }
}

impl Root {
    fn note(&mut self, ruling: Ruling, step: usize) {
        let slot = if weight(&ruling) == 0 { &mut self.skipped } else { &mut self.ruling };
        if slot.as_ref().is_none_or(|(noted, _)| weight(&ruling) > weight(noted)) {
            *slot = Some((ruling, step));
        }
    }
}

/// What stops more goes first: a dead letter must not be written for a batch that is not committed.
fn weight(ruling: &Ruling) -> u8 {
    match ruling {
        Ruling::Skip { .. } => 0,
        Ruling::Dead { .. } => 1,
        Ruling::Retry { .. } => 2,
        Ruling::Fatal { .. } => 3,
    }
}

/// Collects the records of the following step in slices fit for one call.
struct Next<'a> {
    root: &'a Slice,
    open: SliceBuilder,
    origins: Vec<(u32, Path)>,
    closed: Vec<Derived>,
}

impl<'a> Next<'a> {
    fn new(root: &'a Slice) -> Self {
        let open = SliceBuilder::new(root.topic.clone(), root.partition);
        Next { root, open, origins: Vec::new(), closed: Vec::new() }
    }

    fn push(&mut self, root: u32, path: Path, output: Emitted, slice: &Slice) {
        let index = output.source as usize;
        let key = field(output.key, || slice.key(index));
        let value = field(output.value, || slice.value(index));
        let headers = headers(output.headers, slice, index);
        let timestamp = output.timestamp.unwrap_or_else(|| slice.timestamp(index));
        let encoded = (headers.count, &headers.encoded[..]);
        self.open.push_encoded(slice.offset(index), timestamp, key.as_deref(), value.as_deref(), encoded);
        self.origins.push((root, path));
        if self.open.len() >= CALL_RECORDS || self.open.bytes() >= CALL_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let open = std::mem::replace(&mut self.open, SliceBuilder::new(self.root.topic.clone(), self.root.partition));
        let origins = Some(std::mem::take(&mut self.origins));
        self.closed.push(Derived { slice: open.build(), origins });
    }

    fn close(mut self) -> Vec<Derived> {
        if !self.open.is_empty() {
            self.cut();
        }
        self.closed
    }
}

/// Fills in from the input what the module left as it was. Only Kafka has a use for the input's key, headers and time.
fn resolve(output: Emitted, record: u32, path: Path, target: &Arc<TargetSpec>, slice: &Slice) -> Output {
    let index = output.source as usize;
    let kafka = target.sink == "kafka";
    Output {
        record,
        path,
        target: target.clone(),
        operation: output.operation,
        key: field(output.key, || if kafka { slice.key(index) } else { None }),
        value: field(output.value, || slice.value(index)),
        headers: if kafka {
            headers(output.headers, slice, index)
        } else {
            Headers { count: 0, encoded: Bytes::new() }
        },
        timestamp: output.timestamp.unwrap_or_else(|| if kafka { slice.timestamp(index) } else { -1 }),
        partition: output.partition,
        suffix: output.suffix,
    }
}

fn field(field: Field, unchanged: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
    match field {
        Field::Unchanged => unchanged(),
        Field::Null => None,
        Field::Data(bytes) => Some(bytes),
    }
}

fn headers(given: Option<Headers>, slice: &Slice, index: usize) -> Headers {
    given.unwrap_or_else(|| {
        let (count, encoded) = slice.encoded_headers(index);
        Headers { count, encoded }
    })
}
