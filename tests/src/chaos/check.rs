//! The checker: compares what was produced with what topics and databases hold. It asks no host.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::load::{Kind, Sent};
use crate::kafka::Incoming;
use crate::{Case, kafka, mongo};

/// One flow and its places.
pub(super) struct Flow {
    pub(super) name: String,
    pub(super) output: Option<String>,
    pub(super) letters: String,
    /// Whether dead letters may repeat under the same id, as they may without transactions.
    pub(super) repeats: bool,
}

/// What is wrong, counted; with a few examples.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) lost: usize,
    pub(super) doubled: usize,
    pub(super) disordered: usize,
    pub(super) foreign: usize,
    pub(super) letters: usize,
    pub(super) letters_expected: usize,
    pub(super) examples: Vec<String>,
}

impl Verdict {
    pub(super) fn is_good(&self) -> bool {
        self.lost + self.doubled + self.disordered + self.foreign == 0 && self.letters == self.letters_expected
    }

    fn tell(&mut self, words: String) {
        if self.examples.len() < 20 {
            self.examples.push(words);
        }
    }

    /// `found` are ids in the order in which the destination has them.
    fn compare(&mut self, place: &str, sent: &[Sent], found: &[usize], belongs: impl Fn(Kind) -> bool) {
        let mut counts = vec![0u32; sent.len()];
        let mut last: HashMap<u64, i64> = HashMap::new();
        for id in found {
            let Some(record) = sent.get(*id).filter(|record| belongs(record.kind)) else {
                self.foreign += 1;
                self.tell(format!("{place}: {id} does not belong there"));
                continue;
            };
            counts[*id] += 1;
            let before = last.insert(record.key, record.seq);
            // What comes a second time is doubled, not out of order.
            if counts[*id] == 1 && before.is_some_and(|before| before > record.seq) {
                self.disordered += 1;
                self.tell(format!("{place}: {id} of key {} came after a later one", record.key));
            }
        }
        for (id, (count, record)) in counts.iter().zip(sent).enumerate() {
            if *count == 0 && belongs(record.kind) {
                self.lost += 1;
                self.tell(format!("{place}: {id} {record:?} is lost"));
            }
            if *count > 1 {
                self.doubled += *count as usize - 1;
                self.tell(format!("{place}: {id} {record:?} is there {count} times"));
            }
        }
    }
}

pub(super) fn check(case: &Case, flows: &[Flow], sent: &[Sent]) -> Verdict {
    let mut verdict = Verdict::default();
    for flow in flows {
        let query = format!("SELECT id FROM chaos_rows WHERE flow = '{}' ORDER BY n", flow.name);
        let rows: Vec<usize> = case.database.column(&query).iter().filter_map(|id| id.parse().ok()).collect();
        verdict.compare(&format!("rows of {}", flow.name), sent, &rows, |kind| kind == Kind::Good);
        documents(&mut verdict, case, flow, sent);
        let written = |kind| matches!(kind, Kind::Good | Kind::Long);
        if let Some(topic) = &flow.output {
            let ids: Vec<usize> = kafka::consume(topic).iter().filter_map(id_of).collect();
            verdict.compare(topic, sent, &ids, written);
        }
        letters(&mut verdict, flow, sent);
    }
    verdict
}

fn documents(verdict: &mut Verdict, case: &Case, flow: &Flow, sent: &[Sent]) {
    let found = mongo::documents_of(&crate::services::mongodb_volume_url(), "chaos.documents", &case.named(&flow.name));
    let mut ids: Vec<usize> =
        found.iter().filter_map(|document| document["id"].as_u64()).map(|id| id as usize).collect();
    // Documents have no order of their own.
    ids.sort_unstable();
    let written = |kind| matches!(kind, Kind::Good | Kind::Long);
    verdict.compare(&format!("documents of {}", flow.name), sent, &ids, written);
}

fn letters(verdict: &mut Verdict, flow: &Flow, sent: &[Sent]) {
    let poison = |kind| kind != Kind::Good;
    let all = kafka::consume(&flow.letters);
    let mut by_id: BTreeMap<String, &Incoming> = BTreeMap::new();
    let mut ids = Vec::new();
    for letter in &all {
        let again = by_id.insert(letter.header("wasmill-id"), letter).is_some();
        if !(again && flow.repeats) {
            ids.extend(id_of(letter));
        }
        verify_code(verdict, flow, sent, letter);
    }
    verdict.letters += ids.len();
    verdict.letters_expected += sent.iter().filter(|record| poison(record.kind)).count();
    verdict.compare(&flow.letters, sent, &ids, poison);
}

fn verify_code(verdict: &mut Verdict, flow: &Flow, sent: &[Sent], letter: &Incoming) {
    let expected = match id_of(letter).and_then(|id| sent.get(id)).map(|record| record.kind) {
        Some(Kind::Long) => "pg-22001",
        Some(Kind::Trap) => "trap",
        Some(Kind::Reject) => "reject",
        _ => return,
    };
    let code = letter.header("wasmill-code");
    if code != expected {
        verdict.foreign += 1;
        verdict.tell(format!("{}: the code is {code}, not {expected}", flow.letters));
    }
}

fn id_of(record: &Incoming) -> Option<usize> {
    let value: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    value["id"].as_u64().map(|id| id as usize)
}
