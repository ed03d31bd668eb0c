//! {{name}}: each order becomes a row.

use wasmill_sdk::prelude::*;

/// What comes in. Other fields are left aside; where one of these is missing, the record becomes a dead letter.
#[derive(Deserialize)]
struct Order {
    id: i64,
    customer: String,
    cents: i64,
}

/// What goes out: a table with one column per field, created where it is missing.
#[derive(Serialize, Table)]
#[table(name = "{{fn}}", key = "id")]
struct Row<'a> {
    id: i64,
    customer: &'a str,
    #[table(numeric)]
    total: String,
}

#[transform(
    topics = ["{{fn}}_in"],
    postgres = [Row],
    examples = [r#"{"id": 1, "customer": "Ada", "cents": 1250}"# => 1],
)]
pub fn {{fn}}(record: &Record, out: &mut Outputs) -> Result<()> {
    let order: Order = record.json()?;
    let total = format!("{}.{:02}", order.cents / 100, order.cents % 100);
    out.postgres(&Row { id: order.id, customer: order.customer.trim(), total })
}

#[cfg(test)]
mod tests {
    #[test]
    fn samples_come_out_as_expected() {
        wasmill_sdk::testing::check_samples::<super::{{fn}}>(env!("CARGO_MANIFEST_DIR"));
    }
}
