//! A chain over a slice: outputs to `next` become the records of the following module, everything else is collected
//! under the root record it came of. A verdict anywhere below a root record covers the whole of it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Chain;
use super::reply::{Emitted, Given};
use super::step::{CALL_BYTES, CALL_RECORDS, Called, Instances, NO_OUTPUT, Stepped, run};
use crate::manifest::TargetSpec;
use crate::outcome::{Headers, Output, Path, Ruling, Transformed, Verdict};
use crate::record::{Slice, SliceBuilder};

/// Runs a chain over a slice.
pub(super) fn transform(instances: &mut dyn Instances, chain: &Arc<Chain>, slice: &Slice) -> Transformed {
    let roots = vec![Root::default(); slice.len()];
    let mut work = Work { chain, roots, suffix: None, done: Transformed::default() };
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
    /// The weightiest ruling other than a skip, with the step that made it; boxed, as hardly any record has one.
    ruling: Option<Box<(Ruling, usize)>>,
    /// Why it was skipped first, and by which step.
    skipped: Option<(Arc<str>, usize)>,
    has_outputs: bool,
}

struct Work<'a> {
    chain: &'a Chain,
    roots: Vec<Root>,
    /// The last suffix of a target: most outputs have their neighbour's.
    suffix: Option<Arc<str>>,
    done: Transformed,
}

impl Work<'_> {
    fn collect(&mut self, step: usize, derived: &Derived, stepped: Stepped, next: &mut Next) {
        self.done.slow += stepped.slow;
        self.done.traps += stepped.traps;
        if stepped.traps > 0 {
            self.done.trapped.push((self.chain.steps[step].module.name.clone(), stepped.traps));
        }
        if step + 1 == self.chain.steps.len() {
            self.done.outputs.reserve(stepped.outputs());
        }
        for (index, ruling) in stepped.rulings {
            self.roots[derived.root(index as u32) as usize].note(ruling, step);
        }
        for called in stepped.calls {
            self.take(step, derived, &called, next);
        }
    }

    /// Takes the outputs of one call.
    fn take(&mut self, step: usize, derived: &Derived, called: &Called, next: &mut Next<'_>) {
        let targets = &self.chain.steps[step].targets;
        let (mut source, mut place) = (None, 0);
        for output in &called.outputs {
            place = if source == Some(output.source) { place + 1 } else { 0 };
            source = Some(output.source);
            let root = derived.root(output.source);
            if self.roots[root as usize].ruling.is_some() {
                continue;
            }
            let path = derived.path(output.source, place);
            let target = &targets[output.target as usize];
            if target.sink == "next" {
                next.push(root, path, output, &called.bytes, &derived.slice);
            } else {
                self.roots[root as usize].has_outputs = true;
                let suffix = output.suffix(&called.bytes).map(|suffix| self.suffix(suffix));
                let of = Of { record: root, path, suffix, target };
                self.done.outputs.push(resolve(output, &called.bytes, of, &derived.slice));
            }
        }
    }

    fn suffix(&mut self, text: &str) -> Arc<str> {
        match &self.suffix {
            Some(last) if **last == *text => last.clone(),
            _ => self.suffix.insert(text.into()).clone(),
        }
    }

    fn finish(self) -> Transformed {
        let Work { chain, roots, mut done, .. } = self;
        if chain.steps.len() > 1 {
            done.outputs.sort_by(|a, b| (a.record, &a.path).cmp(&(b.record, &b.path)));
        }
        if roots.iter().any(|root| root.ruling.is_some()) {
            done.outputs.retain(|output| roots[output.record as usize].ruling.is_none());
        }
        for (record, root) in roots.into_iter().enumerate() {
            let skipped = || {
                let (reason, step) = root.skipped.unwrap_or_else(|| (NO_OUTPUT.into(), 0));
                (Ruling::Skip { reason }, step)
            };
            let ruling = root.ruling.map(|ruling| *ruling).or_else(|| (!root.has_outputs).then(skipped));
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
        if let Ruling::Skip { reason } = ruling {
            self.skipped.get_or_insert((reason, step));
        } else if self.ruling.as_ref().is_none_or(|noted| weight(&ruling) > weight(&noted.0)) {
            self.ruling = Some(Box::new((ruling, step)));
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
    open: Option<SliceBuilder>,
    origins: Vec<(u32, Path)>,
    closed: Vec<Derived>,
}

impl<'a> Next<'a> {
    fn new(root: &'a Slice) -> Self {
        Next { root, open: None, origins: Vec::new(), closed: Vec::new() }
    }

    fn push(&mut self, root: u32, path: Path, output: &Emitted, bytes: &[u8], slice: &Slice) {
        let index = output.source as usize;
        let key = given(output.key, |range| &bytes[range], || slice.key_bytes(index));
        let value = given(output.value, |range| &bytes[range], || slice.value_bytes(index));
        let headers = output.headers.map(|(count, encoded)| (count, &bytes[encoded.range()]));
        let headers = headers.unwrap_or_else(|| slice.header_bytes(index));
        let timestamp = output.timestamp.unwrap_or_else(|| slice.timestamp(index));
        let open = self.open.get_or_insert_with(|| {
            // What is handed on is mostly what came in.
            let room = self.root.frame().len().min(2 * CALL_BYTES);
            SliceBuilder::with_room(self.root.topic.clone(), self.root.partition, room)
        });
        open.push_encoded(slice.offset(index), timestamp, key, value, headers);
        self.origins.push((root, path));
        if open.len() >= CALL_RECORDS || open.bytes() >= CALL_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if let Some(open) = self.open.take() {
            let origins = Some(std::mem::take(&mut self.origins));
            self.closed.push(Derived { slice: open.build(), origins });
        }
    }

    fn close(mut self) -> Vec<Derived> {
        self.cut();
        self.closed
    }
}

/// What an output is of, and where it goes.
struct Of<'a> {
    record: u32,
    path: Path,
    suffix: Option<Arc<str>>,
    target: &'a Arc<TargetSpec>,
}

/// Fills in from the input what the module left as it was. Only Kafka has a use for the input's key, headers and time.
fn resolve(output: &Emitted, bytes: &Bytes, of: Of<'_>, slice: &Slice) -> Output {
    let Of { record, path, suffix, target } = of;
    let index = output.source as usize;
    let kafka = target.sink == "kafka";
    let none = || Headers { count: 0, encoded: Bytes::new() };
    let as_before = || {
        let (count, encoded) = slice.encoded_headers(index);
        Headers { count, encoded }
    };
    Output {
        record,
        path,
        target: target.clone(),
        suffix,
        operation: output.operation,
        key: given(output.key, |range| bytes.slice(range), || if kafka { slice.key(index) } else { None }),
        value: given(output.value, |range| bytes.slice(range), || slice.value(index)),
        headers: if kafka { output.headers(bytes).unwrap_or_else(as_before) } else { none() },
        timestamp: output.timestamp.unwrap_or_else(|| if kafka { slice.timestamp(index) } else { -1 }),
        partition: output.partition,
    }
}

fn given<T>(given: Given, data: impl FnOnce(Range<usize>) -> T, unchanged: impl FnOnce() -> Option<T>) -> Option<T> {
    match given {
        Given::Unchanged => unchanged(),
        Given::Null => None,
        Given::Data(place) => Some(data(place.range())),
    }
}
