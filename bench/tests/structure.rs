//! What must not creep into the hot path: work per record that belongs to the batch, copies of payloads, anything that
//! grows faster than the records. Counted in allocations and allocated bytes, which are the same on every machine; no
//! time is taken here.

#[path = "../shared/hot_path.rs"]
mod hot_path;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use hot_path::{Modules, documents, quotes, rows, sink_batch, slices, table};

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Counts what every thread allocates.
struct Counting;

#[allow(unsafe_code, reason = "hands every call on to the system's allocator as it came")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a stage allocates per record: how often, and how many bytes for each byte of the records.
#[derive(Clone, Copy, Debug)]
struct Cost {
    times: f64,
    bytes: f64,
}

/// Per stage, in the order of a batch's way.
type Costs = [(&'static str, Cost); 5];

/// What each stage may cost at most: a tenth above what was counted. Lowered whenever a stage gets cheaper, raised only
/// on purpose, with the reason.
const MOST: Costs = [
    ("slices", Cost { times: 0.05, bytes: 4.0 }),
    ("modules", Cost { times: 0.03, bytes: 6.5 }),
    ("routing", Cost { times: 0.01, bytes: 3.3 }),
    ("rows", Cost { times: 0.03, bytes: 3.0 }),
    ("documents", Cost { times: 7.0, bytes: 10.0 }),
];

fn count(size: usize) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(size as u64, Ordering::Relaxed);
}

fn counted<T>(values: &[Vec<u8>], stage: impl FnOnce() -> T) -> (Cost, T) {
    let before = (COUNT.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    let done = stage();
    let times = (COUNT.load(Ordering::Relaxed) - before.0) as f64 / values.len() as f64;
    let payload: usize = values.iter().map(Vec::len).sum();
    let bytes = (BYTES.load(Ordering::Relaxed) - before.1) as f64 / payload as f64;
    (Cost { times, bytes }, done)
}

fn costs(modules: &Modules, records: usize) -> Costs {
    let values = quotes(records);
    let table = table();
    // Instances, their memory and their buffers have grown by then.
    modules.transform(&slices(&values));
    let (slicing, slices) = counted(&values, || slices(&values));
    let (transforming, outcomes) = counted(&values, || modules.transform(&slices));
    assert_eq!(outcomes.iter().map(|outcome| outcome.outputs.len()).sum::<usize>(), 2 * records);
    let (routing, routed) = counted(&values, || hot_path::route(&slices, outcomes));
    let mut items = routed.sinks.into_iter();
    let [postgres, mongodb] = [(); 2].map(|()| sink_batch(records, items.next().expect("two sinks")));
    let (of_rows, plan) = counted(&values, || rows(&postgres, &table));
    assert_eq!(plan.steps.iter().map(|step| step.run.len()).sum::<usize>(), records);
    let (of_documents, documents) = counted(&values, || documents(&mongodb));
    assert_eq!(documents.len(), records);
    let costs = [slicing, transforming, routing, of_rows, of_documents];
    std::array::from_fn(|stage| (MOST[stage].0, costs[stage]))
}

// One test, because the counters are everybody's.
#[test]
fn the_cost_of_a_record_is_bounded_and_does_not_grow_with_the_batch() {
    let Some(modules) = Modules::load(&["quotes"], "") else { return };
    let (small, large) = (costs(&modules, 1_000), costs(&modules, 10_000));
    let stages =
        || MOST.into_iter().zip(small.into_iter().zip(large)).map(|((stage, most), (s, l))| (stage, most, s.1, l.1));
    for (stage, most, small, large) in stages() {
        eprintln!("{stage}: {small:.3?} of 1,000 records, {large:.3?} of 10,000, at most {most:?}");
    }
    for (stage, most, small, large) in stages() {
        assert!(large.times <= most.times, "{stage}: {large:?} per record, at most {most:?}");
        assert!(large.bytes <= most.bytes, "{stage}: {large:?} per byte, at most {most:?}");
        // What is allocated once per batch weighs more in the small one.
        assert!(large.times <= small.times * 1.1 + 0.01, "{stage}: {small:?} of 1,000 records grows to {large:?}");
    }
}
