//! Registry-framed Avro becomes rows.
//!
//! A value is a zero byte, the schema's id (four bytes, the highest first) and the record in Avro's binary form. The schema
//! is compiled in, `payment.avsc`: a module has no network to ask a registry. Its id in your registry is the variable
//! `schema_id`, 7 without it; any other id is refused, because its records cannot be read with this schema.

use std::sync::LazyLock;

use serde_avro_fast::Schema;
use wasmill_sdk::prelude::*;

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| include_str!("payment.avsc").parse().expect("the schema was tested when it was compiled in"));

#[derive(Deserialize, Serialize, Table)]
#[table(name = "payments", key = "id")]
struct Payment {
    id: String,
    cents: i64,
    #[table(varchar = 3)]
    currency: String,
    memo: Option<String>,
    tags: Vec<String>,
}

#[transform(topics = ["payments_avro"], postgres = [Payment])]
pub fn avro(record: &Record, out: &mut Outputs) -> Result<()> {
    let mut rest = match record.value() {
        None => return skip("tombstone"),
        Some([0, a, b, c, d, rest @ ..]) => {
            let (id, known) = (u32::from_be_bytes([*a, *b, *c, *d]), vars().parse("schema_id")?.unwrap_or(7));
            if id != known {
                return reject(format!("the schema id is {id}, this module was made for {known}"));
            }
            rest
        }
        Some([0, ..]) => return reject("shorter than a schema id"),
        Some(_) => return reject("not framed by a registry: the first byte is not 0"),
    };
    let payment: Payment = serde_avro_fast::from_datum_reader(&mut rest, &SCHEMA)?;
    if !rest.is_empty() {
        return reject(format!("{} bytes behind the record: it was written with another schema", rest.len()));
    }
    out.postgres_at("payments").ignore(&payment)
}

#[cfg(test)]
mod tests {
    use super::avro;
    use wasmill_sdk::testing;

    #[test]
    fn records_of_another_client_come_out_as_expected() {
        testing::check_samples::<avro>(env!("CARGO_MANIFEST_DIR"));
    }
}
