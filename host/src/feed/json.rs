//! JSON cut into records without being understood: elements are passed on byte for byte, so that numbers keep their
//! digits and fields their order.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::file::{Input, name};
use super::{Outlet, Record, Trouble, utf8};

/// The part of a JSON text that a pointer (`/data/items/0`) names.
pub fn select<'a>(json: &'a str, pointer: &str) -> Result<&'a RawValue, String> {
    let mut at: &RawValue = serde_json::from_str(json).map_err(|cause| format!("not JSON: {cause}"))?;
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(format!("`{pointer}` is no pointer: write it like /data/items"));
    }
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        at = child(at, &part).ok_or_else(|| format!("there is no `{part}` on the way to {pointer}{}", inside(at)))?;
    }
    Ok(at)
}

fn child<'a>(value: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    match value.get().as_bytes().first()? {
        b'{' => serde_json::from_str::<HashMap<String, &RawValue>>(value.get()).ok()?.remove(name),
        b'[' => serde_json::from_str::<Vec<&RawValue>>(value.get()).ok()?.get(name.parse::<usize>().ok()?).copied(),
        _ => None,
    }
}

/// What there is instead, for a message.
fn inside(value: &RawValue) -> String {
    let Ok(fields) = serde_json::from_str::<HashMap<String, &RawValue>>(value.get()) else { return String::new() };
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort();
    let names: Vec<String> = names.into_iter().take(10).map(|name| format!("`{name}`")).collect();
    format!("; there is {}", if names.is_empty() { "nothing".to_owned() } else { names.join(", ") })
}

/// The elements of an array, or the value itself.
pub fn elements(value: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(value.get()).unwrap_or_else(|_| vec![value])
}

/// The key in a field of a JSON record: a text without its quotes, everything else as it is written; none for null.
pub fn field(record: &[u8], field: &str) -> Option<Vec<u8>> {
    let text = utf8(record).ok()?;
    let found = match field.starts_with('/') {
        true => select(text, field).ok()?,
        false => child(serde_json::from_str(text).ok()?, field)?,
    };
    match found.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str::<String>(text).ok().map(String::into_bytes),
        other => Some(other.as_bytes().to_vec()),
    }
}

/// Reads a file of one or several arrays, or of values one after another, without holding more than one element.
pub(super) fn read(mut reader: Box<dyn BufRead + Send>, input: &Input, out: &Outlet) -> Result<(), Trouble> {
    let arrays = match first_byte(&mut reader).map_err(|cause| input.failed(&cause))? {
        None => return Ok(()),
        Some(byte) => byte == b'[',
    };
    // The comma before an element and the blanks around it count as well.
    let budget = Budget { left: Rc::new(Cell::new(0)), most: input.longest as u64 + 4096 };
    budget.renew();
    let bounded = Bounded { reader, left: budget.left.clone() };
    let mut taker = Taker { input, out, budget, number: 0, trouble: None };
    let result = match arrays {
        true => taker.arrays(bounded),
        false => taker.values(bounded),
    };
    match (taker.trouble, result) {
        (Some(trouble), _) => Err(trouble),
        (None, Ok(())) => Ok(()),
        (None, Err(cause)) => {
            let number = taker.number + 1;
            match cause.is_io() && cause.to_string().contains(TOO_LONG) {
                true => Err(input.too_long("element", number)),
                false => Err(Trouble::Data(format!("element {number} of {}: {cause}", name(&input.file)))),
            }
        }
    }
}

/// The first byte that is no blank, left where it is; also takes a byte order mark.
fn first_byte(reader: &mut dyn BufRead) -> io::Result<Option<u8>> {
    loop {
        let Some(&byte) = reader.fill_buf()?.first() else { return Ok(None) };
        if !byte.is_ascii_whitespace() && ![0xef, 0xbb, 0xbf].contains(&byte) {
            return Ok(Some(byte));
        }
        reader.consume(1);
    }
}

struct Taker<'a> {
    input: &'a Input,
    out: &'a Outlet,
    budget: Budget,
    number: u64,
    trouble: Option<Trouble>,
}

impl Taker<'_> {
    fn arrays(&mut self, reader: Bounded) -> serde_json::Result<()> {
        let mut json = Deserializer::from_reader(reader);
        loop {
            json.deserialize_seq(&mut *self)?;
            if json.end().is_ok() {
                return Ok(());
            }
        }
    }

    fn values(&mut self, reader: Bounded) -> serde_json::Result<()> {
        for value in Deserializer::from_reader(reader).into_iter::<Box<RawValue>>() {
            self.take(&value?).map_err(|()| serde_json::Error::custom("stopped"))?;
        }
        Ok(())
    }

    fn take(&mut self, value: &RawValue) -> Result<(), ()> {
        self.number += 1;
        self.budget.renew();
        let sent = match value.get().len() > self.input.longest {
            true => Err(self.input.too_long("element", self.number)),
            false if self.number <= self.input.after => Ok(()),
            false => {
                let value = value.get().as_bytes().to_vec();
                self.out.send(Record { value, number: self.number, ..Record::default() })
            }
        };
        sent.map_err(|trouble| self.trouble = Some(trouble))
    }
}

impl<'de> Visitor<'de> for &mut Taker<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an array, as what came before it")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(value) = elements.next_element::<Box<RawValue>>()? {
            self.take(&value).map_err(|()| A::Error::custom("stopped"))?;
        }
        Ok(())
    }
}

const TOO_LONG: &str = "longer than a record may be";

/// Bytes that may be read until the next element is there.
struct Budget {
    left: Rc<Cell<u64>>,
    most: u64,
}

impl Budget {
    fn renew(&self) {
        self.left.set(self.most);
    }
}

struct Bounded {
    reader: Box<dyn BufRead + Send>,
    left: Rc<Cell<u64>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        match self.left.get().checked_sub(read as u64) {
            Some(left) => self.left.set(left),
            None => return Err(io::Error::other(TOO_LONG)),
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::file::Format::Json;
    use crate::feed::file::testing::{read, values};

    #[test]
    fn elements_keep_every_byte_and_stand_alone_values_are_records() {
        let array = b" [ {\"a\": 1.50, \"b\":[1, 2]},\n 12345678901234567890.10 , \"x\\u00fc\",null]\n[[1]] ";
        let (records, result) = read(Json, array, 0);
        assert_eq!(result, Ok(()));
        let expected = ["{\"a\": 1.50, \"b\":[1, 2]}", "12345678901234567890.10", "\"x\\u00fc\"", "null", "[1]"];
        assert_eq!(values(&records), expected);
        assert_eq!(values(&read(Json, b"{\"a\":1}{\"b\":2}\n{\"c\":3}\n", 1).0), ["{\"b\":2}", "{\"c\":3}"]);
        assert_eq!(values(&read(Json, b"\n []", 0).0), [""; 0]);
        assert_eq!(values(&read(Json, b"", 0).0), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_number_and_what_came_before_is_fed() {
        for (text, number) in
            [("[1, 2, x]", "element 3"), ("[1, 2", "element 3"), ("{}\n{]", "element 2"), ("[1] 2", "element 2")]
        {
            let (records, result) = read(Json, text.as_bytes(), 0);
            assert!(matches!(&result, Err(Trouble::Data(words)) if words.contains(number)), "{text}: {result:?}");
            assert!(!records.is_empty(), "{text}");
        }
        let long = format!("[1, \"{}\", 3]", "x".repeat(99));
        let (records, result) = read(Json, long.as_bytes(), 0);
        assert!(
            matches!(&result, Err(Trouble::Data(words)) if words.contains("element 2 of x is longer")),
            "{result:?}"
        );
        assert_eq!(records.len(), 1);
        let endless = format!("[1, \"{}", "x".repeat(1 << 20));
        let (_, result) = read(Json, endless.as_bytes(), 0);
        assert!(
            matches!(&result, Err(Trouble::Data(words)) if words.contains("element 2 of x is longer")),
            "{result:?}"
        );
    }

    #[test]
    fn pointers_lead_to_parts_and_say_where_they_end() {
        let json = r#"{"data": {"it~e/ms": [{"id": 1.0}, 2]}, "n": null}"#;
        let select = |pointer| select(json, pointer).map(RawValue::get);
        assert_eq!(select("/data/it~0e~1ms/0/id"), Ok("1.0"));
        assert_eq!(select("").map(str::len), Ok(json.len()));
        assert_eq!(elements(super::select(json, "/data/it~0e~1ms").expect("there")).len(), 2);
        assert_eq!(select("/date").expect_err("none"), "there is no `date` on the way to /date; there is `data`, `n`");
        assert!(select("/n/x").expect_err("none").starts_with("there is no `x`"));
        assert!(select("data").expect_err("none").contains("/data/items"));
    }

    #[test]
    fn keys_are_texts_or_as_written() {
        let record = br#"{"id": "a\"b", "n": 12345678901234567890, "o": {"x": [true]}, "z": null}"#;
        let key = |name| field(record, name).map(|key| String::from_utf8(key).expect("text"));
        assert_eq!(key("id").as_deref(), Some("a\"b"));
        assert_eq!(key("n").as_deref(), Some("12345678901234567890"));
        assert_eq!(key("/o/x/0").as_deref(), Some("true"));
        assert_eq!((key("z"), key("missing"), field(b"no json", "id"), field(b"\xff", "id")), (None, None, None, None));
    }
}
