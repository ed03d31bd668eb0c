//! What the Kafka clients of this process complain of. A call that fails says no more than that nobody answered; the reason,
//! such as a wrong password or a certificate that nobody has signed, comes by itself and a little earlier. There is
//! one cluster per process, so there is one memory of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

/// How long a complaint explains a failure. The client repeats the same one every 30 s at most.
const FRESH: Duration = Duration::from_secs(45);

static MEMORY: Mutex<Memory> = Mutex::new(Memory { refused: None, other: None, unwritten: None });

#[derive(Default)]
struct Memory {
    /// A login or a handshake that failed.
    refused: Option<(Instant, String)>,
    /// Connections and names that failed.
    other: Option<(Instant, String)>,
    /// A topic that a transaction may not write to: its records are only said to be purged.
    unwritten: Option<(Instant, String)>,
}

impl Memory {
    fn note(&mut self, error: &KafkaError, reason: &str) {
        let said = Some((Instant::now(), reason.to_owned()));
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => self.refused = said,
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) => self.other = said,
            _ => {}
        }
    }

    fn over(&mut self) {
        (self.refused, self.other) = (None, None);
    }

    fn words(&self) -> String {
        match fresh(&self.refused).or_else(|| fresh(&self.other)) {
            Some(reason) => format!(": {}{}", short(reason), advice(reason)),
            None => String::new(),
        }
    }

    fn words_of_purge(&self) -> String {
        fresh(&self.unwritten).map_or_else(String::new, |reason| format!(": {reason}; grant Write on the topic"))
    }

    fn is_refused(&self) -> bool {
        fresh(&self.refused).is_some()
    }
}

/// The context of a client that reports nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Telling;

impl ClientContext for Telling {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        note_line(facility, line);
        use RDKafkaLogLevel::{Debug, Info, Notice, Warning};
        match level {
            Debug => tracing::debug!(target: "librdkafka", "librdkafka: {facility} {line}"),
            Info | Notice => tracing::info!(target: "librdkafka", "librdkafka: {facility} {line}"),
            Warning => tracing::warn!(target: "librdkafka", "librdkafka: {facility} {line}"),
            _ => tracing::error!(target: "librdkafka", "librdkafka: {facility} {line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("kafka client: {error}: {reason}");
        note(&error, reason);
    }
}

impl ConsumerContext for Telling {}

impl ProducerContext for Telling {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Keeps a complaint.
pub fn note(error: &KafkaError, reason: &str) {
    memory().note(error, reason);
}

/// Keeps a line of the client's log, where that is the only sign: a broker that ends the conversation before it has begun,
/// a topic that cannot be part of a transaction.
pub fn note_line(facility: &str, line: &str) {
    if facility == "ADDPARTS" && line.contains("authorization failed") {
        let reason = line.split_once("]: ").map_or(line, |(_, reason)| reason);
        memory().unwritten = Some((Instant::now(), reason.to_owned()));
    }
    if facility == "FAIL" && line.contains("Disconnected") && line.contains("in state APIVERSION_QUERY") {
        let reason = line.split_once("]: ").map_or(line, |(_, reason)| reason);
        note(&KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), reason);
    }
}

/// Forgets everything: the brokers answer.
pub fn over() {
    memory().over();
}

/// What was complained of lately and what to do about it, to be put behind the words of a failure; empty for nothing.
pub fn words() -> String {
    memory().words()
}

/// Why a transaction's records were purged, if it is known; empty otherwise.
pub fn words_of_purge() -> String {
    memory().words_of_purge()
}

/// Whether a login or a handshake failed lately: waiting does not help.
pub fn is_refused() -> bool {
    memory().is_refused()
}

fn memory() -> MutexGuard<'static, Memory> {
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fresh(said: &Option<(Instant, String)>) -> Option<&str> {
    said.as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, reason)| reason.as_str())
}

/// Without the client's own times, which would make every message another one.
fn short(reason: &str) -> &str {
    reason.split(" (after ").next().unwrap_or(reason)
}

fn advice(reason: &str) -> &'static str {
    let has = |part| reason.contains(part);
    if has("SASL authentication error") {
        "; check sasl.mechanism, sasl.username and sasl.password in [kafka.properties]"
    } else if has("certificate could not be verified") || has("certificate verify failed") {
        "; name the file of the authority that signed it in \"ssl.ca.location\" of [kafka.properties], and write brokers \
         by a name that their certificates hold"
    } else if has("connecting to a PLAINTEXT broker listener") {
        "; that port speaks no TLS: write another one, or take \"security.protocol\" out of [kafka.properties]"
    } else if has("Disconnected") {
        "; where that port wants TLS, set \"security.protocol\" = \"SASL_SSL\" or \"SSL\" in [kafka.properties]"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_explains_more_than_a_lost_connection_and_ends_with_an_answer() {
        let said = "sasl_ssl://b:1/bootstrap: SASL authentication error: Authentication failed (after 303ms in state AUTH_REQ)";
        let mut memory = Memory::default();
        memory.note(&KafkaError::Global(RDKafkaErrorCode::Authentication), said);
        memory.note(&KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "b:1: Connection refused");
        assert!(memory.is_refused());
        let words = memory.words();
        assert!(words.contains("Authentication failed; check sasl.mechanism"), "{words}");
        memory.over();
        assert_eq!((memory.words(), memory.is_refused()), (String::new(), false));
    }
}
