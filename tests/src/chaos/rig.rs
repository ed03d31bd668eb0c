//! The services and hosts of one run, on ports and in a directory of their own: they are killed. Everything that was
//! started ends with this value; what a script needs to end it otherwise stands in the directory as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::host::Slot;
use super::plan::Lane;
use super::{HOSTS, PARTITIONS, TOPIC, broker};
use crate::guests;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/services/services.sh");
/// The services with the variable that tells where a person has one.
const GIVEN: [(&str, &str); 3] =
    [("KAFKA_FROM", "KAFKA_BROKERS"), ("POSTGRES_FROM", "POSTGRES_URL"), ("MONGODB_FROM", "MONGODB_URL")];

/// Everything that runs.
pub struct Rig {
    pub directory: PathBuf,
    services: PathBuf,
    env: BTreeMap<String, String>,
    /// Without the proxies: for the checker.
    pub brokers: String,
    pub postgres: String,
    pub mongodb: String,
    /// The hosts that are always there, then the visitor.
    pub hosts: Vec<Slot>,
}

impl Rig {
    /// Starts the services, creates the input topic, and starts the hosts. `switches` go to them as FAILPOINTS.
    pub fn start(directory: &Path, switches: &str) -> anyhow::Result<Self> {
        let services = directory.join("services");
        std::fs::create_dir_all(directory.join("modules"))?;
        std::fs::create_dir_all(&services)?;
        let mut rig = Rig {
            directory: directory.into(),
            services,
            env: BTreeMap::new(),
            brokers: String::new(),
            postgres: String::new(),
            mongodb: String::new(),
            hosts: Vec::new(),
        };
        rig.up()?;
        broker::create_topic(&rig.brokers, TOPIC, PARTITIONS)?;
        rig.install(1)?;
        std::fs::write(directory.join("wasmill.toml"), rig.config())?;
        for number in 0..=HOSTS {
            let slot = Slot::new(number, directory, &rig.postgres, &rig.mongodb, switches)?;
            rig.hosts.push(slot);
        }
        rig.hosts[..HOSTS].iter().try_for_each(Slot::start)?;
        rig.hosts[..HOSTS].iter().try_for_each(|host| host.wait_until_listening(Duration::from_secs(60)))?;
        Ok(rig)
    }

    fn up(&mut self) -> anyhow::Result<()> {
        let mut command = self.command("up", &[]);
        command.env("MONGO_VOLUME", "0").stderr(Stdio::inherit());
        for (from, variable) in GIVEN {
            // What `make test` has started is not a person's.
            if std::env::var(from).is_ok_and(|from| from != "given") {
                command.env_remove(variable);
            }
        }
        let output = command.output().context("services.sh cannot be started")?;
        if !output.status.success() {
            bail!("the services did not start: see above");
        }
        let text = String::from_utf8(output.stdout)?;
        let lines = text.lines().filter_map(|line| line.split_once('='));
        self.env = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let value = |name: &str| self.env.get(name).cloned().with_context(|| format!("services.sh gave no {name}"));
        (self.brokers, self.postgres, self.mongodb) =
            (value("KAFKA_BROKERS")?, value("POSTGRES_URL")?, value("MONGODB_URL")?);
        Ok(())
    }

    /// Whether faults of this lane are possible here.
    pub fn able(&self, lane: Lane) -> bool {
        let is = |name: &str, value: &str| self.env.get(name).is_some_and(|found| found == value);
        match lane {
            Lane::Kafka => is("KAFKA_FROM", "native"),
            Lane::Postgres => is("POSTGRES_FROM", "native"),
            // The other stand-in forgets what it has when it ends.
            Lane::Mongo => is("MONGODB_FROM", "native") && is("MONGODB_KIND", "ferretdb"),
            _ => true,
        }
    }

    /// What the services are, a line each.
    pub fn about(&self) -> String {
        std::fs::read_to_string(self.services.join("about")).unwrap_or_default()
    }

    /// Ends a service as a crash does.
    pub fn kill(&self, service: &str) -> anyhow::Result<()> {
        self.script("kill", &[service]).map(drop)
    }

    /// Starts it again and waits until it serves.
    pub fn revive(&self, service: &str) -> anyhow::Result<()> {
        self.script("start", &[service]).map(drop)
    }

    /// Kafka's own tool for transactions; its output.
    pub fn transactions(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.script("transactions", arguments)
    }

    /// Puts this build of both modules in place.
    pub fn install(&self, build: u32) -> anyhow::Result<()> {
        for module in ["chaos", "chaos-plain"] {
            let folder = self.directory.join("modules");
            let hidden = folder.join(format!(".{module}.part"));
            std::fs::write(&hidden, guests::with_number(module, build))?;
            std::fs::rename(&hidden, folder.join(format!("{module}.wasm")))?;
        }
        Ok(())
    }

    fn script(&self, verb: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(verb, arguments).output().context("services.sh cannot be started")?;
        if !output.status.success() {
            bail!("services.sh {verb} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(SCRIPT);
        command.arg(verb).arg(&self.services).args(arguments).stdin(Stdio::null());
        command
    }

    fn config(&self) -> String {
        format!(
            "[host]\ninstance = \"${{CHAOS_INSTANCE:-}}\"\n\
             [kafka]\nbrokers = \"{}\"\n\
             [kafka.properties]\n\"session.timeout.ms\" = \"6000\"\n\"heartbeat.interval.ms\" = \"1000\"\n\
             [modules]\ndir = \"modules\"\nadopt = false\nscan_interval = \"500ms\"\ncache = \"cache\"\n\
             [sinks.postgres]\nurl = \"${{CHAOS_POSTGRES}}\"\n[sinks.mongodb]\nurl = \"${{CHAOS_MONGODB}}\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n\
             [flow.full]\nmodules = [\"chaos\"]\ntopics = [\"{TOPIC}\"]\ndead_letters = \"full.dlq\"\n\
             [flow.plain]\nmodules = [\"chaos-plain\"]\ntopics = [\"{TOPIC}\"]\ndead_letters = \"plain.dlq\"\n",
            self.brokers
        )
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.hosts.iter().for_each(Slot::kill);
        if let Err(cause) = self.script("down", &[]) {
            eprintln!("the services did not stop: {cause}");
        }
    }
}
