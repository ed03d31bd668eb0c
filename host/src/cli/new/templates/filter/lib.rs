//! {{name}}: only what is worth a second look is passed on.

use std::borrow::Cow;

use wasmill_sdk::prelude::*;

/// What is looked at. Borrowed fields copy nothing out of the record.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    level: Cow<'a, str>,
}

#[transform(topics = ["{{fn}}_in"], kafka = ["{{fn}}_out"], examples = [r#"{"level": "error"}"# => 1])]
pub fn {{fn}}(record: &Record, out: &mut Outputs) -> Result<()> {
    // Skipped records are counted by reason. Keep the reasons few: each is a label of a metric.
    if !record.is_json() {
        return skip("not JSON");
    }
    let line: Line = record.json()?;
    // `vars = { level = "…" }` at the flow in wasmill.toml.
    let wanted = vars().get("level").unwrap_or("error");
    if line.level != wanted {
        return skip("another level");
    }
    out.kafka("{{fn}}_out").unchanged()
}

#[cfg(test)]
mod tests {
    #[test]
    fn samples_come_out_as_expected() {
        wasmill_sdk::testing::check_samples::<super::{{fn}}>(env!("CARGO_MANIFEST_DIR"));
    }
}
