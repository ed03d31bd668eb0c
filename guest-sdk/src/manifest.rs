//! What a module says of itself, as constants. `#[transform]` and `#[derive(Table)]` write these; authors need not.

use crate::error::Result;
use crate::outputs::Outputs;
use crate::record::Record;

/// A transform with its manifest. `#[transform]` implements it for a type named like the function, so that
/// [`testing::run`](crate::testing::run) can be given it.
pub trait Transform {
    /// The module's own name: the package's.
    const NAME: &'static str;
    /// The module's version: the package's.
    const VERSION: &'static str;
    /// Topics it reads: names, or regular expressions that begin with `^`.
    const TOPICS: &'static [&'static str];
    /// The closed list of destinations, in the order of declaration.
    const TARGETS: &'static [Target];
    /// Records it promises to process.
    const EXAMPLES: &'static [Example];

    /// Processes one record.
    ///
    /// # Errors
    /// The fate of a record that is not processed; its outputs are dropped.
    fn transform(record: &Record<'_>, out: &mut Outputs) -> Result<()>;
}

/// A destination that a module may write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The sink's name in the host's configuration, or `next`.
    pub sink: &'static str,
    /// Table, `db.collection` or topic; a trailing `*` stands for the rest of the name.
    pub name: &'static str,
    /// How to create the table, for SQL sinks.
    pub table: Option<TableSpec>,
}

impl Target {
    /// A target that the sink creates by itself or that exists.
    pub const fn named(sink: &'static str, name: &'static str) -> Self {
        Target { sink, name, table: None }
    }

    /// The table of a row type.
    pub const fn table(sink: &'static str, table: TableSpec) -> Self {
        Target { sink, name: table.name, table: Some(table) }
    }
}

/// A record that the module promises to process: the host runs it when the module is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// The key.
    pub key: Option<&'static str>,
    /// The value.
    pub value: Option<&'static str>,
    /// The number of outputs that must come back; `None` accepts any number.
    pub outputs: Option<u32>,
}

/// A row type: serialised as a JSON object whose names are the columns. Derive it together with `Serialize`.
///
/// ```
/// use wasmill_sdk::prelude::*;
/// #[derive(Serialize, Table)]
/// #[table(name = "shop.orders", serial = "nr", key = ["id"])]
/// struct Order<'a> {
///     #[table(uuid)] id: &'a str,                 // uuid not null
///     #[table(varchar = 80)] customer: &'a str,   // varchar(80) not null
///     #[table(numeric)] total: String,            // numeric: as text nothing is lost
///     #[table(timestamptz)] at: Option<String>,   // null where None
///     tags: Vec<String>,                          // text[] not null
///     #[serde(skip_serializing_if = "Option::is_none")]
///     note: Option<String>,                       // left out where None: the column's default
/// }
/// let columns: Vec<_> = Order::TABLE.columns.iter().map(|c| (c.name, c.ty, c.nullable)).collect();
/// assert_eq!(columns[1], ("customer", "varchar(80)", false));
/// assert_eq!(columns[3], ("at", "timestamptz", true));
/// assert_eq!(columns[4], ("tags", "text[]", false));
/// ```
///
/// | Rust type | column |
/// |---|---|
/// | `String`, `&str`, `Cow<str>`, `char` | `text` |
/// | `i8`, `i16` | `smallint` |
/// | `i32`, `u8`, `u16` | `integer` |
/// | `i64`, `u32` | `bigint` |
/// | `u64`, `i128`, `u128` | `numeric` |
/// | `f32`, `f64` | `real`, `double precision` |
/// | `bool` | `boolean` |
/// | [`Bytes`](crate::Bytes) | `bytea` |
/// | `Uuid` | `uuid` |
/// | `Value`, `Map`, `RawValue`, `HashMap`, `BTreeMap` | `jsonb` |
/// | `Vec<T>`, `&[T]`, `[T; N]` | array of T's type |
/// | `Option<T>` | T's type, nullable |
///
/// A field says otherwise with `#[table(…)]`: `text`, `varchar = 80`, `smallint`, `integer`, `bigint`, `real`,
/// `double`, `boolean`, `numeric`, `uuid`, `date`, `time`, `timestamp`, `timestamptz`, `jsonb`, `json`, `bytea`, or
/// `ty = "numeric(20, 4)"` for any other; `nullable` and `not_null` overrule the type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row type",
    label = "not a row type",
    note = "add `#[derive(Serialize, Table)]` and `#[table(name = \"…\")]` to it"
)]
pub trait Table: serde::Serialize {
    /// The table.
    const TABLE: TableSpec;
}

impl<T: Table + ?Sized> Table for &T {
    const TABLE: TableSpec = T::TABLE;
}

/// How the host may create the table of a row type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// `quotes` or `schema.quotes`.
    pub name: &'static str,
    /// The columns without the serial one.
    pub columns: &'static [Column],
    /// Columns of the key for upsert, ignore, update and delete; empty where there is none.
    pub key: &'static [&'static str],
    /// A column that the database numbers.
    pub serial: Option<&'static str>,
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name, unquoted.
    pub name: &'static str,
    /// The Postgres type.
    pub ty: &'static str,
    /// Whether NULL is allowed.
    pub nullable: bool,
}

/// Whether `name` on `sink` is declared; evaluated while the author's crate is compiled.
#[doc(hidden)]
pub const fn declares(targets: &[Target], sink: &str, name: &str) -> bool {
    let mut at = 0;
    while at < targets.len() {
        let target = &targets[at];
        if equal(target.sink.as_bytes(), sink.as_bytes()) && covers(target.name.as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn covers(declared: &[u8], name: &[u8]) -> bool {
    match declared {
        [prefix @ .., b'*'] if name.len() >= prefix.len() => equal(prefix, name.split_at(prefix.len()).0),
        _ => equal(declared, name),
    }
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
