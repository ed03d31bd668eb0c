//! What is left of a refused record or output: the original bytes and why. Written to a topic by the Kafka sink or as
//! a row by a SQL sink.

use bytes::Bytes;

use crate::outcome::Headers;
use crate::outcome::Code;

/// A dead letter before it is put into a record or a row.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Source id; for an output that a sink refused it ends in the output's path.
    pub id: String,
    pub flow: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970, -1 where there is none.
    pub timestamp: i64,
    /// `transform` or `sink`.
    pub stage: String,
    pub code: Code,
    /// At most 1 KiB, without secrets.
    pub message: String,
    pub module: String,
    /// The sink and target that refused; empty where the whole record is dead.
    pub sink: String,
    pub target: String,
    /// The original record, untouched.
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Headers,
}
