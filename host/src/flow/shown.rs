//! What operators see of a committed batch: figures for the board, and for those who listen some of its records with
//! what became of them. Nothing here touches a record unless somebody listens or it was refused.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Shared;
use super::finish::Tally;
use super::stages::Batch;
use crate::board::letters::{self, Letter};
use crate::board::tap::{self, Tapped, TappedOutput, TappedVerdict};
use crate::board::{BatchFigures, now};
use crate::config::OnError;
use crate::record::decode_headers;
use crate::router::{KAFKA, locate};
use crate::sinks::{Item, StoredVerdict};

/// Tells the board of a batch that is committed.
pub(super) fn show(shared: &Shared, batch: &Batch, tally: &Tally) {
    let verdicts = batch.decisions.all();
    let mut dead: BTreeMap<String, u64> = BTreeMap::new();
    if shared.on_error != OnError::Skip {
        verdicts.iter().for_each(|verdict| *dead.entry(verdict.code.to_string()).or_default() += 1);
    }
    let latency = observe_latency(shared, batch);
    shared.board.through(BatchFigures {
        records: batch.slices.iter().map(|(_, slice)| slice.len() as u64).sum(),
        filtered: tally.filtered.iter().map(|(_, count)| *count).sum(),
        traps: tally.trapped.iter().map(|(_, count)| *count).sum(),
        latency,
        letters: letters_of(shared, batch, verdicts),
        dead,
    });
    if shared.board.tap.is_wanted() {
        shared.board.tap.show(&Seen::of(shared, batch));
    }
}

/// From the timestamp of each slice's first record until now; the longest of them.
fn observe_latency(shared: &Shared, batch: &Batch) -> Option<Duration> {
    let histogram = shared.metrics.end_to_end_seconds.get_or_create_owned(&shared.by_flow());
    let now = now();
    let first = batch
        .slices
        .iter()
        .filter(|(_, slice)| !slice.is_empty() && slice.redriven().is_none())
        .map(|(_, slice)| slice.timestamp(0));
    let ages = first.filter(|at| *at >= 0).map(|at| Duration::from_millis(now.saturating_sub(at).max(0) as u64));
    ages.inspect(|age| histogram.observe(age.as_secs_f64())).max()
}

fn letters_of(shared: &Shared, batch: &Batch, verdicts: &[StoredVerdict]) -> Vec<Letter> {
    if shared.on_error == OnError::Skip {
        return Vec::new();
    }
    let letter = |verdict: &StoredVerdict| {
        let record = locate(&batch.slices, verdict.span, verdict.offset);
        let record = record.map(|(slice, index)| (&batch.slices[slice].1, index));
        let span = &batch.spans[verdict.span].span;
        // Of a redriven record the place where it was at first.
        let (topic, partition, offset) = match record {
            Some((slice, index)) => (slice.topic.to_string(), slice.partition, slice.offset(index)),
            None => (span.topic.to_string(), span.partition, verdict.offset),
        };
        Letter {
            at: now(),
            flow: shared.name.to_string(),
            code: verdict.code.to_string(),
            message: verdict.message.clone(),
            topic,
            partition,
            offset,
            stage: verdict.stage.clone(),
            module: verdict.module.clone(),
            sink: verdict.sink.clone(),
            target: verdict.target.clone(),
            key: letters::shown(record.and_then(|(slice, index)| slice.key(index)).as_deref()),
            value: letters::shown(record.and_then(|(slice, index)| slice.value(index)).as_deref()),
        }
    };
    verdicts.iter().rev().take(letters::OF_A_BATCH).rev().map(letter).collect()
}

/// A batch under the eyes of a listener. Records are numbered through all slices.
struct Seen<'a> {
    shared: &'a Shared,
    batch: &'a Batch,
    /// Number of each slice's first record.
    firsts: Vec<usize>,
    records: usize,
    /// By span and offset.
    verdicts: HashMap<(usize, i64), Vec<&'a StoredVerdict>>,
}

impl<'a> Seen<'a> {
    fn of(shared: &'a Shared, batch: &'a Batch) -> Self {
        let mut records = 0;
        let firsts = batch
            .slices
            .iter()
            .map(|(_, slice)| {
                let first = records;
                records += slice.len();
                first
            })
            .collect();
        let mut verdicts: HashMap<_, Vec<_>> = HashMap::new();
        for verdict in batch.decisions.all() {
            verdicts.entry((verdict.span, verdict.offset)).or_default().push(verdict);
        }
        Seen { shared, batch, firsts, records, verdicts }
    }

    fn outputs(&self, span: usize, offset: i64) -> Vec<TappedOutput> {
        let names = self.shared.sinks.iter().map(|sink| sink.name()).chain([KAFKA]);
        let mut outputs: Vec<(&Item, TappedOutput)> = Vec::new();
        for (sink, items) in names.zip(self.batch.items()) {
            let from = items.partition_point(|item| (item.span, item.offset) < (span, offset));
            let own = items[from..].iter().take_while(|item| (item.span, item.offset) == (span, offset));
            outputs.extend(own.map(|item| (item, output(sink, item))));
        }
        outputs.sort_by(|(a, _), (b, _)| a.output.path.cmp(&b.output.path));
        outputs.into_iter().map(|(_, output)| output).collect()
    }
}

fn output(sink: &str, item: &Item) -> TappedOutput {
    let output = &item.output;
    TappedOutput {
        sink: sink.to_owned(),
        target: output.destination().into_owned(),
        operation: format!("{:?}", output.operation).to_lowercase(),
        key: tap::shown(output.key.as_deref()),
        value: tap::shown(output.value.as_deref()),
    }
}

fn verdict(verdict: &StoredVerdict) -> TappedVerdict {
    TappedVerdict {
        code: verdict.code.to_string(),
        message: verdict.message.clone(),
        module: verdict.module.clone(),
        sink: verdict.sink.clone(),
        target: verdict.target.clone(),
    }
}

impl tap::Batch for Seen<'_> {
    fn records(&self) -> usize {
        self.records
    }

    fn dead(&self) -> Vec<usize> {
        let place = |v: &StoredVerdict| locate(&self.batch.slices, v.span, v.offset);
        let verdicts = self.batch.decisions.all().iter();
        let mut dead: Vec<usize> =
            verdicts.filter_map(place).map(|(slice, index)| self.firsts[slice] + index).collect();
        dead.sort_unstable();
        dead.dedup();
        dead
    }

    fn record(&self, number: usize) -> Tapped {
        let at = self.firsts.partition_point(|first| *first <= number) - 1;
        let (span, slice) = &self.batch.slices[at];
        let index = number - self.firsts[at];
        let position = slice.position(index);
        let (count, encoded) = slice.encoded_headers(index);
        let headers = decode_headers(count, &encoded).unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).into_owned();
        let own = self.verdicts.get(&(*span, position)).into_iter().flatten();
        Tapped {
            flow: self.shared.name.to_string(),
            topic: slice.topic.to_string(),
            partition: slice.partition,
            offset: slice.offset(index),
            timestamp: slice.timestamp(index),
            key: tap::shown(slice.key(index).as_deref()),
            value: tap::shown(slice.value(index).as_deref()),
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.map(text))).collect(),
            outputs: self.outputs(*span, position),
            dead: own.map(|own| verdict(own)).collect(),
        }
    }
}
