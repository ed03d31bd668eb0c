//! The image, and docker-compose.yml, on a real engine. What is not the user's: the program was compiled outside of
//! host/Dockerfile, whose other stages are built as they are (scripts/image.sh), and the images of Kafka, Postgres and MongoDB
//! are stand-ins of the same names (tests/services/stand-ins).

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock};

use serde_json::json;
use wasmill_tests::engine::{Engine, PASSWORD, SERVICES, Stack};
use wasmill_tests::services::variable;
use wasmill_tests::{guests, wait_until};

/// One for all tests: the last of those that use it ends it. When only some are run it ends with the engine.
static STACK: LazyLock<Option<Stack>> = LazyLock::new(|| match Engine::find() {
    Ok(engine) => Some(Stack::start(engine)),
    Err(why) => {
        eprintln!("SKIPPED: no container engine: {why}");
        None
    }
});

/// How many tests use it.
const USERS: usize = 5;

/// One test's use of the stack.
struct Use(&'static Stack);

impl std::ops::Deref for Use {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        self.0
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        static DONE: AtomicUsize = AtomicUsize::new(0);
        if DONE.fetch_add(1, Ordering::SeqCst) + 1 == USERS && !std::thread::panicking() {
            self.0.compose(&["down", "-v", "-t", "5"]);
        }
    }
}

fn stack() -> Option<Use> {
    STACK.as_ref().map(Use)
}

/// Held for writing while services are started again, for reading by tests that need all of them.
static CALM: RwLock<()> = RwLock::new(());

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

/// A program that was built beside the one that is tested.
fn beside(name: &str) -> PathBuf {
    Path::new(&variable("WASMILL_BIN")).with_file_name(name)
}

/// A folder that user 65532 may read, with a module.
fn folder_with(module: &str) -> tempfile::TempDir {
    let folder = tempfile::TempDir::with_prefix("wasmill-containers-").expect("a temporary directory");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    let file = folder.path().join(format!("{module}.wasm"));
    std::fs::write(&file, guests::bytes(module)).expect("the folder can be written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("the file is ours");
    folder
}

/// The host's process, as the kernel sees it: who it is and what it may do.
fn assert_that_it_can_do_no_more_than_it_has_to(engine: &Engine, container: &str) {
    let pid = engine.inspect(container)["State"]["Pid"].to_string();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the container runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(field("Uid"), "65532 65532 65532 65532");
    assert_eq!(field("Gid"), "65532 65532 65532 65532");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mounts")).expect("the container runs");
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).expect("a root");
    assert!(root.split(' ').nth(3).is_some_and(|options| options.split(',').any(|o| o == "ro")), "{root}");
}

#[test]
fn the_image_is_small_and_says_what_it_is() {
    let Some(stack) = stack() else { return };
    let image = stack.engine.inspect("wasmill");
    let bytes = image["Size"].as_u64().expect("a size");
    assert!(bytes <= 60_000_000, "the image has {bytes} bytes");
    let config = &image["Config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Volumes"], json!({ "/modules": {} }));
    assert_eq!(config["Entrypoint"], json!(["wasmill"]));
    assert_eq!(config["Cmd"], json!(["run"]));
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "wasmill", "health", "--admin", "127.0.0.1:8686"]));
    let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].clone();
    assert_eq!(label("title"), "wasmill");
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), "MIT OR Apache-2.0");
    assert!(label("description").as_str().is_some_and(|words| !words.is_empty()), "{config}");
}

#[test]
fn nothing_but_the_program_can_be_run_in_the_image() {
    let Some(stack) = stack() else { return };
    let folder = tempfile::TempDir::with_prefix("wasmill-root-").expect("a temporary directory");
    let container = stack.engine.docker(&["create", "wasmill"]);
    let archive = folder.path().join("root.tar").display().to_string();
    stack.engine.docker(&["export", "-o", &archive, container.trim()]);
    stack.engine.docker(&["rm", container.trim()]);
    let listed = Command::new("tar").args(["-tvf", &archive]).output().expect("tar can be started");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let programs = listed.lines().filter(|line| line.starts_with('-') && line[..10].contains('x'));
    let words = programs.map(|line| line.split_whitespace().collect::<Vec<_>>());
    // The engine adds empty files of its own.
    let names = words.filter(|words| words[2] != "0").map(|words| words[5]).filter(|name| !name.contains(".so"));
    assert_eq!(names.collect::<Vec<_>>(), ["usr/local/bin/wasmill"], "{listed}");
    assert!(!listed.lines().any(|line| line.starts_with('-') && line[..10].contains('s')), "set-uid: {listed}");
}

#[test]
fn quotes_flow_through_the_compose_file_into_both_databases() {
    let Some(stack) = stack() else { return };
    for service in SERVICES.iter().filter(|name| **name != "feed") {
        stack.engine.wait_until_healthy(&stack.container(service), 90);
    }
    let modules = stack.engine.inspect(&stack.container("modules"));
    assert_eq!(modules["State"]["ExitCode"], 0, "{modules}");
    let there = || stack.query("simpsons", "SELECT count(*) FROM pg_tables WHERE tablename = 'quotes'") == "1";
    wait_until("the table is there", 60, there);
    // One per second by the service `feed`.
    let rows = || stack.query("simpsons", "SELECT count(*) FROM quotes").parse::<u64>().expect("a number");
    wait_until("five quotes are in Postgres", 60, || rows() >= 5);
    let asked = [("MONGODB_URL", "mongodb://127.0.0.1:27017/")];
    let documents = || {
        let folder = std::env::temp_dir();
        let arguments = ["mongodb", "simpson_db.quotes"];
        stack.engine.outside(&beside("wasmill-query"), &arguments, &folder, &asked).lines().count()
    };
    wait_until("five quotes are in MongoDB", 60, || documents() >= 5);
    let users = stack.query("simpsons", "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename = 'quotes'");
    assert_eq!(users, "wasmill", "the host is no superuser");
    assert_that_it_can_do_no_more_than_it_has_to(&stack.engine, &stack.container("host"));
    assert_that_it_can_do_no_more_than_it_has_to(&stack.engine, &stack.container("feed"));

    // Services that are started again find what they had; the key of the replica set is made anew.
    let _alone = CALM.write().unwrap_or_else(PoisonError::into_inner);
    for service in ["mongodb", "postgres", "kafka"] {
        stack.compose(&["restart", "-t", "20", service]);
    }
    for service in ["mongodb", "postgres", "kafka", "host"] {
        stack.engine.wait_until_healthy(&stack.container(service), 90);
    }
    let before = (rows(), documents());
    wait_until("quotes flow again", 60, || rows() >= before.0 + 3 && documents() >= before.1 + 3);
}

#[test]
fn a_host_in_the_network_is_configured_by_its_environment_alone() {
    let Some(stack) = stack() else { return };
    let engine = &stack.engine;
    let _calm = CALM.read().unwrap_or_else(PoisonError::into_inner);
    let folder = folder_with("log-data");
    let network = stack.network();
    let feed = ["feed", "generate", "logs", "--count", "500", "--topic", "log_data", "--brokers", "kafka:9092"];
    engine.docker(&[&["run", "--rm", "--network", &network, "wasmill"][..], &feed].concat());
    let database = format!("POSTGRES_URL=postgres://wasmill:{PASSWORD}@postgres:5432/simpsons");
    let modules = format!("{}:/modules:ro", folder.path().display());
    let container = engine.docker(&[
        "run",
        "-d",
        "--network",
        &network,
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "-e",
        "KAFKA_BROKERS=kafka:9092",
        "-e",
        &database,
        "-v",
        &modules,
        "wasmill",
    ]);
    let container = container.trim();
    engine.wait_until_healthy(container, 60);
    assert_that_it_can_do_no_more_than_it_has_to(engine, container);
    let there = || stack.query("simpsons", "SELECT count(*) FROM pg_tables WHERE tablename = 'log_data'") == "1";
    wait_until("the table is there", 60, there);
    wait_until("all are written", 60, || stack.query("simpsons", "SELECT count(*) FROM log_data") == "500");
    engine.docker(&["stop", "-t", "10", container]);
    let state = engine.inspect(container)["State"].take();
    assert_eq!(state["ExitCode"], 0, "it stops by itself within 10 s: {state}");
    engine.docker(&["rm", container]);
}

#[test]
fn a_host_outside_reads_through_the_second_listener() {
    let Some(stack) = stack() else { return };
    let _calm = CALM.read().unwrap_or_else(PoisonError::into_inner);
    let program = PathBuf::from(variable("WASMILL_BIN"));
    let folder = tempfile::TempDir::with_prefix("wasmill-outside-").expect("a temporary directory");
    std::fs::create_dir(folder.path().join("modules")).expect("the folder can be written");
    std::fs::copy(guests::path("quotes"), folder.path().join("modules/outside.wasm")).expect("the module");
    stack.query("simpsons", "CREATE DATABASE outside OWNER wasmill");
    let config = format!(
        "[kafka]\nbrokers = \"127.0.0.1:29092\"\n[modules]\ndir = \"modules\"\n[flow.outside]\ntopics = [\"outside\"]\n\
         [sinks.postgres]\nurl = \"postgres://wasmill:{PASSWORD}@127.0.0.1:5432/outside\"\n\
         [sinks.mongodb]\nurl = \"mongodb://127.0.0.1:27017/\"\n[admin]\nlisten = \"127.0.0.1:0\"\n"
    );
    std::fs::write(folder.path().join("wasmill.toml"), config).expect("the folder can be written");
    let run = |arguments: &[&str]| stack.engine.outside(&program, arguments, folder.path(), &[]);
    run(&["feed", "generate", "quotes", "--count", "40", "--topic", "outside", "--brokers", "127.0.0.1:29092"]);
    let topics = run(&["topics", "ls", "--json", "--brokers", "127.0.0.1:29092"]);
    assert!(topics.contains("\"outside\""), "{topics}");
    run(&["run", "--once", "-c", "wasmill.toml"]);
    assert_eq!(stack.query("outside", "SELECT count(*) FROM quotes"), "40");
}

/// docker-compose.yml with the variables of .env.example in place, all profiles; none where there is no compose.
fn config() -> Option<String> {
    let mut command = Command::new("docker-compose");
    command.args(["--env-file", ".env.example", "--profile", "ui", "--profile", "observe", "config"]);
    let output = command.current_dir(root()).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The lines of a service.
fn service<'a>(config: &'a str, name: &str) -> Vec<&'a str> {
    let lines = config.lines().skip_while(|line| *line != "services:").skip(1);
    let mut own = lines.skip_while(|line| *line != format!("  {name}:")).skip(1).peekable();
    assert!(own.peek().is_some(), "there is no service {name}");
    own.take_while(|line| line.is_empty() || line.starts_with("    ")).map(str::trim).collect()
}

#[test]
fn the_compose_file_is_valid_complete_and_closed() {
    let Some(config) = config() else { return eprintln!("SKIPPED: docker-compose is not installed") };
    let pages = ["topics-page", "pgadmin", "mongo-express", "prometheus", "grafana"];
    for name in SERVICES.iter().chain(&pages) {
        let lines = service(&config, name);
        for words in ["mem_limit:", "restart: unless-stopped", "max-size:"] {
            assert!(lines.iter().any(|line| line.starts_with(words)), "{name} has no `{words}`: {lines:?}");
        }
    }
    for (names, profile) in [(&pages[..3], "- ui"), (&pages[3..], "- observe")] {
        names.iter().for_each(|name| assert!(service(&config, name).contains(&profile), "{name}"));
    }
    for name in ["kafka", "postgres", "mongodb"] {
        assert!(service(&config, name).contains(&"healthcheck:"), "{name} has no health check");
    }
    for name in ["host", "feed"] {
        let lines = service(&config, name);
        for words in ["read_only: true", "cap_drop:", "- ALL", "- no-new-privileges:true", "condition: service_healthy"]
        {
            assert!(lines.contains(&words), "{name} lacks `{words}`: {lines:?}");
        }
    }
    let ports = config.lines().map(str::trim).filter(|line| line.ends_with("/tcp"));
    let (own, open): (Vec<&str>, Vec<&str>) = ports.partition(|line| line.starts_with("- 127.0.0.1:"));
    assert!(own.len() == 9 && open.is_empty(), "each port is of this machine's loopback: {own:?}, {open:?}");
}

#[test]
fn every_variable_of_the_compose_file_is_in_the_example() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).expect("a file of the repository");
    let (compose, example) = (read("docker-compose.yml"), read(".env.example"));
    let variables = compose.split("${").skip(1).filter_map(|rest| rest.split_once(":-"));
    let mut count = 0;
    for (name, rest) in variables {
        let (default, _) = rest.split_once('}').expect("it ends");
        assert!(
            example.lines().any(|line| line == format!("{name}={default}")),
            "{name}={default} is not in .env.example"
        );
        count += 1;
    }
    assert!(count > 15, "{count} variables");
}
