//! Taking what the client reports, an event at a time. The wrapper waits for events only in rounds.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};
use std::iter;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What a client reports.
pub(super) struct Events(NonNull<rd::rd_kafka_queue_t>);

/// One report.
pub(super) enum Event<'a> {
    /// The number of each message, and what became of it.
    Deliveries(&'a mut dyn Iterator<Item = (usize, Result<(), RDKafkaErrorCode>)>),
    Error(KafkaError, Cow<'a, str>),
    /// Level, facility and line.
    Log(RDKafkaLogLevel, Cow<'a, str>, Cow<'a, str>),
}

#[allow(unsafe_code, reason = "the client's queues may be used by several threads at once")]
// SAFETY: every call on a queue takes the queue's own lock.
unsafe impl Send for Events {}
#[allow(unsafe_code, reason = "part of `Send`")]
// SAFETY: as above.
unsafe impl Sync for Events {}

impl Events {
    #[allow(unsafe_code, reason = "the wrapper keeps this queue to itself")]
    pub(super) fn of<C: ClientContext>(client: &Client<C>) -> Self {
        // SAFETY: the client lives; the queue is counted, and outlives it if need be.
        let queue = unsafe { rd::rd_kafka_queue_get_main(client.native_ptr()) };
        Events(NonNull::new(queue).expect("every client has a main queue"))
    }

    /// Waits for a report and has it handled; nothing happens where the time is over or `wake` was called.
    #[allow(unsafe_code, reason = "the wrapper waits in rounds, see `reports`")]
    pub(super) fn next(&self, time: Duration, handle: impl FnOnce(Event<'_>)) {
        // SAFETY: the queue lives. The event is ours until it is destroyed; what is read of it ends before that.
        unsafe {
            let event = rd::rd_kafka_queue_poll(self.0.as_ptr(), time.as_millis() as i32);
            if event.is_null() {
                return;
            }
            match rd::rd_kafka_event_type(event) {
                rd::RD_KAFKA_EVENT_DR => handle(Event::Deliveries(&mut iter::from_fn(|| {
                    let message = rd::rd_kafka_event_message_next(event).as_ref()?;
                    let failed = message.err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
                    Some((message._private as usize, if failed { Err(message.err.into()) } else { Ok(()) }))
                }))),
                rd::RD_KAFKA_EVENT_ERROR => {
                    let error = KafkaError::Global(rd::rd_kafka_event_error(event).into());
                    handle(Event::Error(error, words(rd::rd_kafka_event_error_string(event))));
                }
                rd::RD_KAFKA_EVENT_LOG => {
                    let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
                    if rd::rd_kafka_event_log(event, &mut facility, &mut line, &mut level) == 0 {
                        handle(Event::Log(log_level(level), words(facility), words(line)));
                    }
                }
                _ => {}
            }
            rd::rd_kafka_event_destroy(event);
        }
    }

    /// Ends the `next` that waits, or else the following one.
    #[allow(unsafe_code, reason = "the wrapper has no such call")]
    pub(super) fn wake(&self) {
        // SAFETY: the queue lives.
        unsafe { rd::rd_kafka_queue_yield(self.0.as_ptr()) };
    }
}

impl Drop for Events {
    #[allow(unsafe_code, reason = "gives the reference back that `of` took")]
    fn drop(&mut self) {
        // SAFETY: taken once, given back once.
        unsafe { rd::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

/// # Safety
/// A text of the client that lives for `'a`, or null.
#[allow(unsafe_code, reason = "part of `Events::next`")]
unsafe fn words<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: said above.
    match unsafe { CStr::from_ptr(text) }.to_string_lossy() {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// The numbers are those of syslog.
fn log_level(level: i32) -> RDKafkaLogLevel {
    use RDKafkaLogLevel as L;
    match level {
        ..=0 => L::Emerg,
        1 => L::Alert,
        2 => L::Critical,
        3 => L::Error,
        4 => L::Warning,
        5 => L::Notice,
        6 => L::Info,
        _ => L::Debug,
    }
}
