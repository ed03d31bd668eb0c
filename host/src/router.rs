//! From what the modules returned to what each sink gets: pure, in order, nothing copied. Decides nothing about
//! delivery; a record that a module condemned is only noted here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::manifest::TargetSpec;
use crate::outcome::{Ruling, Transformed};
use crate::record::Slice;
use crate::sinks::{Item, Span, StoredVerdict};

/// A sealed batch's slices with the span each belongs to, in order of (span, offset).
pub type Slices = [(usize, Slice)];

/// The name of the sink that is the cluster itself.
pub const KAFKA: &str = "kafka";

/// A batch, sorted by destination.
#[derive(Debug, Default)]
pub struct Routed {
    /// Per sink of the flow (same index) the items that go there.
    pub sinks: Vec<Vec<Item>>,
    /// What goes to Kafka topics.
    pub kafka: Vec<Item>,
    /// Records that the modules condemned.
    pub verdicts: Vec<StoredVerdict>,
    /// Filtered records by reason.
    pub filtered: BTreeMap<Arc<str>, u64>,
    /// Traps by module.
    pub trapped: BTreeMap<Arc<str>, u64>,
    pub slow: u64,
    /// A module asked for another attempt of the batch.
    pub retry: Option<String>,
    /// The flow has to stop before these records: span, offset, and why.
    pub stops: Vec<(usize, i64, String)>,
}

/// Sorts the outcome of a batch. `sinks` are the names of the flow's sinks without `kafka`. With `stop_on_error` a
/// condemned record stops the flow instead of being noted.
pub fn route(slices: &Slices, outcomes: Vec<Transformed>, sinks: &[&str], stop_on_error: bool) -> Routed {
    let mut routed = Routed { sinks: sinks.iter().map(|_| Vec::new()).collect(), ..Routed::default() };
    let mut left: usize = outcomes.iter().map(|outcome| outcome.outputs.len()).sum();
    let mut is_first = true;
    for ((span, slice), outcome) in slices.iter().zip(outcomes) {
        let here = outcome.outputs.len();
        let outcome = match slice.redriven() {
            None => outcome,
            Some(redriven) => redriven.only_wanted(outcome),
        };
        for (module, traps) in outcome.trapped {
            *routed.trapped.entry(module).or_default() += u64::from(traps);
        }
        routed.slow += u64::from(outcome.slow);
        for verdict in outcome.verdicts {
            let offset = slice.position(verdict.record as usize);
            routed.rule(*span, offset, verdict.ruling, &verdict.module, stop_on_error);
        }
        // The target before, and where it led.
        let mut last: Option<(Arc<TargetSpec>, Option<usize>)> = None;
        for output in outcome.outputs {
            let sink = match &last {
                Some((target, sink)) if Arc::ptr_eq(target, &output.target) => *sink,
                _ => {
                    let sink = sinks.iter().position(|name| *name == output.target.sink);
                    last = Some((output.target.clone(), sink));
                    sink
                }
            };
            let item = Item { span: *span, offset: slice.position(output.record as usize), output };
            match sink {
                Some(sink) => routed.sinks[sink].push(item),
                // The chain was checked when it was built: what is no database is the cluster.
                None => routed.kafka.push(item),
            }
        }
        left -= here;
        if here > 0 && std::mem::take(&mut is_first) {
            routed.make_room(here, left);
        }
    }
    routed
}

impl Routed {
    /// Most slices of a batch go where its first one went: lists of megabytes would be copied whenever they grow.
    fn make_room(&mut self, first: usize, left: usize) {
        for items in self.sinks.iter_mut().chain([&mut self.kafka]) {
            items.reserve(items.len() * (left + left / 16) / first);
        }
    }

    fn rule(&mut self, span: usize, offset: i64, ruling: Ruling, module: &str, stop_on_error: bool) {
        match ruling {
            Ruling::Skip { reason } => *self.filtered.entry(reason).or_default() += 1,
            Ruling::Retry { message } => self.retry = Some(message),
            Ruling::Fatal { message } => self.stops.push((span, offset, format!("module {module}: {message}"))),
            Ruling::Dead { code, message } if stop_on_error => {
                self.stops.push((span, offset, format!("module {module}: {code}: {message}")));
            }
            Ruling::Dead { code, message } => self.verdicts.push(StoredVerdict {
                span,
                offset,
                path: String::new(),
                stage: "transform".into(),
                code,
                message,
                module: module.into(),
                sink: String::new(),
                target: String::new(),
            }),
        }
    }

    /// Cuts the batch before the records at which the flow has to stop: what comes earlier is still committed.
    pub fn cut_at_stops(&mut self, spans: &mut [Span]) {
        for (span, offset, _) in &self.stops {
            spans[*span].end = spans[*span].end.min(*offset);
        }
        if self.stops.is_empty() {
            return;
        }
        let within = |span: usize, offset: i64| offset < spans[span].end;
        self.sinks.iter_mut().chain([&mut self.kafka]).for_each(|items| items.retain(|i| within(i.span, i.offset)));
        self.verdicts.retain(|v| within(v.span, v.offset));
    }
}

/// Finds the record with this offset: the slice's index and the record's index in it.
pub fn locate(slices: &Slices, span: usize, offset: i64) -> Option<(usize, usize)> {
    let candidates = slices.iter().enumerate().filter(|(_, (owner, _))| *owner == span);
    for (at, (_, slice)) in candidates {
        if slice.is_empty() || slice.position(slice.len() - 1) < offset {
            continue;
        }
        let (mut low, mut high) = (0, slice.len());
        while low < high {
            let middle = (low + high) / 2;
            if slice.position(middle) < offset { low = middle + 1 } else { high = middle }
        }
        return (slice.position(low) == offset).then_some((at, low));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Headers, Operation, Output, Path, Verdict};
    use crate::record::SliceBuilder;
    use proptest::prelude::*;

    fn slice(partition: i32, offsets: &[i64]) -> Slice {
        let mut builder = SliceBuilder::new("t".into(), partition);
        offsets.iter().for_each(|&offset| builder.push(offset, 0, None, Some(b"v"), std::iter::empty()));
        builder.build()
    }

    fn output(record: u32, index: u32, sink: &str) -> Output {
        Output {
            record,
            path: Path::new(index),
            target: Arc::new(TargetSpec { sink: sink.into(), name: "x".into(), table: None }),
            suffix: None,
            operation: Operation::Write,
            key: None,
            value: None,
            headers: Headers { count: 0, encoded: Default::default() },
            timestamp: -1,
            partition: None,
        }
    }

    fn span(partition: i32, end: i64) -> Span {
        Span { topic: "t".into(), topic_id: "".into(), partition, start: 0, end, digest: "".into() }
    }

    proptest! {
        #[test]
        fn every_output_arrives_at_its_sink_in_order(
            sizes in proptest::collection::vec(1usize..6, 1..6),
            choices in proptest::collection::vec(0usize..3, 0..64),
        ) {
            let mut next = 0;
            let slices: Vec<(usize, Slice)> = sizes.iter().map(|&size| {
                let offsets: Vec<i64> = (next..next + size as i64).collect();
                next += size as i64;
                (0, slice(0, &offsets))
            }).collect();
            let names = ["a", "b", KAFKA];
            let mut choice = choices.iter().cycle();
            let outcomes: Vec<Transformed> = slices.iter().map(|(_, slice)| Transformed {
                outputs: (0..slice.len() as u32).flat_map(|record| {
                    let sinks: Vec<usize> = choice.by_ref().take(choices.len().min(2)).copied().collect();
                    sinks.into_iter().enumerate().map(move |(i, s)| output(record, i as u32, names[s]))
                }).collect(),
                ..Transformed::default()
            }).collect();
            let total: usize = outcomes.iter().map(|outcome| outcome.outputs.len()).sum();
            let routed = route(&slices, outcomes, &["a", "b"], false);
            let lanes = [&routed.sinks[0], &routed.sinks[1], &routed.kafka];
            prop_assert_eq!(lanes.iter().map(|items| items.len()).sum::<usize>(), total);
            for (items, name) in lanes.iter().zip(names) {
                prop_assert!(items.iter().all(|item| item.output.target.sink == name));
                let order = |item: &Item| (item.offset, item.output.path.clone());
                prop_assert!(items.windows(2).all(|pair| order(&pair[0]) < order(&pair[1])));
            }
        }

        #[test]
        fn every_record_is_found_again(gaps in proptest::collection::vec(1i64..5, 1..40), cut in 0usize..40) {
            let offsets: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let (a, b) = offsets.split_at(cut.min(offsets.len()));
            let slices = vec![(1, slice(1, a)), (1, slice(1, b))];
            for offset in 0..=offsets[offsets.len() - 1] + 1 {
                let found = locate(&slices, 1, offset).map(|(s, r)| slices[s].1.offset(r));
                prop_assert_eq!(found, offsets.contains(&offset).then_some(offset));
                prop_assert_eq!(locate(&slices, 0, offset), None);
            }
        }
    }

    fn fatal(record: u32) -> Verdict {
        Verdict { record, ruling: Ruling::Fatal { message: "no".into() }, module: "m".into() }
    }

    #[test]
    fn what_lies_before_a_stop_is_still_written() {
        let slices = vec![(0, slice(0, &[5, 6, 7])), (1, slice(1, &[1, 2]))];
        let first = Transformed {
            outputs: vec![output(0, 0, "a"), output(2, 0, "a")],
            verdicts: vec![fatal(1)],
            ..Default::default()
        };
        let second = Transformed { outputs: vec![output(1, 0, "a")], ..Default::default() };
        let mut routed = route(&slices, vec![first, second], &["a"], false);
        let mut spans = [span(0, 8), span(1, 3)];
        routed.cut_at_stops(&mut spans);
        assert_eq!((spans[0].end, spans[1].end), (6, 3));
        let left: Vec<_> = routed.sinks[0].iter().map(|item| (item.span, item.offset)).collect();
        assert_eq!(left, [(0, 5), (1, 2)]);
    }
}
