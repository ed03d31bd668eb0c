//! How a dead letter's parts are stored in a table.

use crate::base64;
use crate::outcome::Headers;
use crate::record::{decode_headers, put_header};

/// A text without U+0000, which no text of PostgreSQL can hold: what is kept about a refusal must not be refused itself.
pub fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// `[["name","dmFsdWU="],["other",null]]`.
pub fn headers_json(headers: &Headers) -> String {
    let headers = decode_headers(headers.count, &headers.encoded).unwrap_or_default();
    let pairs: Vec<(String, Option<String>)> =
        headers.into_iter().map(|(name, value)| (storable(name), value.map(base64::encode))).collect();
    serde_json::to_string(&pairs).expect("pairs of texts are JSON")
}

/// As [`headers_json`] has written them; none where somebody else has changed them.
pub fn headers_of(json: &str) -> Headers {
    let pairs: Vec<(String, Option<String>)> = serde_json::from_str(json).unwrap_or_default();
    let mut encoded = Vec::new();
    for (name, value) in &pairs {
        let value = value.as_deref().and_then(base64::decode);
        put_header(&mut encoded, name, value.as_deref());
    }
    Headers { count: pairs.len() as u32, encoded: encoded.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_order_null_and_awkward_names() {
        let mut encoded = Vec::new();
        put_header(&mut encoded, "a\"\0", Some(b"foo"));
        put_header(&mut encoded, "b", None);
        put_header(&mut encoded, "b", Some(b""));
        let headers = Headers { count: 3, encoded: encoded.into() };
        assert_eq!(headers_json(&headers_of(&headers_json(&headers))), headers_json(&headers));
        assert_eq!(headers_json(&headers), "[[\"a\\\"\u{fffd}\",\"Zm9v\"],[\"b\",null],[\"b\",\"\"]]");
    }
}
