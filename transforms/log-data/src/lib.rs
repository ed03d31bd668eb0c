//! Log lines as JSON into one table.
//!
//! `{"ts": …, "level": …, "service": …, "user_id"?: …, "message": …, …}` becomes a row of `log_data`; fields without a
//! column of their own go into `attributes`, as they came: numbers keep their digits. A missing `user_id` is NULL.
//! What is not such an object is a dead letter.

use std::collections::BTreeMap;

use wasmill_sdk::prelude::*;

#[derive(Serialize, Table)]
#[table(name = "log_data")]
struct LogRow<'a> {
    #[table(timestamptz)]
    ts: String,
    level: String,
    service: String,
    user_id: Option<String>,
    message: String,
    attributes: BTreeMap<String, &'a RawValue>,
}

#[transform(
    topics = ["log_data"],
    postgres = [LogRow],
    examples = [r#"{"ts": "2026-01-02T03:04:05Z", "level": "info", "service": "api", "message": "up", "port": 80}"# => 1],
)]
pub fn log_data(record: &Record, out: &mut Outputs) -> Result<()> {
    let mut fields: BTreeMap<String, &RawValue> = record.json()?;
    out.postgres(&LogRow {
        ts: required(&mut fields, "ts")?,
        level: required(&mut fields, "level")?,
        service: required(&mut fields, "service")?,
        user_id: take(&mut fields, "user_id")?,
        message: required(&mut fields, "message")?,
        attributes: fields,
    })
}

fn required(fields: &mut BTreeMap<String, &RawValue>, name: &str) -> Result<String> {
    take(fields, name)?.ok_or_else(|| Error::reject(format!("the field `{name}` is missing")))
}

/// Takes a text out of the fields; null is as good as missing.
fn take(fields: &mut BTreeMap<String, &RawValue>, name: &str) -> Result<Option<String>> {
    let Some(raw) = fields.remove(name) else { return Ok(None) };
    serde_json::from_str(raw.get()).map_err(|_| Error::reject(format!("the field `{name}` is not a text")))
}

#[cfg(test)]
mod tests {
    use super::log_data;
    use wasmill_sdk::testing;

    #[test]
    fn samples_come_out_as_expected() {
        testing::check_samples::<log_data>(env!("CARGO_MANIFEST_DIR"));
    }

    #[test]
    fn attributes_keep_every_digit() {
        let value =
            r#"{"ts":"t","level":"l","service":"s","message":"m","big":123456789012345678901234567890.10,"e":1e400}"#;
        let ran = testing::run::<log_data>(testing::record().value(value));
        assert!(ran.outputs[0].text().contains(r#""attributes":{"big":123456789012345678901234567890.10,"e":1e400}"#));
    }
}
