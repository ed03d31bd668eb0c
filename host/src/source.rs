//! source

pub mod ffi;
