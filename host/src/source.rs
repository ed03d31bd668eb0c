//! Where records come from. One OS thread per flow owns the consumer: it polls, answers rebalances, pauses, seeks and
//! seals batches. It commits nothing and knows nothing of sinks; how far they have got it asks through [`Lanes`].
//!
//! ```text
//! poll ─► open batch ─► seal ─► Wasm workers
//!                         └───► writer ─► in_flight - 1 ─► next seal
//! ```

pub mod chains;
pub mod consumer;
pub mod ffi;
pub mod group;
pub mod inspect;
pub mod intake;
pub mod open_batch;
pub mod ownership;
pub mod pace;
pub mod peek;
pub mod reader;
pub mod resolve;
pub mod topics;
pub mod trouble;

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;
use rdkafka::consumer::ConsumerGroupMetadata;

use crate::outcome::Transformed;
use crate::record::Slice;
use crate::runtime::Chain;
use crate::sinks::{Lane, SinkError, Span};

/// A topic and partition, as keys of maps.
pub type Partition = (Arc<str>, i32);

/// A batch on its way: closed, its slices with the workers.
pub struct Sealed {
    pub spans: Vec<SealedSpan>,
    /// Slices with the index of their span, in order.
    pub slices: Vec<(usize, Slice)>,
    /// The modules it was sealed with; a swap concerns the next batch.
    pub chain: Arc<Chain>,
    /// Those were not in place any more: it repeats what they made.
    pub repeats: bool,
    /// Outcomes by index of the slice.
    pub outcomes: Receiver<(usize, Transformed)>,
    /// The member and generation it was read under; only flows with transactions need it.
    pub group: Option<ConsumerGroupMetadata>,
    pub sealed_at: Instant,
}

/// What a batch covers of one partition.
#[derive(Clone, Debug)]
pub struct SealedSpan {
    pub span: Span,
    /// The assignment it was read under: commits for an older one are refused.
    pub epoch: u64,
    /// Kafka outputs below this offset are already published.
    pub kafka_lane: i64,
    /// Some sink has everything below: a record that is condemned there only now is tried again first.
    pub passed: i64,
    /// Partitions that the topic had when the group came into being; commits carry it on.
    pub born: i32,
}

/// A sink's name and its progress for each span that was asked for.
pub type SinkLanes = (String, Vec<Option<Lane>>);

/// What the sinks know of a flow's progress: the source asks it where to begin.
pub trait Lanes: Send + Sync {
    /// Per SQL sink (by name) the progress for each span, in the spans' order.
    fn lanes(&self, spans: &[Span]) -> Result<Vec<SinkLanes>, SinkError>;
}
