//! The two buffers of `wit/frame.md`: the input is read in place. Nothing here knows what a transform does.

use crate::record::{Headers, Record};

/// Version of both frames.
pub(crate) const VERSION: u32 = 1;
/// Length that stands for NULL.
pub(crate) const NULL: i32 = -1;
/// Length that stands for "as in the input".
pub(crate) const UNCHANGED: i32 = -2;
/// Flags of an output.
pub(crate) const SUFFIX: u8 = 1;
pub(crate) const TIMESTAMP: u8 = 2;
pub(crate) const PARTITION: u8 = 4;
pub(crate) const HEADERS: u8 = 8;

/// Reads little-endian fields off the front of a buffer. `None` means that the buffer ends before its content does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    #[cfg(any(not(target_arch = "wasm32"), feature = "typed"))]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A field whose length was read before.
    pub(crate) fn nullable(&mut self, length: i32) -> Option<Option<&'a [u8]>> {
        if length == NULL {
            return Some(None);
        }
        self.bytes(usize::try_from(length).ok()?).map(Some)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()?;
        std::str::from_utf8(self.bytes(length as usize)?).ok()
    }
}

/// The records of an input frame, in order.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    topic: &'a str,
    partition: i32,
    count: u32,
    next: u32,
    rest: Reader<'a>,
}

impl<'a> Batch<'a> {
    /// `None` where the frame breaks its rules.
    pub(crate) fn parse(frame: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(frame);
        if rest.u32()? != VERSION {
            return None;
        }
        let (count, partition) = (rest.u32()?, rest.i32()?);
        Some(Batch { topic: rest.text()?, partition, count, next: 0, rest })
    }

    /// The following record: `None` at the end, `Some(None)` where the frame breaks its rules.
    pub(crate) fn next(&mut self) -> Option<Option<Record<'a>>> {
        (self.next < self.count).then(|| self.read())
    }

    fn read(&mut self) -> Option<Record<'a>> {
        let rest = &mut self.rest;
        let (offset, timestamp) = (rest.i64()?, rest.i64()?);
        let (key, value) = (rest.i32()?, rest.i32()?);
        let (count, length) = (rest.u32()?, rest.u32()?);
        let record = Record {
            topic: self.topic,
            partition: self.partition,
            index: self.next,
            offset,
            timestamp,
            key: rest.nullable(key)?,
            value: rest.nullable(value)?,
            headers: Headers::new(count, rest.bytes(length as usize)?),
        };
        self.next += 1;
        Some(record)
    }
}

/// One header as the frame holds it.
pub(crate) fn put_header(buffer: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    buffer.extend_from_slice(&(name.len() as u32).to_le_bytes());
    buffer.extend_from_slice(name.as_bytes());
    buffer.extend_from_slice(&value.map_or(NULL, |v| v.len() as i32).to_le_bytes());
    buffer.extend_from_slice(value.unwrap_or_default());
}
