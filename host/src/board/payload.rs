//! The beginning of a payload, as people can read it.

use serde::{Deserialize, Serialize};

/// A key or value, shortened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Its beginning: as text, or in hex where it is no UTF-8.
    pub text: String,
    /// Bytes of the whole.
    pub bytes: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub binary: bool,
    /// `text` is not the whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

impl Payload {
    /// At most `limit` bytes of it.
    pub fn of(bytes: &[u8], limit: usize) -> Self {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Some(&text[..text.floor_char_boundary(limit)]),
            Err(_) => None,
        };
        match text {
            Some(text) => {
                Payload { text: text.to_owned(), bytes: bytes.len(), binary: false, cut: text.len() < bytes.len() }
            }
            None => {
                let shown = &bytes[..bytes.len().min(limit / 2)];
                let text = shown.iter().map(|byte| format!("{byte:02x}")).collect();
                Payload { text, bytes: bytes.len(), binary: true, cut: shown.len() < bytes.len() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_bytes_are_told_in_hex() {
        let text = Payload::of("aüü".as_bytes(), 4);
        assert_eq!((text.text.as_str(), text.bytes, text.cut, text.binary), ("aü", 5, true, false));
        let binary = Payload::of(b"\xff\x00\x01", 4);
        assert_eq!((binary.text.as_str(), binary.bytes, binary.cut, binary.binary), ("ff00", 3, true, true));
        assert!(!Payload::of(b"", 4).cut);
    }
}
