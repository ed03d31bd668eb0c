//! What one test has for itself: a directory with a modules folder, a database, names that no other test uses.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::host::{Finished, Host, wasmill};
use crate::postgres::Database;
use crate::wait::wait_until;
use crate::{guests, kafka, services};

/// The surroundings of one test. Hosts that were started from it must be dropped first, so declare it first.
#[derive(Debug)]
pub struct Case {
    /// Unique, `[a-z0-9_]`.
    pub name: String,
    pub database: Database,
    /// URLs of the sinks; a test may lead them through a proxy.
    pub postgres_url: String,
    pub mongodb_url: String,
    /// Lines for `[kafka]`.
    pub kafka: String,
    /// Lines for `[modules]`.
    pub modules: String,
    /// Whole tables to append to the configuration.
    pub tables: String,
    /// Further environment of the hosts.
    pub env: Vec<(String, String)>,
    directory: TempDir,
}

impl Case {
    pub fn new(what: &str) -> Self {
        let name = unique(what);
        let database = Database::create(&name);
        let directory = TempDir::with_prefix("wasmill-test-").expect("a temporary directory");
        std::fs::create_dir(directory.path().join("modules")).expect("a modules folder");
        Case {
            postgres_url: database.url.clone(),
            mongodb_url: services::mongodb_url(),
            kafka: format!("brokers = \"{}\"", services::brokers()),
            modules: String::new(),
            tables: String::new(),
            env: Vec::new(),
            name,
            database,
            directory,
        }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A name of this test's own: for topics, flows, groups.
    pub fn named(&self, what: &str) -> String {
        format!("{}_{what}", self.name)
    }

    /// Creates a topic of this test's own.
    pub fn topic(&self, what: &str, partitions: i32) -> String {
        let topic = self.named(what);
        kafka::create_topic(&topic, partitions);
        topic
    }

    /// Drops a built module into the folder, under the name of its file.
    pub fn install(&self, guest: &str) {
        self.install_as(guest, &guests::bytes(guest));
    }

    /// Puts a module in place by renaming, as `wasmill build` does.
    pub fn install_as(&self, module: &str, bytes: &[u8]) {
        let hidden = self.path().join(format!("modules/.{module}.part"));
        std::fs::write(&hidden, bytes).expect("the modules folder can be written");
        std::fs::rename(&hidden, self.module(module)).expect("the module can be put in place");
    }

    /// Where a module lies.
    pub fn module(&self, module: &str) -> PathBuf {
        self.path().join(format!("modules/{module}.wasm"))
    }

    /// Appends a flow: `lines` go below `[flow.NAME]`.
    pub fn flow(&mut self, name: &str, lines: &str) {
        self.tables.push_str(&format!("\n[flow.{name}]\n{lines}\n"));
    }

    /// Appends a flow that reads one topic with one module, and returns its name.
    pub fn flow_of(&mut self, module: &str, topic: &str) -> String {
        let name = self.named("flow");
        self.flow(&name, &format!("modules = [\"{module}\"]\ntopics = [\"{topic}\"]"));
        name
    }

    /// A command against the case's running host, to its end.
    #[track_caller]
    pub fn command(&self, host: &Host, arguments: &[&str]) -> Finished {
        let address = host.address();
        wasmill(&[arguments, &["--admin", &address]].concat(), self.path(), &self.env)
    }

    /// Waits until the flow has committed everything that is in the topic now.
    #[track_caller]
    pub fn wait_until_committed(&self, flow: &str, topic: &str, seconds: u64) {
        let group = format!("wasmill.{flow}");
        wait_until(&format!("{group} has committed all of {topic}"), seconds, || kafka::lag(&group, topic) == 0);
    }

    /// The configuration file's text.
    pub fn config(&self) -> String {
        let Case { postgres_url, mongodb_url, kafka, modules, tables, .. } = self;
        format!(
            "[kafka]\n{kafka}\n[modules]\ndir = \"modules\"\nscan_interval = \"100ms\"\n{modules}\n\
             [sinks.postgres]\nurl = \"{postgres_url}\"\n[sinks.mongodb]\nurl = \"{mongodb_url}\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n{tables}\n"
        )
    }

    /// Starts a host with this configuration and waits until it listens.
    pub fn start(&self) -> Host {
        self.start_with(&self.config())
    }

    /// Starts a host with another configuration and waits until it listens.
    pub fn start_with(&self, config: &str) -> Host {
        let host = self.spawn(config);
        host.address();
        host
    }

    /// Starts a host and does not wait, for those that are to fail.
    pub fn spawn(&self, config: &str) -> Host {
        let file = self.path().join("wasmill.toml");
        std::fs::write(&file, config).expect("the configuration can be written");
        Host::spawn(&["run", "-c", &file.to_string_lossy()], self.path(), &self.env)
    }
}

/// A name that no other test and no other run uses.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_millis();
    format!("{what}_{:x}_{:x}_{}", now & 0xfff_ffff, std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
