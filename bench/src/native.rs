//! The limit: what a careful native program reaches with the same records, batch bounds, clients and promises, without
//! Wasm. `wasmill-native TO TOPIC GROUP DELIVERY OUTPUT-TOPIC`, where `TO` is as for the guest and `DELIVERY` one of
//! `idempotent` and `transactional`; or `consume`, which reads and does nothing else. It reads and writes in one thread. Servers come from the environment.

mod native {
    pub(crate) mod quote;
    pub(crate) mod records;
    pub(crate) mod rows;
    pub(crate) mod sinks;
    pub(crate) mod source;
}

use std::time::Duration;

use native::quote::Quote;
use native::sinks::Sinks;
use native::source::{self, Batch, Source};

/// How long it waits for the first record of a batch.
const POLL: Duration = Duration::from_millis(1);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [to, topic, group, delivery, output] = arguments.as_slice() else {
        anyhow::bail!("wasmill-native TO TOPIC GROUP DELIVERY OUTPUT-TOPIC");
    };
    let source = Source::open(topic, group)?;
    if to == "consume" {
        return consume(&source);
    }
    let mut sinks = Sinks::open(to, group, delivery == "transactional", output)?;
    let mut batch = Batch::default();
    loop {
        source.fill(&mut batch, POLL)?;
        if batch.is_empty() {
            sinks.settle(&source)?;
            continue;
        }
        let quotes: Vec<(usize, Quote<'_>)> = source::quotes(&batch).collect();
        if !sinks.write(&source, &batch, &quotes)? {
            source.commit(&source.offsets(&batch)?)?;
        }
        drop(quotes);
        batch.clear();
    }
}

/// What reading alone costs: nothing is parsed, nothing waits.
fn consume(source: &Source) -> anyhow::Result<()> {
    let mut batch = Batch::default();
    loop {
        source.fill(&mut batch, POLL)?;
        if !batch.is_empty() {
            source.commit_later(&source.offsets(&batch)?)?;
            batch.clear();
        }
    }
}
