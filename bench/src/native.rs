//! The limit: what a careful native program reaches with the same records, batch bounds, clients and promises, without
//! Wasm. `wasmill-native TO TOPIC GROUP DELIVERY OUTPUT-TOPIC`, where `TO` is as for the guest and `DELIVERY` one of
//! `idempotent` and `transactional`. It reads and writes in one thread. Servers come from the environment.

mod native {
    pub(crate) mod quote;
    pub(crate) mod sinks;
    pub(crate) mod source;
}

use std::time::Duration;

use native::quote::Quote;
use native::sinks::Sinks;
use native::source::{self, Batch, Source};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [to, topic, group, delivery, output] = arguments.as_slice() else {
        anyhow::bail!("wasmill-native TO TOPIC GROUP DELIVERY OUTPUT-TOPIC");
    };
    let source = Source::open(topic, group)?;
    let mut sinks = Sinks::open(to, group, delivery == "transactional", output)?;
    let mut batch = Batch::default();
    loop {
        source.fill(&mut batch, Duration::from_millis(1))?;
        if batch.is_empty() {
            continue;
        }
        let quotes: Vec<(usize, Quote<'_>)> = source::quotes(&batch).collect();
        if !sinks.write(&source, &batch, &quotes)? {
            source.commit(&batch)?;
        }
        drop(quotes);
        batch.clear();
    }
}
