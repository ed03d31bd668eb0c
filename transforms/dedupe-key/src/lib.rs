//! The latest record of a key is the row.
//!
//! A compacted topic as a table: each record replaces the row of its key, a tombstone (NULL value) deletes it. Repeated and
//! repeated again, the table is the same. The value is kept as it came; where it came from is told beside it.

use wasmill_sdk::prelude::*;

#[derive(Serialize, Table)]
#[table(name = "latest", key = "key")]
struct Latest<'a> {
    key: &'a str,
    #[table(jsonb)]
    value: &'a RawValue,
    #[table(bigint)]
    record_offset: i64,
    record_partition: i32,
}

#[transform(topics = ["states"], postgres = [Latest])]
pub fn dedupe_key(record: &Record, out: &mut Outputs) -> Result<()> {
    let Some(key) = record.key_text()? else { return reject("a record without a key has no row") };
    if record.is_tombstone() {
        return out.postgres_at("latest").delete(&json!({ "key": key }));
    }
    let value: &RawValue = record.json()?;
    let (record_offset, record_partition) = (record.offset(), record.partition());
    out.postgres_at("latest").upsert(&Latest { key, value, record_offset, record_partition })
}

#[cfg(test)]
mod tests {
    use super::dedupe_key;
    use wasmill_sdk::testing;

    #[test]
    fn samples_come_out_as_expected() {
        testing::check_samples::<dedupe_key>(env!("CARGO_MANIFEST_DIR"));
    }
}
