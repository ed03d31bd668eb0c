//! JSON with extended-JSON values into BSON, in one pass and in the order given. Integers become int32 or int64, what
//! is beyond int64 or has a fraction becomes a double: an exact number travels as `{"$numberDecimal": "…"}`.

use std::fmt;

use mongodb::bson::{Bson, doc};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::document::{Document, Flaw, MAX_DEPTH, Value, begin, end, flaw_in_name, kind, put_string, shown};

/// Where BSON is written to.
#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    depth: usize,
    /// Places of the names of the objects that are open, to find one that occurs twice.
    names: Vec<(usize, usize)>,
    /// The document's own `_id`.
    id: Option<Value>,
}

/// A JSON object as a document.
pub(super) fn document(bytes: &[u8]) -> Result<Document, Flaw> {
    // Said here, because the parser's own words would quote the value.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Flaw::decode("not a document: not a JSON object"));
    }
    // BSON is about as long as the JSON that it comes from.
    let (out, names) = (Vec::with_capacity(bytes.len() + 64), Vec::with_capacity(16));
    let mut writer = Writer { out, names, ..Writer::default() };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Object { writer: &mut writer }.deserialize(&mut deserializer);
    read.and_then(|()| deserializer.end()).map_err(flaw)?;
    Ok(Document { id: writer.id, fields: writer.out })
}

/// Any JSON value.
pub(super) fn value(bytes: &[u8]) -> Result<Value, Flaw> {
    // It will stand in a document, which is the first level.
    let mut writer = Writer { out: vec![0], depth: 1, ..Writer::default() };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Element { writer: &mut writer, kind_at: 0 }.deserialize(&mut deserializer);
    read.and_then(|()| deserializer.end()).map_err(flaw)?;
    let bytes = writer.out.split_off(1);
    Ok(Value { kind: writer.out[0], bytes })
}

fn flaw(error: serde_json::Error) -> Flaw {
    Flaw::decode(format!("not a document: {error}"))
}

impl Writer {
    fn nest<E: Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        match self.depth {
            0..=MAX_DEPTH => Ok(()),
            _ => Err(E::custom(format!("nested more than {MAX_DEPTH} levels deep"))),
        }
    }

    /// Checks the names of the object that ends here.
    fn close_names<E: Error>(&mut self, from: usize) -> Result<(), E> {
        let Writer { out, names, .. } = self;
        let text = |place: &(usize, usize)| &out[place.0..place.1];
        names[from..].sort_unstable_by(|a, b| text(a).cmp(text(b)));
        let twice = names[from..].windows(2).find(|pair| text(&pair[0]) == text(&pair[1]));
        if let Some(pair) = twice {
            let name = String::from_utf8_lossy(text(&pair[0]));
            return Err(E::custom(format!("field `{}` occurs twice", shown(&name))));
        }
        names.truncate(from);
        Ok(())
    }

    /// Writes the fields of an object whose first name has been read and written already.
    fn fields<'de, A: MapAccess<'de>>(&mut self, mut map: A, first: Option<usize>) -> Result<(), A::Error> {
        let from = self.names.len();
        let top = self.depth == 1;
        let mut next = first;
        while let Some(kind_at) = next {
            let name_at = kind_at + 1;
            let name_end = self.out.len() - 1;
            let name = &self.out[name_at..name_end];
            if let Some(flaw) = flaw_in_name(name) {
                let name = String::from_utf8_lossy(name);
                return Err(A::Error::custom(format!("the name of field `{}` {flaw}", shown(&name))));
            }
            let is_id = top && name == b"_id";
            map.next_value_seed(Element { writer: self, kind_at })?;
            if is_id {
                self.take_id(kind_at, name_end + 1)?;
            } else {
                self.names.push((name_at, name_end));
            }
            next = map.next_key_seed(Name { writer: self })?;
        }
        self.close_names(from)
    }

    /// Takes the element at `kind_at` out of the fields: it is the `_id`.
    fn take_id<E: Error>(&mut self, kind_at: usize, value_at: usize) -> Result<(), E> {
        let bytes = self.out.split_off(value_at);
        let kind = self.out[kind_at];
        self.out.truncate(kind_at);
        match self.id.replace(Value { kind, bytes }) {
            Some(_) => Err(E::custom("field `_id` occurs twice")),
            None => Ok(()),
        }
    }

    /// Writes an extended-JSON value such as `{"$oid": …}`, of which the first name has been read.
    fn extended<'de, A: MapAccess<'de>>(&mut self, first: String, map: A, kind_at: usize) -> Result<(), A::Error> {
        let shape = Extended { first: Some(first.clone()), map };
        let wrong = || A::Error::custom(format!("`{}` is not an extended-JSON value", shown(&first)));
        // The library's own words quote the value.
        let value = Bson::deserialize(MapAccessDeserializer::new(shape)).map_err(|_| wrong())?;
        if let Bson::Document(_) = value {
            return Err(wrong());
        }
        let wrapped = mongodb::bson::serialize_to_vec(&doc! { "": value }).map_err(|_| wrong())?;
        // Length, type, an empty name, the value, an end.
        self.out[kind_at] = wrapped[4];
        self.out.extend_from_slice(&wrapped[6..wrapped.len() - 1]);
        Ok(())
    }
}

/// The document itself: its fields without a frame.
struct Object<'w> {
    writer: &'w mut Writer,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.writer.nest()?;
        let first = map.next_key_seed(Name { writer: self.writer })?;
        self.writer.fields(map, first)
    }
}

/// A name: reserves the place of the type and writes the name behind it. Gives the place.
struct Name<'w> {
    writer: &'w mut Writer,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        let out = &mut self.writer.out;
        let at = out.len();
        out.push(0);
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        Ok(at)
    }
}

/// A value: writes its bytes and fills in the type at `kind_at`.
struct Element<'w> {
    writer: &'w mut Writer,
    kind_at: usize,
}

impl Element<'_> {
    fn write<E>(self, kind: u8, bytes: &[u8]) -> Result<(), E> {
        self.writer.out[self.kind_at] = kind;
        self.writer.out.extend_from_slice(bytes);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.write(kind::NULL, &[])
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.write(kind::BOOLEAN, &[u8::from(value)])
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match i32::try_from(value) {
            Ok(value) => self.write(kind::INT32, &value.to_le_bytes()),
            Err(_) => self.write(kind::INT64, &value.to_le_bytes()),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.write(kind::DOUBLE, &value.to_le_bytes())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.writer.out[self.kind_at] = kind::STRING;
        put_string(&mut self.writer.out, value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Element { writer, kind_at } = self;
        writer.nest()?;
        writer.out[kind_at] = kind::ARRAY;
        let at = begin(&mut writer.out);
        for index in 0usize.. {
            let kind_at = writer.out.len();
            writer.out.push(0);
            writer.out.extend_from_slice(index.to_string().as_bytes());
            writer.out.push(0);
            if seq.next_element_seed(Element { writer: &mut *writer, kind_at })?.is_none() {
                writer.out.truncate(kind_at);
                break;
            }
        }
        end(&mut writer.out, at);
        writer.depth -= 1;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Element { writer, kind_at } = self;
        writer.nest()?;
        let at = begin(&mut writer.out);
        let first = map.next_key_seed(Name { writer: &mut *writer })?;
        if let Some(name_at) = first
            && writer.out.get(name_at + 1) == Some(&b'$')
        {
            let name = writer.out[name_at + 1..writer.out.len() - 1].to_vec();
            let name = String::from_utf8(name).map_err(A::Error::custom)?;
            writer.out.truncate(at);
            writer.extended(name, map, kind_at)?;
        } else {
            writer.out[kind_at] = kind::DOCUMENT;
            writer.fields(map, first)?;
            end(&mut writer.out, at);
        }
        writer.depth -= 1;
        Ok(())
    }
}

/// An object whose first name has been read already.
struct Extended<A> {
    first: Option<String>,
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Extended<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(first) => seed.deserialize(serde::de::value::StringDeserializer::new(first)).map(Some),
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests;
