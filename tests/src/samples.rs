//! Seeded records: the same seed gives the same records on any machine.

use crate::kafka::Outgoing;

/// What a quote record is and therefore where it must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A row and a document.
    Quote,
    /// Filtered: `not JSON`.
    NotJson,
    /// Filtered: `has a key`.
    Keyed,
}

/// A small generator (splitmix64): good enough for samples and without a dependency.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }
}

/// A generated record.
#[derive(Clone, Debug)]
pub struct Sample {
    pub kind: Kind,
    pub record: Outgoing,
    /// The text in column `quotes`; unique in the run.
    pub quote: String,
}

const CHARACTERS: [&str; 6] =
    ["Homer Simpson", "Lisa Simpson", "Moe \"Szyslak\"", "Ned Flanders", "Barney Gümble", "Ralph 💡"];

/// `count` records for `topic`, spread over `partitions`: 2 % are not JSON, 2 % have a key.
pub fn quotes(topic: &str, partitions: i32, count: usize, seed: u64) -> Vec<Sample> {
    stream(topic, partitions, seed).take(count).collect()
}

/// The same records one by one, for those who want more than fit in memory.
pub fn stream(topic: &str, partitions: i32, seed: u64) -> impl Iterator<Item = Sample> + use<> {
    let (topic, mut random) = (topic.to_owned(), Random::new(seed));
    (0..).map(move |n| sample(&topic, partitions, n, &mut random))
}

/// The JSON of one quote.
pub fn quote_json(quote: &str, character: &str, image: &str) -> String {
    serde_json::json!({
        "quote": quote, "character": character, "image": image, "characterDirection": "Left",
    })
    .to_string()
}

fn sample(topic: &str, partitions: i32, n: usize, random: &mut Random) -> Sample {
    let quote = format!("quote {n}: {:016x}\u{2009}\"d'oh\"", random.draw());
    let character = CHARACTERS[random.below(CHARACTERS.len() as u64) as usize];
    let json = quote_json(&quote, character, &format!("https://images.example/{n}.png"));
    let partition = random.below(partitions as u64) as i32;
    let kind = match random.below(100) {
        0..2 => Kind::NotJson,
        2..4 => Kind::Keyed,
        _ => Kind::Quote,
    };
    let value = if kind == Kind::NotJson { format!("not JSON {n} {{") } else { json };
    let mut record = Outgoing::to(topic).partition(partition).value(value);
    if kind == Kind::Keyed {
        record = record.key("poller");
    }
    Sample { kind, record, quote }
}
