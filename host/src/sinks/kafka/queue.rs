//! Handing messages to the client: the calls that its Rust wrapper makes only with several allocations and a search for
//! the topic per message, or not at all. Every `unsafe` of producing is here and in `events`.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Headers that the client takes over with a message.
pub(super) struct Headers(*mut rd::rd_kafka_headers_t);

/// A topic as the client knows it, for as long as messages are handed over.
struct Topic(*mut rd::rd_kafka_topic_t);

/// The client's queue, while messages are handed over.
pub(super) struct Queue<'a> {
    client: *mut rd::rd_kafka_t,
    topics: HashMap<&'a str, Topic>,
    /// The topic of the message before: most go where their neighbour went.
    last: Option<(&'a str, *mut rd::rd_kafka_topic_t)>,
    /// Ties the queue to its client.
    _client: std::marker::PhantomData<&'a ()>,
}

/// What is handed over besides topic and headers.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) partition: Option<i32>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    /// Milliseconds since 1970; none for now.
    pub(super) timestamp: Option<i64>,
    /// Comes back with the report of the delivery.
    pub(super) number: usize,
}

impl Headers {
    #[allow(unsafe_code, reason = "the wrapper copies each name before the client copies it")]
    pub(super) fn with_room_for(headers: usize) -> Self {
        // SAFETY: allocates only.
        Headers(unsafe { rd::rd_kafka_headers_new(headers) })
    }

    #[allow(unsafe_code, reason = "part of `with_room_for`")]
    pub(super) fn add(&mut self, name: &str, value: Option<&[u8]>) {
        let (bytes, length) = pointer(value);
        // SAFETY: the headers are ours until they are sent; name and value are copied. It fails only for headers that
        // belong to a message already.
        unsafe {
            rd::rd_kafka_header_add(self.0, name.as_ptr().cast(), name.len() as isize, bytes, length as isize);
        }
    }
}

impl Drop for Headers {
    #[allow(unsafe_code, reason = "part of `with_room_for`")]
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: not handed over, so still ours.
            unsafe { rd::rd_kafka_headers_destroy(self.0) };
        }
    }
}

impl Drop for Topic {
    #[allow(unsafe_code, reason = "gives the reference back that `Queue::topic` took")]
    fn drop(&mut self) {
        // SAFETY: taken once, given back once; messages keep their own reference.
        unsafe { rd::rd_kafka_topic_destroy(self.0) };
    }
}

impl<'a> Queue<'a> {
    pub(super) fn of<C: ClientContext>(client: &'a Client<C>) -> Self {
        Queue { client: client.native_ptr(), topics: HashMap::new(), last: None, _client: std::marker::PhantomData }
    }

    /// Hands a message over. After an error the headers are still there, for another attempt.
    #[allow(unsafe_code, reason = "the wrapper allocates the topic's name and looks the topic up for every message")]
    pub(super) fn put(&mut self, topic: &'a str, parts: Parts<'_>, headers: &mut Headers) -> Result<(), KafkaError> {
        use rd::rd_kafka_vtype_t as Type;
        let topic = self.topic(topic)?;
        let memory = |bytes| {
            let (ptr, size) = pointer(bytes);
            Value { mem: rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: ptr.cast_mut(), size } }
        };
        let values = [
            tagged(Type::RD_KAFKA_VTYPE_RKT, Value { rkt: topic }),
            tagged(Type::RD_KAFKA_VTYPE_PARTITION, Value { i32_: parts.partition.unwrap_or(-1) }),
            tagged(Type::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: rd::RD_KAFKA_MSG_F_COPY }),
            tagged(Type::RD_KAFKA_VTYPE_VALUE, memory(parts.value)),
            tagged(Type::RD_KAFKA_VTYPE_KEY, memory(parts.key)),
            tagged(Type::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: parts.number as *mut c_void }),
            tagged(Type::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: parts.timestamp.unwrap_or(0) }),
            tagged(Type::RD_KAFKA_VTYPE_HEADERS, Value { headers: headers.0 }),
        ];
        // SAFETY: client, topic and headers live; each tag says which field of its value is set; key and value are
        // copied before the call returns.
        let code = unsafe {
            let error = rd::rd_kafka_produceva(self.client, values.as_ptr(), values.len());
            if error.is_null() {
                // The message has them now.
                headers.0 = ptr::null_mut();
                return Ok(());
            }
            let code = rd::rd_kafka_error_code(error);
            rd::rd_kafka_error_destroy(error);
            code
        };
        Err(KafkaError::MessageProduction(code.into()))
    }

    #[allow(unsafe_code, reason = "part of `put`")]
    fn topic(&mut self, name: &'a str) -> Result<*mut rd::rd_kafka_topic_t, KafkaError> {
        if let Some((_, topic)) = self.last.filter(|(last, _)| ptr::eq(*last, name)) {
            return Ok(topic);
        }
        let topic = match self.topics.get(name) {
            Some(topic) => topic.0,
            None => {
                let unfit = || KafkaError::MessageProduction(RDKafkaErrorCode::InvalidTopic);
                let text = CString::new(name).map_err(|_| unfit())?;
                // SAFETY: the client lives; without a configuration of its own a topic gets the client's.
                let topic = unsafe { rd::rd_kafka_topic_new(self.client, text.as_ptr(), ptr::null_mut()) };
                if topic.is_null() {
                    return Err(unfit());
                }
                self.topics.insert(name, Topic(topic));
                topic
            }
        };
        self.last = Some((name, topic));
        Ok(topic)
    }
}

/// Sends what is queued without lingering, and returns when nothing is left on its way or the time is over. The wrapper's
/// own `flush` asks without waiting, and sleeps in between for longer than most batches take.
#[allow(unsafe_code, reason = "the wrapper flushes with a time of zero only")]
pub(super) fn flush<C: ClientContext>(client: &Client<C>, time: Duration) {
    // SAFETY: the client lives. What is left and what failed is known from the reports.
    unsafe { rd::rd_kafka_flush(client.native_ptr(), time.as_millis() as i32) };
}

type Value = rd::rd_kafka_vu_s__bindgen_ty_1;

fn tagged(vtype: rd::rd_kafka_vtype_t, u: Value) -> rd::rd_kafka_vu_t {
    rd::rd_kafka_vu_t { vtype, u }
}

/// NULL is a null pointer, and an empty field is not NULL.
fn pointer(bytes: Option<&[u8]>) -> (*const c_void, usize) {
    bytes.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr().cast(), bytes.len()))
}
