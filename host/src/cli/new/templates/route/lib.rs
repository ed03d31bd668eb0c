//! {{name}}: the topic depends on what is in the record.

use std::borrow::Cow;

use wasmill_sdk::prelude::*;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    region: Cow<'a, str>,
    #[serde(borrow)]
    tenant: Option<Cow<'a, str>>,
}

// What ends in * is completed by each output. A topic that is not declared here makes the record a dead letter.
#[transform(
    topics = ["{{fn}}_in"],
    kafka = ["{{fn}}_eu", "{{fn}}_world", "{{fn}}_tenant-*"],
    examples = [r#"{"region": "eu", "tenant": "acme"}"# => 2],
)]
pub fn {{fn}}(record: &Record, out: &mut Outputs) -> Result<()> {
    let event: Event = record.json()?;
    let topic = if event.region == "eu" { "{{fn}}_eu" } else { "{{fn}}_world" };
    out.kafka(topic).unchanged()?;
    match event.tenant {
        Some(tenant) if tenant.bytes().all(|b| b.is_ascii_alphanumeric()) && !tenant.is_empty() => {
            out.kafka(&format!("{{fn}}_tenant-{tenant}")).header("region", &event.region).unchanged()
        }
        Some(_) => reject("the tenant cannot be part of a topic's name"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn samples_come_out_as_expected() {
        wasmill_sdk::testing::check_samples::<super::{{fn}}>(env!("CARGO_MANIFEST_DIR"));
    }
}
