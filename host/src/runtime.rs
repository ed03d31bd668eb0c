//! The only place of wasmtime: from the bytes of a module to the outcome of a slice. A guest gets no clock, no file and
//! no socket; a record that traps, loops or overgrows costs only itself. What happens to outputs and verdicts is not
//! decided here.

pub mod apart;
pub mod cache;
mod contract;
mod dropped;
mod effects;
mod engine;
mod frame;
mod guest;
mod instance;
mod lanes;
mod pool;
mod rehearsal;
mod reply;
mod sanity;
mod step;
#[cfg(test)]
pub(crate) mod tests;
mod transform;
mod trial;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::config::Limits;
use crate::manifest::{Example, Manifest, TargetSpec};
use crate::metrics::Metrics;
use crate::outcome::Ruling;
use crate::record::{Slice, SliceBuilder};

pub use contract::Field;
pub use dropped::MAX_BYTES;
pub use pool::{Job, Pool};
pub use rehearsal::Rehearsal;
pub use trial::{Cost, Made, Ran, Trial, Tried};

use apart::Apart;
use effects::Shared;
use engine::{Compiled, Engines};
use instance::{Instance, Setting};

/// The contract's package, its version and the interfaces that are looked for by name.
const CONTRACT: &str = "wasmill:transform";
const CONTRACT_VERSION: &str = "0.1.0";
const HOST: &str = "wasmill:transform/host@0.1.0";
const LIFECYCLE: &str = "wasmill:transform/lifecycle@0.1.0";
/// What `init` gets when a module is loaded; flows give their own variables later.
const NO_VARS: &str = "{\"vars\":{}}";
/// Stack for compiling and for the first calls, whichever thread asked for them.
const LOAD_STACK: usize = 16 << 20;
/// Flow by which examples are known in logs.
const EXAMPLES: &str = "examples";

/// A compiled module.
pub struct Module {
    /// File stem.
    pub name: Arc<str>,
    /// sha256 of the file's bytes, in hex.
    pub digest: Arc<str>,
    pub manifest: Manifest,
    /// What it uses of the host: `interface: function function`.
    pub imports: Vec<String>,
    code: Code,
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

/// Why a module is not taken, in words for the one who dropped it. The file's name is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LoadError {
    /// `module.not-wasm`, `module.invalid`, `module.foreign`, `module.imports`, `module.version`, `module.too-large`,
    /// `module.init`, `module.manifest` or `module.example`.
    pub code: &'static str,
    /// Reads on from the file's name: `is empty: copy or build it again`.
    pub message: String,
}

/// The code of a module, for both engines.
struct Code {
    fast: Compiled,
    /// Compiled when a record first needs it.
    /// Compiled at the first need. A failure is not kept: it may come from what else the machine does.
    metered: Mutex<Option<Arc<Compiled>>>,
    component: Vec<u8>,
    shared: Arc<Shared>,
}

/// Loads modules and starts their instances.
pub struct Runtime {
    engines: Engines,
}

impl Runtime {
    /// Sets up the engines. With `cache`, compiled code is kept in that directory; an error where others could write to it.
    /// With `apart`, modules are compiled in processes of their own.
    pub fn new(metrics: Arc<Metrics>, cache: Option<PathBuf>, apart: Option<Apart>) -> anyhow::Result<Arc<Runtime>> {
        Ok(Arc::new(Runtime { engines: Engines::new(metrics, cache, apart)? }))
    }

    /// Makes a module of a file's bytes: compiled, linked, introduced and tried on its own examples. Takes up to seconds
    /// and blocks; never call it on a flow's thread.
    pub fn load(&self, name: &str, wasm: &[u8], limits: &Limits) -> Result<Arc<Module>, LoadError> {
        let load = || catch_unwind(AssertUnwindSafe(|| self.load_here(name, wasm, limits)));
        std::thread::scope(|scope| {
            let loader = std::thread::Builder::new().name("load".into()).stack_size(LOAD_STACK);
            let loaded = loader.spawn_scoped(scope, load).map(|thread| thread.join());
            match loaded {
                Ok(Ok(Ok(result))) => result,
                Ok(Ok(Err(panic)) | Err(panic)) => {
                    let words = pool::panic_words(panic.as_ref());
                    Err(LoadError::new("module.invalid", format!("cannot be compiled: the compiler failed: {words}")))
                }
                Err(cause) => Err(LoadError::new("module.invalid", format!("cannot be loaded: no thread: {cause}"))),
            }
        })
    }

    /// Tries a chain as a flow will run it: every module's `init` with the flow's variables, the first one's examples.
    pub fn probe(&self, chain: &Arc<Chain>) -> Result<(), LoadError> {
        for (index, step) in chain.steps.iter().enumerate() {
            let code = &step.module.code;
            let (_, manifest) = self
                .start(&code.fast, chain, index)
                .map_err(|m| LoadError::new("module.init", format!("{} does not start: {m}", step.module.name)))?;
            if manifest != step.module.manifest {
                let message = format!("{}: the manifest depends on the variables; it must not", step.module.name);
                return Err(LoadError::new("module.manifest", message));
            }
        }
        self.try_examples(chain)
    }

    fn load_here(&self, name: &str, wasm: &[u8], limits: &Limits) -> Result<Arc<Module>, LoadError> {
        let component = dropped::component(wasm)?.into_owned();
        let digest = digest(wasm);
        let invalid = |m: String| LoadError::new("module.invalid", format!("cannot be compiled: {m}"));
        let compiled = self.engines.component(&digest, &component).map_err(invalid)?;
        dropped::check_world(self.engines.fast(), &compiled)?;
        let fast = self.engines.link(&compiled).map_err(|m| {
            LoadError::new(
                "module.imports",
                format!("does not fit this host: {m}; build it with this host's wasmill-sdk"),
            )
        })?;
        let imports = dropped::imports(self.engines.fast(), &compiled);
        let code = Code { fast, metered: Mutex::default(), component, shared: Arc::default() };
        let manifest = Manifest::default();
        let mut module = Module { name: name.into(), digest: digest.into(), manifest, imports, code };
        module.manifest = self.introduce(&module, limits)?;
        let module = Arc::new(module);
        self.try_examples(&Arc::new(Chain::of_examples(&module, limits)))?;
        Ok(module)
    }

    fn introduce(&self, module: &Module, limits: &Limits) -> Result<Manifest, LoadError> {
        let code = &module.code;
        let setting = Setting {
            metrics: &self.engines.metrics,
            shared: &code.shared,
            flow: &EXAMPLES.into(),
            module: &module.name,
            limits,
            config: NO_VARS,
        };
        let (mut instance, manifest) = Instance::start(&code.fast, &setting)
            .map_err(|m| LoadError::new("module.init", format!("does not start: {m}")))?;
        instance.effects().commit_lines();
        sanity::check(&manifest)?;
        Ok(manifest)
    }

    fn try_examples(&self, chain: &Arc<Chain>) -> Result<(), LoadError> {
        let Some(first) = chain.steps.first() else { return Ok(()) };
        let topic = first.module.manifest.topics.first().map_or(EXAMPLES, |topic| topic.trim_start_matches('^'));
        let mut fresh = Fresh { runtime: self };
        for (number, example) in first.module.manifest.examples.iter().enumerate() {
            let slice = slice_of(topic, number, example);
            let mut stepped = step::run(&mut fresh, chain, 0, &slice);
            let ruling = stepped.rulings.pop().map(|(_, ruling)| ruling);
            let wrong = match (ruling, example.outputs) {
                (Some(Ruling::Dead { code, message }), _) => Some(format!("{code}: {message}")),
                (Some(Ruling::Retry { message } | Ruling::Fatal { message }), _) => Some(message),
                (_, Some(outputs)) if stepped.outputs() as u64 != u64::from(outputs) => {
                    Some(format!("{} outputs came back, {outputs} were promised", stepped.outputs()))
                }
                _ => None,
            };
            if let Some(wrong) = wrong {
                let message = format!("fails its own example {}: {wrong}", number + 1);
                return Err(LoadError::new("module.example", message));
            }
        }
        Ok(())
    }

    /// A new instance of a chain's step.
    fn instance(&self, chain: &Chain, step: usize) -> Result<Instance, String> {
        let code = &chain.steps[step].module.code;
        self.start(&code.fast, chain, step).map(|(instance, _)| instance)
    }

    /// A new instance of a chain's step on the metered engine, which is compiled at the first need.
    fn metered_instance(&self, chain: &Chain, step: usize) -> Result<Instance, String> {
        let module = &chain.steps[step].module;
        let code = &module.code;
        let compiled = {
            let mut metered = code.metered.lock().unwrap_or_else(PoisonError::into_inner);
            match &*metered {
                Some(compiled) => compiled.clone(),
                None => {
                    let compiled = Arc::new(self.engines.metered(&module.digest, &code.component)?);
                    metered.insert(compiled).clone()
                }
            }
        };
        self.start(&compiled, chain, step).map(|(instance, _)| instance)
    }

    fn start(&self, compiled: &Compiled, chain: &Chain, step: usize) -> Result<(Instance, Manifest), String> {
        let module = &chain.steps[step].module;
        let setting = Setting {
            metrics: &self.engines.metrics,
            shared: &module.code.shared,
            flow: &chain.flow,
            module: &module.name,
            limits: &chain.limits,
            config: &chain.config,
        };
        let (mut instance, manifest) = Instance::start(compiled, &setting)?;
        // Said once at load; instances come and go.
        instance.effects().discard();
        Ok((instance, manifest))
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("name", &self.name).field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Chain {
    fn of_examples(module: &Arc<Module>, limits: &Limits) -> Chain {
        Chain::alone(module, limits, NO_VARS.to_owned())
    }

    /// A module by itself, wherever it belongs in a chain: the second step lets it say `next`.
    fn alone(module: &Arc<Module>, limits: &Limits, config: String) -> Chain {
        let targets = module.manifest.targets.iter().cloned().map(Arc::new).collect();
        let step = || Step { module: module.clone(), targets: Vec::clone(&targets) };
        let digest = module.digest.clone();
        Chain { flow: EXAMPLES.into(), steps: vec![step(), step()], digest, limits: limits.clone(), config }
    }
}

impl LoadError {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        LoadError { code, message: effects::clean(&message.into(), 2 * effects::LINE_BYTES) }
    }
}

/// Instances for a check: none is kept.
struct Fresh<'a> {
    runtime: &'a Runtime,
}

impl step::Instances for Fresh<'_> {
    fn take(&mut self, chain: &Arc<Chain>, step: usize) -> Result<Instance, String> {
        self.runtime.instance(chain, step)
    }

    fn keep(&mut self, _chain: &Arc<Chain>, _step: usize, _instance: Instance) {}

    fn metered(&mut self, chain: &Arc<Chain>, step: usize) -> Result<Instance, String> {
        self.runtime.metered_instance(chain, step)
    }
}

/// sha256 in hex.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn slice_of(topic: &str, number: usize, example: &Example) -> Slice {
    let mut slice = SliceBuilder::new(topic.into(), 0);
    slice.push(number as i64, 0, example.key.as_deref(), example.value.as_deref(), std::iter::empty());
    slice.build()
}
