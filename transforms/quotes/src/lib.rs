//! Simpsons quotes: Postgres gets three columns, MongoDB the whole message as it came.
//!
//! A record with a key is metadata of the poller and is skipped, as is one that is not JSON; both are counted by
//! reason. JSON of another shape is a dead letter.

use std::borrow::Cow;

use wasmill_sdk::prelude::*;

#[derive(Deserialize)]
struct Quote<'a> {
    #[serde(borrow)]
    quote: Cow<'a, str>,
    #[serde(borrow)]
    character: Cow<'a, str>,
    #[serde(borrow)]
    image: Cow<'a, str>,
}

#[derive(Serialize, Table)]
#[table(name = "quotes", serial = "quote_id")]
struct QuoteRow<'a> {
    #[table(varchar = 500)]
    quotes: &'a str,
    #[table(varchar = 500)]
    charact: &'a str,
    #[table(varchar = 500)]
    imag: &'a str,
}

#[transform(
    topics = ["topic_quotes"],
    postgres = [QuoteRow],
    mongodb = ["simpson_db.quotes"],
    examples = [r#"{"quote": "D'oh!", "character": "Homer Simpson", "image": "https://example.org/homer.png"}"# => 2],
)]
pub fn quotes(record: &Record, out: &mut Outputs) -> Result<()> {
    if record.key().is_some() {
        return skip("has a key");
    }
    if !record.is_json() {
        return skip("not JSON");
    }
    let q: Quote = record.json()?;
    out.postgres(&QuoteRow { quotes: &q.quote, charact: &q.character, imag: &q.image })?;
    out.mongodb("simpson_db.quotes").json_bytes(record.value())
}

#[cfg(test)]
mod tests {
    use super::quotes;
    use wasmill_sdk::testing;

    #[test]
    fn samples_come_out_as_expected() {
        testing::check_samples::<quotes>(env!("CARGO_MANIFEST_DIR"));
    }

    #[test]
    fn mongodb_gets_the_message_byte_for_byte() {
        let message = "  {\"image\":\"i\", \"quote\":\"\\u00fc\",\"character\":\"c\",\"more\":1.50}\n";
        let ran = testing::run::<quotes>(testing::record().value(message));
        assert_eq!(ran.outputs[1].text(), message);
    }
}
