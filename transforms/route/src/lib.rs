//! One record to several topics, by what is in it.
//!
//! An order `{"id": …, "region": "EU"|"US", "total": …, "tenant"?: …}` goes to the topic of its region, to
//! `orders_large` from a total on (the variable `large`, 1000), and to a topic of its tenant, where it has one. The
//! value is passed on as it came; the key is the order's id.

use std::borrow::Cow;

use wasmill_sdk::prelude::*;

#[derive(Deserialize)]
struct Order<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    region: Cow<'a, str>,
    total: f64,
    #[serde(borrow)]
    tenant: Option<Cow<'a, str>>,
}

#[transform(
    topics = ["orders"],
    kafka = ["orders_eu", "orders_us", "orders_large", "orders_tenant-*"],
    examples = [r#"{"id": "A-1", "region": "EU", "total": 20, "tenant": "acme"}"# => 2],
)]
pub fn route(record: &Record, out: &mut Outputs) -> Result<()> {
    let order: Order = record.json()?;
    let region = match &*order.region {
        "EU" => "orders_eu",
        "US" => "orders_us",
        _ => return reject("the region is neither EU nor US"),
    };
    out.kafka(region).key(&order.id).unchanged()?;
    if order.total >= vars().parse("large")?.unwrap_or(1000.0) {
        out.kafka("orders_large").key(&order.id).header("region", &order.region).unchanged()?;
    }
    match order.tenant {
        Some(tenant) if is_name(&tenant) => out.kafka(&format!("orders_tenant-{tenant}")).key(&order.id).unchanged(),
        Some(_) => reject("the tenant cannot be part of a topic's name"),
        None => Ok(()),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::route;
    use wasmill_sdk::testing;

    #[test]
    fn samples_come_out_as_expected() {
        testing::check_samples::<route>(env!("CARGO_MANIFEST_DIR"));
    }

    #[test]
    fn what_is_large_is_configured() {
        testing::set_var("large", "10");
        let ran = testing::run::<route>(testing::record().value(r#"{"id":"A","region":"US","total":10}"#));
        let topics: Vec<_> = ran.outputs.iter().map(|output| output.name.as_str()).collect();
        assert_eq!(topics, ["orders_us", "orders_large"]);
    }
}
