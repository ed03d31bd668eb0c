//! Reads the output frame of a flat module (`wit/frame.md`). A frame that breaks a rule is refused as a whole, with
//! what was wrong; payloads are places of the frame, nothing is copied.

use super::contract::Fate;
use super::reply::{Emitted, Failure, Given, Place, Reply};
use crate::outcome::Operation;
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
    let mut reader = Reader { frame: &frame, at: 0 };
    let version = reader.u32()?;
    if version != FRAME_VERSION {
        return Err(format!("the output frame has version {version}, expected {FRAME_VERSION}"));
    }
    let count = reader.u32()? as usize;
    if count > reader.left() / SMALLEST_ITEM {
        return Err(format!("the output frame announces {count} items in {} bytes", reader.left()));
    }
    let mut reply = Reply { outputs: Vec::with_capacity(count), ..Reply::default() };
    for index in 0..count {
        reader.item(&mut reply).map_err(|cause| format!("item {index} of the output frame: {cause}"))?;
    }
    match reader.left() {
        0 => Ok(Reply { bytes: frame.into(), ..reply }),
        left => Err(format!("the output frame has {left} bytes after its last item")),
    }
}

struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn item(&mut self, reply: &mut Reply) -> Result<(), String> {
        match self.array::<4>()? {
            [0, operation, flags, reserved] => {
                self.output(operation, flags, reserved).map(|output| reply.outputs.push(output))
            }
            [1, fate, reserved @ ..] => self.failure(fate, reserved).map(|failure| reply.failures.push(failure)),
            [kind, ..] => Err(format!("unknown kind {kind}")),
        }
    }

    fn output(&mut self, operation: u8, flags: u8, reserved: u8) -> Result<Emitted, String> {
        let operation =
            *Operation::ALL.get(operation as usize).ok_or_else(|| format!("unknown operation {operation}"))?;
        if flags & !follows::ALL != 0 || reserved != 0 {
            return Err("reserved bits are set".into());
        }
        let (source, target) = (self.u32()?, self.u32()?);
        let (key, value) = (self.i32()?, self.i32()?);
        let key = self.field(key)?;
        let value = self.field(value)?;
        let has = |flag| flags & flag != 0;
        let suffix = if has(follows::SUFFIX) { Some(self.text()?) } else { None };
        let timestamp = if has(follows::TIMESTAMP) { Some(self.u64()? as i64) } else { None };
        let partition = if has(follows::PARTITION) { Some(self.i32()?) } else { None };
        let headers = if has(follows::HEADERS) { Some(self.headers()?) } else { None };
        Ok(Emitted { source, target, suffix, operation, key, value, headers, timestamp, partition })
    }

    fn failure(&mut self, fate: u8, reserved: [u8; 2]) -> Result<Failure, String> {
        let fate = match fate {
            0 => Fate::Skip,
            1 => Fate::Reject,
            2 => Fate::Retry,
            3 => Fate::Fatal,
            fate => return Err(format!("unknown fate {fate}")),
        };
        if reserved != [0; 2] {
            return Err("reserved bytes are set".into());
        }
        Ok(Failure { source: self.u32()?, fate, message: self.text()? })
    }

    fn field(&mut self, length: i32) -> Result<Given, String> {
        match length {
            NULL => Ok(Given::Null),
            UNCHANGED => Ok(Given::Unchanged),
            length => {
                let length = usize::try_from(length).map_err(|_| format!("length {length}"))?;
                self.place(length).map(Given::Data)
            }
        }
    }

    /// Walks over the headers to find their end and to check them; they stay encoded.
    fn headers(&mut self) -> Result<(u32, Place), String> {
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
        Ok((count, self.since(from)?))
    }

    fn text(&mut self) -> Result<Place, String> {
        let length = self.u32()? as usize;
        let place = self.place(length)?;
        std::str::from_utf8(&self.frame[place.range()]).map_err(|_| "a text is not UTF-8")?;
        Ok(place)
    }

    fn place(&mut self, length: usize) -> Result<Place, String> {
        let from = self.at;
        self.take(length)?;
        self.since(from)
    }

    fn since(&self, from: usize) -> Result<Place, String> {
        Place::new(from..self.at).ok_or_else(|| "it has more than 4 GiB".into())
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
    use crate::outcome::Headers;
    use crate::runtime::Field;
    use proptest::prelude::*;

    /// An output with its bytes.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Owned {
        source: u32,
        target: u32,
        suffix: Option<String>,
        operation: Operation,
        key: Field,
        value: Field,
        headers: Option<Headers>,
        timestamp: Option<i64>,
        partition: Option<i32>,
    }

    type OwnedFailure = (u32, Fate, String);

    fn owned(reply: &Reply) -> (Vec<Owned>, Vec<OwnedFailure>) {
        let output = |o: &Emitted| Owned {
            source: o.source,
            target: o.target,
            suffix: o.suffix(&reply.bytes).map(str::to_owned),
            operation: o.operation,
            key: o.key.field(&reply.bytes),
            value: o.value.field(&reply.bytes),
            headers: o.headers(&reply.bytes),
            timestamp: o.timestamp,
            partition: o.partition,
        };
        let failure = |f: &Failure| (f.source, f.fate, f.message.text(&reply.bytes).to_owned());
        (reply.outputs.iter().map(output).collect(), reply.failures.iter().map(failure).collect())
    }

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

    fn encode(outputs: &[Owned], failures: &[OwnedFailure]) -> Vec<u8> {
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
        for (source, fate, message) in failures {
            frame.extend([1, *fate as u8, 0, 0]);
            frame.extend(source.to_le_bytes());
            frame.extend((message.len() as u32).to_le_bytes());
            frame.extend(message.as_bytes());
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

    fn output() -> impl Strategy<Value = Owned> {
        let extras = (
            proptest::option::of(".{0,6}"),
            proptest::option::of(headers()),
            any::<Option<i64>>(),
            any::<Option<i32>>(),
        );
        (any::<(u32, u32)>(), 0usize..6, field(), field(), extras).prop_map(
            |((source, target), operation, key, value, (suffix, headers, timestamp, partition))| Owned {
                source,
                target,
                suffix,
                operation: Operation::ALL[operation],
                key,
                value,
                headers,
                timestamp,
                partition,
            },
        )
    }

    fn failure() -> impl Strategy<Value = OwnedFailure> {
        let fates = prop_oneof![Just(Fate::Skip), Just(Fate::Reject), Just(Fate::Retry), Just(Fate::Fatal)];
        (any::<u32>(), fates, ".{0,9}")
    }

    proptest! {
        #[test]
        fn what_a_frame_says_is_what_is_read(
            outputs in proptest::collection::vec(output(), 0..8),
            failures in proptest::collection::vec(failure(), 0..4),
        ) {
            let reply = decode(encode(&outputs, &failures)).unwrap();
            prop_assert_eq!(owned(&reply), (outputs, failures));
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
