//! What is measured: where the records go, and who competes.

use std::path::PathBuf;

use wasmill_tests::postgres::Database;
use wasmill_tests::services::{brokers, mongodb_volume_url, variable};
use wasmill_tests::{case, kafka, mongo};

use crate::measure::{Figures, Run};

/// Who does the work, at which level of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Native,
    NativeTransactional,
    Wasmill,
    Transactional,
    AtLeastOnce,
}

/// One line of the table.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// As the guest's variable `to`.
    pub(crate) to: &'static str,
    /// Records of a batch, where not the default.
    pub(crate) batch: Option<usize>,
    /// The first is what the others are compared with.
    pub(crate) candidates: &'static [Who],
}

/// What all runs have in common.
pub(crate) struct Setting {
    pub(crate) topic: String,
    pub(crate) records: usize,
    pub(crate) partitions: i32,
}

pub(crate) const ALL: [Scenario; 8] = [
    Scenario { name: "N", what: "nowhere", to: "", batch: None, candidates: &[Who::Native, Who::Wasmill] },
    Scenario { name: "P", what: "→ Postgres", to: "row", batch: None, candidates: &[Who::Native, Who::Wasmill] },
    Scenario { name: "M", what: "→ MongoDB", to: "document", batch: None, candidates: &[Who::Native, Who::Wasmill] },
    Scenario {
        name: "PM", what: "→ both", to: "row+document", batch: None, candidates: &[Who::Native, Who::Wasmill]
    },
    Scenario { name: "K", what: "→ topic", to: "record", batch: None, candidates: &[Who::Native, Who::Wasmill] },
    Scenario {
        name: "KT",
        what: "→ topic, transactions",
        to: "record",
        batch: None,
        candidates: &[Who::NativeTransactional, Who::Transactional],
    },
    Scenario {
        name: "PK",
        what: "→ Postgres and topic",
        to: "row+record",
        batch: None,
        candidates: &[Who::AtLeastOnce, Who::Transactional],
    },
    Scenario {
        name: "P500",
        what: "→ Postgres in batches of 500",
        to: "row",
        batch: Some(500),
        candidates: &[Who::AtLeastOnce, Who::Wasmill],
    },
];

impl Who {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Who::Native => "native",
            Who::NativeTransactional => "native transactional",
            Who::Wasmill => "wasmill idempotent",
            Who::Transactional => "wasmill transactional",
            Who::AtLeastOnce => "wasmill at-least-once",
        }
    }

    fn delivery(self) -> &'static str {
        match self {
            Who::Native | Who::Wasmill => "idempotent",
            Who::NativeTransactional | Who::Transactional => "transactional",
            Who::AtLeastOnce => "at-least-once",
        }
    }

    fn is_native(self) -> bool {
        matches!(self, Who::Native | Who::NativeTransactional)
    }
}

impl Scenario {
    /// One run, in a database, a group and an output topic of its own.
    pub(crate) fn run(&self, who: Who, setting: &Setting) -> Figures {
        let name = case::unique("bench");
        let database = Database::create(&name);
        let output = format!("benched-{}", name.replace('_', "-"));
        if self.to.contains("record") {
            kafka::create_topic(&output, setting.partitions);
        }
        let directory = std::env::temp_dir().join(&name);
        let run = Run { group: format!("wasmill.{name}"), setting };
        let figures = if who.is_native() {
            let arguments = [self.to, &setting.topic, &run.group, who.delivery(), &output];
            let env = [("BENCH_POSTGRES_URL", database.url.clone()), ("BENCH_MONGODB_URL", mongodb_volume_url())];
            run.measure(&variable("BENCH_NATIVE"), &arguments, &env)
        } else {
            let config = self.config(who, setting, &name, &database.url, &output, &directory);
            run.measure(&variable("WASMILL_BIN"), &["run", "-c", &config.to_string_lossy()], &[])
        };
        if self.to.contains("row") {
            let rows = database.count("bench_quotes");
            assert!(rows as usize > setting.records * 9 / 10, "{rows} rows of {} records", setting.records);
        }
        if self.to.contains("document") {
            let documents =
                mongo::take_all(&mongodb_volume_url(), "bench", if who.is_native() { "native" } else { "quotes" });
            assert!(
                documents as usize > setting.records * 9 / 10,
                "{documents} documents of {} records",
                setting.records
            );
        }
        std::fs::remove_dir_all(&directory).ok();
        figures
    }

    fn config(
        &self,
        who: Who,
        setting: &Setting,
        name: &str,
        postgres: &str,
        output: &str,
        directory: &std::path::Path,
    ) -> PathBuf {
        let modules = directory.join("modules");
        std::fs::create_dir_all(&modules).expect("a directory for the run");
        let module = PathBuf::from(variable("WASMILL_TEST_GUESTS")).join("bench-guest.wasm");
        std::fs::copy(&module, modules.join("bench.wasm")).expect("the benchmark's module is built");
        let batch = self.batch.map_or(String::new(), |records| format!("batch = {{ records = {records} }}\n"));
        let text = format!(
            "[kafka]\nbrokers = \"{}\"\n[modules]\ndir = \"modules\"\n[sinks.postgres]\nurl = \"{postgres}\"\n\
             [sinks.mongodb]\nurl = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[flow.{name}]\nmodules = [\"bench\"]\n\
             topics = [\"{}\"]\ndelivery = \"{}\"\n{batch}vars = {{ to = \"{}\", topic = \"{output}\" }}\n",
            brokers(),
            mongodb_volume_url(),
            setting.topic,
            who.delivery(),
            self.to,
        );
        let file = directory.join("wasmill.toml");
        std::fs::write(&file, text).expect("the configuration can be written");
        file
    }
}
