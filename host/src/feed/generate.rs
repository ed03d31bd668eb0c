//! Records that are made up: the same seed gives the same records, each depends only on the seed and its number. So a
//! feed goes on anywhere, and what arrived can be compared with what should have.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::share::Random;
use super::{About, Outlet, Record, Resume, Source, Trouble};

/// When the first record happened, in milliseconds since 1970: 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600_000;
/// Between two records.
const STEP: i64 = 250;

/// What records are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `{"quote", "character", "image", "characterDirection"}`, as the transform `quotes` reads
    Quotes,
    /// `{"ts", "level", "service", "user_id"?, "message", …}`, as `log-data` reads
    Logs,
    /// `{"id", "name", "email", "country", "created_at"}`, as `users` reads
    Users,
    /// `{"id", "customer", "region", "total", "tenant"?, "placed_at"}`, as `route` reads
    Orders,
}

/// What to make.
#[derive(Clone, Debug)]
pub struct Generator {
    pub kind: Kind,
    /// Number of the last record; `None`: it never ends.
    pub count: Option<u64>,
    /// Number of the last record that is left out.
    pub after: u64,
    pub seed: u64,
    /// Share of records with a key. Default: all users and orders, no quotes and logs.
    pub keys: Option<f64>,
    /// Share of records that a transform refuses or filters.
    pub bad: f64,
}

impl Source for Generator {
    fn about(&self) -> About {
        let kind = format!("{:?}", self.kind).to_lowercase();
        let endless = self.count.is_none();
        About { name: format!("{kind} of seed {}", self.seed), unit: "record", resume: Resume::Number, endless }
    }

    fn run(self: Box<Self>, out: &Outlet) -> Result<(), Trouble> {
        for number in self.after + 1..=self.count.unwrap_or(u64::MAX) {
            out.send(self.record(number))?;
        }
        Ok(())
    }
}

impl Generator {
    /// The record of this number.
    pub fn record(&self, number: u64) -> Record {
        let mut random = Random::of(self.seed, number);
        let (bad, keyed) = (random.hits(self.bad), random.hits(self.keys.unwrap_or_else(|| self.kind.keys())));
        let (key, value) = self.kind.good(number, &mut random);
        let value = if bad { spoilt(&value, number, &mut random) } else { value };
        Record { key: keyed.then(|| key.into_bytes()), value: value.into_bytes(), number, mark: None }
    }
}

impl Kind {
    /// Share of records with a key, where the user does not say it.
    fn keys(self) -> f64 {
        match self {
            Kind::Quotes | Kind::Logs => 0.0,
            Kind::Users | Kind::Orders => 1.0,
        }
    }

    fn good(self, number: u64, random: &mut Random) -> (String, String) {
        match self {
            Kind::Quotes => quote(random),
            Kind::Logs => log(number, random),
            Kind::Users => user(number, random),
            Kind::Orders => order(number, random),
        }
    }
}

const QUOTES: [(&str, &str); 12] = [
    ("D'oh!", "Homer Simpson"),
    ("Mmm… donuts.", "Homer Simpson"),
    ("Eat my shorts!", "Bart Simpson"),
    ("¡Ay, caramba!", "Bart Simpson"),
    ("Excellent.", "Mr. Burns"),
    ("Release the hounds.", "Mr. Burns"),
    ("Ha-ha!", "Nelson Muntz"),
    ("I'm learnding!", "Ralph Wiggum"),
    ("Worst. Episode. Ever.", "Comic Book Guy"),
    ("Okily-dokily!", "Ned Flanders"),
    ("Hi, everybody!", "Dr. Nick"),
    ("If anyone needs me, I'll be in my room.", "Lisa Simpson"),
];
const SERVICES: [&str; 5] = ["api", "billing", "search", "mail", "gateway"];
const LEVELS: [&str; 8] = ["debug", "info", "info", "info", "info", "info", "warn", "error"];
const NAMES: [&str; 12] =
    ["Ada", "Grace", "Barbara", "Edsger", "Tony", "Leslie", "Frances", "Ken", "Radia", "Niklaus", "Zoë", "José"];
const FAMILIES: [&str; 8] = ["Lovelace", "Hopper", "Liskov", "Dijkstra", "Hoare", "Lamport", "Allen", "Perlman"];
const COUNTRIES: [&str; 6] = ["DE", "FR", "US", "JP", "BR", "IN"];
const TENANTS: [&str; 4] = ["acme", "globex", "initech", "umbrella"];

fn quote(random: &mut Random) -> (String, String) {
    let (quote, character) = random.pick(&QUOTES);
    let name = character.to_lowercase().replace([' ', '.'], "");
    let value = json!({
        "quote": quote,
        "character": character,
        "image": format!("https://images.example/{name}.png"),
        "characterDirection": random.pick(&["Left", "Right"]),
    });
    (name, value.to_string())
}

fn log(number: u64, random: &mut Random) -> (String, String) {
    let service = random.pick(&SERVICES);
    let status = random.pick(&[200, 200, 200, 201, 304, 404, 500]);
    let mut value = json!({
        "ts": time(number),
        "level": random.pick(&LEVELS),
        "service": service,
        "message": format!("GET /items/{} answered {status}", random.below(10_000)),
        "seq": number,
        "status": status,
        "ms": random.below(50_000) as f64 / 100.0,
    });
    if random.hits(0.5) {
        value["user_id"] = Value::String(format!("u{}", random.below(1_000)));
    }
    (service.to_owned(), value.to_string())
}

fn user(number: u64, random: &mut Random) -> (String, String) {
    let (name, family) = (random.pick(&NAMES), random.pick(&FAMILIES));
    let value = json!({
        "id": number,
        "name": format!("{name} {family}"),
        "email": format!("{}.{number}@mail.example", family.to_lowercase()),
        "country": random.pick(&COUNTRIES),
        "created_at": time(number),
    });
    (number.to_string(), value.to_string())
}

fn order(number: u64, random: &mut Random) -> (String, String) {
    let id = format!("A-{number}");
    let mut value = json!({
        "id": id,
        "customer": format!("{} {}", random.pick(&NAMES), random.pick(&FAMILIES)),
        "region": random.pick(&["EU", "US"]),
        "total": (500 + random.below(200_000)) as f64 / 100.0,
        "placed_at": time(number),
    });
    if random.hits(0.3) {
        value["tenant"] = random.pick(&TENANTS).into();
    }
    (id, value.to_string())
}

/// What arrives when something is wrong before us.
fn spoilt(good: &str, number: u64, random: &mut Random) -> String {
    match random.below(3) {
        // Cut in the middle.
        0 => good.chars().take(good.chars().count() / 2).collect(),
        1 => format!("<html><body>503 Service Unavailable #{number}</body></html>"),
        _ => json!({ "error": "rate limit exceeded", "request": number }).to_string(),
    }
}

fn time(number: u64) -> String {
    let millis = i64::try_from(number).unwrap_or(i64::MAX).saturating_mul(STEP).saturating_add(BEGIN);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(kind: Kind) -> Generator {
        Generator { kind, count: Some(1_000), after: 0, seed: 7, keys: None, bad: 0.0 }
    }

    #[test]
    fn every_kind_has_its_fields_and_its_keys() {
        for (kind, fields, keyed) in [
            (Kind::Quotes, &["quote", "character", "image", "characterDirection"][..], false),
            (Kind::Logs, &["ts", "level", "service", "message", "seq"], false),
            (Kind::Users, &["id", "name", "email", "country", "created_at"], true),
            (Kind::Orders, &["id", "customer", "region", "total", "placed_at"], true),
        ] {
            for number in 1..=100 {
                let record = generator(kind).record(number);
                let value: Value = serde_json::from_slice(&record.value).expect("JSON");
                assert!(fields.iter().all(|field| !value[*field].is_null()), "{kind:?}: {value}");
                assert_eq!(record.key.is_some(), keyed);
            }
        }
    }

    #[test]
    fn a_record_depends_on_seed_and_number_alone() {
        let record = generator(Kind::Logs).record(42);
        assert_eq!(record, Generator { after: 41, count: None, ..generator(Kind::Logs) }.record(42));
        assert_ne!(record.value, Generator { seed: 8, ..generator(Kind::Logs) }.record(42).value);
        assert_ne!(record.value, generator(Kind::Logs).record(43).value);
    }

    #[test]
    fn shares_of_keys_and_of_bad_records_are_met() {
        let made: Vec<Record> = {
            let generator = Generator { keys: Some(0.25), bad: 0.1, ..generator(Kind::Users) };
            (1..=4_000).map(|number| generator.record(number)).collect()
        };
        let keyed = made.iter().filter(|record| record.key.is_some()).count();
        let good = |record: &&Record| {
            serde_json::from_slice::<Value>(&record.value).is_ok_and(|value| value["email"].is_string())
        };
        let bad = made.len() - made.iter().filter(good).count();
        assert!((900..1_100).contains(&keyed) && (340..460).contains(&bad), "{keyed} with a key, {bad} bad");
    }
}
