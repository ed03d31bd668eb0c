//! {{name}}: the latest record of a key is the row, a tombstone deletes it.

use std::borrow::Cow;

use wasmill_sdk::prelude::*;

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    email: Option<String>,
}

#[derive(Serialize, Table)]
#[table(name = "{{fn}}", key = "id")]
struct Row<'a> {
    id: &'a str,
    name: &'a str,
    email: Option<String>,
}

#[transform(topics = ["{{fn}}_in"], postgres = [Row])]
pub fn {{fn}}(record: &Record, out: &mut Outputs) -> Result<()> {
    let Some(id) = record.key_text()? else { return reject("a change has no key") };
    let table = out.postgres_at("{{fn}}");
    if record.is_tombstone() {
        return table.delete(&json!({ "id": id }));
    }
    let change: Change = record.json()?;
    table.upsert(&Row { id, name: &change.name, email: change.email })
}

#[cfg(test)]
mod tests {
    #[test]
    fn samples_come_out_as_expected() {
        wasmill_sdk::testing::check_samples::<super::{{fn}}>(env!("CARGO_MANIFEST_DIR"));
    }
}
