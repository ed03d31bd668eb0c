//! Samples beside a transform: lines of `samples/*.jsonl` go in, the same lines of `expected/*.jsonl` must come out. The
//! form is told in transforms/README.md, and the SDK's `testing::check_samples` reads the same files natively. What is
//! said to people about the outcome is not decided here.

pub mod check;
pub mod read;
pub mod tell;

/// Why samples cannot be run at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// What is written there is wrong.
    Bad(String),
    /// It cannot be read or written.
    Environment(String),
}

impl Trouble {
    /// For people.
    pub fn words(&self) -> &str {
        match self {
            Trouble::Bad(words) | Trouble::Environment(words) => words,
        }
    }
}
