//! Promises of the runtime, kept with real guests: the folder that `WASMILL_TEST_GUESTS` names holds the compiled
//! transforms and fixtures.

mod hostile;
mod load;
mod passing;

use super::*;
use crate::config::units::{ByteSize, Span};
use crate::outcome::{Code, Output, Transformed};
use crossbeam_channel::unbounded;
use std::sync::OnceLock;
use std::time::Duration;

/// A guest's bytes; `None` where the guests have not been built and need not be.
pub(crate) fn guest(name: &str) -> Option<Vec<u8>> {
    let Some(dir) = std::env::var_os("WASMILL_TEST_GUESTS") else {
        assert!(
            std::env::var("WASMILL_TEST_SERVICES").as_deref() != Ok("1"),
            "WASMILL_TEST_GUESTS must name the folder with the compiled guests"
        );
        eprintln!("skipped: WASMILL_TEST_GUESTS does not name a folder with compiled guests");
        return None;
    };
    let file = PathBuf::from(dir).join(format!("{name}.wasm"));
    Some(std::fs::read(&file).unwrap_or_else(|e| panic!("failed to read the guest {}: {e}", file.display())))
}

pub(crate) fn runtime() -> Arc<Runtime> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new(Metrics::new(), None, None).expect("engines")).clone()
}

/// A loaded guest, or a skipped test.
macro_rules! module {
    ($name:literal) => {
        match crate::runtime::tests::guest($name) {
            Some(wasm) => crate::runtime::tests::runtime()
                .load($name, &wasm, &crate::config::Limits::default())
                .unwrap_or_else(|e| panic!("{}: {} ({})", $name, e.message, e.code)),
            None => return,
        }
    };
}
pub(crate) use module;

/// Limits under which an endless loop is found quickly. The fuel is left as it is: what fits the time must fit the fuel.
fn quick() -> Limits {
    Limits { time_per_record: Span(Duration::from_millis(200)), ..Limits::default() }
}

fn chain(modules: &[&Arc<Module>], limits: Limits) -> Arc<Chain> {
    chain_with(modules, limits, NO_VARS)
}

fn chain_with(modules: &[&Arc<Module>], limits: Limits, config: &str) -> Arc<Chain> {
    let step = |module: &&Arc<Module>| Step {
        module: (*module).clone(),
        targets: module.manifest.targets.iter().cloned().map(Arc::new).collect(),
    };
    let digest = modules.iter().map(|m| &*m.digest).collect::<Vec<_>>().join("+").into();
    let steps = modules.iter().map(step).collect();
    Arc::new(Chain { flow: "flow".into(), steps, digest, limits, config: config.into() })
}

/// Records of topic `t`, partition 0, offsets from 0 on.
fn slice<V: AsRef<[u8]>>(values: &[V]) -> Slice {
    let mut slice = SliceBuilder::new("t".into(), 0);
    for (offset, value) in values.iter().enumerate() {
        slice.push(offset as i64, 1_000, None, Some(value.as_ref()), std::iter::empty());
    }
    slice.build()
}

/// Runs a slice through a pool of one worker.
fn transform(chain: &Arc<Chain>, slice: Slice) -> Transformed {
    let died: Arc<dyn Fn(String) + Send + Sync> = Arc::new(|words| panic!("{words}"));
    let pool = Pool::start(runtime(), 1, died);
    let (reply, replies) = unbounded();
    pool.submit(Job { slice, chain: chain.clone(), index: 7, reply });
    let (index, transformed) = replies.recv_timeout(Duration::from_secs(120)).expect("a reply");
    assert_eq!(index, 7);
    pool.stop();
    transformed
}

/// What became of each record: its outputs as `path sink:name`, or its verdict as `skip REASON`, `CODE`, `retry` …
fn fates(records: usize, done: &Transformed) -> Vec<String> {
    let outputs = |record: u32| {
        let of = done.outputs.iter().filter(|o| o.record == record);
        of.map(|o| format!("{} {}:{}", o.path, o.target.sink, o.destination())).collect::<Vec<_>>().join(", ")
    };
    let verdict = |ruling: &Ruling| match ruling {
        Ruling::Skip { reason } => format!("skip {reason}"),
        Ruling::Dead { code, .. } => code.to_string(),
        Ruling::Retry { message } => format!("retry {message}"),
        Ruling::Fatal { message } => format!("fatal {message}"),
    };
    let fate = |record: u32| match done.verdicts.iter().find(|v| v.record == record) {
        Some(found) => {
            assert_eq!(outputs(record), "", "record {record} has a verdict and outputs");
            verdict(&found.ruling)
        }
        None => outputs(record),
    };
    assert!(done.outputs.is_sorted_by_key(|o| (o.record, o.path.clone())), "outputs must ascend");
    assert!(done.verdicts.is_sorted_by_key(|v| v.record), "verdicts must ascend");
    (0..records as u32).map(fate).collect()
}

/// The message of the verdict on a record.
fn message(done: &Transformed, record: u32) -> &str {
    match done.verdicts.iter().find(|v| v.record == record).map(|v| &v.ruling) {
        Some(Ruling::Dead { message, .. } | Ruling::Retry { message } | Ruling::Fatal { message }) => message,
        other => panic!("record {record} has no verdict with a message: {other:?}"),
    }
}
