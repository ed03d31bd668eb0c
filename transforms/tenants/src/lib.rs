//! One topic per tenant.
//!
//! The header `tenant` decides, else the field `tenant` of the value; the record is passed on as it came to `tenant-NAME`. A
//! name that could not be part of a topic is refused: what one tenant writes there must never choose another one's topic. The
//! variable `allowed` (`acme,north_wind`) closes the list.

use std::borrow::Cow;

use wasmill_sdk::prelude::*;

/// Kafka takes 249 characters with the prefix.
const LONGEST: usize = 100;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    tenant: Option<Cow<'a, str>>,
}

#[transform(topics = ["events"], kafka = ["tenant-*"], examples = [r#"{"tenant": "acme"}"# => 1])]
pub fn tenants(record: &Record, out: &mut Outputs) -> Result<()> {
    let named = match record.headers().get("tenant").flatten() {
        Some(header) => Some(Cow::Borrowed(std::str::from_utf8(header)?)),
        None => record.json::<Event>()?.tenant,
    };
    let Some(tenant) = named else { return reject("neither a header nor a field names the tenant") };
    if !is_name(&tenant) {
        return reject("the tenant cannot be part of a topic's name");
    }
    if vars().get("allowed").is_some_and(|allowed| !allowed.split(',').any(|name| name.trim() == tenant)) {
        return reject("the tenant is not allowed");
    }
    out.kafka(&format!("tenant-{tenant}")).unchanged()
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !text.is_empty() && text.len() <= LONGEST && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::tenants;
    use wasmill_sdk::testing;

    #[test]
    fn samples_come_out_as_expected() {
        testing::check_samples::<tenants>(env!("CARGO_MANIFEST_DIR"));
    }

    #[test]
    fn no_name_is_too_long_for_a_topic() {
        let ran = testing::run::<tenants>(testing::record().header("tenant", "x".repeat(101)));
        assert!(ran.rejected().is_some());
    }
}
