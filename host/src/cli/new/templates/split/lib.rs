//! {{name}}: a batch in one record becomes one record per item.

use std::borrow::Cow;

use wasmill_sdk::prelude::*;

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    sender: Cow<'a, str>,
    /// Each item as it stands there, unparsed.
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[transform(
    topics = ["{{fn}}_in"],
    kafka = ["{{fn}}_out"],
    examples = [r#"{"sender": "till-1", "items": [{"n": 1}, {"n": 2}]}"# => 2],
)]
pub fn {{fn}}(record: &Record, out: &mut Outputs) -> Result<()> {
    let batch: Batch = record.json()?;
    if batch.items.is_empty() {
        return skip("empty batch");
    }
    for (number, item) in batch.items.iter().enumerate() {
        out.kafka("{{fn}}_out").key(&batch.sender).header("item", number.to_string()).bytes(item.get())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn samples_come_out_as_expected() {
        wasmill_sdk::testing::check_samples::<super::{{fn}}>(env!("CARGO_MANIFEST_DIR"));
    }
}
