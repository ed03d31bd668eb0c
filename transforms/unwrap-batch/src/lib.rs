//! A batch in one record becomes one record per element.
//!
//! Senders that collect lines send `[…]` or `{"events": […]}`. This module splits them for the one that follows it in
//! the chain (`modules = ["unwrap-batch", "log-data"]`); each element keeps its bytes, and the record's key and headers.

use wasmill_sdk::prelude::*;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[transform(topics = ["log_batches"], next, examples = [r#"[{"n": 1}, {"n": 2}]"# => 2, r#"{"events": [1]}"# => 1])]
pub fn unwrap_batch(record: &Record, out: &mut Outputs) -> Result<()> {
    let events =
        if record.text()?.trim_start().starts_with('[') { record.json()? } else { record.json::<Envelope>()?.events };
    if events.is_empty() {
        return skip("empty batch");
    }
    events.iter().try_for_each(|event| out.next().bytes(event.get()))
}

#[cfg(test)]
mod tests {
    use super::unwrap_batch;
    use wasmill_sdk::testing;

    #[test]
    fn samples_come_out_as_expected() {
        testing::check_samples::<unwrap_batch>(env!("CARGO_MANIFEST_DIR"));
    }

    #[test]
    fn an_element_keeps_its_bytes() {
        let ran = testing::run::<unwrap_batch>(testing::record().value(r#"[{"b": 1.50,  "a":2}, "x"]"#));
        assert_eq!(ran.outputs[0].text(), r#"{"b": 1.50,  "a":2}"#);
        assert_eq!(ran.outputs[1].text(), r#""x""#);
    }
}
