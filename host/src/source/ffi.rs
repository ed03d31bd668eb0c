//! Calls into librdkafka that its Rust binding does not offer. Each one is small enough to be read in full.

use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::producer::{BaseProducer, Producer as _};

/// Makes the mock cluster of `producer` (made with `test.mock.num.brokers`) wait no longer than `delay` for further
/// members of a consumer group. Does nothing where the producer has no mock cluster.
#[allow(unsafe_code, reason = "the binding hides the mock cluster's handle")]
pub fn mock_rebalance_delay(producer: &BaseProducer, delay: Duration) {
    let delay = i32::try_from(delay.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client lives as long as `producer`, which is borrowed here, and the mock cluster belongs to it. A null
    // handle is checked for. The setter only stores a number under the cluster's own lock.
    unsafe {
        let cluster = sys::rd_kafka_handle_mock_cluster(producer.client().native_ptr());
        if !cluster.is_null() {
            sys::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, delay);
        }
    }
}
