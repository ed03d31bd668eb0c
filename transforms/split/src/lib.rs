//! A JSON array becomes one record per element.
//!
//! `[…]`, or `{"items": […], …}`: each element goes out with its bytes as they stand there, keyed by its field `id` where it
//! has one and by the record's key where not. The header `part` says which of how many it is. Elements that are no objects
//! are refused together with their record: half of an array helps nobody.

use std::borrow::Cow;

use wasmill_sdk::prelude::*;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Element<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

#[transform(topics = ["arrays"], kafka = ["elements"], examples = [r#"[{"id": "a"}, {"id": "b"}]"# => 2, "[]" => 0])]
pub fn split(record: &Record, out: &mut Outputs) -> Result<()> {
    let is_array = record.text()?.trim_start().starts_with('[');
    let items = if is_array { record.json()? } else { record.json::<Envelope>()?.items };
    if items.is_empty() {
        return skip("empty array");
    }
    for (index, item) in items.iter().enumerate() {
        let element: Element = serde_json::from_str(item.get())?;
        let output =
            out.kafka("elements").headers(record.headers()).header("part", format!("{}/{}", index + 1, items.len()));
        match element.id {
            Some(id) => output.key(id).bytes(item.get())?,
            None => output.bytes(item.get())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::split;
    use wasmill_sdk::testing;

    #[test]
    fn samples_come_out_as_expected() {
        testing::check_samples::<split>(env!("CARGO_MANIFEST_DIR"));
    }

    #[test]
    fn elements_keep_their_bytes() {
        let ran = testing::run::<split>(testing::record().value(r#"[ {"b": 1.50,  "a": 2} ]"#));
        assert_eq!(ran.outputs[0].text(), r#"{"b": 1.50,  "a": 2}"#);
    }
}
