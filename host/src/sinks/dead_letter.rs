//! What is left of a refused record or output: the original bytes and why. Written to a topic by the Kafka sink or as
//! a row by a SQL sink. A dead letter is never refused for its size: what does not fit is cut and says so.

use std::borrow::Cow;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::outcome::{Code, Headers};
use crate::record::{Header, decode_headers, put_header};

/// Names of the headers that tell about the refusal.
pub const HEADER_NAMES: [&str; 12] = [
    "wasmill-id",
    "wasmill-flow",
    "wasmill-topic",
    "wasmill-partition",
    "wasmill-offset",
    "wasmill-timestamp",
    "wasmill-stage",
    "wasmill-code",
    "wasmill-message",
    "wasmill-module",
    "wasmill-sink",
    "wasmill-target",
];

/// Marks a cut value: `length=<bytes>; sha256=<hex>` of the original.
pub const TRUNCATED: &str = "wasmill-truncated";
/// Marks a cut key, in the same form.
pub const KEY_TRUNCATED: &str = "wasmill-key-truncated";
/// The number of original headers that had to be left out.
pub const HEADERS_DROPPED: &str = "wasmill-headers-dropped";

/// How often the record has been redriven; absent where it has not.
pub const REDRIVEN: &str = "wasmill-redriven";

/// Bytes that the marks of a cut letter take at most.
const MARKS: usize = 400;
/// What a header takes beside its name and value: two lengths.
const PER_HEADER: usize = 10;

/// A dead letter before it is put into a record or a row.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Source id; for an output that a sink refused it ends in the output's path.
    pub id: String,
    pub flow: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970, -1 where there is none.
    pub timestamp: i64,
    /// `transform` or `sink`.
    pub stage: String,
    pub code: Code,
    /// At most 1 KiB, without secrets.
    pub message: String,
    pub module: String,
    /// The sink and target that refused; empty where the whole record is dead.
    pub sink: String,
    pub target: String,
    /// How often the record had been redriven when it was refused.
    pub redriven: u32,
    /// The original record, untouched.
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

/// A header of a dead letter: the original's are borrowed, ours are made.
pub type LetterHeader<'a> = (Cow<'a, str>, Option<Cow<'a, [u8]>>);

/// A dead letter as a record: within the limit it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterRecord<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// The original's headers first, ours after.
    pub headers: Vec<LetterHeader<'a>>,
}

impl DeadLetter {
    /// The record for a topic that takes `limit` bytes of key, value and headers. Original headers that have one of
    /// our names (the record came from a dead-letter topic) are replaced by ours.
    pub fn record(&self, limit: usize) -> LetterRecord<'_> {
        let ours = self.own_headers();
        let mut headers = self.original_headers();
        let (own_bytes, original_bytes) = (bytes_of(&ours), bytes_of(&headers));
        let (mut key, mut value) = (self.key.as_deref(), self.value.as_deref());
        let lengths =
            |key: Option<&[u8]>, value: Option<&[u8]>| key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let mut marks: Vec<(&'static str, String)> = Vec::new();
        if own_bytes + original_bytes + lengths(key, value) > limit {
            let mut room = limit.saturating_sub(own_bytes + MARKS);
            if original_bytes + lengths(key, None) > room {
                marks.push((HEADERS_DROPPED, headers.len().to_string()));
                headers.clear();
            } else {
                room -= original_bytes;
            }
            key = cut(key, room, KEY_TRUNCATED, &mut marks);
            value = cut(value, room - lengths(key, None), TRUNCATED, &mut marks);
        }
        headers.extend(ours);
        headers.extend(marks.into_iter().map(|(name, mark)| (name.into(), Some(mark.into_bytes().into()))));
        LetterRecord { key, value, headers }
    }

    fn own_headers(&self) -> Vec<LetterHeader<'_>> {
        let text = |text: &'_ str| -> Cow<'_, [u8]> { Cow::Owned(text.as_bytes().to_vec()) };
        let values: [Cow<'_, [u8]>; 12] = [
            text(&self.id),
            text(&self.flow),
            text(&self.topic),
            text(&self.partition.to_string()),
            text(&self.offset.to_string()),
            text(&self.timestamp.to_string()),
            text(&self.stage),
            text(self.code.as_str()),
            text(&self.message),
            text(&self.module),
            text(&self.sink),
            text(&self.target),
        ];
        let mut headers: Vec<LetterHeader<'_>> =
            HEADER_NAMES.iter().zip(values).map(|(name, value)| (Cow::Borrowed(*name), Some(value))).collect();
        if self.redriven > 0 {
            headers.push((Cow::Borrowed(REDRIVEN), Some(self.redriven.to_string().into_bytes().into())));
        }
        headers
    }

    fn original_headers(&self) -> Vec<LetterHeader<'_>> {
        let decoded = decode_headers(self.headers.count, &self.headers.encoded).unwrap_or_default();
        let kept = decoded.into_iter().filter(|(name, _)| !is_ours(name));
        kept.map(|(name, value)| (Cow::Borrowed(name), value.map(Cow::Borrowed))).collect()
    }
}

/// What the headers of a letter say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    pub id: Option<&'a str>,
    pub flow: Option<&'a str>,
    pub topic: Option<&'a str>,
    pub partition: Option<i32>,
    pub offset: Option<i64>,
    pub timestamp: Option<i64>,
    pub stage: Option<&'a str>,
    pub code: Option<&'a str>,
    pub message: Option<&'a str>,
    pub module: Option<&'a str>,
    pub sink: Option<&'a str>,
    pub target: Option<&'a str>,
    pub redriven: u32,
    /// Something of the original had to be left out.
    pub cut: bool,
}

impl<'a> Told<'a> {
    /// Reads the headers that are ours; of two with one name the last one counts.
    pub fn of(headers: &[Header<'a>]) -> Self {
        let mut told = Told::default();
        for (name, value) in headers {
            let text = value.and_then(|value| std::str::from_utf8(value).ok());
            match *name {
                "wasmill-id" => told.id = text,
                "wasmill-flow" => told.flow = text,
                "wasmill-topic" => told.topic = text,
                "wasmill-partition" => told.partition = text.and_then(|text| text.parse().ok()),
                "wasmill-offset" => told.offset = text.and_then(|text| text.parse().ok()),
                "wasmill-timestamp" => told.timestamp = text.and_then(|text| text.parse().ok()),
                "wasmill-stage" => told.stage = text,
                "wasmill-code" => told.code = text,
                "wasmill-message" => told.message = text,
                "wasmill-module" => told.module = text,
                "wasmill-sink" => told.sink = text,
                "wasmill-target" => told.target = text,
                REDRIVEN => told.redriven = text.and_then(|text| text.parse().ok()).unwrap_or(0),
                TRUNCATED | KEY_TRUNCATED | HEADERS_DROPPED => told.cut = true,
                _ => {}
            }
        }
        told
    }
}

impl DeadLetter {
    /// A letter as it was read from a topic; `None` where the record is none.
    pub fn parse(told: &Told<'_>, key: Option<Bytes>, value: Option<Bytes>, headers: &[Header<'_>]) -> Option<Self> {
        let mut encoded = Vec::new();
        let mut count = 0;
        for (name, value) in headers.iter().filter(|(name, _)| !is_ours(name)) {
            put_header(&mut encoded, name, *value);
            count += 1;
        }
        let text = |text: Option<&str>| text.map(str::to_owned);
        Some(DeadLetter {
            id: text(told.id)?,
            flow: text(told.flow)?,
            topic: text(told.topic)?,
            partition: told.partition?,
            offset: told.offset?,
            timestamp: told.timestamp?,
            stage: text(told.stage)?,
            code: Code::from_stored(text(told.code)?),
            message: text(told.message).unwrap_or_default(),
            module: text(told.module).unwrap_or_default(),
            sink: text(told.sink).unwrap_or_default(),
            target: text(told.target).unwrap_or_default(),
            redriven: told.redriven,
            key,
            value,
            headers: Headers { count, encoded: encoded.into() },
        })
    }
}

/// Whether a header tells about a refusal.
pub fn is_ours(name: &str) -> bool {
    HEADER_NAMES.contains(&name) || [TRUNCATED, KEY_TRUNCATED, HEADERS_DROPPED, REDRIVEN].contains(&name)
}

fn bytes_of(headers: &[LetterHeader<'_>]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, |v| v.len()) + PER_HEADER).sum()
}

/// Cuts a field to `room` bytes and notes what it was.
fn cut<'a>(
    field: Option<&'a [u8]>,
    room: usize,
    mark: &'static str,
    marks: &mut Vec<(&'static str, String)>,
) -> Option<&'a [u8]> {
    let whole = field?;
    if whole.len() <= room {
        return field;
    }
    let digest: String = Sha256::digest(whole).iter().map(|byte| format!("{byte:02x}")).collect();
    marks.push((mark, format!("length={}; sha256={digest}", whole.len())));
    Some(&whole[..room])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn letter(key: Option<Vec<u8>>, value: Option<Vec<u8>>, headers: &[(&str, Option<&[u8]>)]) -> DeadLetter {
        let mut encoded = Vec::new();
        headers.iter().for_each(|(name, value)| put_header(&mut encoded, name, *value));
        DeadLetter {
            id: "f/t/0/7".into(),
            flow: "f".into(),
            topic: "t".into(),
            partition: 0,
            offset: 7,
            timestamp: -1,
            stage: "transform".into(),
            code: Code::DECODE,
            message: "no".into(),
            module: "m".into(),
            sink: String::new(),
            target: String::new(),
            redriven: 0,
            key: key.map(Bytes::from),
            value: value.map(Bytes::from),
            headers: Headers { count: headers.len() as u32, encoded: encoded.into() },
        }
    }

    fn get<'a>(record: &'a LetterRecord<'_>, name: &str) -> Vec<&'a [u8]> {
        let named = record.headers.iter().filter(|(n, _)| n == name);
        named.filter_map(|(_, value)| value.as_deref()).collect()
    }

    #[test]
    fn every_header_is_there_and_the_original_is_untouched() {
        let letter = letter(Some(b"k".to_vec()), None, &[("a", None), ("a", Some(b""))]);
        let record = letter.record(1_000_000);
        assert_eq!((record.key, record.value), (Some(&b"k"[..]), None));
        assert_eq!(record.headers[0], ("a".into(), None));
        assert_eq!(record.headers[1], ("a".into(), Some(Cow::Borrowed(&b""[..]))));
        let names: Vec<&str> = record.headers[2..].iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, HEADER_NAMES);
        assert_eq!(get(&record, "wasmill-timestamp"), [b"-1"]);
        assert_eq!(get(&record, "wasmill-code"), [b"decode"]);
    }

    #[test]
    fn a_dead_letter_that_dies_again_tells_of_its_second_death() {
        let letter = letter(None, None, &[("wasmill-offset", Some(b"1")), ("wasmill-note", Some(b"x"))]);
        let record = letter.record(1_000_000);
        assert_eq!(get(&record, "wasmill-offset"), [b"7"]);
        assert_eq!(get(&record, "wasmill-note"), [b"x"]);
    }

    #[test]
    fn an_over_long_value_is_cut_and_marked() {
        let value = vec![b'x'; 5_000];
        let letter = letter(Some(b"k".to_vec()), Some(value.clone()), &[("a", Some(b"b"))]);
        let record = letter.record(2_000);
        let digest: String = Sha256::digest(&value).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(get(&record, TRUNCATED), [format!("length=5000; sha256={digest}").as_bytes()]);
        assert_eq!(get(&record, "a"), [b"b"]);
        assert!(record.value.is_some_and(|cut| cut.len() > 500 && value.starts_with(cut)));
    }

    proptest! {
        #[test]
        fn no_dead_letter_is_too_large(
            key in proptest::option::of(0usize..4_000),
            value in proptest::option::of(0usize..4_000),
            header in 0usize..4_000,
            limit in 1_000usize..6_000,
        ) {
            let header = vec![b'h'; header];
            let letter = letter(key.map(|n| vec![1; n]), value.map(|n| vec![2; n]), &[("h", Some(&header))]);
            let record = letter.record(limit);
            let fields = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            prop_assert!(bytes_of(&record.headers) + fields <= limit);
            prop_assert_eq!((record.key.is_some(), record.value.is_some()), (key.is_some(), value.is_some()));
            let cut = record.value.map(<[u8]>::len) != value;
            prop_assert_eq!(get(&record, TRUNCATED).len(), usize::from(cut));
        }
    }
}
