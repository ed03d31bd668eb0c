//! What lies in the modules folder, judged by its bytes: a component or a core module with the embedded component type
//! is turned into a component; everything else is refused in words that say what it is and what to do.

use std::borrow::Cow;
use std::collections::BTreeSet;

use wasmparser::{Parser, Payload, Validator};
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::{CONTRACT, CONTRACT_VERSION, LoadError};

/// Largest file that is read: compiling more would take minutes.
pub const MAX_BYTES: usize = 10 << 20;
/// Custom sections in which wit-bindgen leaves the world of a core module.
const COMPONENT_TYPE: &str = "component-type";
const USE_SDK: &str = "build it with wasmill-sdk (`wasmill build`)";

/// The component in a dropped file.
pub(super) fn component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, LoadError> {
    if bytes.len() > MAX_BYTES {
        let (size, limit) = (bytes.len() >> 20, MAX_BYTES >> 20);
        return Err(LoadError::new("module.too-large", format!("has {size} MiB; a module may have {limit} MiB")));
    }
    if Parser::is_component(bytes) {
        validate(bytes)?;
        return Ok(Cow::Borrowed(bytes));
    }
    if !Parser::is_core_wasm(bytes) {
        return Err(LoadError::new("module.not-wasm", what_else(bytes)));
    }
    validate(bytes)?;
    encode(bytes).map(Cow::Owned)
}

/// Checks the names of what the component imports and exports, before it is linked.
pub(super) fn check_world(engine: &Engine, component: &Component) -> Result<(), LoadError> {
    let world = component.component_type();
    let exports: Vec<&str> = world.exports(engine).map(|(name, _)| name).collect();
    let Some(lifecycle) = exports.iter().find(|name| name.starts_with("wasmill:transform/lifecycle")) else {
        return Err(foreign("is a WebAssembly component"));
    };
    check_version(lifecycle)?;
    let mut missing = BTreeSet::new();
    for (name, item) in world.imports(engine) {
        match name.starts_with("wasmill:transform/") {
            true => check_version(name)?,
            false => drop(missing.insert(with_functions(engine, name, &item.ty))),
        }
    }
    if !missing.is_empty() {
        return Err(unknown_imports(&missing));
    }
    match exports.iter().any(|name| matches!(*name, "process" | "process-flat")) {
        true => Ok(()),
        false => Err(foreign("exports a lifecycle but neither `process` nor `process-flat`")),
    }
}

/// What the component uses of the host, as `interface: function function`.
pub(super) fn imports(engine: &Engine, component: &Component) -> Vec<String> {
    let functions = |item: &ComponentItem| match item {
        ComponentItem::ComponentInstance(instance) => {
            let functions =
                instance.exports(engine).filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)));
            functions.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    };
    let world = component.component_type();
    let imports = world.imports(engine).map(|(name, item)| (name, functions(&item.ty)));
    imports.filter(|(_, functions)| !functions.is_empty()).map(|(name, list)| format!("{name}: {list}")).collect()
}

fn validate(bytes: &[u8]) -> Result<(), LoadError> {
    Validator::new().validate_all(bytes).map(drop).map_err(|error| {
        let what = match error.message() {
            message if message.contains("unexpected end") => "ends in the middle: it was not written completely",
            _ => "is damaged WebAssembly",
        };
        LoadError::new("module.invalid", format!("{what} ({error}); copy or build it again"))
    })
}

fn encode(core: &[u8]) -> Result<Vec<u8>, LoadError> {
    let (described, imports) = survey(core);
    if !described {
        let needs = match imports.is_empty() {
            true => String::new(),
            false => format!(" (it wants {})", list(&imports)),
        };
        return Err(foreign(&format!("is a WebAssembly module{needs}")));
    }
    if imports.iter().any(|name| name.starts_with("wasi")) {
        return Err(unknown_imports(&imports));
    }
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(core)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| LoadError::new("module.invalid", format!("cannot be made a component: {error:#}; {USE_SDK}")))
}

/// Whether a core module carries a component type, and what it imports that is not of our contract.
fn survey(core: &[u8]) -> (bool, BTreeSet<String>) {
    let (mut described, mut imports) = (false, BTreeSet::new());
    for payload in Parser::new(0).parse_all(core).map_while(Result::ok) {
        match payload {
            Payload::CustomSection(section) => described |= section.name().starts_with(COMPONENT_TYPE),
            Payload::ImportSection(section) => {
                let found = section.into_imports().map_while(Result::ok);
                let foreign = found.filter(|import| !import.module.starts_with("wasmill:transform/"));
                imports.extend(foreign.map(|import| format!("{}: {}", import.module, import.name)));
            }
            _ => {}
        }
    }
    (described, imports)
}

fn check_version(interface: &str) -> Result<(), LoadError> {
    let version = interface.split_once('@').map_or("none", |(_, version)| version);
    let compatible = |version: &str| version.rsplit_once('.').map(|(line, _)| line.to_owned());
    if compatible(version) == compatible(CONTRACT_VERSION) {
        return Ok(());
    }
    Err(LoadError::new(
        "module.version",
        format!(
            "was built for {CONTRACT}@{version}, this host speaks {CONTRACT}@{CONTRACT_VERSION}: \
             build it with the wasmill-sdk that belongs to this host"
        ),
    ))
}

fn foreign(what: &str) -> LoadError {
    LoadError::new("module.foreign", format!("{what}, but not a wasmill module: {USE_SDK}"))
}

fn unknown_imports(missing: &BTreeSet<String>) -> LoadError {
    let wasi = match missing.iter().any(|name| name.starts_with("wasi")) {
        true => "WASI: modules get no clock, files or sockets; build it for wasm32-unknown-unknown",
        false => USE_SDK,
    };
    let message = format!("needs imports that this host does not give ({}); {wasi}", list(missing));
    LoadError::new("module.imports", message)
}

fn with_functions(engine: &Engine, name: &str, item: &ComponentItem) -> String {
    match item {
        ComponentItem::ComponentInstance(instance) => {
            let functions: Vec<&str> = instance.exports(engine).map(|(name, _)| name).take(5).collect();
            format!("{name}: {}", functions.join(" "))
        }
        _ => name.to_owned(),
    }
}

fn list(names: &BTreeSet<String>) -> String {
    let mut shown: Vec<&str> = names.iter().map(String::as_str).take(5).collect();
    if names.len() > shown.len() {
        shown.push("…");
    }
    shown.join(", ")
}

/// A file that does not begin like WebAssembly.
fn what_else(bytes: &[u8]) -> String {
    let head = bytes.trim_ascii_start();
    let what = match () {
        () if bytes.is_empty() => return "is empty: copy or build it again".into(),
        () if b"\0asm".starts_with(bytes) || bytes.starts_with(b"\0asm") => {
            return "has only the beginning of a WebAssembly file: it was not written completely, or is of another \
                    version of WebAssembly"
                .into();
        }
        () if head.starts_with(b"(module") || head.starts_with(b"(component") => "WebAssembly text",
        () if bytes.starts_with(b"\x7fELF") => "a native program",
        () if bytes.starts_with(&[0x1f, 0x8b]) => "a gzip archive",
        () if bytes.starts_with(b"PK\x03\x04") => "a zip archive",
        () if std::str::from_utf8(&bytes[..bytes.len().min(64)]).map_or_else(|e| e.error_len().is_none(), |_| true) => {
            "text"
        }
        () => "something else",
    };
    format!("is not WebAssembly but {what}: {USE_SDK}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> (&'static str, String) {
        let error = component(bytes).expect_err("must be refused");
        (error.code, error.message)
    }

    #[track_caller]
    fn check(bytes: &[u8], code: &str, words: &str) {
        let (found, message) = refusal(bytes);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(words), "{message}");
    }

    /// A core module with a custom section and an import of a function.
    fn core_module(section: Option<&str>, import: Option<(&str, &str)>) -> Vec<u8> {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        if let Some((from, name)) = import {
            module.extend([1, 4, 1, 0x60, 0, 0]);
            let mut body = vec![1, from.len() as u8];
            body.extend(from.bytes());
            body.push(name.len() as u8);
            body.extend(name.bytes());
            body.extend([0, 0]);
            module.extend([2, body.len() as u8]);
            module.extend(body);
        }
        if let Some(name) = section {
            module.extend([0, name.len() as u8 + 1, name.len() as u8]);
            module.extend(name.bytes());
        }
        module
    }

    #[test]
    fn foreign_files_are_refused_in_words() {
        check(b"", "module.not-wasm", "is empty");
        check(b"\0as", "module.not-wasm", "not written completely");
        check(b"#!/bin/sh\necho", "module.not-wasm", "text");
        check(b"  (module)", "module.not-wasm", "WebAssembly text");
        check(b"\x7fELF\x02\x01", "module.not-wasm", "native program");
        check(&[0xff, 0xfe, 0, 1], "module.not-wasm", "something else");
        check(&vec![0; MAX_BYTES + 1], "module.too-large", "10 MiB");
    }

    #[test]
    fn a_module_without_our_contract_is_told_what_to_do() {
        check(
            &core_module(None, None),
            "module.foreign",
            "is a WebAssembly module, but not a wasmill module: build it with wasmill-sdk",
        );
        check(&core_module(None, Some(("env", "now"))), "module.foreign", "it wants env: now");
        let wasi = core_module(Some("component-type:x"), Some(("wasi_snapshot_preview1", "fd_write")));
        check(&wasi, "module.imports", "wasi_snapshot_preview1: fd_write");
    }

    #[test]
    fn a_cut_module_is_called_incomplete() {
        let whole = core_module(None, Some(("env", "now")));
        check(&whole[..whole.len() - 3], "module.invalid", "not written completely");
    }

    #[test]
    fn another_contract_is_named_with_both_versions() {
        assert!(check_version("wasmill:transform/host@0.1.7").is_ok());
        let error = check_version("wasmill:transform/host@0.2.0").expect_err("another line");
        assert_eq!(error.code, "module.version");
        assert!(error.message.contains("@0.2.0") && error.message.contains("@0.1.0"), "{}", error.message);
        assert!(crate::runtime::HOST.ends_with(CONTRACT_VERSION));
    }
}
