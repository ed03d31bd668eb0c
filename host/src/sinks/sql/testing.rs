//! Batches for the tests of the SQL sinks.

use std::sync::Arc;

use bytes::Bytes;

use crate::manifest::{Column, TableSpec, TargetSpec};
use crate::outcome::{Headers, Operation, Output, Path};
use crate::sinks::{Item, SinkBatch, Span};

/// A target with columns written like `name:type` or `name:type!` for not null.
pub(crate) fn target(sink: &str, name: &str, serial: Option<&str>, key: &[&str], columns: &[&str]) -> Arc<TargetSpec> {
    let column = |text: &&str| {
        let (name, ty) = text.split_once(':').expect("name:type");
        let nullable = !ty.ends_with('!');
        Column { name: name.into(), ty: ty.trim_end_matches('!').into(), nullable }
    };
    let columns: Vec<Column> = columns.iter().map(column).collect();
    let key = key.iter().map(|k| (*k).to_owned()).collect();
    let table = (!columns.is_empty()).then(|| TableSpec { columns, key, serial: serial.map(str::to_owned) });
    Arc::new(TargetSpec { sink: sink.into(), name: name.into(), table })
}

pub(crate) fn output(target: &Arc<TargetSpec>, operation: Operation, key: Option<&str>, value: Option<&str>) -> Output {
    Output {
        record: 0,
        path: Path::new(0),
        target: target.clone(),
        suffix: None,
        operation,
        key: key.map(|k| Bytes::copy_from_slice(k.as_bytes())),
        value: value.map(|v| Bytes::copy_from_slice(v.as_bytes())),
        headers: Headers { count: 0, encoded: Bytes::new() },
        timestamp: -1,
        partition: None,
    }
}

/// A batch of one partition that begins at `start`, one output per record.
pub(crate) fn batch(start: i64, outputs: Vec<Output>) -> SinkBatch {
    let end = start + outputs.len() as i64;
    let span = Span { topic: "t".into(), topic_id: "id".into(), partition: 0, start, end, digest: "d".into() };
    let items = outputs.into_iter().zip(start..).map(|(output, offset)| Item { span: 0, offset, output });
    SinkBatch {
        flow: "flow".into(),
        group: "wasmill.flow".into(),
        spans: [span].into(),
        items: items.collect(),
        verdicts: Vec::new(),
        journal: true,
        progress: true,
        strict: false,
        redriven: None,
        settled: Vec::new(),
    }
}

/// Rows to write into one target.
pub(crate) fn rows(target: &Arc<TargetSpec>, start: i64, values: &[&str]) -> SinkBatch {
    batch(start, values.iter().map(|value| output(target, Operation::Write, None, Some(value))).collect())
}
