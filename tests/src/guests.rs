//! The compiled modules: transforms and fixtures, built by `make test` into one folder.

use std::path::PathBuf;

use crate::services::variable;

const NUMBER: &[u8] = b"@@NUMBER:";
const DIGITS: usize = 8;

/// Path of a built module, by file stem.
pub fn path(name: &str) -> PathBuf {
    let path = PathBuf::from(variable("WASMILL_TEST_GUESTS")).join(format!("{name}.wasm"));
    assert!(path.exists(), "{} was not built: `make test` builds every transform and fixture", path.display());
    path
}

/// Bytes of a built module, by file stem.
pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).expect("the module can be read")
}

/// The module `numbered`, changed to write this number: another digest without another compilation.
pub fn numbered(number: u32) -> Vec<u8> {
    with_number("numbered", number)
}

/// A module that carries `@@NUMBER:00000000@@`, with this number in its place.
pub fn with_number(module: &str, number: u32) -> Vec<u8> {
    let mut bytes = bytes(module);
    let places: Vec<usize> = (0..bytes.len() - NUMBER.len()).filter(|&at| bytes[at..].starts_with(NUMBER)).collect();
    assert!(!places.is_empty(), "the module `{module}` has no @@NUMBER:00000000@@ to change");
    for at in places {
        let digits = format!("{number:0DIGITS$}");
        bytes[at + NUMBER.len()..at + NUMBER.len() + DIGITS].copy_from_slice(digits.as_bytes());
    }
    bytes
}
