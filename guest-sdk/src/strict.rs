//! JSON where a struct is an object. serde would also read a struct from an array, field by field in order: then
//! `["a", "b", "c"]` would be a quote. Only the outermost value is watched; it is the one that decides what a record is.

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};
use serde_json::de::{Read, SliceRead, StrRead};

/// Decodes a whole text. The type is decided by the caller, the shape by the type.
pub(crate) fn from_slice<'a, T: serde::Deserialize<'a>>(text: &'a [u8]) -> serde_json::Result<T> {
    // Checked once as a whole: string by string takes a tenth of the time of a small record.
    match std::str::from_utf8(text) {
        Ok(text) => read(text.as_bytes(), StrRead::new(text)),
        // It is the parser that says where.
        Err(_) => read(text, SliceRead::new(text)),
    }
}

fn read<'a, T: serde::Deserialize<'a>, R: Read<'a>>(text: &'a [u8], source: R) -> serde_json::Result<T> {
    let array = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let mut json = serde_json::Deserializer::new(source);
    let value = T::deserialize(Strict { json: &mut json, array })?;
    json.end()?;
    Ok(value)
}

struct Strict<'j, R> {
    json: &'j mut serde_json::Deserializer<R>,
    /// Whether the text is an array.
    array: bool,
}

macro_rules! pass_on {
    ($($method:ident($($name:ident: $type:ty),*);)*) => { $(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, Self::Error> {
            self.json.$method($($name,)* visitor)
        }
    )* };
}

impl<'de, R: Read<'de>> Deserializer<'de> for Strict<'_, R> {
    type Error = serde_json::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if self.array {
            return Err(Self::Error::invalid_type(Unexpected::Seq, &"an object"));
        }
        self.json.deserialize_struct(name, fields, visitor)
    }

    pass_on! {
        deserialize_any(); deserialize_bool();
        deserialize_i8(); deserialize_i16(); deserialize_i32(); deserialize_i64(); deserialize_i128();
        deserialize_u8(); deserialize_u16(); deserialize_u32(); deserialize_u64(); deserialize_u128();
        deserialize_f32(); deserialize_f64(); deserialize_char(); deserialize_str(); deserialize_string();
        deserialize_bytes(); deserialize_byte_buf(); deserialize_option(); deserialize_unit();
        deserialize_unit_struct(name: &'static str); deserialize_newtype_struct(name: &'static str);
        deserialize_seq(); deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_map(); deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier(); deserialize_ignored_any();
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::from_slice;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Pair {
        a: u8,
        #[serde(default)]
        b: Option<Box<Pair>>,
    }

    #[test]
    fn a_struct_is_an_object_and_nothing_else() {
        assert_eq!(from_slice::<Pair>(b" {\"a\":1} ").unwrap(), Pair { a: 1, b: None });
        let error = from_slice::<Pair>(b" [1, null]").unwrap_err();
        assert_eq!(error.to_string(), "invalid type: sequence, expected an object");
        assert!(from_slice::<Pair>(b"{\"a\":1} x").is_err(), "trailing characters");
        assert!(from_slice::<Pair>(b"").is_err());
    }

    #[test]
    fn what_is_no_utf_8_is_named_by_place() {
        let error = from_slice::<Vec<&str>>(b"[\"a\", \"\xff\"]").unwrap_err();
        assert_eq!(error.to_string(), "invalid unicode code point at line 1 column 8");
        assert!(from_slice::<u8>(b"1 \xff").is_err());
        assert_eq!(from_slice::<Vec<&str>>("[\"\u{fc}\"]".as_bytes()).unwrap(), ["\u{fc}"]);
    }

    #[test]
    fn other_types_are_read_as_ever() {
        assert_eq!(from_slice::<Vec<u8>>(b"[1]").unwrap(), [1]);
        assert_eq!(from_slice::<(u8, u8)>(b"[1,2]").unwrap(), (1, 2));
        assert_eq!(from_slice::<Value>(b"[1]").unwrap(), serde_json::json!([1]));
        assert_eq!(from_slice::<&RawValue>(b"[ 1 ]").unwrap().get(), "[ 1 ]");
        assert_eq!(from_slice::<Option<Pair>>(b"null").unwrap(), None);
        assert_eq!(from_slice::<&str>(b"\"x\"").unwrap(), "x");
    }
}
