//! What comes out of the modules: outputs and verdicts, whichever entry point the module has.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::manifest::TargetSpec;

/// What a sink does with an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    Write,
    Upsert,
    Replace,
    Update,
    Ignore,
    Delete,
}

impl Operation {
    /// In the order of the frame's numbers.
    pub const ALL: [Operation; 6] =
        [Self::Write, Self::Upsert, Self::Replace, Self::Update, Self::Ignore, Self::Delete];
}

/// Headers of a Kafka output, encoded as in the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    pub count: u32,
    pub encoded: Bytes,
}

/// One output with everything `unchanged` resolved against its input.
#[derive(Clone, Debug)]
pub struct Output {
    /// Index of the record in the root slice (what was read from Kafka).
    pub record: u32,
    /// Output index per chain step: `0`, `2.0`. With the record's coordinates it is the source id.
    pub path: Path,
    pub target: Arc<TargetSpec>,
    /// The rest of the target's name where that ends in `*`.
    pub suffix: Option<Arc<str>>,
    pub operation: Operation,
    /// Kafka: the record's key. Databases: JSON of the key or `_id`, where the module gave one.
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Headers,
    /// Milliseconds since 1970, -1 where there is none.
    pub timestamp: i64,
    pub partition: Option<i32>,
}

impl Output {
    /// The full name of the destination: table, `db.collection` or topic.
    pub fn destination(&self) -> Cow<'_, str> {
        match (self.target.prefix(), &self.suffix) {
            (Some(prefix), Some(suffix)) => Cow::Owned(format!("{prefix}{suffix}")),
            _ => Cow::Borrowed(&self.target.name),
        }
    }
}

/// Output index per chain step.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    first: u32,
    /// One more than the index of the second step, 0 where there is none: only chains have one.
    second: u32,
    /// Steps after the second.
    rest: Option<Box<[u32]>>,
}

impl Path {
    pub fn new(index: u32) -> Self {
        Path { first: index, ..Path::default() }
    }

    /// The output `index` of the following step.
    pub fn then(&self, index: u32) -> Self {
        if self.second == 0 {
            return Path { first: self.first, second: index.saturating_add(1), rest: None };
        }
        let rest = self.rest.iter().flatten().copied().chain([index]).collect();
        Path { first: self.first, second: self.second, rest: Some(rest) }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if let Some(second) = self.second.checked_sub(1) {
            write!(f, ".{second}")?;
        }
        self.rest.iter().flatten().try_for_each(|index| write!(f, ".{index}"))
    }
}

/// Why something was not written: `decode reject trap deadline memory output-limit too-large unknown-target
/// pg-<sqlstate> mongo-<code> kafka-<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(Cow<'static, str>);

impl Code {
    pub const DECODE: Code = Code(Cow::Borrowed("decode"));
    pub const REJECT: Code = Code(Cow::Borrowed("reject"));
    pub const TRAP: Code = Code(Cow::Borrowed("trap"));
    pub const DEADLINE: Code = Code(Cow::Borrowed("deadline"));
    pub const MEMORY: Code = Code(Cow::Borrowed("memory"));
    pub const OUTPUT_LIMIT: Code = Code(Cow::Borrowed("output-limit"));
    pub const TOO_LARGE: Code = Code(Cow::Borrowed("too-large"));
    pub const UNKNOWN_TARGET: Code = Code(Cow::Borrowed("unknown-target"));

    /// A sink's own code, such as `pg-22001`.
    pub fn sink(kind: &str, code: impl fmt::Display) -> Self {
        Code(Cow::Owned(format!("{kind}-{code}")))
    }

    pub fn from_stored(code: String) -> Self {
        Code(Cow::Owned(code))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The decision of the modules not to write a record, made by stage `transform`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Index of the record in the root slice.
    pub record: u32,
    pub ruling: Ruling,
    /// The module that ruled.
    pub module: Arc<str>,
}

/// What a verdict says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Filtered, counted by reason.
    Skip { reason: Arc<str> },
    /// Dead letter.
    Dead { code: Code, message: String },
    /// Nothing is committed; the batch is tried again after a back-off.
    Retry { message: String },
    /// The flow stops.
    Fatal { message: String },
}

/// What the chain made of one slice. Outputs ascend by (record, path); a record with a verdict has no outputs.
#[derive(Clone, Debug, Default)]
pub struct Transformed {
    pub outputs: Vec<Output>,
    /// At most one per record, ascending.
    pub verdicts: Vec<Verdict>,
    /// Records that only the metered engine could finish.
    pub slow: u32,
    /// Traps on the way, whether or not they ended in a verdict.
    pub traps: u32,
    /// The same by module; empty where there was none.
    pub trapped: Vec<(Arc<str>, u32)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(steps: &[u32]) -> Path {
        steps[1..].iter().fold(Path::new(steps[0]), |path, index| path.then(*index))
    }

    proptest! {
        #[test]
        fn paths_are_ordered_and_written_by_their_steps(
            a in proptest::collection::vec(0u32..3, 1..5),
            b in proptest::collection::vec(0u32..3, 1..5),
        ) {
            prop_assert_eq!(path(&a).cmp(&path(&b)), a.cmp(&b));
            prop_assert_eq!(path(&a).to_string(), a.iter().map(u32::to_string).collect::<Vec<_>>().join("."));
        }
    }
}
