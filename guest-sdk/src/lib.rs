//! Write wasmill transforms in Rust.
//!
//! A transform is a function over one Kafka record. It says what it reads and what it may write, and is compiled to a
//! module that a wasmill host runs when it is dropped into the modules folder.
//!
//! ```
//! use std::borrow::Cow;
//! use wasmill_sdk::prelude::*;
//! #[derive(Deserialize)] struct Quote<'a> { #[serde(borrow)] quote: Cow<'a, str>, #[serde(borrow)] character: Cow<'a, str>, #[serde(borrow)] image: Cow<'a, str> }
//! #[derive(Serialize, Table)] #[table(name = "quotes", serial = "quote_id")]
//! struct QuoteRow<'a> { #[table(varchar = 500)] quotes: &'a str, #[table(varchar = 500)] charact: &'a str, #[table(varchar = 500)] imag: &'a str }
//!
//! #[transform(topics = ["topic_quotes"], postgres = [QuoteRow], mongodb = ["simpson_db.quotes"])]     // the manifest: what it reads, what it may write
//! fn quotes(record: &Record, out: &mut Outputs) -> Result<()> {
//!     if record.key().is_some() { return skip("has a key"); }              // metadata of the poller: counted by reason, not written
//!     if !record.is_json() { return skip("not JSON"); }
//!     let q: Quote = record.json()?;                                       // JSON of another shape: rejected, a dead letter
//!     out.postgres(&QuoteRow { quotes: &q.quote, charact: &q.character, imag: &q.image })?;
//!     out.mongodb("simpson_db.quotes").json_bytes(record.value())         // the whole message, as it came
//! }
//!
//! // and its unit test, which needs no host
//! use wasmill_sdk::testing;
//! let ran = testing::run::<quotes>(testing::record().value(r#"{"quote":"D'oh!","character":"Homer","image":"h.png","n":1}"#));
//! assert_eq!(ran.outputs[0].json(), json!({"quotes": "D'oh!", "charact": "Homer", "imag": "h.png"}));
//! assert_eq!(ran.outputs[1].json()["n"], 1);
//! assert_eq!(testing::run::<quotes>(testing::record().value("not json")).skipped(), Some("not JSON"));
//! ```
//!
//! `Cargo.toml` of a transform:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]   # the module, and what its tests link to
//!
//! [dependencies]
//! wasmill-sdk = { path = "…/guest-sdk" }
//! ```
//!
//! The prelude's `Serialize` and `Deserialize` are serde's traits with derives that need no dependency on serde.
//!
//! What a transform returns is a pure function of the record: there is no clock, no file, no network, and memory
//! between records must not matter, because batches are cut differently when they are repeated.
//!
//! * [`Record`]: what came. [`Outputs`]: where to. [`skip`], [`reject`], [`retry`], [`fatal`]: why not.
//! * [`transform`]: the attribute that makes a function a module. [`Table`]: row types.
//! * [`vars`], [`log`], [`counter`], [`gauge`], [`histogram`], [`random`]: what the host offers.
//! * [`testing`]: run a transform natively and look at what it made. [`recipes`]: a whole transform per task.

#![deny(missing_docs)]

extern crate self as wasmill_sdk;

mod bytes;
#[cfg(any(not(target_arch = "wasm32"), feature = "typed"))]
mod codec;
mod error;
mod frame;
mod host;
mod json;
pub mod log;
mod manifest;
mod outputs;
mod process;
pub mod recipes;
mod record;
mod strict;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod vars;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
mod module;

pub use bytes::Bytes;
pub use error::{Error, Fate, Result, fatal, reject, retry, skip};
pub use host::{Counter, Gauge, Histogram, counter, gauge, histogram, random};
pub use manifest::{Column, Example, Table, TableSpec, Target, Transform};
pub use outputs::{AsField, Document, Message, Operation, Outputs, Row};
pub use record::{Headers, HeadersIter, Record};
pub use serde_json;
pub use vars::{Vars, vars};
pub use wasmill_sdk_macros::{Table, transform};

/// Everything a transform needs: `use wasmill_sdk::prelude::*;`.
pub mod prelude {
    pub use serde::{de::Deserialize, ser::Serialize};
    pub use serde_json::{self, Value, json, value::RawValue};
    pub use wasmill_sdk_macros::{Deserialize, Serialize};

    pub use crate::{
        Bytes, Error, Fate, Operation, Outputs, Record, Result, Table, counter, fatal, gauge, histogram, log, random,
        reject, retry, skip, transform, vars,
    };
}

/// For the code that the macros write.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_arch = "wasm32")]
    pub use crate::bindings;
    pub use crate::manifest::declares;
    pub use serde;
}
