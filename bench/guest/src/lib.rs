//! The benchmark's transform. The variable `to` says where a quote goes: `row`, `latest` (an upsert), `document`,
//! `record`, several of them with `+` in between, or nowhere. The native program does the same.

use std::borrow::Cow;
use std::sync::OnceLock;

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
#[table(name = "bench_quotes", serial = "quote_id")]
struct Row<'a> {
    #[table(varchar = 500)]
    quotes: &'a str,
    #[table(varchar = 500)]
    charact: &'a str,
    #[table(varchar = 500)]
    imag: &'a str,
}

/// The last word on each image.
#[derive(Serialize, Table)]
#[table(name = "bench_latest", key = "imag")]
struct Latest<'a> {
    #[table(varchar = 500)]
    imag: &'a str,
    #[table(varchar = 500)]
    quotes: &'a str,
    #[table(varchar = 500)]
    charact: &'a str,
}

#[transform(topics = ["bench_in"], postgres = [Row, Latest], mongodb = ["bench.quotes"], kafka = ["benched-*"])]
pub fn bench(record: &Record, out: &mut Outputs) -> Result<()> {
    if record.key().is_some() {
        return skip("has a key");
    }
    let quote: Quote = match record.json() {
        Ok(quote) => quote,
        Err(_) => return skip("not a quote"),
    };
    let row = Row { quotes: &quote.quote, charact: &quote.character, imag: &quote.image };
    let to = ways();
    if to.row {
        out.postgres(&row)?;
    }
    if to.latest {
        let latest = Latest { imag: &quote.image, quotes: &quote.quote, charact: &quote.character };
        out.postgres_at("bench_latest").upsert(&latest)?;
    }
    if to.document {
        out.mongodb("bench.quotes").json_bytes(record.value())?;
    }
    if to.record {
        out.kafka(to.topic).json(&row)?;
    }
    if out.is_empty() { skip("nowhere to go") } else { Ok(()) }
}

/// Where quotes go.
struct Ways {
    row: bool,
    latest: bool,
    document: bool,
    record: bool,
    topic: &'static str,
}

/// Read once: searching a text four times per record is what the native program does not do either.
fn ways() -> &'static Ways {
    static WAYS: OnceLock<Ways> = OnceLock::new();
    WAYS.get_or_init(|| {
        let to = vars().get("to").unwrap_or_default();
        let goes = |way: &str| to.split('+').any(|word| word == way);
        let topic = vars().get("topic").unwrap_or("benched-out");
        Ways { row: goes("row"), latest: goes("latest"), document: goes("document"), record: goes("record"), topic }
    })
}

#[cfg(test)]
mod tests {
    use super::bench;
    use wasmill_sdk::testing;

    #[test]
    fn what_is_not_a_quote_goes_nowhere() {
        assert_eq!(testing::run::<bench>(testing::record().value("{")).outputs.len(), 0);
    }
}
