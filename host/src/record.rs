//! Records as they lie in memory. A [`Slice`] is what goes into one guest call: records of one partition, in
//! order, already in the byte layout of `wit/frame.md`. The payload is copied once out of the Kafka client and from
//! then on only referred to. This file decodes nothing of the payload and knows no client type.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::redrive::Redriven;

/// Version of both frames.
pub const FRAME_VERSION: u32 = 1;
/// Bytes before a record's key: offset, timestamp, three lengths and the header count.
const RECORD_HEAD: usize = 32;
/// Records that a slice has room for before its lists grow.
const ROOM: usize = 256;
/// Length that stands for NULL.
const NULL: i32 = -1;

/// A header: name and value, where `None` is NULL.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// One record, borrowed from its slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: i64,
    /// Milliseconds since 1970, -1 where there is none.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Vec<Header<'a>>,
}

/// Records of one partition in the layout of the input frame.
#[derive(Clone, Debug)]
pub struct Slice {
    pub topic: Arc<str>,
    pub partition: i32,
    frame: Bytes,
    /// Where each record begins in `frame`, and one entry for the end.
    starts: Arc<[u32]>,
    /// The records' offsets once more, side by side: what sorts and compares them would else wait for every record's
    /// own bytes, which have left the processor's cache by then.
    offsets: Arc<[i64]>,
    /// Set where the one record in it was a dead letter before.
    redriven: Option<Arc<Redriven>>,
}

impl Slice {
    /// Marks the one record in it as one that was copied from a dead letter.
    pub fn redriven_as(self, redriven: Redriven) -> Slice {
        Slice { redriven: Some(Arc::new(redriven)), ..self }
    }

    pub fn redriven(&self) -> Option<&Arc<Redriven>> {
        self.redriven.as_ref()
    }

    /// The offset by which the batch knows the record: of a redriven one that in the redrive topic, else its own.
    pub fn position(&self, index: usize) -> i64 {
        self.redriven.as_ref().map_or_else(|| self.offset(index), |redriven| redriven.position)
    }

    /// The input frame as the guest gets it.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn offset(&self, index: usize) -> i64 {
        self.offsets[index]
    }

    pub fn timestamp(&self, index: usize) -> i64 {
        u64_at(&self.frame, self.starts[index] as usize + 8) as i64
    }

    /// The key without a copy.
    pub fn key(&self, index: usize) -> Option<Bytes> {
        self.key_at(index).map(|range| self.frame.slice(range))
    }

    /// The value without a copy.
    pub fn value(&self, index: usize) -> Option<Bytes> {
        self.value_at(index).map(|range| self.frame.slice(range))
    }

    /// The key for a look.
    pub fn key_bytes(&self, index: usize) -> Option<&[u8]> {
        self.key_at(index).map(|range| &self.frame[range])
    }

    /// The value for a look.
    pub fn value_bytes(&self, index: usize) -> Option<&[u8]> {
        self.value_at(index).map(|range| &self.frame[range])
    }

    /// The encoded headers for a look, with their count.
    pub fn header_bytes(&self, index: usize) -> (u32, &[u8]) {
        let (count, range) = self.headers_at(index);
        (count, &self.frame[range])
    }

    /// Size of the record in the frame, which is what the limits count.
    pub fn size(&self, index: usize) -> usize {
        (self.starts[index + 1] - self.starts[index]) as usize
    }

    /// The encoded headers with their count, without a copy.
    pub fn encoded_headers(&self, index: usize) -> (u32, Bytes) {
        let (count, range) = self.headers_at(index);
        (count, self.frame.slice(range))
    }

    fn key_at(&self, index: usize) -> Option<Range<usize>> {
        let at = self.starts[index] as usize;
        let length = i32_at(&self.frame, at + 16);
        (length != NULL).then(|| at + RECORD_HEAD..at + RECORD_HEAD + length as usize)
    }

    fn value_at(&self, index: usize) -> Option<Range<usize>> {
        let at = self.starts[index] as usize;
        let key = i32_at(&self.frame, at + 16).max(0) as usize;
        let length = i32_at(&self.frame, at + 20);
        let from = at + RECORD_HEAD + key;
        (length != NULL).then(|| from..from + length as usize)
    }

    fn headers_at(&self, index: usize) -> (u32, Range<usize>) {
        let at = self.starts[index] as usize;
        let count = u32_at(&self.frame, at + 24);
        let length = u32_at(&self.frame, at + 28) as usize;
        let end = self.starts[index + 1] as usize;
        (count, end - length..end)
    }

    /// The whole record, decoded. Not for the hot path.
    pub fn record(&self, index: usize) -> Record<'_> {
        let (count, headers) = self.header_bytes(index);
        Record {
            offset: self.offset(index),
            timestamp: self.timestamp(index),
            key: self.key_bytes(index),
            value: self.value_bytes(index),
            headers: decode_headers(count, headers).unwrap_or_default(),
        }
    }

    /// The records `from..to` as a slice of their own: the halves of a bisected call.
    pub fn part(&self, from: usize, to: usize) -> Slice {
        let (first, last) = (self.starts[from] as usize, self.starts[to] as usize);
        let head = self.starts[0] as usize;
        let mut frame = Vec::with_capacity(head + last - first);
        frame.extend_from_slice(&self.frame[..head]);
        frame[4..8].copy_from_slice(&((to - from) as u32).to_le_bytes());
        frame.extend_from_slice(&self.frame[first..last]);
        let starts = self.starts[from..=to].iter().map(|s| s - first as u32 + head as u32).collect();
        Slice {
            topic: self.topic.clone(),
            partition: self.partition,
            frame: frame.into(),
            starts,
            offsets: self.offsets[from..to].into(),
            redriven: self.redriven.clone(),
        }
    }
}

/// Collects records of one partition into a slice.
#[derive(Debug)]
pub struct SliceBuilder {
    topic: Arc<str>,
    partition: i32,
    frame: Vec<u8>,
    starts: Vec<u32>,
    offsets: Vec<i64>,
}

impl SliceBuilder {
    pub fn new(topic: Arc<str>, partition: i32) -> Self {
        Self::with_room(topic, partition, 4096)
    }

    /// With room for so many bytes before they have to move.
    pub fn with_room(topic: Arc<str>, partition: i32, bytes: usize) -> Self {
        let mut frame = Vec::with_capacity(bytes);
        put_u32(&mut frame, FRAME_VERSION);
        put_u32(&mut frame, 0);
        frame.extend_from_slice(&partition.to_le_bytes());
        put_u32(&mut frame, topic.len() as u32);
        frame.extend_from_slice(topic.as_bytes());
        let mut starts = Vec::with_capacity(ROOM + 1);
        starts.push(frame.len() as u32);
        SliceBuilder { topic, partition, frame, starts, offsets: Vec::with_capacity(ROOM) }
    }

    /// Appends a record. `headers` are given as (name, value) pairs.
    pub fn push<'a>(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = Header<'a>>,
    ) {
        let head = self.push_head(offset, timestamp, key, value);
        let from = self.frame.len();
        let mut count = 0;
        for (name, value) in headers {
            put_header(&mut self.frame, name, value);
            count += 1;
        }
        self.close(head, count, from);
    }

    /// Appends a record whose headers are already encoded.
    pub fn push_encoded(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: (u32, &[u8]),
    ) {
        let head = self.push_head(offset, timestamp, key, value);
        let from = self.frame.len();
        self.frame.extend_from_slice(headers.1);
        self.close(head, headers.0, from);
    }

    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the frame so far.
    pub fn bytes(&self) -> usize {
        self.frame.len()
    }

    pub fn build(mut self) -> Slice {
        let count = self.len() as u32;
        self.frame[4..8].copy_from_slice(&count.to_le_bytes());
        Slice {
            topic: self.topic,
            partition: self.partition,
            frame: self.frame.into(),
            starts: self.starts.into(),
            offsets: self.offsets.into(),
            redriven: None,
        }
    }

    fn push_head(&mut self, offset: i64, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> usize {
        let head = self.frame.len();
        self.offsets.push(offset);
        self.frame.extend_from_slice(&(offset as u64).to_le_bytes());
        self.frame.extend_from_slice(&timestamp.to_le_bytes());
        self.frame.extend_from_slice(&length_of(key).to_le_bytes());
        self.frame.extend_from_slice(&length_of(value).to_le_bytes());
        self.frame.extend_from_slice(&[0; 8]);
        self.frame.extend_from_slice(key.unwrap_or_default());
        self.frame.extend_from_slice(value.unwrap_or_default());
        head
    }

    fn close(&mut self, head: usize, count: u32, headers_from: usize) {
        let length = (self.frame.len() - headers_from) as u32;
        self.frame[head + 24..head + 28].copy_from_slice(&count.to_le_bytes());
        self.frame[head + 28..head + 32].copy_from_slice(&length.to_le_bytes());
        self.starts.push(self.frame.len() as u32);
    }
}

/// Decodes `count` headers; `None` where the bytes do not hold them.
pub fn decode_headers(count: u32, mut bytes: &[u8]) -> Option<Vec<Header<'_>>> {
    let mut headers = Vec::with_capacity((count as usize).min(bytes.len() / 8));
    for _ in 0..count {
        let name = take(&mut bytes, 4).map(|b| u32_at(b, 0) as usize)?;
        let name = std::str::from_utf8(take(&mut bytes, name)?).ok()?;
        let length = take(&mut bytes, 4).map(|b| i32_at(b, 0))?;
        let value = match length {
            NULL => None,
            n => Some(take(&mut bytes, usize::try_from(n).ok()?)?),
        };
        headers.push((name, value));
    }
    Some(headers)
}

/// Appends one header in the layout of the frame.
pub fn put_header(frame: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    put_u32(frame, name.len() as u32);
    frame.extend_from_slice(name.as_bytes());
    frame.extend_from_slice(&length_of(value).to_le_bytes());
    frame.extend_from_slice(value.unwrap_or_default());
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn length_of(field: Option<&[u8]>) -> i32 {
    field.map_or(NULL, |bytes| bytes.len() as i32)
}

fn put_u32(frame: &mut Vec<u8>, value: u32) {
    frame.extend_from_slice(&value.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    u32_at(bytes, at) as i32
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut taken = [0; N];
    taken.copy_from_slice(&bytes[at..at + N]);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

    fn records() -> impl Strategy<Value = Vec<Owned>> {
        let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20));
        let header = (".{0,5}", bytes());
        proptest::collection::vec(
            (0..i64::MAX, any::<i64>(), bytes(), bytes(), proptest::collection::vec(header, 0..4)),
            1..20,
        )
    }

    fn build(records: &[Owned]) -> Slice {
        let mut builder = SliceBuilder::new("töpic".into(), 7);
        for (offset, timestamp, key, value, headers) in records {
            let headers = headers.iter().map(|(n, v)| (n.as_str(), v.as_deref()));
            builder.push(*offset, *timestamp, key.as_deref(), value.as_deref(), headers);
        }
        builder.build()
    }

    fn check(slice: &Slice, records: &[Owned]) {
        assert_eq!(slice.len(), records.len());
        for (i, (offset, timestamp, key, value, headers)) in records.iter().enumerate() {
            let record = slice.record(i);
            assert_eq!((record.offset, record.timestamp), (*offset, *timestamp));
            assert_eq!((record.key, record.value), (key.as_deref(), value.as_deref()));
            assert_eq!((slice.key(i).as_deref(), slice.value(i).as_deref()), (key.as_deref(), value.as_deref()));
            let (count, encoded) = slice.encoded_headers(i);
            assert_eq!(decode_headers(count, &encoded).as_ref(), Some(&record.headers));
            let expected: Vec<Header<'_>> = headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
            assert_eq!(record.headers, expected);
        }
    }

    proptest! {
        #[test]
        fn null_empty_and_absent_survive_the_frame(records in records()) {
            check(&build(&records), &records);
        }

        #[test]
        fn a_part_holds_the_same_records(records in records(), a in 0usize..20, b in 0usize..20) {
            let (a, b) = (a.min(records.len()), b.min(records.len()));
            let (a, b) = (a.min(b), a.max(b));
            check(&build(&records).part(a, b), &records[a..b]);
        }

        #[test]
        fn headers_of_arbitrary_bytes_never_panic(count in 0u32..9, bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let decoded = decode_headers(count, &bytes);
            prop_assert!(decoded.is_none_or(|h| h.len() == count as usize));
        }
    }
}
