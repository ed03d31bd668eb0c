//! From a JSON value, as it stands in a row, to the text that a column is given. Numbers keep their digits, strings are
//! unescaped, arrays become PostgreSQL's array literals. Nothing is interpreted beyond that: whether a text is a valid
//! date is the server's to say.

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::types::{Element, Kind};

/// Why a row cannot even be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not a row of this table.
    Decode(String),
    /// A member that is no column of the table as it was when it was last looked at.
    NoColumn(String),
    /// U+0000 or half a surrogate pair in a text: no text of the server can hold it. SQLSTATE 22021.
    Character,
    /// `\u0000` in a jsonb value. SQLSTATE 22P05.
    JsonCharacter,
}

/// Deepest nesting of an array literal that is written; PostgreSQL itself stops at six dimensions.
const DEEPEST: usize = 16;

/// Appends the column text of `raw`, one JSON value without white space around it. `false` stands for NULL: nothing is
/// appended. After an error the end of `out` is unspecified.
pub fn put(raw: &str, kind: Kind, out: &mut Vec<u8>) -> Result<bool, Fault> {
    if raw == "null" {
        return Ok(false);
    }
    match (kind, raw.as_bytes().first()) {
        (Kind::Json, _) => out.extend_from_slice(raw.as_bytes()),
        (Kind::Jsonb, _) => put_jsonb(raw, out)?,
        (_, Some(b'"')) => put_string(raw, out)?,
        (Kind::Array(element), Some(b'[')) => put_array(raw, element, 1, out)?,
        (Kind::Bytea | Kind::Blob, Some(b'[')) => put_bytes(raw, out)?,
        _ => out.extend_from_slice(raw.as_bytes()),
    }
    Ok(true)
}

/// The text of a JSON string in its quotes.
fn put_string(raw: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut rest = &raw[1..raw.len() - 1];
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = put_escape(&rest[at + 1..], out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(())
}

/// One escape, of which the backslash is gone; returns what follows it.
fn put_escape<'a>(rest: &'a str, out: &mut Vec<u8>) -> Result<&'a str, Fault> {
    let plain = match rest.as_bytes().first() {
        Some(b'n') => b'\n',
        Some(b't') => b'\t',
        Some(b'r') => b'\r',
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'u') => return put_unicode(&rest[1..], out),
        Some(&other) => other,
        None => return Err(Fault::Decode("the row ends inside an escape".into())),
    };
    out.push(plain);
    Ok(&rest[1..])
}

fn put_unicode<'a>(rest: &'a str, out: &mut Vec<u8>) -> Result<&'a str, Fault> {
    let (first, mut rest) = hex4(rest)?;
    let mut code = first;
    if (0xD800..0xDC00).contains(&first) {
        let (second, after) = rest.strip_prefix("\\u").ok_or(Fault::Character).and_then(hex4)?;
        if !(0xDC00..0xE000).contains(&second) {
            return Err(Fault::Character);
        }
        (code, rest) = (0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00), after);
    }
    // NUL is a character of JSON but of no text in the server; char::from_u32 refuses the lone second half.
    let character = char::from_u32(code).filter(|c| *c != '\0').ok_or(Fault::Character)?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(rest)
}

fn hex4(rest: &str) -> Result<(u32, &str), Fault> {
    let fault = || Fault::Decode("an escape needs four hexadecimal digits".into());
    let digits = rest.get(..4).ok_or_else(fault)?;
    Ok((u32::from_str_radix(digits, 16).map_err(|_| fault())?, &rest[4..]))
}

fn put_jsonb(raw: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    for (at, _) in raw.match_indices("\\u0000") {
        let before = raw.as_bytes()[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        if before % 2 == 0 {
            return Err(Fault::JsonCharacter);
        }
    }
    out.extend_from_slice(raw.as_bytes());
    Ok(())
}

/// `[222, 173]` as `\xdead`.
fn put_bytes(raw: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    let bytes: Vec<u8> = serde_json::from_str(raw).map_err(|_| {
        Fault::Decode("a bytea column needs a string like \\xdead or an array of numbers below 256".into())
    })?;
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).map_or(b'0', |c| c as u8);
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    Ok(())
}

fn put_array(raw: &str, element: Element, depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    if depth > DEEPEST {
        return Err(Fault::Decode("an array is nested too deeply".into()));
    }
    let mut fault = None;
    let elements = Elements { element, depth, out, fault: &mut fault };
    let read = elements.deserialize(&mut serde_json::Deserializer::from_str(raw));
    match (fault, read) {
        (Some(fault), _) => Err(fault),
        (None, Err(e)) => Err(Fault::Decode(format!("an array is not valid JSON: {e}"))),
        (None, Ok(())) => Ok(()),
    }
}

/// Writes an array literal while it is read.
struct Elements<'a> {
    element: Element,
    depth: usize,
    out: &'a mut Vec<u8>,
    fault: &'a mut Option<Fault>,
}

impl Elements<'_> {
    fn put(&mut self, raw: &str) -> Result<(), Fault> {
        match (self.element, raw.as_bytes().first()) {
            _ if raw == "null" => self.out.extend_from_slice(b"NULL"),
            // An array in a jsonb[] is an element: its dimensions cannot be told from the value's own brackets.
            (Element::Plain, Some(b'[')) => put_array(raw, self.element, self.depth + 1, self.out)?,
            (Element::Plain, Some(b'"')) => {
                let mut text = Vec::with_capacity(raw.len());
                put_string(raw, &mut text)?;
                put_quoted(&text, self.out);
            }
            (Element::Plain, Some(b'{')) | (Element::Json, _) => put_quoted(raw.as_bytes(), self.out),
            (Element::Jsonb, _) => {
                let mut text = Vec::with_capacity(raw.len());
                put_jsonb(raw, &mut text)?;
                put_quoted(&text, self.out);
            }
            _ => self.out.extend_from_slice(raw.as_bytes()),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<(), A::Error> {
        self.out.push(b'{');
        let mut first = true;
        while let Some(raw) = array.next_element::<&RawValue>()? {
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            if let Err(fault) = self.put(raw.get()) {
                *self.fault = Some(fault);
                return Err(serde::de::Error::custom("refused"));
            }
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// An element in quotes, as array literals escape it.
fn put_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &str, kind: Kind) -> Result<Option<String>, Fault> {
        let mut out = Vec::new();
        let some = put(raw, kind, &mut out)?;
        Ok(some.then(|| String::from_utf8(out).expect("valid UTF-8")))
    }

    fn some(text: &str) -> Result<Option<String>, Fault> {
        Ok(Some(text.to_owned()))
    }

    /// Reads a one-dimensional array literal of quoted elements.
    fn read_literal(literal: &str) -> Vec<String> {
        let mut elements = Vec::new();
        let mut inside: Option<String> = None;
        let mut characters = literal[1..literal.len() - 1].chars();
        while let Some(c) = characters.next() {
            match (&mut inside, c) {
                (Some(element), '\\') => element.push(characters.next().expect("something is escaped")),
                (Some(_), '"') => elements.extend(inside.take()),
                (Some(element), c) => element.push(c),
                (None, '"') => inside = Some(String::new()),
                (None, c) => assert_eq!(c, ','),
            }
        }
        elements
    }

    #[test]
    fn null_empty_and_text_are_three_things() {
        assert_eq!(text("null", Kind::Plain), Ok(None));
        assert_eq!(text("null", Kind::Jsonb), Ok(None));
        assert_eq!(text("\"\"", Kind::Plain), some(""));
        assert_eq!(text("\"null\"", Kind::Plain), some("null"));
        assert_eq!(text("[null,\"null\",\"\"]", Kind::Array(Element::Plain)), some("{NULL,\"null\",\"\"}"));
    }

    #[test]
    fn numbers_keep_their_digits() {
        for number in ["-9223372036854775808", "1e400", "0.10", "12345678901234567890123456789012345678.90"] {
            assert_eq!(text(number, Kind::Plain), some(number));
        }
    }

    #[test]
    fn json_stays_as_it_is_where_the_column_takes_it() {
        assert_eq!(text("\"a\\n\"", Kind::Jsonb), some("\"a\\n\""));
        assert_eq!(text("{\"a\":[1, 2]}", Kind::Plain), some("{\"a\":[1, 2]}"));
        assert_eq!(text("[{\"a\":\"b\"}]", Kind::Array(Element::Jsonb)), some("{\"{\\\"a\\\":\\\"b\\\"}\"}"));
        assert_eq!(text("[[1,2],[3,4]]", Kind::Array(Element::Plain)), some("{{1,2},{3,4}}"));
        assert_eq!(text("[]", Kind::Array(Element::Plain)), some("{}"));
    }

    #[test]
    fn bytes_are_text_in_hex_or_numbers() {
        assert_eq!(text("\"\\\\xdead\"", Kind::Bytea), some("\\xdead"));
        assert_eq!(text("[222,173,0]", Kind::Bytea), some("\\xdead00"));
        assert!(matches!(text("[256]", Kind::Bytea), Err(Fault::Decode(_))));
    }

    #[test]
    fn characters_that_no_text_can_hold_are_told_apart() {
        for raw in ["\"\\u0000\"", "\"a\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\""] {
            assert_eq!(text(raw, Kind::Plain), Err(Fault::Character), "{raw}");
        }
        assert_eq!(text("[\"\\u0000\"]", Kind::Array(Element::Plain)), Err(Fault::Character));
        assert_eq!(text("{\"a\":\"\\u0000\"}", Kind::Jsonb), Err(Fault::JsonCharacter));
        assert_eq!(text("\"\\\\u0000\"", Kind::Jsonb), some("\"\\\\u0000\""));
        assert_eq!(text("\"\\ud83d\\ude00\"", Kind::Plain), some("😀"));
    }

    proptest! {
        #[test]
        fn any_text_comes_out_of_its_json(original in "\\PC*|[\\x01-\\x7f\"\\\\]*") {
            let escaped = serde_json::to_string(&original).expect("a string is JSON");
            prop_assert_eq!(text(&escaped, Kind::Plain), some(&original));
            let ascii: String = original.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            prop_assert_eq!(text(&format!("\"{ascii}\""), Kind::Plain), some(&original));
        }

        #[test]
        fn any_texts_come_out_of_their_array(originals in proptest::collection::vec("[\\x01-\\x7fé{},\"\\\\]{0,8}", 0..6)) {
            let json = serde_json::to_string(&originals).expect("strings are JSON");
            let literal = text(&json, Kind::Array(Element::Plain)).expect("fits").expect("is not null");
            prop_assert_eq!(read_literal(&literal), originals);
        }

        #[test]
        fn arbitrary_escapes_never_panic(inner in "(\\\\u[0-9a-f]{4}|\\\\[bfnrt\"\\\\/]|[a-zé]){0,8}") {
            let raw = format!("\"{inner}\"");
            let expected = serde_json::from_str::<String>(&raw).ok().filter(|text| !text.contains('\0'));
            prop_assert_eq!(text(&raw, Kind::Plain).ok().flatten(), expected);
        }
    }
}
