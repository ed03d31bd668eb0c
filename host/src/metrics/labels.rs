//! The labels of the metrics, one type per set of labels.

use prometheus_client::encoding::EncodeLabelSet;

/// A set of labels by name.
pub trait Labels {
    const NAMES: &'static [&'static str];
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($field:ident),+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
        pub struct $name { $(pub $field: String),+ }

        impl Labels for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),+];
        }
    )+};
}

labels! {
    /// One flow.
    ByFlow { flow }
    /// One topic of a flow.
    ByTopic { flow, topic }
    /// Why records were filtered: the module's own reason, or `no output`.
    ByReason { flow, reason }
    /// Code of a dead letter.
    ByCode { flow, code }
    /// One sink of a flow.
    BySink { flow, sink }
    /// One partition of a flow.
    ByPartition { flow, topic, partition }
    /// One module with the result of a swap: `ok` or `refused`.
    BySwap { module, result }
    /// A guest's own metric.
    ByGuest { flow, module }
}
