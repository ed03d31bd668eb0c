//! The host's way from records to what its sinks send, piece by piece and without services: for the micro-benchmarks and
//! for the test that counts allocations. Nothing here measures.

#![allow(dead_code, reason = "each user needs a part of it")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use wasmill::config::Limits;
use wasmill::metrics::Metrics;
use wasmill::outcome::Transformed;
use wasmill::record::{Slice, SliceBuilder};
use wasmill::router::{self, Routed};
use wasmill::runtime::{Chain, Job, Pool, Runtime, Step};
use wasmill::sinks::sql::names::TableName;
use wasmill::sinks::sql::plan::{Care, Destinations, Plan, plan};
use wasmill::sinks::sql::table::{Column, Declared, Table};
use wasmill::sinks::sql::types::ColumnType;
use wasmill::sinks::sql::value::Fault;
use wasmill::sinks::{Item, SinkBatch, Span};
use wasmill_tests::samples;

/// Records of one guest call.
const CALL: usize = 512;
/// Sinks of the modules that are used here.
const SINKS: [&str; 2] = ["postgres", "mongodb"];

/// A sealed batch's slices, all of span 0.
pub(crate) type Slices = Vec<(usize, Slice)>;

/// Modules in a pool of one worker.
pub(crate) struct Modules {
    pool: Option<Pool>,
    chain: Arc<Chain>,
    reply: Sender<(usize, Transformed)>,
    replies: Receiver<(usize, Transformed)>,
}

/// JSON of quotes from a seed, without those that are not JSON.
pub(crate) fn quotes(count: usize) -> Vec<Vec<u8>> {
    let plain = samples::stream("t", 1, 1).filter(|sample| sample.kind == samples::Kind::Quote);
    plain.filter_map(|sample| sample.record.value).take(count).collect()
}

/// Slices as the source builds them.
pub(crate) fn slices(values: &[Vec<u8>]) -> Slices {
    let topic: Arc<str> = "t".into();
    let slice = |(number, chunk): (usize, &[Vec<u8>])| {
        let mut builder = SliceBuilder::new(topic.clone(), 0);
        for (index, value) in chunk.iter().enumerate() {
            let offset = (number * CALL + index) as i64;
            builder.push(offset, 1_000, None, Some(value), std::iter::empty());
        }
        (0, builder.build())
    };
    values.chunks(CALL).enumerate().map(slice).collect()
}

impl Modules {
    /// Loads a chain of built modules by file stem; `None` where they have not been built and need not be. `to` is the
    /// variable of the benchmark's module.
    pub(crate) fn load(names: &[&str], to: &str) -> Option<Self> {
        let Some(dir) = std::env::var_os("WASMILL_TEST_GUESTS").map(PathBuf::from) else {
            assert!(
                std::env::var_os("WASMILL_TEST_SERVICES").is_none(),
                "WASMILL_TEST_GUESTS must name the built modules"
            );
            eprintln!("skipped: WASMILL_TEST_GUESTS does not name a folder with built modules");
            return None;
        };
        let runtime = Runtime::new(Metrics::new(), None, None).expect("engines");
        let limits = Limits::default();
        let steps = names.iter().map(|name| {
            let wasm = std::fs::read(dir.join(format!("{name}.wasm"))).expect("the module is built");
            let module = runtime.load(name, &wasm, &limits).expect("the module loads");
            Step { targets: module.manifest.targets.iter().cloned().map(Arc::new).collect(), module }
        });
        let config = format!("{{\"vars\":{{\"to\":\"{to}\"}}}}");
        let chain = Chain { flow: "flow".into(), steps: steps.collect(), digest: "d".into(), limits, config };
        let (reply, replies) = unbounded();
        let pool = Pool::start(runtime, 1, Arc::new(|words| panic!("{words}")));
        Some(Modules { pool: Some(pool), chain: Arc::new(chain), reply, replies })
    }

    /// What the modules make of a batch, slice by slice.
    pub(crate) fn transform(&self, slices: &Slices) -> Vec<Transformed> {
        let pool = self.pool.as_ref().expect("there until the end");
        for (index, (_, slice)) in slices.iter().enumerate() {
            let (slice, chain, reply) = (slice.clone(), self.chain.clone(), self.reply.clone());
            pool.submit(Job { slice, chain, index, reply });
        }
        let mut outcomes = vec![Transformed::default(); slices.len()];
        for _ in slices {
            let (index, outcome) = self.replies.recv_timeout(Duration::from_secs(60)).expect("the worker answers");
            outcomes[index] = outcome;
        }
        outcomes
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.stop();
        }
    }
}

pub(crate) fn route(slices: &Slices, outcomes: Vec<Transformed>) -> Routed {
    router::route(slices, outcomes, &SINKS, false)
}

/// Everything of a batch for one sink.
pub(crate) fn sink_batch(records: usize, items: Vec<Item>) -> SinkBatch {
    let (topic, topic_id, digest) = ("t".into(), "AAAAAAAAAAAAAAAAAAAAAA".into(), "d".into());
    let span = Span { topic, topic_id, partition: 0, start: 0, end: records as i64, digest };
    SinkBatch {
        flow: "flow".into(),
        group: "wasmill.flow".into(),
        spans: [span].into(),
        items,
        verdicts: Vec::new(),
        journal: true,
        progress: true,
        strict: false,
        redriven: None,
        settled: Vec::new(),
    }
}

/// The table that quotes go to, as the server has it.
pub(crate) fn table() -> Arc<Table> {
    let column = |name: &str| {
        let ty = ColumnType::parse("varchar(500)").expect("a type");
        Column { name: name.into(), cast: "varchar".into(), kind: ty.kind(), ty, not_null: false, has_default: false }
    };
    let columns = ["quotes", "charact", "imag"].map(column).into();
    let name = TableName::parse("quotes").expect("a name");
    Arc::new(Table::new(name, "\"quotes\"".into(), columns, &[], &Declared::default()).expect("a table"))
}

/// The statements' columns, encoded.
pub(crate) fn rows(batch: &SinkBatch, table: &Arc<Table>) -> Plan {
    let destinations = Destinations::of(batch);
    let tables: Vec<Result<Arc<Table>, Fault>> = destinations.all.iter().map(|_| Ok(table.clone())).collect();
    let planned = plan(batch, &destinations, &tables, &[0], Care::Fast, |runs, table, index, item| {
        runs.add(table, index, &item.output)
    });
    planned.expect("rows that the table takes")
}

/// The commands' documents, encoded.
pub(crate) fn documents(batch: &SinkBatch) -> Vec<Vec<u8>> {
    wasmill::sinks::mongodb::encoded(batch)
}
