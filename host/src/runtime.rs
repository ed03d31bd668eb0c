//! The only place of wasmtime: from the bytes of a module to the outcome of a slice.

use std::sync::Arc;

use crate::config::Limits;
use crate::manifest::{Manifest, TargetSpec};

/// A compiled module.
#[derive(Debug)]
pub struct Module {
    /// File stem.
    pub name: Arc<str>,
    /// sha256 of the file's bytes, in hex.
    pub digest: Arc<str>,
    pub manifest: Manifest,
}

/// One module of a chain as a flow uses it.
#[derive(Debug)]
pub struct Step {
    pub module: Arc<Module>,
    /// The targets that the manifest's indices stand for, in the manifest's order.
    pub targets: Vec<Arc<TargetSpec>>,
}

/// The modules of a flow, first to last. A sealed batch holds on to the chain that it was sealed with.
#[derive(Debug)]
pub struct Chain {
    pub flow: Arc<str>,
    pub steps: Vec<Step>,
    /// Digests joined by `+`.
    pub digest: Arc<str>,
    pub limits: Limits,
    /// What `init` gets: `{"vars": {…}}`.
    pub config: String,
}
