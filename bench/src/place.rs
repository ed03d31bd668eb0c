//! What one run has for itself: a directory with modules and configuration, a database, a group, a topic for outputs.
//! Gone when the run ends, except for the topics.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use wasmill_tests::postgres::Database;
use wasmill_tests::services::{brokers, mongodb_volume_url, variable};
use wasmill_tests::{case, kafka};

/// A run's surroundings.
pub(crate) struct Place {
    name: String,
    pub(crate) database: Database,
    /// Topic for the outputs.
    pub(crate) output: String,
    directory: PathBuf,
}

/// What the host's configuration says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup<'a> {
    /// One flow for each.
    pub(crate) topics: &'a [String],
    /// As the guest's variable.
    pub(crate) to: &'a str,
    pub(crate) delivery: &'a str,
    pub(crate) batch: Option<usize>,
    pub(crate) passes: usize,
    pub(crate) workers: Option<usize>,
    /// Rows per second that each process writes at most.
    pub(crate) cap: Option<u32>,
    /// Properties of the client, as lines.
    pub(crate) properties: &'a str,
    /// Where compiled modules are kept.
    pub(crate) cache: Option<&'a Path>,
}

impl Place {
    /// `partitions` of the topic for outputs; none where there are no outputs to topics.
    pub(crate) fn new(partitions: Option<i32>) -> Self {
        let name = case::unique("bench");
        let output = format!("benched-{}", name.replace('_', "-"));
        if let Some(partitions) = partitions {
            kafka::create_topic(&output, partitions);
        }
        let directory = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(directory.join("modules")).expect("a directory for the run");
        Place { database: Database::create(&name), output, directory, name }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Name of the flow with this number, of `flows`.
    pub(crate) fn flow(&self, number: usize, flows: usize) -> String {
        if flows == 1 { self.name.clone() } else { format!("{}_{number}", self.name) }
    }

    /// Consumer group of the flow with this number; the native program uses the first.
    pub(crate) fn group(&self, number: usize, flows: usize) -> String {
        format!("wasmill.{}", self.flow(number, flows))
    }

    /// Puts the modules in place and writes the configuration; gives its path.
    pub(crate) fn configure(&self, setup: &Setup<'_>) -> PathBuf {
        self.install("bench", &guest("bench-guest"));
        (0..setup.passes).for_each(|number| self.install(&format!("pass-{number}"), &guest("bench-pass")));
        let file = self.directory.join("wasmill.toml");
        std::fs::write(&file, self.text(setup)).expect("the configuration can be written");
        file
    }

    /// Puts a module in place by renaming.
    pub(crate) fn install(&self, module: &str, bytes: &[u8]) {
        let hidden = self.directory.join(format!("modules/.{module}.part"));
        std::fs::write(&hidden, bytes).expect("the modules folder can be written");
        std::fs::rename(&hidden, self.directory.join(format!("modules/{module}.wasm")))
            .expect("it can be put in place");
    }

    fn text(&self, setup: &Setup<'_>) -> String {
        let workers = setup.workers.map_or(String::new(), |workers| format!("[host]\nworkers = {workers}\n"));
        let cache = setup.cache.map_or(String::new(), |path| format!("cache = \"{}\"\n", path.display()));
        let batch = setup.batch.map_or(String::new(), |records| format!("batch = {{ records = {records} }}\n"));
        let modules: String = (0..setup.passes).map(|number| format!("\"pass-{number}\", ")).collect();
        let cap = setup.cap.map_or(String::new(), |rows| format!("max_rows_per_second = {rows}\n"));
        let mut text = format!(
            "{workers}[kafka]\nbrokers = \"{}\"\n[kafka.properties]\n{}\n[modules]\ndir = \"modules\"\nscan_interval = \"100ms\"\n\
             {cache}[sinks.postgres]\nurl = \"{}\"\n{cap}[sinks.mongodb]\nurl = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
            brokers(),
            setup.properties,
            self.database.url,
            mongodb_volume_url(),
        );
        for (number, topic) in setup.topics.iter().enumerate() {
            let flow = self.flow(number, setup.topics.len());
            let (to, delivery, output) = (setup.to, setup.delivery, &self.output);
            let written = write!(
                text,
                "[flow.{flow}]\nmodules = [{modules}\"bench\"]\ntopics = [\"{topic}\"]\ndelivery = \"{delivery}\"\n\
                 {batch}vars = {{ to = \"{to}\", topic = \"{output}\" }}\n"
            );
            written.expect("a string takes everything");
        }
        text
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

/// A built module of the benchmark.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let file = PathBuf::from(variable("WASMILL_TEST_GUESTS")).join(format!("{name}.wasm"));
    std::fs::read(&file).unwrap_or_else(|cause| panic!("{} cannot be read: {cause}", file.display()))
}
