//! The exports of a module: the contract's lifecycle and entry point around an author's transform. Only on wasm32.

use std::sync::Once;

use crate::bindings;
use crate::bindings::exports::wasmill::transform::lifecycle;
use crate::manifest::{Target, Transform};
use crate::process::process;

static HOOK: Once = Once::new();

impl<T: Transform> lifecycle::Guest for T {
    fn init(config: String) -> Result<lifecycle::Manifest, String> {
        HOOK.call_once(|| std::panic::set_hook(Box::new(|info| crate::log::error!("{info}"))));
        crate::vars::init(&config)?;
        let text = |text: &&str| (*text).to_owned();
        Ok(lifecycle::Manifest {
            name: T::NAME.to_owned(),
            version: T::VERSION.to_owned(),
            topics: T::TOPICS.iter().map(text).collect(),
            targets: T::TARGETS.iter().map(target).collect(),
            examples: T::EXAMPLES
                .iter()
                .map(|example| lifecycle::Example {
                    key: example.key.map(Into::into),
                    value: example.value.map(Into::into),
                    outputs: example.outputs,
                })
                .collect(),
        })
    }
}

fn target(target: &Target) -> lifecycle::Target {
    let table = target.table.map(|table| lifecycle::Table {
        columns: table
            .columns
            .iter()
            .map(|column| lifecycle::Column {
                name: column.name.to_owned(),
                type_: column.ty.to_owned(),
                nullable: column.nullable,
            })
            .collect(),
        key: table.key.iter().map(|column| (*column).to_owned()).collect(),
        serial: table.serial.map(str::to_owned),
    });
    lifecycle::Target { sink: target.sink.to_owned(), name: target.name.to_owned(), table }
}

#[cfg(not(feature = "typed"))]
impl<T: Transform> bindings::Guest for T {
    fn process_flat(frame: Vec<u8>) -> Vec<u8> {
        process::<T>(&frame)
    }
}

#[cfg(feature = "typed")]
impl<T: Transform> bindings::Guest for T {
    fn process(batch: typed::Batch) -> typed::Outcome {
        typed::outcome(&process::<T>(&typed::frame(&batch)))
    }
}

/// The idiomatic entry point by way of the frames: it exists to be checked, not to be fast.
#[cfg(feature = "typed")]
mod typed {
    use crate::bindings::wasmill::transform::types::{self, Failure};
    use crate::codec::{Field, FrameBuilder, Item, Output, decode};
    use crate::error;
    use crate::outputs::Operation;

    pub(super) use types::{Batch, Outcome};

    pub(super) fn frame(batch: &Batch) -> Vec<u8> {
        let mut frame = FrameBuilder::new(&batch.topic, batch.partition);
        for record in &batch.records {
            let headers = record.headers.iter().map(|header| (header.name.as_str(), header.value.as_deref()));
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            frame.push(record.offset as i64, record.timestamp, key, value, headers);
        }
        frame.finish()
    }

    pub(super) fn outcome(frame: &[u8]) -> Outcome {
        let mut outcome = Outcome { outputs: Vec::new(), failures: Vec::new() };
        for item in decode(frame).expect("the output frame was written here") {
            match item {
                Item::Output(item) => outcome.outputs.push(output(item)),
                Item::Failure { source, fate, message } => {
                    let fate = match fate {
                        error::Fate::Skip => types::Fate::Skip,
                        error::Fate::Reject => types::Fate::Reject,
                        error::Fate::Retry => types::Fate::Retry,
                        error::Fate::Fatal => types::Fate::Fatal,
                    };
                    outcome.failures.push(Failure { source, fate, message });
                }
            }
        }
        outcome
    }

    fn output(output: Output) -> types::Output {
        let header = |(name, value)| types::Header { name, value };
        types::Output {
            source: output.source,
            target: output.target,
            suffix: output.suffix,
            operation: match output.operation {
                Operation::Write => types::Operation::Write,
                Operation::Upsert => types::Operation::Upsert,
                Operation::Replace => types::Operation::Replace,
                Operation::Update => types::Operation::Update,
                Operation::Ignore => types::Operation::Ignore,
                Operation::Delete => types::Operation::Delete,
            },
            key: field(output.key),
            value: field(output.value),
            headers: output.headers.map(|headers| headers.into_iter().map(header).collect()),
            timestamp: output.timestamp,
            partition: output.partition,
        }
    }

    fn field(field: Field) -> types::Field {
        match field {
            Field::Unchanged => types::Field::Unchanged,
            Field::Null => types::Field::Null,
            Field::Data(bytes) => types::Field::Data(bytes),
        }
    }
}

/// Random numbers for crates that ask the system for some: the record's own, as by [`random`](crate::random).
/// getrandom's error is a non-zero number, so that of this signature has its layout; it is never made.
#[allow(unsafe_code, reason = "getrandom's custom backend is a symbol that writes through a pointer")]
#[unsafe(no_mangle)]
extern "Rust" fn __getrandom_v03_custom(destination: *mut u8, length: usize) -> Result<(), std::num::NonZeroU32> {
    for at in 0..length {
        let byte = crate::random() as u8;
        // SAFETY: getrandom passes a buffer of `length` bytes.
        unsafe { destination.add(at).write(byte) };
    }
    Ok(())
}
