//! Stand-ins for the supervisor, the plans of flows, the Wasm runtime and the sinks, with the signatures that commands
//! are written against.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Config, Flow, Limits, Sink};
use crate::health::Health;
use crate::manifest::TargetSpec;
use crate::metrics::Metrics;
use crate::runtime::Module;
use crate::shutdown::Shutdown;

pub(super) mod supervisor {
    use super::*;

    #[expect(dead_code, reason = "the stand-in reads nothing")]
    pub(crate) struct Settings {
        pub(crate) config: Config,
        pub(crate) once: bool,
        pub(crate) metrics: Arc<Metrics>,
        pub(crate) health: Arc<Health>,
        pub(crate) shutdown: Arc<Shutdown>,
        pub(crate) tokio: tokio::runtime::Handle,
    }

    pub(crate) struct Failure {
        pub(crate) code: u8,
        pub(crate) message: String,
    }

    pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
        while !settings.shutdown.wait_timeout(std::time::Duration::from_secs(1)) {}
        if settings.once { Err(Failure { code: 1, message: "no supervisor".into() }) } else { Ok(()) }
    }
}

pub(super) struct Runtime;

#[derive(Debug)]
#[expect(dead_code, reason = "never made by the stand-in")]
pub(super) struct LoadError {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Runtime {
    pub(super) fn new(_: Arc<Metrics>, _: Option<PathBuf>) -> Result<Self, String> {
        Ok(Runtime)
    }

    pub(super) fn load(&self, name: &str, bytes: &[u8], _: &Limits) -> Result<Arc<Module>, LoadError> {
        use sha2::Digest as _;
        let digest: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Arc::new(Module { name: name.into(), digest: digest.into(), manifest: Default::default() }))
    }
}

pub(super) fn open(_: &str, _: &Sink, _: &std::path::Path) -> Result<Arc<dyn crate::sinks::Sink>, String> {
    Err("no sinks yet".into())
}

/// Stands in for `flow::plan`.
pub(super) mod plan {
    use super::*;

    #[derive(Debug)]
    pub(crate) struct Plan {
        pub(crate) name: Arc<str>,
        pub(crate) topics: Vec<String>,
        pub(crate) dead_letters: DeadLetters,
        pub(crate) targets: Vec<Arc<TargetSpec>>,
    }

    #[derive(Debug)]
    pub(crate) struct DeadLetters(Option<String>);

    #[derive(Clone, Debug, thiserror::Error)]
    pub(crate) enum Refusal {
        #[error("module {0} is not in the modules folder")]
        Missing(String),
        #[error("{0}")]
        Forbidden(String),
    }

    pub(crate) fn plan(
        config: &Config,
        name: &str,
        flow: &Flow,
        _adopted: bool,
        module: impl Fn(&str) -> Option<Arc<Module>>,
    ) -> Result<Plan, Refusal> {
        let module = module(name).ok_or_else(|| Refusal::Missing(name.into()))?;
        let targets: Vec<Arc<TargetSpec>> = module.manifest.targets.iter().cloned().map(Arc::new).collect();
        if let Some(target) = targets.iter().find(|target| !config.sinks.contains_key(&target.sink)) {
            return Err(Refusal::Forbidden(format!(
                "flow {name} wants to write {}: there is no such sink",
                target.label()
            )));
        }
        let topics = flow.topics.clone().unwrap_or_else(|| module.manifest.topics.clone());
        Ok(Plan { name: name.into(), topics, dead_letters: DeadLetters(flow.dead_letters.clone()), targets })
    }

    impl Plan {
        pub(crate) fn doubles(&self, other: &Plan) -> Option<(String, String)> {
            let topic = self.topics.iter().find(|topic| other.topics.contains(topic))?;
            let target = self.targets.iter().find(|target| other.targets.contains(target))?;
            Some((topic.clone(), target.label()))
        }
    }

    impl DeadLetters {
        pub(crate) fn topic(&self, source: &str) -> Option<String> {
            Some(self.0.clone().unwrap_or_else(|| format!("{source}.dlq")))
        }
    }
}
