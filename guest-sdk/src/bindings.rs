//! The contract as wit-bindgen spells it: `world transform-flat`, or with the feature `typed` `world transform`.
//! Authors never see it. The text is generated from `wit/` and held to it by `tests/bindings.rs`.
#![allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]
#![allow(clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]

#[cfg(not(feature = "typed"))]
include!("bindings/flat.rs");

#[cfg(feature = "typed")]
include!("bindings/typed.rs");
