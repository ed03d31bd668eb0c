//! What a module says of itself, in the host's own types. The WIT twin is `lifecycle.manifest`.

use serde::{Deserialize, Serialize};

/// Introduction of a module, read once at load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub name: String,
    pub version: String,
    /// Topic names, or regular expressions that begin with `^`.
    pub topics: Vec<String>,
    pub targets: Vec<TargetSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
}

/// A destination that a module may write to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TargetSpec {
    /// The sink's name in the configuration, or `next`.
    pub sink: String,
    /// Table, `db.collection` or topic; a trailing `*` is completed by the output's suffix.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableSpec>,
}

/// How a SQL sink may create the table of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableSpec {
    /// The columns without the serial one.
    pub columns: Vec<Column>,
    /// Key for upsert, ignore, update and delete; may be empty.
    #[serde(default)]
    pub key: Vec<String>,
    /// A column `SERIAL PRIMARY KEY`.
    #[serde(default)]
    pub serial: Option<String>,
}

/// A declared column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// Postgres type as in `wit/frame.md`.
    #[serde(rename = "type")]
    pub ty: String,
    pub nullable: bool,
}

/// A record that the module promises to process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// Outputs that must come back; `None` accepts any number.
    pub outputs: Option<u32>,
}

impl TargetSpec {
    /// `sink:name`, as users write it.
    pub fn label(&self) -> String {
        format!("{}:{}", self.sink, self.name)
    }

    /// The name's fixed part where the output gives the rest.
    pub fn prefix(&self) -> Option<&str> {
        self.name.strip_suffix('*')
    }
}
