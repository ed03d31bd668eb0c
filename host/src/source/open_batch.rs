//! The batch that is being filled: per partition the slices for the workers and the range that it covers. Pure; it
//! decides when it is full, the reader decides when it is sealed.

use std::collections::HashMap;
use std::sync::Arc;

use super::pace::Pace;
use super::{Partition, SealedSpan};
use crate::record::{Header, Slice, SliceBuilder};
use crate::sinks::Span;

/// Records per guest call: beyond 16 the cost per record is flat, and a trap costs a slice.
const SLICE_RECORDS: usize = 512;
/// Bytes per guest call: larger frames leave the cache and get slower.
const SLICE_BYTES: usize = 256 << 10;

/// What a record is taken to have before there was one, in bytes.
const USUAL: usize = 64 << 10;

/// Bounds of a batch.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub records: Arc<Pace>,
    pub bytes: usize,
}

/// What a record is appended to.
#[derive(Debug)]
pub struct OpenBatch {
    bounds: Bounds,
    parts: Vec<Part>,
    by_partition: HashMap<Partition, usize>,
    /// The part of the record before: most records follow one of their own partition.
    last: Option<usize>,
    records: usize,
    bytes: usize,
    /// Bytes of a record in the batch before.
    usual: usize,
}

#[derive(Debug)]
struct Part {
    partition: Partition,
    topic_id: Arc<str>,
    epoch: u64,
    kafka_lane: i64,
    passed: i64,
    born: i32,
    start: i64,
    next: i64,
    closed: Vec<Slice>,
    open: Option<SliceBuilder>,
}

/// Where a partition's first record of the batch comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    pub topic_id: Arc<str>,
    pub epoch: u64,
    pub kafka_lane: i64,
    pub passed: i64,
    /// Partitions that the topic had when the group came into being.
    pub born: i32,
    /// The position before the record: where the batch before ended.
    pub position: i64,
}

/// A record as the client hands it out.
pub struct Incoming<'a, H> {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: H,
}

impl OpenBatch {
    pub fn new(bounds: Bounds) -> Self {
        OpenBatch {
            bounds,
            parts: Vec::new(),
            by_partition: HashMap::new(),
            last: None,
            records: 0,
            bytes: 0,
            usual: USUAL,
        }
    }

    /// Appends a record. `origin` is asked once per partition and batch.
    pub fn push<'a, H: Iterator<Item = Header<'a>>>(
        &mut self,
        partition: &Partition,
        record: Incoming<'a, H>,
        origin: impl FnOnce() -> Origin,
    ) {
        let index = self.part(partition, origin);
        let part = &mut self.parts[index];
        let slice = part.open.get_or_insert_with(|| SliceBuilder::new(partition.0.clone(), partition.1));
        let before = slice.bytes();
        slice.push(record.offset, record.timestamp, record.key, record.value, record.headers);
        part.next = record.offset + 1;
        self.records += 1;
        self.bytes += slice.bytes() - before;
        if slice.len() >= SLICE_RECORDS || slice.bytes() >= SLICE_BYTES {
            part.closed.extend(part.open.take().map(SliceBuilder::build));
        }
    }

    /// Appends the record at `offset` of its partition as a slice that was made of it: a guest call knows one topic and
    /// partition, and this record is not shown as one of those that it lies among.
    pub fn push_alone(&mut self, partition: &Partition, offset: i64, slice: Slice, origin: impl FnOnce() -> Origin) {
        let index = self.part(partition, origin);
        let part = &mut self.parts[index];
        part.closed.extend(part.open.take().map(SliceBuilder::build));
        part.next = offset + 1;
        self.records += slice.len();
        self.bytes += slice.frame().len();
        part.closed.push(slice);
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub fn records(&self) -> usize {
        self.records
    }

    pub fn is_full(&self) -> bool {
        self.records >= self.bounds.records.records() || self.bytes >= self.bounds.bytes
    }

    /// How many more records fit, as far as the size of those in it tells; at least one.
    pub fn room(&self) -> usize {
        let records = self.bounds.records.records().saturating_sub(self.records);
        let size = self.bytes.checked_div(self.records).unwrap_or(self.usual);
        let by_size = self.bounds.bytes.saturating_sub(self.bytes) / size.max(1);
        records.min(by_size).max(1)
    }

    /// Forgets partitions that are not ours any more.
    pub fn retain(&mut self, ours: impl Fn(&Partition, u64) -> bool) {
        if self.parts.iter().all(|part| ours(&part.partition, part.epoch)) {
            return;
        }
        self.parts.retain(|part| ours(&part.partition, part.epoch));
        self.last = None;
        self.by_partition = self.parts.iter().enumerate().map(|(i, part)| (part.partition.clone(), i)).collect();
        let slices = || self.parts.iter().flat_map(|part| &part.closed);
        let open = || self.parts.iter().filter_map(|part| part.open.as_ref());
        self.records = slices().map(Slice::len).sum::<usize>() + open().map(SliceBuilder::len).sum::<usize>();
        self.bytes =
            slices().map(|slice| slice.frame().len()).sum::<usize>() + open().map(SliceBuilder::bytes).sum::<usize>();
    }

    /// Closes the batch: its spans, and its slices with the index of their span, in order.
    pub fn seal(&mut self, digest: &Arc<str>) -> (Vec<SealedSpan>, Vec<(usize, Slice)>) {
        let parts = std::mem::take(&mut self.parts);
        let usual = self.bytes.checked_div(self.records).unwrap_or(self.usual);
        *self = OpenBatch { usual, ..OpenBatch::new(self.bounds.clone()) };
        let mut spans = Vec::with_capacity(parts.len());
        let mut slices = Vec::new();
        for (index, part) in parts.into_iter().enumerate() {
            let span = Span {
                topic: part.partition.0,
                topic_id: part.topic_id,
                partition: part.partition.1,
                start: part.start,
                end: part.next,
                digest: digest.clone(),
            };
            let Part { epoch, kafka_lane, passed, born, .. } = part;
            spans.push(SealedSpan { span, epoch, kafka_lane, passed, born });
            let open = part.open.map(SliceBuilder::build);
            slices.extend(part.closed.into_iter().chain(open).map(|slice| (index, slice)));
        }
        (spans, slices)
    }

    /// Index of the part of a partition; most records follow one of their own partition.
    fn part(&mut self, partition: &Partition, origin: impl FnOnce() -> Origin) -> usize {
        let index = match self.last.filter(|&last| same(&self.parts[last].partition, partition)) {
            Some(last) => last,
            None => match self.by_partition.get(partition) {
                Some(&index) => index,
                None => self.add_part(partition, origin()),
            },
        };
        self.last = Some(index);
        index
    }

    fn add_part(&mut self, partition: &Partition, origin: Origin) -> usize {
        self.by_partition.insert(partition.clone(), self.parts.len());
        self.parts.push(Part {
            partition: partition.clone(),
            topic_id: origin.topic_id,
            epoch: origin.epoch,
            kafka_lane: origin.kafka_lane,
            passed: origin.passed,
            born: origin.born,
            start: origin.position,
            next: origin.position,
            closed: Vec::new(),
            open: None,
        });
        self.parts.len() - 1
    }
}

/// Compares without reading the name: a topic's name is shared by all its partitions.
fn same(a: &Partition, b: &Partition) -> bool {
    a.1 == b.1 && Arc::ptr_eq(&a.0, &b.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(batch: &mut OpenBatch, partition: i32, offset: i64, position: i64, size: usize) {
        let value = vec![b'x'; size];
        let record = Incoming { offset, timestamp: 0, key: None, value: Some(&value[..]), headers: std::iter::empty() };
        let origin = || Origin { topic_id: "id".into(), epoch: 1, kafka_lane: 0, passed: 0, born: 1, position };
        batch.push(&(Arc::from("t"), partition), record, origin);
    }

    proptest! {
        #[test]
        fn a_sealed_batch_covers_each_partition_without_a_gap(
            records in proptest::collection::vec((0i32..4, 1i64..4, 0usize..2000), 1..1500),
            cut in 1usize..500,
        ) {
            let mut batch = OpenBatch::new(Bounds { records: Pace::new(10_000).into(), bytes: 4 << 20 });
            let mut next = [0i64; 4];
            let mut covered = [0i64; 4];
            let mut seen = 0;
            for chunk in records.chunks(cut) {
                for &(partition, gap, size) in chunk {
                    let at = &mut next[partition as usize];
                    push(&mut batch, partition, *at + gap - 1, covered[partition as usize], size);
                    *at += gap;
                }
                let (spans, slices) = batch.seal(&"d".into());
                for sealed in &spans {
                    let partition = sealed.span.partition as usize;
                    prop_assert_eq!(sealed.span.start, covered[partition]);
                    prop_assert_eq!(sealed.span.end, next[partition]);
                    covered[partition] = sealed.span.end;
                }
                for (span, slice) in &slices {
                    prop_assert_eq!(slice.partition, spans[*span].span.partition);
                    prop_assert!(slice.len() <= SLICE_RECORDS && !slice.is_empty());
                    seen += slice.len();
                }
            }
            prop_assert_eq!(seen, records.len());
        }
    }

    #[test]
    fn a_revoked_partition_leaves_the_open_batch() {
        let mut batch = OpenBatch::new(Bounds { records: Pace::new(3).into(), bytes: 1 << 20 });
        push(&mut batch, 0, 0, 0, 1);
        push(&mut batch, 1, 0, 0, 1);
        push(&mut batch, 1, 1, 0, 1);
        assert!(batch.is_full());
        batch.retain(|partition, _| partition.1 == 0);
        assert_eq!((batch.records(), batch.is_full()), (1, false));
        let (spans, slices) = batch.seal(&"d".into());
        assert_eq!((spans.len(), slices.len(), spans[0].span.partition), (1, 1, 0));
    }

    #[test]
    fn a_record_that_is_shown_as_another_lies_in_a_slice_of_its_own_in_order() {
        let mut batch = OpenBatch::new(Bounds { records: Pace::new(10_000).into(), bytes: 4 << 20 });
        let origin = || Origin { topic_id: "id".into(), epoch: 1, kafka_lane: 0, passed: 0, born: 1, position: 0 };
        push(&mut batch, 0, 0, 0, 1);
        let mut shown = SliceBuilder::new("source".into(), 2);
        shown.push(41, 0, None, None, std::iter::empty());
        batch.push_alone(&(Arc::from("t"), 0), 1, shown.build(), origin);
        push(&mut batch, 0, 2, 0, 1);
        assert_eq!(batch.records(), 3);
        let (spans, slices) = batch.seal(&"d".into());
        assert_eq!((spans.len(), spans[0].span.start, spans[0].span.end), (1, 0, 3));
        let found: Vec<(&str, i32, i64)> = slices.iter().map(|(_, s)| (&*s.topic, s.partition, s.offset(0))).collect();
        assert_eq!(found, [("t", 0, 0), ("source", 2, 41), ("t", 0, 2)]);
    }
}
