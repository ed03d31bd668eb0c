//! What tells who somebody is leaves before anybody else reads the record.
//!
//! Fields by these names, however deep: `email`, `name` and `phone` become a pseudonym (the same text the same one, so that
//! records can still be joined), `password`, `card` and `ssn` are removed. The variable `salt` makes pseudonyms that nobody
//! can look up in a table of known addresses; without it the flow stops rather than write some.

use sha2::Digest as _;
use wasmill_sdk::prelude::*;

const PSEUDONYM: [&str; 3] = ["email", "name", "phone"];
const REMOVED: [&str; 3] = ["password", "card", "ssn"];

#[transform(topics = ["customers"], kafka = ["customers_redacted"])]
pub fn redact(record: &Record, out: &mut Outputs) -> Result<()> {
    let Some(salt) = vars().get("salt") else { return fatal("the variable `salt` of the flow is not set") };
    if record.is_tombstone() {
        return out.kafka("customers_redacted").headers([]).tombstone();
    }
    let mut value: Value = record.json()?;
    clean(&mut value, salt);
    // Headers may tell as much as the value.
    out.kafka("customers_redacted").headers([]).json(&value)
}

fn clean(value: &mut Value, salt: &str) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !is(&REMOVED, name));
            fields.iter_mut().for_each(|(name, value)| match is(&PSEUDONYM, name) {
                true => hide(value, salt),
                false => clean(value, salt),
            });
        }
        Value::Array(items) => items.iter_mut().for_each(|item| clean(item, salt)),
        _ => {}
    }
}

/// What stands behind one of the names, a number or a list of texts as well.
fn hide(value: &mut Value, salt: &str) {
    match value {
        Value::String(text) => *text = pseudonym(text, salt),
        Value::Number(number) => *value = pseudonym(&number.to_string(), salt).into(),
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, salt)),
        other => clean(other, salt),
    }
}

fn is(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The first 16 digits of SHA-256 over salt and text.
fn pseudonym(text: &str, salt: &str) -> String {
    let mut hash = sha2::Sha256::new();
    hash.update(salt.as_bytes());
    hash.update([0]);
    hash.update(text.trim().to_lowercase().as_bytes());
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::redact;
    use wasmill_sdk::testing;

    #[test]
    fn samples_come_out_as_expected() {
        testing::check_samples::<redact>(env!("CARGO_MANIFEST_DIR"));
    }

    #[test]
    fn nothing_is_written_without_salt() {
        let ran = testing::run::<redact>(testing::record().value("{}"));
        assert!(ran.outputs.is_empty() && ran.failure.is_some());
    }
}
