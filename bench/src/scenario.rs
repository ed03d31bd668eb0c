//! What is measured: where the records go, what shape they have, and who competes.

use crate::load::Load;

/// Who does the work, at which level of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Native,
    NativeTransactional,
    /// The native program without parsing and writing.
    ConsumeOnly,
    Wasmill,
    /// With the page open.
    Watched,
    Transactional,
    AtLeastOnce,
    /// A tuned script. From here on they are peers, which run where they are asked for and can be had.
    Python,
    Streams,
    StreamsTransactional,
    /// Kafka Connect with its sinks.
    Connect,
}

/// One line of the table.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// As the guest's variable `to`.
    pub(crate) to: &'static str,
    /// The first is what the others are compared with.
    pub(crate) candidates: &'static [Who],
    /// What the load is like, given that of the knobs.
    pub(crate) shape: fn(Load) -> Load,
    /// Records of a batch, where not the default.
    pub(crate) batch: Option<usize>,
    /// Modules that hand on, before the one that does the work.
    pub(crate) passes: usize,
    /// Wasm workers, where not as many as cores.
    pub(crate) workers: Option<usize>,
    /// Records per second that the native program is known to reach where reading only reaches 1.28 million.
    pub(crate) known: Option<f64>,
}

use Who::{AtLeastOnce, Connect, Native, NativeTransactional, Python, Streams, StreamsTransactional, Transactional};
use Who::{Wasmill, Watched};

const BOTH: &[Who] = &[Native, Wasmill];
const ALONE: &[Who] = &[Wasmill];
const WITH_PAGE: &[Who] = &[Wasmill, Watched];
const INTO_DATABASES: &[Who] = &[Native, Wasmill, Python, Connect];
const TO_TOPIC: &[Who] = &[Native, Wasmill, Python, Streams];
const IN_TRANSACTIONS: &[Who] = &[NativeTransactional, Transactional, StreamsTransactional];

/// What most have in common: `name` writes `what` as `to` says.
const fn plain(name: &'static str, what: &'static str, to: &'static str, candidates: &'static [Who]) -> Scenario {
    Scenario { name, what, to, candidates, shape: |load| load, batch: None, passes: 0, workers: None, known: None }
}

pub(crate) const ALL: [Scenario; 26] = [
    Scenario { known: Some(1_060_000.0), ..plain("N", "parsed and dropped", "", BOTH) },
    Scenario { known: Some(316_000.0), ..plain("P", "→ Postgres", "row", INTO_DATABASES) },
    Scenario {
        shape: |load| Load { repeats: true, ..load },
        ..plain("PU", "→ Postgres, upsert, every key twice", "latest", BOTH)
    },
    Scenario { known: Some(128_000.0), ..plain("M", "→ MongoDB", "document", INTO_DATABASES) },
    Scenario { known: Some(91_000.0), ..plain("PM", "→ both", "row+document", INTO_DATABASES) },
    Scenario { known: Some(560_000.0), ..plain("K", "→ topic", "record", TO_TOPIC) },
    Scenario { known: Some(249_000.0), ..plain("KT", "→ topic, transactions", "record", IN_TRANSACTIONS) },
    plain("PK", "→ Postgres and topic", "row+record", &[AtLeastOnce, Transactional]),
    Scenario { batch: Some(500), ..plain("P500", "→ Postgres in batches of 500", "row", &[AtLeastOnce, Wasmill]) },
    Scenario { shape: |load| Load { partitions: 1, ..load }, ..plain("P1", "→ Postgres, 1 partition", "row", BOTH) },
    Scenario {
        shape: |load| Load { partitions: 12, ..load },
        ..plain("P12", "→ Postgres, 12 partitions", "row", BOTH)
    },
    Scenario { shape: |load| Load { partitions: 1, ..load }, ..plain("K1", "→ topic, 1 partition", "record", BOTH) },
    Scenario {
        shape: |load| Load { partitions: 12, ..load },
        ..plain("K12", "→ topic, 12 partitions", "record", BOTH)
    },
    Scenario { shape: |load| load.of_size(1 << 10), ..plain("P1k", "→ Postgres, 1 KB", "row", BOTH) },
    Scenario { shape: |load| load.of_size(10 << 10), ..plain("P10k", "→ Postgres, 10 KB", "row", BOTH) },
    Scenario { shape: |load| load.of_size(1 << 10), ..plain("M1k", "→ MongoDB, 1 KB", "document", BOTH) },
    Scenario { shape: |load| load.of_size(10 << 10), ..plain("M10k", "→ MongoDB, 10 KB", "document", BOTH) },
    Scenario { passes: 2, ..plain("N3", "dropped by the last of 3 modules", "", BOTH) },
    Scenario { workers: Some(1), ..plain("NW1", "dropped, 1 worker", "", BOTH) },
    Scenario { workers: Some(2), ..plain("NW2", "dropped, 2 workers", "", BOTH) },
    Scenario {
        shape: |load| Load { topics: 10, partitions: 1, ..load },
        ..plain("F10", "→ topic by 10 flows of 1 partition", "record", ALONE)
    },
    Scenario {
        shape: |load| Load { topics: 100, partitions: 1, ..load },
        ..plain("F100", "→ topic by 100 flows of 1 partition", "record", ALONE)
    },
    Scenario {
        shape: |load| Load { records: load.records / 10, ..load },
        ..plain("N/10", "dropped, a tenth of the records", "", BOTH)
    },
    Scenario { shape: |load| Load { partitions: 100, ..load }, ..plain("N100", "dropped, 100 partitions", "", BOTH) },
    plain("NV", "parsed and dropped, with the page open", "", WITH_PAGE),
    plain("PV", "→ Postgres, with the page open", "row", WITH_PAGE),
];

impl Who {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Native => "native",
            NativeTransactional => "native transactional",
            Who::ConsumeOnly => "native, reading only",
            Wasmill => "wasmill idempotent",
            Watched => "wasmill, page open",
            Transactional => "wasmill transactional",
            AtLeastOnce => "wasmill at-least-once",
            Python => "Python, tuned",
            Streams => "Kafka Streams at-least-once",
            StreamsTransactional => "Kafka Streams exactly-once",
            Connect => "Kafka Connect",
        }
    }

    pub(crate) fn delivery(self) -> &'static str {
        match self {
            Native | Who::ConsumeOnly | Wasmill | Watched | Python => "idempotent",
            NativeTransactional | Transactional | StreamsTransactional => "transactional",
            AtLeastOnce | Streams | Connect => "at-least-once",
        }
    }

    pub(crate) fn is_wasmill(self) -> bool {
        matches!(self, Wasmill | Watched | Transactional | AtLeastOnce)
    }

    /// The variable that names a peer's program.
    pub(crate) fn peer(self) -> Option<&'static str> {
        match self {
            Python => Some("BENCH_PYTHON"),
            Streams | StreamsTransactional => Some("BENCH_STREAMS"),
            Connect => Some("BENCH_CONNECT"),
            _ => None,
        }
    }
}

impl Scenario {
    /// Who runs in each round, in turns.
    pub(crate) fn rota(&self, peers: bool) -> impl Iterator<Item = Who> {
        let reading = self.known.map(|_| Who::ConsumeOnly);
        let is_there = move |who: &Who| who.peer().is_none_or(|name| peers && std::env::var_os(name).is_some());
        reading.into_iter().chain(self.candidates.iter().copied().filter(is_there))
    }

    /// Whether a level of delivery is none for these sinks: rows or documents may come twice after a crash.
    pub(crate) fn discounts(&self, who: Who) -> bool {
        who == AtLeastOnce && ["row", "latest", "document"].iter().any(|sink| self.to.contains(sink))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_rotas_begin_with_reading_only_where_a_limit_is_known() {
        for (index, scenario) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != scenario.name), "{} comes twice", scenario.name);
            let rota: Vec<Who> = scenario.rota(false).collect();
            assert_eq!(rota[0] == Who::ConsumeOnly, scenario.known.is_some());
            assert!(rota.iter().all(|who| who.peer().is_none()));
        }
    }

    #[test]
    fn at_least_once_does_not_count_for_databases() {
        let discounted = ALL.iter().filter(|scenario| scenario.discounts(AtLeastOnce)).map(|scenario| scenario.name);
        assert!(discounted.clone().any(|name| name == "PU") && discounted.clone().any(|name| name == "PM"));
        assert!(!discounted.clone().any(|name| name == "K") && !ALL[1].discounts(Wasmill));
    }
}
