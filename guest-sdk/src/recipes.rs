//! A recipe per task. There is nothing in this module to use: each recipe is a whole transform with its test, to be copied.
//!
//! [map](#map) · [filter](#filter) · [split](#split) · [enrich from variables](#enrich-from-variables) · [route](#route) ·
//! [upsert](#upsert) · [delete](#delete) · [typed table](#typed-table) · [headers](#headers) ·
//! [binary payload](#binary-payload) · [errors](#errors) · [metrics and logs](#metrics-and-logs) · [unit tests](#unit-tests)
//!
//! # Map
//!
//! One record in, one row out. Fields that are not named are left aside; one that is missing makes the record a dead letter.
//!
//! ```
//! use wasmill_sdk::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Order { id: i64, cents: i64 }
//! #[derive(Serialize, Table)]
//! #[table(name = "orders", key = "id")]
//! struct Row { id: i64, #[table(numeric)] total: String }
//!
//! #[transform(topics = ["orders"], postgres = [Row])]
//! fn orders(record: &Record, out: &mut Outputs) -> Result<()> {
//!     let order: Order = record.json()?;
//!     out.postgres(&Row { id: order.id, total: format!("{}.{:02}", order.cents / 100, order.cents % 100) })
//! }
//!
//! use wasmill_sdk::testing;
//! let ran = testing::run::<orders>(testing::record().value(r#"{"id": 1, "cents": 1250, "note": "left aside"}"#));
//! assert_eq!(ran.outputs[0].json(), json!({"id": 1, "total": "12.50"}));
//! assert!(testing::run::<orders>(testing::record().value(r#"{"id": 1}"#)).rejected().is_some());
//! ```
//!
//! # Filter
//!
//! `skip` counts the record under its reason and writes nothing; `unchanged` passes the value on without a copy.
//!
//! ```
//! use std::borrow::Cow;
//! use wasmill_sdk::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Line<'a> { #[serde(borrow)] level: Cow<'a, str> }
//!
//! #[transform(topics = ["logs"], kafka = ["errors"])]
//! fn errors(record: &Record, out: &mut Outputs) -> Result<()> {
//!     if !record.is_json() { return skip("not JSON"); }
//!     if record.json::<Line>()?.level != "error" { return skip("no error"); }
//!     out.kafka("errors").unchanged()
//! }
//!
//! use wasmill_sdk::testing;
//! let ran = testing::run::<errors>(testing::record().value(r#"{"level": "info"}"#));
//! assert_eq!(ran.skipped(), Some("no error"));
//! assert_eq!(testing::run::<errors>(testing::record().value(r#"{"level": "error"}"#)).outputs.len(), 1);
//! ```
//!
//! # Split
//!
//! One record becomes many, in their order. `RawValue` keeps each element as it stands there, unparsed.
//!
//! ```
//! use wasmill_sdk::prelude::*;
//!
//! #[transform(topics = ["batches"], kafka = ["items"])]
//! fn items(record: &Record, out: &mut Outputs) -> Result<()> {
//!     let items: Vec<&RawValue> = record.json()?;
//!     if items.is_empty() { return skip("empty batch"); }
//!     items.iter().try_for_each(|item| out.kafka("items").bytes(item.get()))
//! }
//!
//! use wasmill_sdk::testing;
//! let ran = testing::run::<items>(testing::record().value(r#"[{"n": 1.50}, {"n": 2}]"#));
//! assert_eq!(ran.outputs[0].text(), r#"{"n": 1.50}"#);
//! assert_eq!(ran.outputs.len(), 2);
//! ```
//!
//! # Enrich from variables
//!
//! `vars = { site = "berlin" }` at the flow in the host's configuration. A value that does not parse stops the flow: no
//! record can be processed before it is corrected.
//!
//! ```
//! use wasmill_sdk::prelude::*;
//!
//! #[transform(topics = ["readings"], mongodb = ["plant.readings"])]
//! fn readings(record: &Record, out: &mut Outputs) -> Result<()> {
//!     let mut reading: serde_json::Map<String, Value> = record.json()?;
//!     reading.insert("site".into(), vars().get("site").unwrap_or("unknown").into());
//!     let factor: f64 = vars().parse("factor")?.unwrap_or(1.0);
//!     let value = reading.get("value").and_then(Value::as_f64).ok_or_else(|| Error::reject("no value"))?;
//!     reading.insert("value".into(), json!(value * factor));
//!     out.mongodb("plant.readings").document(&reading)
//! }
//!
//! use wasmill_sdk::testing;
//! testing::set_var("site", "berlin");
//! testing::set_var("factor", "2");
//! let ran = testing::run::<readings>(testing::record().value(r#"{"value": 20.5}"#));
//! assert_eq!(ran.outputs[0].json(), json!({"value": 41.0, "site": "berlin"}));
//! ```
//!
//! # Route
//!
//! The destination depends on what is in the record. A declared name may end in `*`; each output gives the rest. A name that
//! is not declared is a compile error where it is a literal, else a dead letter with the code `unknown-target`.
//!
//! ```
//! use std::borrow::Cow;
//! use wasmill_sdk::prelude::*;
//!
//! #[derive(Deserialize)]
//! struct Event<'a> { #[serde(borrow)] tenant: Cow<'a, str>, #[serde(default)] urgent: bool }
//!
//! #[transform(topics = ["events"], kafka = ["urgent", "tenant-*"])]
//! fn events(record: &Record, out: &mut Outputs) -> Result<()> {
//!     let event: Event = record.json()?;
//!     if event.tenant.is_empty() || !event.tenant.bytes().all(|b| b.is_ascii_alphanumeric()) {
//!         return reject("the tenant cannot be part of a topic's name");
//!     }
//!     if event.urgent { out.kafka("urgent").unchanged()?; }
//!     out.kafka(&format!("tenant-{}", event.tenant)).unchanged()
//! }
//!
//! use wasmill_sdk::testing;
//! let ran = testing::run::<events>(testing::record().value(r#"{"tenant": "acme", "urgent": true}"#));
//! assert_eq!(ran.outputs.iter().map(ToString::to_string).collect::<Vec<_>>(), ["kafka:urgent", "kafka:tenant-acme"]);
//! ```
//!
//! # Upsert
//!
//! The table needs a key. Postgres keeps the last row of a key, whatever is repeated.
//!
//! ```
//! use wasmill_sdk::prelude::*;
//!
//! #[derive(Serialize, Deserialize, Table)]
//! #[table(name = "shop.stock", key = ["shop", "item"])]
//! struct Stock { shop: i32, item: String, pieces: i64 }
//!
//! #[transform(topics = ["stock"], postgres = [Stock])]
//! fn stock(record: &Record, out: &mut Outputs) -> Result<()> {
//!     out.postgres_at("shop.stock").upsert(&record.json::<Stock>()?)
//! }
//!
//! use wasmill_sdk::testing;
//! let ran = testing::run::<stock>(testing::record().value(r#"{"shop": 1, "item": "nail", "pieces": 7}"#));
//! assert_eq!(ran.outputs[0].operation, Operation::Upsert);
//! ```
//!
//! # Delete
//!
//! A tombstone (a record whose value is NULL) deletes the row and the document of its key. NULL, empty and absent are three
//! things: an empty value is no tombstone.
//!
//! ```
//! use wasmill_sdk::prelude::*;
//!
//! #[derive(Serialize, Table)]
//! #[table(name = "users", key = "id")]
//! struct User<'a> { id: &'a str, name: String }
//!
//! #[transform(topics = ["users"], postgres = [User], mongodb = ["crm.users"])]
//! fn users(record: &Record, out: &mut Outputs) -> Result<()> {
//!     let Some(id) = record.key_text()? else { return reject("no key") };
//!     if record.is_tombstone() {
//!         out.postgres_at("users").delete(&json!({ "id": id }))?;
//!         return out.mongodb("crm.users").id(id).delete();
//!     }
//!     let document: Value = record.json()?;
//!     let name = document["name"].as_str().ok_or_else(|| Error::reject("no name"))?.to_owned();
//!     out.postgres_at("users").upsert(&User { id, name })?;
//!     out.mongodb("crm.users").id(id).replace(&document)
//! }
//!
//! use wasmill_sdk::testing;
//! let ran = testing::run::<users>(testing::record().key("ada"));
//! assert!(ran.outputs.iter().all(|output| output.operation == Operation::Delete));
//! assert!(testing::run::<users>(testing::record().key("ada").value("")).rejected().is_some());
//! ```
//!
//! # Typed table
//!
//! One field, one column; the type of the column follows from that of the field, or is said. The host creates the table where
//! it is missing and adds nullable columns, nothing else. All types are listed at [`Table`](crate::Table).
//!
//! ```
//! use std::collections::BTreeMap;
//! use wasmill_sdk::prelude::*;
//!
//! #[derive(Serialize, Table)]
//! #[table(name = "audit", serial = "nr")]         // nr: SERIAL PRIMARY KEY, numbered by the database
//! struct Audit<'a> {
//!     #[table(timestamptz)] at: &'a str,          // RFC 3339
//!     #[table(varchar = 80)] actor: &'a str,
//!     #[table(numeric)] amount: String,           // digits as they stand, never through a float
//!     tags: Vec<String>,                          // text[]
//!     reason: Option<String>,                     // NULL where None
//!     rest: BTreeMap<&'a str, &'a RawValue>,      // jsonb, as it came
//! }
//!
//! let columns: Vec<_> = Audit::TABLE.columns.iter().map(|column| column.ty).collect();
//! assert_eq!(columns, ["timestamptz", "varchar(80)", "numeric", "text[]", "text", "jsonb"]);
//! ```
//!
//! # Headers
//!
//! A name may occur twice, and a value may be NULL. The first `.header(…)` of an output replaces the record's headers; to keep
//! those, begin with `.headers(record.headers())`.
//!
//! ```
//! use wasmill_sdk::prelude::*;
//!
//! #[transform(topics = ["in"], kafka = ["out"])]
//! fn traced(record: &Record, out: &mut Outputs) -> Result<()> {
//!     let Some(trace) = record.headers().get("trace").flatten() else { return skip("no trace") };
//!     out.kafka("out").key(trace).headers(record.headers()).header("by", "traced").unchanged()
//! }
//!
//! use wasmill_sdk::testing;
//! let ran = testing::run::<traced>(testing::record().value("x").header("trace", "7"));
//! let headers = ran.outputs[0].headers.as_ref().unwrap();
//! assert_eq!(headers[1], ("by".to_owned(), Some(b"traced".to_vec())));
//! ```
//!
//! # Binary payload
//!
//! A value is bytes; whether it is text or JSON is only asked where it matters. For a format such as Avro or Protobuf, take a
//! crate that reads it from a slice (`transforms/avro`).
//!
//! ```
//! use wasmill_sdk::prelude::*;
//!
//! #[derive(Serialize, Table)]
//! #[table(name = "frames")]
//! struct Frame<'a> { kind: i16, body: Bytes<'a> }       // bytea
//!
//! #[transform(topics = ["frames"], postgres = [Frame], kafka = ["bodies"])]
//! fn frames(record: &Record, out: &mut Outputs) -> Result<()> {
//!     match record.value() {
//!         Some([0xca, kind, body @ ..]) => {
//!             out.postgres(&Frame { kind: i16::from(*kind), body: body.into() })?;
//!             out.kafka("bodies").bytes(body)
//!         }
//!         Some(_) => reject("no frame: the first byte is not 0xca"),
//!         None => skip("tombstone"),
//!     }
//! }
//!
//! use wasmill_sdk::testing;
//! let ran = testing::run::<frames>(testing::record().value([0xca, 7, 0, 255]));
//! assert_eq!(ran.outputs[0].json(), json!({"kind": 7, "body": r"\x00ff"}));
//! ```
//!
//! # Errors
//!
//! `?` on any error makes the record a dead letter with the code `reject`; messages never quote the payload. Outputs that a
//! record has made before it fails are dropped. A panic costs the record as well (`trap`), with its message and source line.
//!
//! ```
//! use wasmill_sdk::prelude::*;
//!
//! #[transform(topics = ["in"], kafka = ["out"])]
//! fn ages(record: &Record, out: &mut Outputs) -> Result<()> {
//!     out.kafka("out").unchanged()?;
//!     match record.text()?.trim().parse::<u8>() {
//!         Ok(age) if age > 130 => skip("too old to be true"),  // counted, nothing written
//!         Ok(_) => Ok(()),
//!         Err(_) if record.text()? == "stop" => fatal("asked to stop"),  // the flow stops before this record
//!         Err(error) => Err(error.into()),                     // dead letter: "invalid digit found in string"
//!     }
//! }
//!
//! use wasmill_sdk::testing;
//! let ran = |value: &str| testing::run::<ages>(testing::record().value(value));
//! assert_eq!(ran("x").rejected(), Some("invalid digit found in string"));
//! assert!(ran("x").outputs.is_empty() && ran("131").skipped().is_some() && ran("30").outputs.len() == 1);
//! ```
//!
//! # Metrics and logs
//!
//! Counters are added up and cost nothing per record; a log line or an observation is a call of the host. Both count only
//! when the call has succeeded, so a repetition is not counted twice.
//!
//! ```
//! use wasmill_sdk::prelude::*;
//!
//! #[transform(topics = ["in"], kafka = ["out"])]
//! fn sized(record: &Record, out: &mut Outputs) -> Result<()> {
//!     let bytes = record.value().map_or(0, <[u8]>::len);
//!     counter("bytes").add(bytes as u64);          // wasmill_guest_bytes_total{flow,module}
//!     if bytes > 1_000_000 { log::warn!("{bytes} bytes at offset {}", record.offset()); }
//!     out.kafka("out").unchanged()
//! }
//!
//! use wasmill_sdk::testing;
//! testing::run::<sized>(testing::record().value("four"));
//! assert_eq!(testing::counter("bytes"), 4);
//! assert!(testing::logs().is_empty());
//! ```
//!
//! # Unit tests
//!
//! Under plain `cargo test` a transform runs natively, on the path that a module runs. `check_samples` holds it to
//! `samples/*.jsonl` and `expected/*.jsonl`, which `wasmill test` runs through the compiled module under the host's limits.
//!
//! ```
//! use wasmill_sdk::prelude::*;
//!
//! #[transform(topics = ["in"], kafka = ["out"])]
//! fn shout(record: &Record, out: &mut Outputs) -> Result<()> {
//!     out.kafka("out").bytes(record.text()?.to_uppercase())
//! }
//!
//! use wasmill_sdk::testing;
//! // #[test]
//! fn text_is_made_loud() {
//!     let ran = testing::run::<shout>(testing::record().key("k").header("h", "1").value("hey"));
//!     assert_eq!(ran.outputs[0].text(), "HEY");
//!     assert_eq!(ran.outputs[0].key, testing::Field::Unchanged);
//!     // testing::check_samples::<shout>(env!("CARGO_MANIFEST_DIR"));
//! }
//! # text_is_made_loud();
//! ```
