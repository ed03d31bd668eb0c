//! What a record costs in each piece of the hot path: `make bench MICRO=1`. Times are per batch of 10,000 quotes; the
//! throughput says how many records that is per second. The native parse is the limit that the module is measured by.

#[path = "../shared/hot_path.rs"]
mod hot_path;
#[path = "../src/native/quote.rs"]
mod quote;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use hot_path::{Modules, documents, quotes, route, rows, sink_batch, slices, table};
use quote::Quote;

const RECORDS: usize = 10_000;
const MODULES: &str = "the modules are built and WASMILL_TEST_GUESTS names their folder";

/// The module call, beside the same logic without Wasm.
fn modules(criterion: &mut Criterion) {
    let values = quotes(RECORDS);
    let slices = slices(&values);
    let mut group = criterion.benchmark_group("modules");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("native/quote", |bencher| {
        bencher.iter(|| {
            for value in &values {
                let quote: Quote<'_> = serde_json::from_slice(value).expect("a quote");
                black_box(serde_json::to_vec(&quote.row()).expect("a row"));
            }
        });
    });
    let chains: [(&str, &[&str], &str); 4] = [
        ("wasm/quote", &["bench-guest"], "row"),
        ("wasm/quote, dropped", &["bench-guest"], ""),
        ("wasm/passed on, then dropped", &["bench-pass", "bench-guest"], ""),
        ("wasm/passed on twice, then dropped", &["bench-pass", "bench-pass", "bench-guest"], ""),
    ];
    for (name, chain, to) in chains {
        let modules = Modules::load(chain, to).expect(MODULES);
        group.bench_function(name, |bencher| bencher.iter(|| modules.transform(&slices)));
    }
    group.finish();
}

/// Everything besides the module call.
fn host(criterion: &mut Criterion) {
    let values = quotes(RECORDS);
    let batch = slices(&values);
    let modules = Modules::load(&["bench-guest"], "row+document").expect(MODULES);
    let outcomes = modules.transform(&batch);
    let mut items = route(&batch, outcomes.clone()).sinks.into_iter();
    let [postgres, mongodb] = [(); 2].map(|()| sink_batch(RECORDS, items.next().expect("two sinks")));
    let table = table();
    let mut group = criterion.benchmark_group("host");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("slices", |bencher| bencher.iter(|| slices(&values)));
    group.bench_function("routing", |bencher| {
        bencher.iter_batched(|| outcomes.clone(), |outcomes| route(&batch, outcomes), BatchSize::LargeInput);
    });
    group.bench_function("rows", |bencher| bencher.iter(|| rows(&postgres, &table)));
    group.bench_function("documents", |bencher| bencher.iter(|| documents(&mongodb)));
    group.finish();
}

criterion_group!(benches, modules, host);

fn main() {
    // As the host does: else the batches' memory goes back to the system each time.
    wasmill::allocator::set_up();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
