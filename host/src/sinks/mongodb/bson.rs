//! BSON as a module gave it: checked whole, since the server would refuse the command for one broken document, and
//! kept byte for byte.

use std::collections::HashSet;

use mongodb::bson::raw::{RawBsonRef, RawDocument};

use super::document::{Document, Flaw, MAX_DEPTH, Value, flaw_in_name, shown};

/// A document from bytes whose length is what they say.
pub(super) fn document(bytes: &[u8]) -> Result<Document, Flaw> {
    let raw = RawDocument::from_bytes(bytes).map_err(|error| Flaw::decode(format!("not BSON: {error}")))?;
    check(raw, 1)?;
    let mut document = Document::default();
    // Elements begin behind the length: type, name, NUL, value.
    let mut at = 4;
    for element in raw.iter_elements() {
        let element = element.map_err(broken)?;
        let value_at = at + 1 + element.key().len() + 1;
        let end = value_at + element.size();
        if element.key().as_str() == "_id" {
            document.id = Some(Value { kind: bytes[at], bytes: bytes[value_at..end].to_vec() });
        } else {
            document.fields.extend_from_slice(&bytes[at..end]);
        }
        at = end;
    }
    Ok(document)
}

fn check(document: &RawDocument, depth: usize) -> Result<(), Flaw> {
    if depth > MAX_DEPTH {
        return Err(Flaw::decode(format!("not a document: nested more than {MAX_DEPTH} levels deep")));
    }
    let mut names = HashSet::new();
    for element in document.iter_elements() {
        let element = element.map_err(broken)?;
        let name = element.key().as_str();
        if let Some(flaw) = flaw_in_name(name.as_bytes()) {
            return Err(Flaw::decode(format!("not a document: the name of field `{}` {flaw}", shown(name))));
        }
        if !names.insert(name) {
            return Err(Flaw::decode(format!("not a document: field `{}` occurs twice", shown(name))));
        }
        match element.value().map_err(broken)? {
            RawBsonRef::Document(inner) => check(inner, depth + 1)?,
            RawBsonRef::Array(inner) => check(RawDocument::from_bytes(inner.as_bytes()).map_err(broken)?, depth + 1)?,
            RawBsonRef::JavaScriptCodeWithScope(code) => check(code.scope, depth + 1)?,
            _ => {}
        }
    }
    Ok(())
}

fn broken(_: impl std::error::Error) -> Flaw {
    // The library's own words may quote what it read.
    Flaw::decode("not BSON: an element is broken")
}
