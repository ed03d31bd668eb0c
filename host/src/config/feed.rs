//! `[feed.NAME]`: topics that the host fills itself, with the same options as `wasmill feed`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Secret;
use super::units::Span;
use crate::feed::generate::Kind;

/// One feed: exactly one of `http`, `postgres` and `generate` says where records come from. Several hosts with the same
/// configuration take turns: one of them runs it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Feed {
    /// Topic that is filled; created where it is missing.
    pub topic: String,
    /// Partitions of a topic that is created. Default: the brokers'.
    pub partitions: Option<i32>,
    /// Copies of each partition of a topic that is created. Default: the brokers'.
    pub replication_factor: Option<i32>,
    /// Key of every record. Default: none.
    pub key: Option<String>,
    /// Field of the JSON value that becomes the key; `/a/b` for one further down. Default: none.
    pub key_field: Option<String>,
    /// Most records per second. Default: no limit.
    pub rate: Option<f64>,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`. Default: that of `[kafka.properties]`, else none.
    pub compression: Option<Compression>,
    /// Time between two polls. Default: 10 s.
    pub every: Option<Span>,

    /// An address to ask: `https://…`. May hold a secret: never logged.
    pub http: Option<Secret>,
    /// Where in the body the records are, such as `/data/items`. Default: the body.
    pub pointer: String,
    /// Headers of the request.
    pub headers: BTreeMap<String, Secret>,
    /// Longest time for one answer. Default: 30 s.
    pub timeout: Option<Span>,
    /// The whole body is one record, whatever it is. Default: false.
    pub raw: bool,
    /// A PEM file of certificate authorities to trust instead of the usual ones, relative to the configuration file.
    pub ca: Option<PathBuf>,

    /// A query to ask: one SELECT.
    pub postgres: Option<String>,
    /// The database. Default: the first Postgres sink by name.
    pub url: Option<Secret>,
    /// The column of the result that only grows. Default: `id`.
    pub column: Option<String>,

    /// What to make up: `quotes`, `logs`, `users` or `orders`.
    pub generate: Option<Kind>,
    /// Number of the last record. Default: none, it goes on.
    pub count: Option<u64>,
    /// Another seed gives other records. Default: 1.
    pub seed: Option<u64>,
    /// Share of records with a key, 0 to 1. Default: all users and orders, no quotes and logs.
    pub keys: Option<f64>,
    /// Share of records that are cut, no JSON, or of another shape, 0 to 1. Default: 0.
    pub bad: Option<f64>,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    /// As the client calls it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}
