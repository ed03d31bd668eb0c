//! From an input frame to an output frame: the loop over a batch. It is the same natively, so tests run what a module runs.

use std::cell::Cell;

use crate::frame::Batch;
use crate::host;
use crate::manifest::Transform;
use crate::outputs::Outputs;

thread_local! {
    /// How large the output frame became last time, to grow the next one at once.
    static LARGEST: Cell<usize> = const { Cell::new(4096) };
}

/// Processes the records of one input frame.
///
/// # Panics
/// Where the frame breaks the rules of `wit/frame.md`, which only a host of another version does.
pub(crate) fn process<T: Transform>(frame: &[u8]) -> Vec<u8> {
    let mut batch = Batch::parse(frame).expect("the input frame is not of version 1");
    let mut out = Outputs::new(T::TARGETS, LARGEST.get());
    while let Some(record) = batch.next() {
        let record = record.expect("the input frame ends before its records do");
        host::begin(record.index);
        out.begin(record.index);
        if let Err(error) = T::transform(&record, &mut out) {
            out.fail(&error);
        }
    }
    host::flush();
    let frame = out.finish();
    LARGEST.set(LARGEST.get().max(frame.len()).min(1 << 22));
    frame
}

#[cfg(test)]
mod tests;
