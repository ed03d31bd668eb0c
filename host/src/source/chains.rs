//! The modules of a flow: those in place, and those that were in place before, for what has to be repeated as it was.
//! Nothing is loaded or dropped here by itself.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::runtime::Chain;

/// The chains of one flow.
#[derive(Debug)]
pub struct Chains {
    current: ArcSwap<Chain>,
    previous: ArcSwapOption<Chain>,
}

impl Chains {
    pub fn new(chain: Arc<Chain>, before: Option<Arc<Chain>>) -> Self {
        Chains { current: ArcSwap::new(chain), previous: ArcSwapOption::new(before) }
    }

    /// What the next batch is sealed with.
    pub fn current(&self) -> Arc<Chain> {
        self.current.load_full()
    }

    /// Puts another chain in place; the one before stays at hand.
    pub fn swap(&self, chain: Arc<Chain>) {
        let before = self.current.swap(chain);
        self.previous.store(Some(before));
    }

    /// The chain with this digest, where it is still at hand. Commits carry digests shortened.
    pub fn with_digest(&self, digest: &str) -> Option<Arc<Chain>> {
        let current = self.current();
        if is_digest(&current.digest, digest) {
            return Some(current);
        }
        self.previous.load_full().filter(|previous| is_digest(&previous.digest, digest))
    }
}

/// Whether a digest, whole or shortened, names these modules.
fn is_digest(whole: &str, digest: &str) -> bool {
    let (wholes, parts): (Vec<&str>, Vec<&str>) = (whole.split('+').collect(), digest.split('+').collect());
    let is_same = |(whole, part): (&&str, &&str)| part.len() >= 16 && whole.starts_with(part);
    wholes.len() == parts.len() && wholes.iter().zip(&parts).all(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_known_whole_and_shortened() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let whole = format!("{a}+{b}");
        assert!(is_digest(&whole, &whole) && is_digest(&whole, &format!("{}+{}", &a[..16], &b[..16])));
        for other in ["", &a, &format!("{a}+{a}"), &format!("{whole}+{a}"), "a+b"] {
            assert!(!is_digest(&whole, other), "{other}");
        }
    }
}
