//! What the client has fetched, taken in bulk. The wrapper hands out one event per record, which costs more than all
//! that the host does with the record itself; so the partitions' queues are led into one of our own, and that one is
//! emptied with a call per few hundred records. The consumer's own queue keeps what is not a record: rebalances and errors.
//!
//! Records from before a seek, a pause or a revoke are dropped by the client itself, which knows their version.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

/// Most records of one call: what is taken cannot be put back when the batch turns out to be full.
const MOST: usize = 256;

/// The queue that the partitions are led into.
pub struct Intake<C: ConsumerContext + 'static> {
    queue: NonNull<rd::rd_kafka_queue_t>,
    /// Outlives the queue.
    consumer: Arc<BaseConsumer<C>>,
}

/// Records and complaints in the order in which they came, given back to the client when this is dropped.
pub struct Fetched {
    messages: Vec<*mut rd::rd_kafka_message_t>,
}

/// One of them.
#[derive(Clone, Copy)]
pub struct Message<'a>(&'a rd::rd_kafka_message_t);

impl<C: ConsumerContext + 'static> Intake<C> {
    #[allow(unsafe_code, reason = "makes a queue of a live client")]
    pub fn new(consumer: Arc<BaseConsumer<C>>) -> Self {
        // SAFETY: the client lives, and this holds it until the queue is gone.
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Intake { queue: NonNull::new(queue).expect("librdkafka allocates or aborts"), consumer }
    }

    /// Leads what is fetched from a partition into this queue, for as long as the client lives. Before that it comes out
    /// of the consumer's `poll`.
    #[allow(unsafe_code, reason = "the wrapper leads partitions to nowhere but a queue each")]
    pub fn lead(&self, topic: &str, partition: i32) {
        let Ok(topic) = CString::new(topic) else { return };
        // SAFETY: client and both queues live; the handle of the partition's queue is given back.
        unsafe {
            let rk = self.consumer.client().native_ptr();
            let queue = rd::rd_kafka_queue_get_partition(rk, topic.as_ptr(), partition);
            if !queue.is_null() {
                rd::rd_kafka_queue_forward(queue, self.queue.as_ptr());
                rd::rd_kafka_queue_destroy(queue);
            }
        }
    }

    /// Waits for the first record, then takes what else is there, at most `most`.
    pub fn fetch(&self, patience: Duration, most: usize) -> Fetched {
        let mut fetched = Fetched { messages: Vec::with_capacity(most.clamp(1, MOST)) };
        let most = fetched.messages.capacity();
        if !patience.is_zero() {
            self.take(&mut fetched, patience, 1);
            if fetched.messages.is_empty() {
                return fetched;
            }
        }
        let left = most - fetched.messages.len();
        self.take(&mut fetched, Duration::ZERO, left);
        fetched
    }

    #[allow(unsafe_code, reason = "the wrapper has no batch consumption")]
    fn take(&self, fetched: &mut Fetched, patience: Duration, most: usize) {
        let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        let room = fetched.messages.spare_capacity_mut();
        let most = most.min(room.len());
        // SAFETY: the client writes at most `most` pointers to messages, which are ours then, and says how many.
        unsafe {
            let to = room.as_mut_ptr().cast();
            let taken = rd::rd_kafka_consume_batch_queue(self.queue.as_ptr(), millis, to, most);
            let taken = usize::try_from(taken).unwrap_or(0);
            fetched.messages.set_len(fetched.messages.len() + taken);
        }
    }
}

impl<C: ConsumerContext + 'static> Drop for Intake<C> {
    #[allow(unsafe_code, reason = "a client with a queue left never ends")]
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once; the client is dropped after this.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

impl Fetched {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The messages in runs of one partition each.
    pub fn runs(&self) -> impl Iterator<Item = impl Iterator<Item = Message<'_>>> {
        let same = |a: &*mut rd::rd_kafka_message_t, b: &*mut rd::rd_kafka_message_t| {
            let (a, b) = (message(a), message(b));
            (a.0.rkt, a.0.partition) == (b.0.rkt, b.0.partition)
        };
        self.messages.chunk_by(same).map(|run| run.iter().map(message))
    }
}

impl Drop for Fetched {
    #[allow(unsafe_code, reason = "gives messages back to the client")]
    fn drop(&mut self) {
        for message in &self.messages {
            // SAFETY: each message is ours and given back once; nothing borrowed from it outlives this.
            unsafe { rd::rd_kafka_message_destroy(*message) };
        }
    }
}

#[allow(unsafe_code, reason = "the messages of a `Fetched` live as long as it does")]
fn message(pointer: &*mut rd::rd_kafka_message_t) -> Message<'_> {
    // SAFETY: the client hands out no null pointers, and nobody writes to the message while we have it.
    Message(unsafe { &**pointer })
}

impl<'a> Message<'a> {
    /// What the client complains of instead of a record.
    pub fn error(&self) -> Option<RDKafkaErrorCode> {
        (self.0.err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| self.0.err.into())
    }

    #[allow(unsafe_code, reason = "names of topics are C strings that live as long as the message")]
    pub fn topic(&self) -> Cow<'a, str> {
        if self.0.rkt.is_null() {
            return Cow::Borrowed("");
        }
        // SAFETY: a message keeps its topic alive.
        unsafe { CStr::from_ptr(rd::rd_kafka_topic_name(self.0.rkt)) }.to_string_lossy()
    }

    pub fn partition(&self) -> i32 {
        self.0.partition
    }

    pub fn offset(&self) -> i64 {
        self.0.offset
    }

    /// Milliseconds since 1970, -1 where there is none.
    #[allow(unsafe_code, reason = "reads a number of the message")]
    pub fn timestamp(&self) -> i64 {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives; it is only read.
        let millis = unsafe { rd::rd_kafka_message_timestamp(self.0, &mut kind) };
        millis.max(-1)
    }

    pub fn key(&self) -> Option<&'a [u8]> {
        bytes(self.0.key, self.0.key_len)
    }

    pub fn value(&self) -> Option<&'a [u8]> {
        bytes(self.0.payload, self.0.len)
    }

    /// Names that are not UTF-8 come with replacement characters.
    #[allow(unsafe_code, reason = "headers are C strings and bytes that live as long as the message")]
    pub fn headers(&self) -> Vec<(Cow<'a, str>, Option<&'a [u8]>)> {
        let mut headers = std::ptr::null_mut();
        let mut found = Vec::new();
        // SAFETY: the message lives and keeps its headers alive; the client writes pointers into them.
        unsafe {
            // Parsed on the first call, which is why the client wants the message mutable; nobody else reads it.
            let error = rd::rd_kafka_message_headers(self.0, &mut headers);
            if error != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return found;
            }
            let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0);
            let mut at = 0;
            while rd::rd_kafka_header_get_all(headers, at, &mut name, &mut value, &mut length)
                == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                found.push((CStr::from_ptr(name).to_string_lossy(), bytes(value, length)));
                at += 1;
            }
        }
        found
    }
}

#[allow(unsafe_code, reason = "librdkafka's bytes: a null pointer for NULL, else so many bytes")]
fn bytes<'a>(pointer: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: only called with fields of a message, which live as long as it.
    (!pointer.is_null()).then(|| unsafe { slice::from_raw_parts(pointer.cast(), length) })
}
