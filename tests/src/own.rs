//! Services of one test's own, for what the shared ones are not: secured by TLS and rights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::services;

/// What `services.sh` takes from the environment instead of starting it.
const GIVEN: [&str; 3] = ["KAFKA_BROKERS", "POSTGRES_URL", "MONGODB_URL"];

/// Services that end with this value.
#[derive(Debug)]
pub struct Own {
    directory: TempDir,
    options: Vec<(String, String)>,
    env: BTreeMap<String, String>,
}

impl Own {
    /// Starts what the options of `services.sh` say and waits until it is ready.
    pub fn start(options: &[(&str, &str)]) -> Own {
        let directory = TempDir::with_prefix("wasmill-own-").expect("a temporary directory");
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut own = Own { directory, options, env: BTreeMap::new() };
        let output = own.command("up").stderr(Stdio::inherit()).output().expect("services.sh can be started");
        assert!(output.status.success(), "services.sh up failed");
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        own.env = lines.lines().filter_map(|l| l.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect();
        own
    }

    /// A variable that `services.sh up` has printed.
    pub fn value(&self, name: &str) -> String {
        self.env.get(name).unwrap_or_else(|| panic!("services.sh has not printed {name}")).clone()
    }

    /// The helpers of this process use these services from now on.
    pub fn take_over(&self) {
        for name in GIVEN.iter().filter(|name| self.env.contains_key(**name)) {
            services::replace(name, self.value(name));
        }
    }

    /// A call of `services.sh` for these services.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(script());
        command
            .arg(verb)
            .arg(self.directory.path())
            .env("SERVICES_FROM", "native")
            .env("READY_TIMEOUT", "240")
            .stdin(Stdio::null());
        GIVEN.iter().for_each(|name| _ = command.env_remove(name));
        command.envs(self.options.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let ended = self.command("down").stdout(Stdio::null()).status();
        if !std::thread::panicking() {
            assert!(ended.is_ok_and(|status| status.success()), "services.sh down failed");
        }
    }
}

/// The script itself.
pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("services/services.sh")
}
