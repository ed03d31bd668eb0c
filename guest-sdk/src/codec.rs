//! The other halves of the frames: writing an input and reading an output. Only tests and the typed world need them.

use crate::error::Fate;
use crate::frame::{HEADERS, NULL, PARTITION, Reader, SUFFIX, TIMESTAMP, UNCHANGED, VERSION, put_header};
use crate::outputs::Operation;

/// Writes an input frame.
#[derive(Debug)]
pub(crate) struct FrameBuilder {
    frame: Vec<u8>,
    count: u32,
}

impl FrameBuilder {
    pub(crate) fn new(topic: &str, partition: i32) -> Self {
        let mut frame = Vec::new();
        frame.extend_from_slice(&VERSION.to_le_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&partition.to_le_bytes());
        frame.extend_from_slice(&(topic.len() as u32).to_le_bytes());
        frame.extend_from_slice(topic.as_bytes());
        FrameBuilder { frame, count: 0 }
    }

    pub(crate) fn push<'a>(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) {
        let mut encoded = Vec::new();
        let mut count = 0u32;
        for (name, value) in headers {
            put_header(&mut encoded, name, value);
            count += 1;
        }
        let length = |field: Option<&[u8]>| field.map_or(NULL, |bytes| bytes.len() as i32).to_le_bytes();
        self.frame.extend_from_slice(&offset.to_le_bytes());
        self.frame.extend_from_slice(&timestamp.to_le_bytes());
        self.frame.extend_from_slice(&length(key));
        self.frame.extend_from_slice(&length(value));
        self.frame.extend_from_slice(&count.to_le_bytes());
        self.frame.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
        for part in [key.unwrap_or_default(), value.unwrap_or_default(), &encoded] {
            self.frame.extend_from_slice(part);
        }
        self.count += 1;
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.frame[4..8].copy_from_slice(&self.count.to_le_bytes());
        self.frame
    }
}

/// A key or value of a decoded output.
#[cfg_attr(
    target_arch = "wasm32",
    allow(unreachable_pub, reason = "`testing` makes it public and is not there for Wasm")
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// As in the input record.
    Unchanged,
    /// NULL.
    Null,
    /// These bytes.
    Data(Vec<u8>),
}

/// Name and value of a decoded header; `None` is NULL.
pub(crate) type Header = (String, Option<Vec<u8>>);

/// An item of an output frame, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Output(Output),
    Failure { source: u32, fate: Fate, message: String },
}

/// An output of an output frame, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) source: u32,
    pub(crate) target: u32,
    pub(crate) suffix: Option<String>,
    pub(crate) operation: Operation,
    pub(crate) key: Field,
    pub(crate) value: Field,
    pub(crate) headers: Option<Vec<Header>>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) partition: Option<i32>,
}

/// All items of an output frame; `None` where it breaks its rules.
pub(crate) fn decode(frame: &[u8]) -> Option<Vec<Item>> {
    let mut reader = Reader(frame);
    if reader.u32()? != VERSION {
        return None;
    }
    let count = reader.u32()?;
    let items = (0..count).map(|_| decode_item(&mut reader)).collect::<Option<Vec<_>>>()?;
    reader.0.is_empty().then_some(items)
}

fn decode_item(reader: &mut Reader<'_>) -> Option<Item> {
    let (kind, code, flags, reserved) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
    let source = reader.u32()?;
    match (kind, flags, reserved) {
        (0, 0..16, 0) => decode_output(reader, code, flags, source).map(Item::Output),
        (1, 0, 0) => {
            let fate = *Fate::ALL.get(usize::from(code))?;
            Some(Item::Failure { source, fate, message: reader.text()?.to_owned() })
        }
        _ => None,
    }
}

fn decode_output(reader: &mut Reader<'_>, code: u8, flags: u8, source: u32) -> Option<Output> {
    let target = reader.u32()?;
    let (key, value) = (reader.i32()?, reader.i32()?);
    Some(Output {
        source,
        target,
        operation: *Operation::ALL.get(usize::from(code))?,
        key: decode_field(reader, key)?,
        value: decode_field(reader, value)?,
        suffix: if flags & SUFFIX != 0 { Some(reader.text()?.to_owned()) } else { None },
        timestamp: if flags & TIMESTAMP != 0 { Some(reader.i64()?) } else { None },
        partition: if flags & PARTITION != 0 { Some(reader.i32()?) } else { None },
        headers: if flags & HEADERS != 0 { Some(decode_headers(reader)?) } else { None },
    })
}

fn decode_field(reader: &mut Reader<'_>, length: i32) -> Option<Field> {
    if length == UNCHANGED {
        return Some(Field::Unchanged);
    }
    Some(reader.nullable(length)?.map_or(Field::Null, |bytes| Field::Data(bytes.to_vec())))
}

fn decode_headers(reader: &mut Reader<'_>) -> Option<Vec<Header>> {
    let count = reader.u32()?;
    (0..count)
        .map(|_| {
            let name = reader.text()?.to_owned();
            let length = reader.i32()?;
            Some((name, reader.nullable(length)?.map(<[u8]>::to_vec)))
        })
        .collect()
}
