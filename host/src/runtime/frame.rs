//! Reads the output frame of a flat module (`wit/frame.md`). A frame that breaks a rule is refused as a whole, with
//! what was wrong; payloads are slices of the frame, nothing is copied.

use std::sync::Arc;

use bytes::Bytes;

use super::contract::{Emitted, Failure, Fate, Field, Reply};
use crate::outcome::{Headers, Operation};
use crate::record::FRAME_VERSION;

const NULL: i32 = -1;
const UNCHANGED: i32 = -2;
/// Bytes of the smallest item, to judge a count before memory is reserved for it.
const SMALLEST_ITEM: usize = 12;

/// Flags of an output: what follows its value.
mod follows {
    pub(super) const SUFFIX: u8 = 1;
    pub(super) const TIMESTAMP: u8 = 2;
    pub(super) const PARTITION: u8 = 4;
    pub(super) const HEADERS: u8 = 8;
    pub(super) const ALL: u8 = SUFFIX | TIMESTAMP | PARTITION | HEADERS;
}

/// Decodes an output frame.
pub(super) fn decode(frame: Vec<u8>) -> Result<Reply, String> {
    let mut reader = Reader { frame: frame.into(), at: 0 };
    let version = reader.u32()?;
    if version != FRAME_VERSION {
        return Err(format!("the output frame has version {version}, expected {FRAME_VERSION}"));
    }
    let count = reader.u32()? as usize;
    if count > reader.left() / SMALLEST_ITEM {
        return Err(format!("the output frame announces {count} items in {} bytes", reader.left()));
    }
    let mut reply = Reply { outputs: Vec::with_capacity(count), failures: Vec::new() };
    for index in 0..count {
        reader.item(&mut reply).map_err(|cause| format!("item {index} of the output frame: {cause}"))?;
    }
    match reader.left() {
        0 => Ok(reply),
        left => Err(format!("the output frame has {left} bytes after its last item")),
    }
}

struct Reader {
    frame: Bytes,
    at: usize,
}

impl Reader {
    fn item(&mut self, reply: &mut Reply) -> Result<(), String> {
        match self.u8()? {
            0 => self.output().map(|output| reply.outputs.push(output)),
            1 => self.failure().map(|failure| reply.failures.push(failure)),
            kind => Err(format!("unknown kind {kind}")),
        }
    }

    fn output(&mut self) -> Result<Emitted, String> {
        let operation = self.u8()?;
        let operation =
            *Operation::ALL.get(operation as usize).ok_or_else(|| format!("unknown operation {operation}"))?;
        let flags = self.u8()?;
        if flags & !follows::ALL != 0 || self.u8()? != 0 {
            return Err("reserved bits are set".into());
        }
        let (source, target) = (self.u32()?, self.u32()?);
        let (key, value) = (self.i32()?, self.i32()?);
        let key = self.field(key)?;
        let value = self.field(value)?;
        let has = |flag| flags & flag != 0;
        let suffix = if has(follows::SUFFIX) { Some(self.text().map(Arc::from)?) } else { None };
        let timestamp = if has(follows::TIMESTAMP) { Some(self.u64()? as i64) } else { None };
        let partition = if has(follows::PARTITION) { Some(self.i32()?) } else { None };
        let headers = if has(follows::HEADERS) { Some(self.headers()?) } else { None };
        Ok(Emitted { source, target, suffix, operation, key, value, headers, timestamp, partition })
    }

    fn failure(&mut self) -> Result<Failure, String> {
        let fate = match self.u8()? {
            0 => Fate::Skip,
            1 => Fate::Reject,
            2 => Fate::Retry,
            3 => Fate::Fatal,
            fate => return Err(format!("unknown fate {fate}")),
        };
        if self.take(2)?.iter().any(|&byte| byte != 0) {
            return Err("reserved bytes are set".into());
        }
        let source = self.u32()?;
        Ok(Failure { source, fate, message: self.text()?.to_owned() })
    }

    fn field(&mut self, length: i32) -> Result<Field, String> {
        match length {
            NULL => Ok(Field::Null),
            UNCHANGED => Ok(Field::Unchanged),
            length => {
                let length = usize::try_from(length).map_err(|_| format!("length {length}"))?;
                let from = self.at;
                self.take(length)?;
                Ok(Field::Data(self.frame.slice(from..from + length)))
            }
        }
    }

    /// Walks over the headers to find their end and to check them; they stay encoded.
    fn headers(&mut self) -> Result<Headers, String> {
        let count = self.u32()?;
        let from = self.at;
        for _ in 0..count {
            self.text()?;
            let length = self.i32()?;
            if length == UNCHANGED {
                return Err("length -2 of a header".into());
            }
            self.field(length)?;
        }
        Ok(Headers { count, encoded: self.frame.slice(from..self.at) })
    }

    fn text(&mut self) -> Result<&str, String> {
        let length = self.u32()? as usize;
        std::str::from_utf8(self.take(length)?).map_err(|_| "a text is not UTF-8".into())
    }

    fn u8(&mut self) -> Result<u8, String> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Result<i32, String> {
        self.array().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, length: usize) -> Result<&[u8], String> {
        if length > self.left() {
            return Err(format!("{length} bytes are missing: the frame ends after {}", self.left()));
        }
        self.at += length;
        Ok(&self.frame[self.at - length..self.at])
    }

    fn left(&self) -> usize {
        self.frame.len() - self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(frame: &mut Vec<u8>, field: &Field) {
        if let Field::Data(bytes) = field {
            frame.extend_from_slice(bytes);
        }
    }

    fn length(field: &Field) -> i32 {
        match field {
            Field::Null => NULL,
            Field::Unchanged => UNCHANGED,
            Field::Data(bytes) => bytes.len() as i32,
        }
    }

    fn encode(outputs: &[Emitted], failures: &[Failure]) -> Vec<u8> {
        let mut frame = FRAME_VERSION.to_le_bytes().to_vec();
        frame.extend(((outputs.len() + failures.len()) as u32).to_le_bytes());
        for o in outputs {
            let operation = Operation::ALL.iter().position(|x| *x == o.operation).unwrap() as u8;
            let flags = u8::from(o.suffix.is_some())
                | u8::from(o.timestamp.is_some()) << 1
                | u8::from(o.partition.is_some()) << 2
                | u8::from(o.headers.is_some()) << 3;
            frame.extend([0, operation, flags, 0]);
            frame.extend(
                [o.source, o.target, length(&o.key) as u32, length(&o.value) as u32].map(u32::to_le_bytes).concat(),
            );
            put(&mut frame, &o.key);
            put(&mut frame, &o.value);
            if let Some(suffix) = &o.suffix {
                frame.extend((suffix.len() as u32).to_le_bytes());
                frame.extend(suffix.as_bytes());
            }
            frame.extend(o.timestamp.iter().flat_map(|t| t.to_le_bytes()));
            frame.extend(o.partition.iter().flat_map(|p| p.to_le_bytes()));
            if let Some(headers) = &o.headers {
                frame.extend(headers.count.to_le_bytes());
                frame.extend_from_slice(&headers.encoded);
            }
        }
        for f in failures {
            frame.extend([1, f.fate as u8, 0, 0]);
            frame.extend(f.source.to_le_bytes());
            frame.extend((f.message.len() as u32).to_le_bytes());
            frame.extend(f.message.as_bytes());
        }
        frame
    }

    fn field() -> impl Strategy<Value = Field> {
        prop_oneof![
            Just(Field::Null),
            Just(Field::Unchanged),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|b| Field::Data(b.into())),
        ]
    }

    fn headers() -> impl Strategy<Value = Headers> {
        let one = (".{0,5}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)));
        proptest::collection::vec(one, 0..4).prop_map(|headers| {
            let mut encoded = Vec::new();
            headers.iter().for_each(|(n, v)| crate::record::put_header(&mut encoded, n, v.as_deref()));
            Headers { count: headers.len() as u32, encoded: encoded.into() }
        })
    }

    fn output() -> impl Strategy<Value = Emitted> {
        let extras = (
            proptest::option::of(".{0,6}"),
            proptest::option::of(headers()),
            any::<Option<i64>>(),
            any::<Option<i32>>(),
        );
        (any::<(u32, u32)>(), 0usize..6, field(), field(), extras).prop_map(
            |((source, target), operation, key, value, (suffix, headers, timestamp, partition))| Emitted {
                source,
                target,
                suffix: suffix.map(Arc::from),
                operation: Operation::ALL[operation],
                key,
                value,
                headers,
                timestamp,
                partition,
            },
        )
    }

    fn failure() -> impl Strategy<Value = Failure> {
        let fates = prop_oneof![Just(Fate::Skip), Just(Fate::Reject), Just(Fate::Retry), Just(Fate::Fatal)];
        (any::<u32>(), fates, ".{0,9}").prop_map(|(source, fate, message)| Failure { source, fate, message })
    }

    proptest! {
        #[test]
        fn what_a_frame_says_is_what_is_read(
            outputs in proptest::collection::vec(output(), 0..8),
            failures in proptest::collection::vec(failure(), 0..4),
        ) {
            let reply = decode(encode(&outputs, &failures)).unwrap();
            prop_assert_eq!(reply.outputs, outputs);
            prop_assert_eq!(reply.failures, failures);
        }

        #[test]
        fn a_cut_frame_is_refused(outputs in proptest::collection::vec(output(), 1..5), cut in any::<prop::sample::Index>()) {
            let frame = encode(&outputs, &[]);
            let cut = cut.index(frame.len());
            prop_assert!(decode(frame[..cut].to_vec()).is_err());
        }

        #[test]
        fn a_frame_of_arbitrary_bytes_never_panics(mut frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(frame.clone()));
            frame.splice(0..frame.len().min(5), [1, 0, 0, 0, 2]);
            drop(decode(frame));
        }
    }
}
