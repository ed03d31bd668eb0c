//! What one call came back with, whichever world the module is of: one buffer, and what refers to places in it. An output
//! is a few numbers until it is known to stay: nothing is allocated, counted or copied for it before.

use std::ops::Range;

use bytes::Bytes;

use super::contract::{Fate, Field, WitField, WitHeader, WitOutcome, WitOutput};
use crate::outcome::{Headers, Operation};
use crate::record::put_header;

/// The outcome of a call. Both lists ascend by source.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// What all places refer to.
    pub(super) bytes: Bytes,
    pub(super) outputs: Vec<Emitted>,
    pub(super) failures: Vec<Failure>,
}

/// Bytes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    from: u32,
    to: u32,
}

/// An output as the guest gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Emitted {
    pub(super) source: u32,
    pub(super) target: u32,
    /// UTF-8.
    pub(super) suffix: Option<Place>,
    pub(super) operation: Operation,
    pub(super) key: Given,
    pub(super) value: Given,
    /// Count and encoding, as in the frame.
    pub(super) headers: Option<(u32, Place)>,
    pub(super) timestamp: Option<i64>,
    pub(super) partition: Option<i32>,
}

/// Key or value of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// As in the input record.
    Unchanged,
    Null,
    Data(Place),
}

/// What a guest says of a record instead of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) source: u32,
    pub(super) fate: Fate,
    /// UTF-8.
    pub(super) message: Place,
}

impl Place {
    /// `None` beyond 4 GiB, which no guest's memory holds.
    pub(super) fn new(range: Range<usize>) -> Option<Self> {
        Some(Place { from: range.start.try_into().ok()?, to: range.end.try_into().ok()? })
    }

    pub(super) fn len(self) -> usize {
        (self.to - self.from) as usize
    }

    pub(super) fn range(self) -> Range<usize> {
        self.from as usize..self.to as usize
    }

    /// A text of these bytes.
    ///
    /// # Panics
    /// Where the place is none that was said to hold UTF-8.
    pub(super) fn text(self, bytes: &[u8]) -> &str {
        std::str::from_utf8(&bytes[self.range()]).expect("was checked when the reply was read")
    }
}

impl Given {
    pub(super) fn field(self, bytes: &Bytes) -> Field {
        match self {
            Given::Unchanged => Field::Unchanged,
            Given::Null => Field::Null,
            Given::Data(place) => Field::Data(bytes.slice(place.range())),
        }
    }

    fn len(self) -> usize {
        match self {
            Given::Data(place) => place.len(),
            Given::Unchanged | Given::Null => 0,
        }
    }
}

impl Emitted {
    /// Bytes that the guest gave, which is what the limits count.
    pub(super) fn bytes(&self) -> usize {
        let headers = self.headers.map_or(0, |(_, encoded)| encoded.len());
        self.key.len() + self.value.len() + headers + self.suffix.map_or(0, Place::len)
    }

    pub(super) fn suffix<'a>(&self, bytes: &'a [u8]) -> Option<&'a str> {
        self.suffix.map(|place| place.text(bytes))
    }

    pub(super) fn headers(&self, bytes: &Bytes) -> Option<Headers> {
        self.headers.map(|(count, encoded)| Headers { count, encoded: bytes.slice(encoded.range()) })
    }
}

impl TryFrom<WitOutcome> for Reply {
    type Error = String;

    /// Puts what came in pieces into one buffer.
    fn try_from(outcome: WitOutcome) -> Result<Self, String> {
        let mut gathered = Gathered::default();
        let outputs = outcome.outputs.into_iter().map(|output| gathered.output(output)).collect::<Option<_>>();
        let failures = outcome.failures.into_iter().map(|failure| {
            let message = gathered.put(failure.message.as_bytes())?;
            Some(Failure { source: failure.source, fate: failure.fate, message })
        });
        let failures = failures.collect::<Option<_>>();
        match (outputs, failures) {
            (Some(outputs), Some(failures)) => Ok(Reply { bytes: gathered.0.into(), outputs, failures }),
            _ => Err("it has more than 4 GiB".into()),
        }
    }
}

#[derive(Default)]
struct Gathered(Vec<u8>);

impl Gathered {
    fn output(&mut self, output: WitOutput) -> Option<Emitted> {
        let suffix = match output.suffix {
            Some(suffix) => Some(self.put(suffix.as_bytes())?),
            None => None,
        };
        let headers = match output.headers {
            Some(headers) => Some(self.headers(&headers)?),
            None => None,
        };
        Some(Emitted {
            source: output.source,
            target: output.target,
            suffix,
            operation: Operation::ALL[output.operation as usize],
            key: self.field(output.key)?,
            value: self.field(output.value)?,
            headers,
            timestamp: output.timestamp,
            partition: output.partition,
        })
    }

    fn field(&mut self, field: WitField) -> Option<Given> {
        Some(match field {
            WitField::Unchanged => Given::Unchanged,
            WitField::Null => Given::Null,
            WitField::Data(bytes) => Given::Data(self.put(&bytes)?),
        })
    }

    fn headers(&mut self, headers: &[WitHeader]) -> Option<(u32, Place)> {
        let from = self.0.len();
        headers.iter().for_each(|header| put_header(&mut self.0, &header.name, header.value.as_deref()));
        Some((headers.len() as u32, Place::new(from..self.0.len())?))
    }

    fn put(&mut self, bytes: &[u8]) -> Option<Place> {
        let from = self.0.len();
        self.0.extend_from_slice(bytes);
        Place::new(from..self.0.len())
    }
}
