//! Writing JSON, byte for byte as serde_json writes it. It looks at each byte of a string on its own, which takes a fifth
//! of the time of a small module; here eight are looked at together. What is no struct, list or text is left to serde_json,
//! and so is every error.

use std::fmt::{self, Display};

use serde::Serialize;
use serde::ser::{self, Impossible, SerializeSeq, SerializeStruct, Serializer};

/// Appends a value. After an error the end of the buffer is unspecified.
pub(crate) fn put<T: Serialize + ?Sized>(buffer: &mut Vec<u8>, value: &T) -> serde_json::Result<()> {
    let at = buffer.len();
    match value.serialize(Quick(buffer)) {
        Ok(()) => Ok(()),
        Err(Stop::Json(error)) => Err(error),
        Err(Stop::NotHere) => {
            buffer.truncate(at);
            serde_json::to_writer(buffer, value)
        }
    }
}

/// Writes what it knows how to write.
struct Quick<'b>(&'b mut Vec<u8>);

/// Members of an object or elements of a list.
struct Members<'b> {
    buffer: &'b mut Vec<u8>,
    first: bool,
    end: u8,
}

#[derive(Debug)]
enum Stop {
    /// For serde_json, from the value's beginning.
    NotHere,
    Json(serde_json::Error),
}

impl<'b> Members<'b> {
    fn open(buffer: &'b mut Vec<u8>, [start, end]: [u8; 2]) -> Self {
        buffer.push(start);
        Members { buffer, first: true, end }
    }

    fn next(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.buffer.push(b',');
        }
        self.buffer
    }

    fn close(self) -> Result<(), Stop> {
        self.buffer.push(self.end);
        Ok(())
    }
}

impl SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Stop> {
        let buffer = self.next();
        put_text(buffer, name);
        buffer.push(b':');
        put(buffer, value).map_err(Stop::Json)
    }

    fn end(self) -> Result<(), Stop> {
        self.close()
    }
}

impl SerializeSeq for Members<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        put(self.next(), value).map_err(Stop::Json)
    }

    fn end(self) -> Result<(), Stop> {
        self.close()
    }
}

macro_rules! leave {
    ($($method:ident($($type:ty),*) -> $made:ty;)*) => { $(
        fn $method(self, $(_: $type),*) -> Result<$made, Stop> {
            Err(Stop::NotHere)
        }
    )* };
}

type Nothing = Impossible<(), Stop>;

impl<'b> Serializer for Quick<'b> {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Members<'b>;
    type SerializeTuple = Nothing;
    type SerializeTupleStruct = Nothing;
    type SerializeTupleVariant = Nothing;
    type SerializeMap = Nothing;
    type SerializeStruct = Members<'b>;
    type SerializeStructVariant = Nothing;

    fn serialize_str(self, text: &str) -> Result<(), Stop> {
        put_text(self.0, text);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Stop> {
        if is_sign(name) { Err(Stop::NotHere) } else { value.serialize(self) }
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Members<'b>, Stop> {
        if is_sign(name) { Err(Stop::NotHere) } else { Ok(Members::open(self.0, *b"{}")) }
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'b>, Stop> {
        Ok(Members::open(self.0, *b"[]"))
    }

    leave! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> (); serialize_i16(i16) -> (); serialize_i32(i32) -> (); serialize_i64(i64) -> ();
        serialize_i128(i128) -> ();
        serialize_u8(u8) -> (); serialize_u16(u16) -> (); serialize_u32(u32) -> (); serialize_u64(u64) -> ();
        serialize_u128(u128) -> ();
        serialize_f32(f32) -> (); serialize_f64(f64) -> (); serialize_char(char) -> (); serialize_bytes(&[u8]) -> ();
        serialize_none() -> (); serialize_unit() -> (); serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_tuple(usize) -> Nothing; serialize_tuple_struct(&'static str, usize) -> Nothing;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Nothing;
        serialize_map(Option<usize>) -> Nothing;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Nothing;
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Stop> {
        Err(Stop::NotHere)
    }
}

/// Names that begin so are signs between a type and its serializer, such as that of serde_json's `RawValue`.
fn is_sign(name: &str) -> bool {
    name.starts_with('$')
}

impl ser::Error for Stop {
    fn custom<T: Display>(_: T) -> Self {
        Stop::NotHere
    }
}

impl ser::StdError for Stop {}

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

fn put_text(buffer: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    buffer.reserve(rest.len() + 2);
    buffer.push(b'"');
    while let Some(at) = first_escaped(rest) {
        buffer.extend_from_slice(&rest[..at]);
        put_escape(buffer, rest[at]);
        rest = &rest[at + 1..];
    }
    buffer.extend_from_slice(rest);
    buffer.push(b'"');
}

/// The first byte that cannot stand in a JSON string as it is.
fn first_escaped(text: &[u8]) -> Option<usize> {
    let (pairs, rest) = text.as_chunks::<16>();
    for (index, pair) in pairs.iter().enumerate() {
        let (low, high) = (escaped_of(word(pair, 0)), escaped_of(word(pair, 8)));
        if low | high != 0 {
            return Some(index * 16 + if low != 0 { place(low) } else { 8 + place(high) });
        }
    }
    first_of_few(rest).map(|at| pairs.len() * 16 + at)
}

/// The same for less than 16 bytes: two words, which may overlap, instead of a loop.
fn first_of_few(text: &[u8]) -> Option<usize> {
    let half = |at: usize| u64::from(u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]]));
    let (words, behind) = match text.len() {
        length @ 8.. => ([word(text, 0), word(text, length - 8)], length - 8),
        // Spaces fill the words up.
        length @ 4.. => ([half(0), half(length - 4)].map(|half| half | 0x2020_2020 << 32), length - 4),
        _ => return text.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')),
    };
    let [low, high] = words.map(escaped_of);
    if low | high == 0 {
        return None;
    }
    Some(if low != 0 { place(low) } else { behind + place(high) })
}

fn word(text: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&text[at..at + 8]);
    u64::from_le_bytes(bytes)
}

fn place(found: u64) -> usize {
    found.trailing_zeros() as usize / 8
}

/// The highest bit of each byte that has to be escaped; what lies above the lowest of them means nothing. After Alan Mycroft,
/// see "Bit Twiddling Hacks" (determine if a word has a zero byte).
fn escaped_of(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | equal(b'"') | equal(b'\\')) & (ONES << 7)
}

fn put_escape(buffer: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        8 => b'b',
        12 => b'f',
        _ => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            buffer.extend_from_slice(b"\\u00");
            buffer.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            return;
        }
    };
    buffer.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Serialize)]
    struct Everything<'a> {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<u8>,
        maybe: Option<String>,
        number: f64,
        small: i8,
        letter: char,
        list: Vec<Inner>,
        map: BTreeMap<String, u64>,
        raw: &'a RawValue,
        any: serde_json::Value,
        pair: (u8, String),
        kind: Kind,
        wrapped: Wrapped<'a>,
        more: More,
    }

    #[derive(Clone, Debug, Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Inner {
        the_name: String,
        set: bool,
    }

    #[derive(Debug, Serialize)]
    struct More {
        set: bool,
        #[serde(flatten)]
        more: Option<Flat>,
    }

    #[derive(Clone, Debug, Serialize)]
    struct Flat {
        flat: String,
    }

    #[derive(Debug, Serialize)]
    struct Wrapped<'a>(&'a str);

    #[derive(Clone, Debug, Serialize)]
    enum Kind {
        Unit,
        New(String),
        Struct { a: String },
        Tuple(u8, String),
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![".{0,40}", "[a-z\"\\\\\u{0}-\u{1f}]{0,24}", "[a-zäß€]{0,40}"]
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![
            Just(Kind::Unit),
            text().prop_map(Kind::New),
            text().prop_map(|a| Kind::Struct { a }),
            text().prop_map(|a| Kind::Tuple(1, a)),
        ]
    }

    fn inner() -> impl Strategy<Value = Inner> {
        (text(), any::<bool>()).prop_map(|(the_name, set)| Inner { the_name, set })
    }

    proptest! {
        #[test]
        fn it_is_what_serde_json_writes(
            (text, maybe, number, letter) in (text(), proptest::option::of(text()), any::<f64>(), any::<char>()),
            list in proptest::collection::vec(inner(), 0..3),
            map in proptest::collection::btree_map(text(), any::<u64>(), 0..3),
            (kind, flat) in (kind(), proptest::option::of(text())),
        ) {
            let raw = RawValue::from_string("{\"as\" : [\"it\", 1.50]}".into()).unwrap();
            let value = Everything {
                text: &text, left_out: None, maybe, number, small: -7, letter, list, map, raw: &raw,
                any: serde_json::json!({"n": [null, 1, "\n"]}), pair: (1, text.clone()), kind,
                wrapped: Wrapped(&text), more: More { set: true, more: flat.map(|flat| Flat { flat }) },
            };
            let mut made = b"before".to_vec();
            put(&mut made, &value).unwrap();
            prop_assert_eq!(String::from_utf8(made).unwrap(), format!("before{}", serde_json::to_string(&value).unwrap()));
        }

        #[test]
        fn a_byte_to_escape_is_found_wherever_it_stands(
            mut text in proptest::collection::vec(prop_oneof![0x20u8..0x22, 0x23u8..0x5c, 0x5du8..=0xff], 0..40),
            byte in prop_oneof![0u8..0x20, Just(b'"'), Just(b'\\')],
            at in any::<prop::sample::Index>(),
        ) {
            prop_assert_eq!(first_escaped(&text), None);
            let at = at.index(text.len() + 1);
            text.insert(at, byte);
            prop_assert_eq!(first_escaped(&text), Some(at));
        }
    }

    #[test]
    fn an_error_is_the_one_of_serde_json() {
        struct No;
        impl Serialize for No {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(ser::Error::custom("will not"))
            }
        }
        #[derive(Serialize)]
        struct Holds {
            list: Vec<No>,
        }
        for error in [put(&mut Vec::new(), &No), put(&mut Vec::new(), &Holds { list: vec![No] })] {
            assert_eq!(error.unwrap_err().to_string(), "will not");
        }
        let keys: BTreeMap<Vec<u8>, u8> = [(vec![1], 1)].into();
        assert_eq!(put(&mut Vec::new(), &keys).unwrap_err().to_string(), "key must be a string");
    }
}
