//! The calls into librdkafka that its Rust wrapper does not offer, and nothing else. With `intake` (consuming) and
//! `sinks/kafka/queue` (producing) this is every `unsafe` of the host that concerns Kafka. Each function takes a live client and gives back owned values.

use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};

/// The oldest and the next offset of a partition as the last fetch response told, without asking the broker.
#[allow(unsafe_code, reason = "the wrapper has no cached watermarks; the client outlives the call")]
pub fn cached_watermarks<C: ClientContext>(client: &Client<C>, topic: &str, partition: i32) -> Option<(i64, i64)> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    let error = unsafe {
        rd::rd_kafka_get_watermark_offsets(client.native_ptr(), topic.as_ptr(), partition, &mut low, &mut high)
    };
    (error == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some((low, high))
}

/// Kafka's id of a topic: `Ok(None)` where the broker knows no topic ids, `Err` where it could not be asked.
#[allow(unsafe_code, reason = "the wrapper has no DescribeTopics; every pointer is freed before the return")]
pub fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<String>, String> {
    let name = CString::new(topic).map_err(|_| "its name holds a NUL".to_owned())?;
    // Any broker knows the ids. By default the controller is asked, which a mock cluster has none of.
    let metadata = client.fetch_metadata(Some(topic), timeout).map_err(|cause| cause.to_string())?;
    let broker = metadata.brokers().first().map_or(-1, |broker| broker.id());
    let mut names = [name.as_ptr()];
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let mut words = [0 as c_char; 256];
    unsafe {
        let rk = client.native_ptr();
        let queue = rd::rd_kafka_queue_new(rk);
        let options = rd::rd_kafka_AdminOptions_new(rk, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        rd::rd_kafka_AdminOptions_set_request_timeout(options, millis, words.as_mut_ptr(), words.len());
        rd::rd_kafka_AdminOptions_set_broker(options, broker, words.as_mut_ptr(), words.len());
        let topics = rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        rd::rd_kafka_DescribeTopics(rk, topics, options, queue);
        // A little longer than the request, so that its own time-out is what is reported.
        let event = rd::rd_kafka_queue_poll(queue, millis.saturating_add(1_000));
        let id = if event.is_null() { Err("no answer".to_owned()) } else { described_id(event) };
        if !event.is_null() {
            rd::rd_kafka_event_destroy(event);
        }
        rd::rd_kafka_TopicCollection_destroy(topics);
        rd::rd_kafka_AdminOptions_destroy(options);
        rd::rd_kafka_queue_destroy(queue);
        id
    }
}

/// Reads the only topic of a DescribeTopics event. The event stays the caller's.
#[allow(unsafe_code, reason = "part of `topic_id`: borrows from the event while it lives")]
unsafe fn described_id(event: *mut rd::rd_kafka_event_t) -> Result<Option<String>, String> {
    use rd::rd_kafka_resp_err_t as Error;
    unsafe {
        match rd::rd_kafka_event_error(event) {
            Error::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Error::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE | Error::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION => {
                return Ok(None);
            }
            _ => return Err(text(rd::rd_kafka_event_error_string(event))),
        }
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count == 0 {
            return Err("the answer names no topic".into());
        }
        let topic = *topics;
        let error = rd::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() && rd::rd_kafka_error_code(error) != Error::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(rd::rd_kafka_error_string(error)));
        }
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        let known = !id.is_null()
            && (rd::rd_kafka_Uuid_most_significant_bits(id), rd::rd_kafka_Uuid_least_significant_bits(id)) != (0, 0);
        Ok(known.then(|| as_kafka_writes_it(&text(rd::rd_kafka_Uuid_base64str(id)))))
    }
}

/// Kafka's own tools write ids so that they can stand in addresses and paths; with the client's `/` a source id could not
/// be taken apart.
fn as_kafka_writes_it(id: &str) -> String {
    id.replace('/', "_").replace('+', "-")
}

/// Copies a C string.
#[allow(unsafe_code, reason = "librdkafka's texts are NUL-terminated and live as long as what they describe")]
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// Makes the mock cluster of a client that was made with `test.mock.num.brokers` wait no longer than `delay` for
/// further members of a new consumer group. Does nothing where the client has no mock cluster.
#[allow(
    unsafe_code,
    reason = "the wrapper hides the mock cluster's handle; it belongs to the client, which outlives the call"
)]
pub fn mock_rebalance_delay<C: ClientContext>(client: &Client<C>, delay: Duration) {
    let millis = i32::try_from(delay.as_millis()).unwrap_or(i32::MAX);
    unsafe {
        let cluster = rd::rd_kafka_handle_mock_cluster(client.native_ptr());
        if !cluster.is_null() {
            rd::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, millis);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topics_id_is_one_segment_of_a_source_id() {
        assert_eq!(as_kafka_writes_it("a/b+c/qEEgRGLpOtzA0123"), "a_b-c_qEEgRGLpOtzA0123");
    }
}
