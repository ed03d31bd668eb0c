//! A change of a database becomes an upsert or a delete.
//!
//! Debezium's envelope `{"op": "c"|"u"|"r"|"d", "before": …, "after": …}`, with or without `{"schema": …, "payload": …}`
//! around it. Created, updated and snapshot rows are upserted, deleted ones deleted by their key. The tombstone that follows
//! a delete and truncations and messages of the log are skipped.

use std::borrow::Cow;

use wasmill_sdk::prelude::*;

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow)]
    before: Option<Customer<'a>>,
    #[serde(borrow)]
    after: Option<Customer<'a>>,
}

/// The row: here and there the same columns.
#[derive(Serialize, Deserialize, Table)]
#[table(name = "customers", key = "id")]
struct Customer<'a> {
    id: i64,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    email: Option<Cow<'a, str>>,
}

#[transform(
    topics = ["shop.public.customers"],
    postgres = [Customer],
    examples = [r#"{"op": "c", "before": null, "after": {"id": 1, "name": "Ada", "email": null}}"# => 1],
)]
pub fn debezium(record: &Record, out: &mut Outputs) -> Result<()> {
    if record.is_tombstone() {
        return skip("tombstone after a delete");
    }
    let change: Change = match record.json::<Wrapped>()?.payload {
        Some(payload) => serde_json::from_str(payload.get())?,
        None => record.json()?,
    };
    match (&*change.op, change.before, change.after) {
        ("c" | "u" | "r", before, Some(after)) => {
            // A row whose key has changed is another row.
            if let Some(before) = before.filter(|before| before.id != after.id) {
                out.postgres_at("customers").delete(&json!({ "id": before.id }))?;
            }
            out.postgres_at("customers").upsert(&after)
        }
        ("d", Some(before), _) => out.postgres_at("customers").delete(&json!({ "id": before.id })),
        ("d", None, _) => reject("a delete without `before`: set REPLICA IDENTITY FULL, or the key, at the source"),
        ("t" | "m", ..) => skip("no change of a row"),
        _ => reject("the operation is unknown or has no row"),
    }
}

#[cfg(test)]
mod tests {
    use super::debezium;
    use wasmill_sdk::testing;

    #[test]
    fn samples_come_out_as_expected() {
        testing::check_samples::<debezium>(env!("CARGO_MANIFEST_DIR"));
    }
}
