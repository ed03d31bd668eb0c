//! The two engines and what every module is compiled with. The fast one is stopped by epochs, that is by the clock; the
//! metered one counts instructions and gives the same answer on every machine. They never share code or stores.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};
use wasmtime::{Config, Engine, OptLevel, WasmBacktraceDetails};

use super::apart::{Apart, Missing};
use super::cache::{self, Cache};
use super::guest::{self, Guest};
use super::{HOST, LIFECYCLE};
use crate::metrics::Metrics;

/// How often the epoch advances: the resolution of deadlines.
const TICK: Duration = Duration::from_millis(5);
/// Stack of a guest. The threads that call guests have at least 2 MiB.
const GUEST_STACK: usize = 512 << 10;

/// Everything that outlives modules.
pub(super) struct Engines {
    fast: Engine,
    metered: Engine,
    fast_linker: Linker<Guest>,
    metered_linker: Linker<Guest>,
    cache: Option<Cache>,
    apart: Option<Apart>,
    pub(super) metrics: Arc<Metrics>,
}

/// A component that is ready to be instantiated on one of the engines.
pub(super) struct Compiled {
    pub(super) engine: Engine,
    pub(super) pre: InstancePre<Guest>,
    pub(super) init: ComponentExportIndex,
    pub(super) process: ComponentExportIndex,
    /// Whether `process` is `process-flat`.
    pub(super) flat: bool,
    pub(super) metered: bool,
}

impl Engines {
    pub(super) fn new(metrics: Arc<Metrics>, cache: Option<PathBuf>, apart: Option<Apart>) -> anyhow::Result<Engines> {
        let cache = cache.and_then(|dir| Cache::open(dir).transpose()).transpose()?;
        let (fast, fast_linker) = engine(false)?;
        let (metered, metered_linker) = engine(true)?;
        tick(&fast)?;
        Ok(Engines { fast, metered, fast_linker, metered_linker, cache, apart, metrics })
    }

    pub(super) fn fast(&self) -> &Engine {
        &self.fast
    }

    /// Compiles a component, or takes it from the cache.
    pub(super) fn component(&self, digest: &str, component: &[u8]) -> Result<Component, String> {
        self.compile(&self.fast, digest, component)
    }

    /// Links a component for the fast engine: everything it imports must be there.
    pub(super) fn link(&self, component: &Component) -> Result<Compiled, String> {
        Compiled::new(&self.fast, &self.fast_linker, component, false)
    }

    /// Compiles and links a component for the metered engine, or takes it from the cache.
    pub(super) fn metered(&self, digest: &str, component: &[u8]) -> Result<Compiled, String> {
        let component = self.compile(&self.metered, digest, component)?;
        Compiled::new(&self.metered, &self.metered_linker, &component, true)
    }

    fn compile(&self, engine: &Engine, digest: &str, component: &[u8]) -> Result<Component, String> {
        if let Some(found) = self.cache.as_ref().and_then(|cache| cache.load(engine, digest)) {
            return Ok(found);
        }
        if let Some(apart) = &self.apart {
            match apart.compile(component, Engine::same(engine, &self.metered)) {
                Ok(code) => {
                    if let Some(cache) = &self.cache {
                        cache.keep(engine, digest, &code);
                    }
                    return cache::deserialize(engine, &code)
                        .ok_or_else(|| "the compiled code does not fit".to_owned());
                }
                Err(Missing::Refused(words)) => return Err(words),
                Err(Missing::NoProcess(cause)) => {
                    tracing::warn!(%cause, "no process can be started to compile a module; it is compiled without limits");
                }
            }
        }
        let compiled = Component::new(engine, component).map_err(|e| words(&e))?;
        if let Some(cache) = &self.cache {
            cache.store(engine, digest, &compiled);
        }
        Ok(compiled)
    }
}

impl Compiled {
    fn new(engine: &Engine, linker: &Linker<Guest>, component: &Component, metered: bool) -> Result<Self, String> {
        let pre = linker.instantiate_pre(component).map_err(|e| words(&e))?;
        let lifecycle = component.get_export_index(None, LIFECYCLE).ok_or(format!("it does not export {LIFECYCLE}"))?;
        let init = component.get_export_index(Some(&lifecycle), "init").ok_or("its lifecycle has no `init`")?;
        let flat = component.get_export_index(None, "process-flat");
        let process = flat.or_else(|| component.get_export_index(None, "process"));
        let process = process.ok_or("it exports neither `process-flat` nor `process`")?;
        Ok(Compiled { engine: engine.clone(), pre, init, process, flat: flat.is_some(), metered })
    }
}

/// Ticks until a deadline, rounded up, as the current tick has already begun.
pub(super) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX / 2) + 1
}

/// An error of wasmtime with its causes, in one line.
pub(super) fn words(error: &wasmtime::Error) -> String {
    format!("{error:#}")
}

fn engine(metered: bool) -> anyhow::Result<(Engine, Linker<Guest>)> {
    let failed = |e: wasmtime::Error| anyhow::anyhow!("failed to set up the WebAssembly engine: {}", words(&e));
    let engine = Engine::new(&config(metered)).map_err(failed)?;
    let mut linker = Linker::new(&engine);
    guest::link(&mut linker).map_err(failed)?;
    debug_assert!(HOST.starts_with("wasmill:transform/"));
    Ok((engine, linker))
}

pub(super) fn config(metered: bool) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(metered)
        .epoch_interruption(!metered)
        // The default would make a call 3.6 times dearer, and guests are synchronous.
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        // Compiling stays on the loader's thread: the other cores belong to the flows.
        .parallel_compilation(false)
        .max_wasm_stack(GUEST_STACK)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(true)
        // The same record and the same module give the same bytes on every machine.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false);
    config
}

/// Advances the epoch until the engine is gone.
fn tick(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    let ticker = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new().name("epoch".into()).spawn(ticker).map(drop)
}
