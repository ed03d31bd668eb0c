//! Stand-ins for the supervisor, the Wasm runtime and the sinks, with the signatures that commands are written against.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Config, Limits, Sink};
use crate::health::Health;
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

pub(super) fn open(_: &str, _: &Sink) -> Result<Arc<dyn crate::sinks::Sink>, String> {
    Err("no sinks yet".into())
}
