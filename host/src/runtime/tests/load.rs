//! Which files become modules.

use super::*;
use crate::config::Limits;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;

fn load(wasm: &[u8]) -> Result<Arc<Module>, LoadError> {
    runtime().load("m", wasm, &Limits::default())
}

#[test]
fn a_module_introduces_itself() {
    let quotes = module!("quotes");
    assert_eq!((&*quotes.name, quotes.digest.len()), ("quotes", 64));
    assert_eq!(quotes.manifest.topics, ["topic_quotes"]);
    let targets: Vec<String> = quotes.manifest.targets.iter().map(TargetSpec::label).collect();
    assert_eq!(targets, ["postgres:quotes", "mongodb:simpson_db.quotes"]);
    runtime().probe(&chain(&[&quotes], Limits::default())).expect("it keeps its promises");
}

#[test]
fn a_finished_component_is_taken_as_well() {
    let Some(core) = guest("quotes") else { return };
    let component = dropped::component(&core).expect("a component").into_owned();
    let module = load(&component).expect("loaded");
    assert_eq!(module.manifest, load(&core).expect("loaded").manifest);
    assert_ne!(module.digest, load(&core).expect("loaded").digest);
}

#[test]
fn a_module_that_does_not_fit_its_limits_is_refused() {
    let Some(wasm) = guest("quotes") else { return };
    let tight = Limits { memory: ByteSize(64 << 10), ..Limits::default() };
    let error = runtime().load("quotes", &wasm, &tight).expect_err("refused");
    assert_eq!(error.code, "module.init");
    assert!(error.message.contains("memory limit of 65536 bytes"), "{}", error.message);
}

#[test]
fn an_init_that_says_no_is_quoted() {
    let bad = module!("badframe");
    let error = runtime().probe(&chain_with(&[&bad], Limits::default(), "refuse")).expect_err("refused");
    assert_eq!(error.code, "module.init");
    assert!(error.message.contains("the configuration says refuse"), "{}", error.message);
}

#[test]
fn another_contract_is_refused_with_both_versions() {
    let Some(mut wasm) = guest("quotes") else { return };
    // Same length: the sections that name the contract stay intact.
    replace(&mut wasm, b"transform/lifecycle@0.1.0", b"transform/lifecycle@0.9.0");
    replace(&mut wasm, b"transform/host@0.1.0", b"transform/host@0.9.0");
    replace(&mut wasm, b"transform@0.1.0", b"transform@0.9.0");
    let error = load(&wasm).expect_err("refused");
    assert_ne!(error.code, "module.not-wasm", "{}", error.message);
    assert!(error.message.contains("0.9.0"), "{}", error.message);
}

#[test]
fn the_cache_gives_the_same_module_and_heals() {
    let Some(wasm) = guest("quotes") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let cache = dir.path().join("cache");
    let load = || {
        let runtime = Runtime::new(Metrics::new(), Some(cache.clone()), None).expect("engines");
        let module = runtime.load("quotes", &wasm, &Limits::default()).expect("loaded");
        runtime.probe(&chain(&[&module], Limits::default())).expect("it works");
    };
    let entry = || {
        let mut entries = std::fs::read_dir(&cache).expect("the cache").map(|e| e.expect("an entry").path());
        let entry = entries.next().expect("one entry");
        assert!(entries.next().is_none(), "one module, one entry");
        entry
    };
    load();
    assert_eq!(std::fs::metadata(&cache).expect("the cache").permissions().mode() & 0o777, 0o700);
    let written = std::fs::read(entry()).expect("code");
    load();
    let mut damaged = written.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(entry(), &damaged).expect("damage");
    load();
    assert!(std::fs::read(entry()).expect("code") != damaged, "the damaged entry was written again");
    std::fs::write(entry(), b"short").expect("damage");
    load();
}

#[test]
fn a_cache_that_others_can_write_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("permissions");
    let error = Runtime::new(Metrics::new(), Some(dir.path().into()), None).err().expect("refused");
    assert!(error.to_string().contains("must belong to this user alone"), "{error}");
}

/// Damaged files are refused, or they load because what was changed does not matter; the host survives either way.
#[test]
fn damaged_modules_never_harm_the_host() {
    let Some(wasm) = guest("quotes") else { return };
    let good = load(&wasm).expect("loaded").manifest.clone();
    let mut refused = 0;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..2_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (random >> 16) as usize % wasm.len();
        let damaged = match round % 4 {
            0 => wasm[..at].to_vec(),
            1 => flipped(&wasm, at, random),
            2 => flipped(&wasm, wasm.len() - 1 - at % 8_000, random),
            _ => [&wasm[..at], &wasm[(at + 1 + (random >> 50) as usize).min(wasm.len())..]].concat(),
        };
        // Compiling what is still valid takes its time: only a part of the rounds goes all the way.
        let result = match round % 4 == 0 || round % 50 < 2 {
            true => load(&damaged).map(|module| assert_eq!(module.manifest.targets.len(), good.targets.len())),
            false => match catch_unwind(|| dropped::component(&damaged).map(drop)) {
                Ok(result) => result,
                Err(_) => load(&damaged).map(drop),
            },
        };
        if let Err(error) = result {
            assert!(error.code.starts_with("module.") && !error.message.is_empty());
            refused += 1;
        }
    }
    assert!(refused > 1_000, "only {refused} were refused");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_module(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..3u8) {
        match kind {
            0 => {}
            1 => { bytes.splice(0..bytes.len().min(8), *b"\0asm\x01\0\0\0"); }
            _ => { bytes.splice(0..bytes.len().min(8), *b"\0asm\x0d\0\x01\0"); }
        }
        prop_assert!(load(&bytes).is_err());
    }
}

fn flipped(wasm: &[u8], at: usize, random: u64) -> Vec<u8> {
    let mut flipped = wasm.to_vec();
    flipped[at] ^= 1 << (random % 8);
    flipped
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = |bytes: &[u8]| bytes.windows(from.len()).position(|window| window == from);
    while let Some(at) = at(bytes) {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
}
