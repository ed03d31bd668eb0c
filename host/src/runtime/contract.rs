//! The Rust twins of `wit/transform.wit`, as far as they cross into or out of a guest. Nothing is decided here: limits and
//! targets are checked by `step`.

#![allow(unsafe_code, reason = "the derives of wasmtime's component types expand to unsafe impls")]

use bytes::Bytes;
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::manifest::{Column, Example, Manifest, TableSpec, TargetSpec};
use crate::record::Slice;

/// Key or value of an output as the module gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// As in the input record.
    Unchanged,
    Null,
    Data(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub(super) enum Fate {
    #[component(name = "skip")]
    Skip,
    #[component(name = "reject")]
    Reject,
    #[component(name = "retry")]
    Retry,
    #[component(name = "fatal")]
    Fatal,
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made from the guest's number by the derive")]
pub(super) enum WitLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct WitBatch<'a> {
    topic: &'a str,
    partition: i32,
    records: Vec<WitRecord<'a>>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct WitRecord<'a> {
    offset: u64,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<WitHeaderIn<'a>>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct WitHeaderIn<'a> {
    name: &'a str,
    value: Option<&'a [u8]>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitHeader {
    pub(super) name: String,
    pub(super) value: Option<Vec<u8>>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum WitField {
    #[component(name = "unchanged")]
    Unchanged,
    #[component(name = "null")]
    Null,
    #[component(name = "data")]
    Data(Vec<u8>),
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made from the guest's number by the derive")]
pub(super) enum WitOperation {
    #[component(name = "write")]
    Write,
    #[component(name = "upsert")]
    Upsert,
    #[component(name = "replace")]
    Replace,
    #[component(name = "update")]
    Update,
    #[component(name = "ignore")]
    Ignore,
    #[component(name = "delete")]
    Delete,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitOutput {
    pub(super) source: u32,
    pub(super) target: u32,
    pub(super) suffix: Option<String>,
    pub(super) operation: WitOperation,
    pub(super) key: WitField,
    pub(super) value: WitField,
    pub(super) headers: Option<Vec<WitHeader>>,
    pub(super) timestamp: Option<i64>,
    pub(super) partition: Option<i32>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitFailure {
    pub(super) source: u32,
    pub(super) fate: Fate,
    pub(super) message: String,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitOutcome {
    pub(super) outputs: Vec<WitOutput>,
    pub(super) failures: Vec<WitFailure>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitColumn {
    name: String,
    #[component(name = "type")]
    ty: String,
    nullable: bool,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitTable {
    columns: Vec<WitColumn>,
    key: Vec<String>,
    serial: Option<String>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitTarget {
    sink: String,
    name: String,
    table: Option<WitTable>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitExample {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    outputs: Option<u32>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitManifest {
    name: String,
    version: String,
    topics: Vec<String>,
    targets: Vec<WitTarget>,
    examples: Vec<WitExample>,
}

impl<'a> WitBatch<'a> {
    pub(super) fn of(slice: &'a Slice) -> Self {
        let records = (0..slice.len()).map(|index| WitRecord::of(slice, index)).collect();
        WitBatch { topic: &slice.topic, partition: slice.partition, records }
    }
}

impl<'a> WitRecord<'a> {
    fn of(slice: &'a Slice, index: usize) -> Self {
        let record = slice.record(index);
        let headers = record.headers.into_iter().map(|(name, value)| WitHeaderIn { name, value }).collect();
        let offset = record.offset as u64;
        WitRecord { offset, timestamp: record.timestamp, key: record.key, value: record.value, headers }
    }
}

impl From<WitManifest> for Manifest {
    fn from(manifest: WitManifest) -> Self {
        let example = |e: WitExample| Example { key: e.key, value: e.value, outputs: e.outputs };
        let target = |t: WitTarget| TargetSpec { sink: t.sink, name: t.name, table: t.table.map(TableSpec::from) };
        Manifest {
            name: manifest.name,
            version: manifest.version,
            topics: manifest.topics,
            targets: manifest.targets.into_iter().map(target).collect(),
            examples: manifest.examples.into_iter().map(example).collect(),
        }
    }
}

impl From<WitTable> for TableSpec {
    fn from(table: WitTable) -> Self {
        let column = |c: WitColumn| Column { name: c.name, ty: c.ty, nullable: c.nullable };
        TableSpec { columns: table.columns.into_iter().map(column).collect(), key: table.key, serial: table.serial }
    }
}
