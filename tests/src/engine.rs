//! The container engine that `make test` starts (tests/services/engine.sh), and docker-compose.yml as started on it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::guests;
use crate::services::variable;
use crate::wait::wait_for;

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    env: HashMap<String, String>,
}

/// What all containers of docker-compose.yml without a profile are: those three, and the one that ends.
pub const SERVICES: [&str; 5] = ["kafka", "postgres", "mongodb", "host", "feed"];

/// The password that this stack's .env gives the host in Postgres: another one than that of .env.example.
pub const PASSWORD: &str = "of-this-test";

const PROJECT: &str = "wasmill";

/// docker-compose.yml, up and healthy, in a folder of its own. It ends with the engine.
#[derive(Debug)]
pub struct Stack {
    pub engine: Engine,
    folder: TempDir,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

/// The files that docker-compose.yml names, and an .env as a user makes it.
fn lay_out(folder: &Path) {
    let mut copy = Command::new("cp");
    copy.current_dir(root())
        .arg("--parents")
        .arg("-r")
        .args(["docker-compose.yml", "deploy", "host/compose.toml"])
        .arg(folder);
    done("copying the stack", copy.output().expect("cp can be started"));
    let example = std::fs::read_to_string(root().join(".env.example")).expect(".env.example");
    let (before, rest) = example.split_once("POSTGRES_WASMILL_PASSWORD=").expect("it names that password");
    let (_, after) = rest.split_once('\n').expect("lines");
    let env = format!("{before}POSTGRES_WASMILL_PASSWORD={PASSWORD}\n{after}");
    std::fs::write(folder.join(".env"), env).expect("the folder can be written");
}

/// What a command printed; panics with its words where it failed.
#[track_caller]
fn done(what: &str, output: Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{what} failed: {printed}\n{}", String::from_utf8_lossy(&output.stderr));
    printed
}

impl Engine {
    /// The engine, or why there is none.
    pub fn find() -> Result<Self, String> {
        let folder = std::env::var("WASMILL_TEST_ENGINE").map_err(|_| "WASMILL_TEST_ENGINE is not set".to_owned())?;
        let lines = std::fs::read_to_string(Path::new(&folder).join("env")).map_err(|_| {
            let why = std::fs::read_to_string(Path::new(&folder).join("why"));
            why.map_or_else(|_| format!("none was started in {folder}"), |why| why.trim().to_owned())
        })?;
        let env = lines.lines().filter_map(|line| line.split_once('='));
        Ok(Engine { env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(&self.env);
        command
    }

    /// Runs `docker` and returns what it printed.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.command("docker").args(arguments).output().expect("docker can be started");
        done(&format!("docker {}", arguments.join(" ")), output)
    }

    /// What the engine knows of a container or an image.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> Value {
        let printed = self.docker(&["inspect", name]);
        serde_json::from_str::<Value>(&printed).expect("JSON")[0].take()
    }

    /// Makes the images `wasmill` and `wasmill-modules` of the program that is tested.
    pub fn make_image(&self) {
        let mut command = self.command("bash");
        command.arg(root().join("scripts/image.sh")).arg(variable("WASMILL_BIN")).arg(guests::path("quotes"));
        done("scripts/image.sh", command.output().expect("bash can be started"));
    }

    /// A program of the machine around the containers, which sees the ports that they publish and not their network.
    #[track_caller]
    pub fn outside(&self, program: &Path, arguments: &[&str], folder: &Path, env: &[(&str, &str)]) -> String {
        let mut command = self.command("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.env["ENGINE_PID"])).arg("--").arg(program).args(arguments);
        command.current_dir(folder).envs(env.iter().copied()).env("NO_COLOR", "1");
        let output = command.output().expect("nsenter can be started");
        done(&format!("{} {}", program.display(), arguments.join(" ")), output)
    }

    /// Waits until a container's own check says that it is healthy.
    #[track_caller]
    pub fn wait_until_healthy(&self, container: &str, seconds: u64) {
        let mut last = String::new();
        let healthy = || {
            last =
                self.inspect(container)["State"]["Health"]["Status"].as_str().unwrap_or("without a check").to_owned();
            (last == "healthy").then_some(())
        };
        wait_for(&format!("{container} is healthy"), seconds, healthy);
    }
}

impl Stack {
    /// Starts it with the images that have the names of docker-compose.yml.
    pub fn start(engine: Engine) -> Self {
        engine.make_image();
        let folder = TempDir::with_prefix("wasmill-stack-").expect("a temporary directory");
        lay_out(folder.path());
        let stack = Stack { engine, folder };
        stack.compose(&["up", "-d", "--no-build"]);
        stack
    }

    /// Runs docker-compose on the file and on what stands in for images that cannot be pulled.
    #[track_caller]
    pub fn compose(&self, arguments: &[&str]) -> String {
        let mut command = self.engine.command("timeout");
        command.args(["240", "docker-compose", "-p", PROJECT, "-f", "docker-compose.yml", "-f"]);
        command
            .arg(root().join("tests/services/stand-ins/compose.yml"))
            .args(arguments)
            .current_dir(self.folder.path());
        done(&format!("docker-compose {}", arguments.join(" ")), command.output().expect("timeout can be started"))
    }

    /// A container of a service.
    #[track_caller]
    pub fn container(&self, service: &str) -> String {
        self.compose(&["ps", "-q", service]).trim().to_owned()
    }

    /// The network of the containers.
    pub fn network(&self) -> String {
        format!("{PROJECT}_default")
    }

    /// What a query answers, asked by the superuser in the container.
    #[track_caller]
    pub fn query(&self, database: &str, sql: &str) -> String {
        let postgres = self.container("postgres");
        self.engine
            .docker(&["exec", &postgres, "psql", "-AtU", "postgres", "-d", database, "-c", sql])
            .trim()
            .to_owned()
    }
}
