//! What the client reports: deliveries, errors, lines of its log. A thread of its own takes them, and sleeps while there are
//! none. The wrapper's own thread wakes ten times a second and spins through the last millisecond of each round, for every
//! flow that has nothing to do; and it hands deliveries over one by one.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use tracing::debug;

use super::events::{Event, Events};
use crate::source::trouble::{self, Telling};

/// Longest sleep of the thread; an event or its end wakes it.
const SLEEP: Duration = Duration::from_secs(10);
/// Bits of the number that a message carries for its place in the round; the others are the round.
const PLACE_BITS: u32 = 32;

/// The thread; it ends when this is dropped.
pub(super) struct Reports {
    events: Arc<Events>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Receives what the wrapper polls by itself, when a client is given up.
pub(super) struct Context(pub(super) Arc<Deliveries>);

/// Results by number of the message; messages of an older round are not counted.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    round: Mutex<Round>,
}

/// The messages since the last [`Round::begin`].
#[derive(Debug, Default)]
pub(super) struct Round {
    number: usize,
    pub(super) results: Vec<Option<Result<(), RDKafkaErrorCode>>>,
    pub(super) outstanding: usize,
    pub(super) failed: bool,
}

impl Reports {
    /// Starts to take what a client reports.
    pub(super) fn take<C: ClientContext>(client: &Client<C>, deliveries: Arc<Deliveries>) -> io::Result<Self> {
        let events = Arc::new(Events::of(client));
        let over = Arc::<AtomicBool>::default();
        let (source, stop) = (events.clone(), over.clone());
        let thread = thread::Builder::new().name("reports".into()).spawn(move || {
            while !stop.load(Ordering::Acquire) {
                source.next(SLEEP, |event| deliveries.note(event));
            }
        })?;
        Ok(Reports { events, over, thread: Some(thread) })
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.events.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that takes a Kafka producer's reports has panicked");
        }
    }
}

impl Deliveries {
    pub(super) fn lock(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: Event<'_>) {
        match event {
            Event::Deliveries(deliveries) => {
                let mut round = self.lock();
                deliveries.for_each(|(number, result)| round.note(number, result));
            }
            Event::Error(error, reason) => complain(&error, &reason),
            Event::Log(level, facility, line) => tell(level, &facility, &line),
        }
    }
}

impl Round {
    /// Begins a round: later reports of earlier messages are not counted.
    pub(super) fn begin(&mut self) {
        *self = Round { number: (self.number + 1) & 0x7fff_ffff, ..Round::default() };
    }

    /// Makes places for so many messages and returns the number of the first.
    pub(super) fn reserve(&mut self, messages: usize) -> usize {
        let first = self.results.len();
        self.results.resize(first + messages, None);
        self.outstanding += messages;
        self.number << PLACE_BITS | first
    }

    /// Takes the last places back: nothing was sent under them.
    pub(super) fn give_back(&mut self, messages: usize) {
        self.results.truncate(self.results.len() - messages);
        self.outstanding -= messages;
    }

    fn note(&mut self, number: usize, result: Result<(), RDKafkaErrorCode>) {
        if number >> PLACE_BITS != self.number {
            return;
        }
        let place = number & ((1 << PLACE_BITS) - 1);
        if let Some(slot) = self.results.get_mut(place).filter(|slot| slot.is_none()) {
            *slot = Some(result);
            self.outstanding -= 1;
            self.failed |= result.is_err();
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tell(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        complain(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let code = |error: &KafkaError| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        self.0.lock().note(number, result.as_ref().map(|_| ()).map_err(|(error, _)| code(error)));
    }
}

/// Says a line of the client's log, where it says anything to somebody who runs a flow.
fn tell(level: RDKafkaLogLevel, facility: &str, line: &str) {
    Telling.log(if is_expected(facility, line) { RDKafkaLogLevel::Debug } else { level }, facility, line);
}

/// That the order around a refused record is kept is a setting that the client calls experimental whenever it begins; and
/// it ends with such a record, or when a batch is taken back. The sink goes on with another one.
fn is_expected(facility: &str, line: &str) -> bool {
    let said = |words| line.contains(words);
    facility == "CONFWARN" && said("enable.gapless.guarantee") || facility == "FATAL" && said("gap-less guarantee")
}

fn complain(error: &KafkaError, reason: &str) {
    debug!("kafka producer: {error}: {reason}");
    trouble::note(error, reason);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rdkafka::ClientConfig;
    use rdkafka::producer::{BaseProducer, Producer as _};

    use super::*;

    #[test]
    fn a_report_of_an_older_round_is_not_counted() {
        let mut round = Round::default();
        round.begin();
        let old = round.reserve(1);
        round.begin();
        let new = round.reserve(2);
        round.note(old, Ok(()));
        assert_eq!(round.outstanding, 2);
        round.note(new + 1, Err(RDKafkaErrorCode::Unknown));
        round.note(new + 1, Ok(()));
        assert_eq!((round.outstanding, round.failed, &round.results[0]), (1, true, &None));
    }

    #[test]
    fn what_keeps_the_order_says_nothing_to_the_user_and_other_ends_do() {
        let said =
            "Configuration property enable.gapless.guarantee is experimental: When set to `true`, any error that";
        assert!(is_expected("CONFWARN", said));
        let ended = "Fatal error: Local: Gap-less ordering: gap-less guarantee not satisfied after message error";
        assert!(is_expected("FATAL", ended));
        assert!(!is_expected("FATAL", "Fatal error: Broker: Producer attempted an operation with an old epoch"));
        assert!(!is_expected("CONFWARN", "Configuration property linger.ms is deprecated"));
    }

    /// The thread sleeps for much longer than this.
    #[test]
    fn the_thread_ends_at_once() {
        let client: BaseProducer<Context> =
            ClientConfig::new().create_with_context(Context(Arc::default())).expect("a client without brokers");
        for _ in 0..20 {
            let begun = Instant::now();
            drop(Reports::take(client.client(), Arc::default()).expect("a thread"));
            assert!(begun.elapsed() < SLEEP / 2);
        }
    }
}
