//! The last dead letters of a flow, for people who look: a small ring in memory. The letters themselves are where the
//! flow writes them.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::payload::Payload;

/// Letters that are kept per flow.
const KEPT: usize = 100;
/// Letters that are taken of one batch.
pub const OF_A_BATCH: usize = 20;
/// Bytes of a key or value that are kept.
const SHOWN: usize = 1 << 10;

/// A dead letter as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Letter {
    /// When it was made, in milliseconds since 1970.
    pub at: i64,
    pub flow: String,
    pub code: String,
    pub message: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// `transform` or `sink`.
    pub stage: String,
    pub module: String,
    /// The sink and target that refused; empty where the module did.
    pub sink: String,
    pub target: String,
    pub key: Option<Payload>,
    pub value: Option<Payload>,
}

/// The ring of one flow.
#[derive(Debug, Default)]
pub(super) struct Letters {
    last: VecDeque<Letter>,
    counts: BTreeMap<String, u64>,
}

impl Letters {
    pub(super) fn add(&mut self, letters: Vec<Letter>, counts: impl Iterator<Item = (String, u64)>) {
        for letter in letters {
            if self.last.len() == KEPT {
                self.drop_one(&letter.code);
            }
            self.last.push_back(letter);
        }
        counts.for_each(|(code, count)| *self.counts.entry(code).or_default() += count);
    }

    /// Makes room: a code with many letters gives one up, so that a rare one stays to be seen.
    fn drop_one(&mut self, incoming: &str) {
        let mut held: BTreeMap<&str, usize> = BTreeMap::new();
        self.last.iter().for_each(|letter| *held.entry(&letter.code).or_default() += 1);
        let most = held.into_iter().max_by_key(|(_, count)| *count).map_or(incoming, |(code, _)| code).to_owned();
        if let Some(at) = self.last.iter().position(|letter| letter.code == most) {
            self.last.remove(at);
        }
    }

    /// Newest first.
    pub(super) fn last(&self) -> impl Iterator<Item = &Letter> {
        self.last.iter().rev()
    }

    /// Letters since the host began, by code.
    pub(super) fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }
}

/// What is kept of a key or value.
pub fn shown(bytes: Option<&[u8]>) -> Option<Payload> {
    bytes.map(|bytes| Payload::of(bytes, SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(code: &str, offset: i64) -> Letter {
        let text = String::new;
        Letter {
            at: 0,
            flow: text(),
            code: code.into(),
            message: text(),
            topic: text(),
            partition: 0,
            offset,
            stage: text(),
            module: text(),
            sink: text(),
            target: text(),
            key: None,
            value: None,
        }
    }

    #[test]
    fn a_flood_of_one_code_does_not_hide_another() {
        let mut letters = Letters::default();
        letters.add(vec![letter("trap", 1)], std::iter::once(("trap".into(), 1)));
        for offset in 2..1000 {
            letters.add(vec![letter("reject", offset)], std::iter::once(("reject".into(), 1)));
        }
        assert_eq!(letters.last().count(), KEPT);
        assert_eq!(letters.last().next().map(|l| l.offset), Some(999));
        assert!(letters.last().any(|l| l.code == "trap"));
        assert_eq!(letters.counts()["reject"], 998);
    }
}
