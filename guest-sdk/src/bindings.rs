//! The contract as wit-bindgen spells it: `world transform-flat`, or with the feature `typed` `world transform`.
//! Authors never see it.
#![allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated")]
#![allow(clippy::allow_attributes_without_reason, reason = "generated")]

#[cfg(not(feature = "typed"))]
wit_bindgen::generate!({
    world: "transform-flat",
    path: "../wit",
    pub_export_macro: true,
    export_macro_name: "export",
    default_bindings_module: "::wasmill_sdk::__private::bindings",
});

#[cfg(feature = "typed")]
wit_bindgen::generate!({
    world: "transform",
    path: "../wit",
    pub_export_macro: true,
    export_macro_name: "export",
    default_bindings_module: "::wasmill_sdk::__private::bindings",
});
