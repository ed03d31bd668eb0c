//! What the configuration says to its users. `tests/config/*.toml` with the expected `*.err` beside each;
//! `UPDATE_EXPECT=1` writes them anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use wasmill::config::{Config, Start};

const EXAMPLE: &str = include_str!("../config.example.toml");

fn env(name: &str) -> Option<String> {
    match name {
        "SET" => Some("from the environment".into()),
        "SECRET_URL" => Some("postgres://me:hunter2@db/x".into()),
        "SECRET" => Some("hunter2".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(file: &Path, source: &str) -> Result<Config, wasmill::config::report::Report> {
    Config::parse(file, source, Path::new("/etc/wasmill"), &env)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

#[test]
fn every_mistake_is_said_as_expected() {
    let mut checked = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap();
        let said =
            parse(Path::new(name), &source).expect_err(&format!("{} must be refused", path.display())).to_string();
        assert!(!said.contains("hunter2"), "{} shows a secret:\n{said}", path.display());
        let expected = path.with_extension("err");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&expected, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(said, expected, "{}: run with UPDATE_EXPECT=1 if the new text is better", path.display());
        checked += 1;
    }
    assert!(checked >= 12, "only {checked} files in {}", folder().display());
}

#[test]
fn the_example_parses_and_holds_the_defaults() {
    let config = parse(Path::new("wasmill.toml"), EXAMPLE).unwrap_or_else(|report| panic!("{report}"));
    let flow = &config.flow["quotes"];
    assert_eq!(flow.start, Start::Earliest);
    assert_eq!(flow.limits, wasmill::config::Limits::default());
    let batch = wasmill::config::Batch::default();
    assert_eq!((flow.batch.records, flow.batch.bytes), (batch.records, batch.bytes));
    let (kafka, modules, log, admin): (wasmill::config::Kafka, wasmill::config::Modules, wasmill::config::Log, _) =
        (Default::default(), Default::default(), Default::default(), wasmill::config::Admin::default());
    assert_eq!((config.kafka.brokers, config.kafka.create_topics), (kafka.brokers, kafka.create_topics));
    assert_eq!(config.modules.dir, Path::new("/etc/wasmill").join(modules.dir));
    assert_eq!((config.modules.adopt, config.modules.scan_interval), (modules.adopt, modules.scan_interval));
    assert_eq!((config.log.level, config.log.format), (log.level, log.format));
    assert_eq!((config.log.file_size, config.log.file_keep), (log.file_size, log.file_keep));
    assert_eq!(config.admin.listen, admin.listen);
}

/// An unknown key is answered with those that are known: every one of them must be in the example.
#[test]
fn every_key_occurs_in_the_example() {
    let tables = [
        "",
        "[host]",
        "[kafka]",
        "[modules]",
        "[sinks.x]\nurl = 'sqlite://x'",
        "[sinks.x.tables.y]",
        "[admin]",
        "[log]",
        "[flow.x]",
        "[flow.x.limits]",
        "[flow.x.batch]",
        "[feed.x]",
    ];
    let mut keys = BTreeSet::new();
    for table in tables {
        let said = parse(Path::new("x"), &format!("{table}\nzzzzzzzzzzzz = 1\n")).unwrap_err().to_string();
        let known = said.lines().find_map(|line| line.split_once("known keys: ")).unwrap_or_else(|| panic!("{said}")).1;
        keys.extend(known.split(", ").map(str::to_owned));
    }
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        let word = regex::Regex::new(&format!(r"(?m)(^|[\s{{\[.#]){key}(\s*=|[.\]])")).unwrap();
        assert!(word.is_match(EXAMPLE), "`{key}` is not in config.example.toml");
    }
}

#[test]
fn paths_refer_to_the_file_and_values_to_the_environment() {
    let source = "[host]\ninstance = \"${EMPTY:-pod-0}\"\n[modules]\ndir = \"m\"\ncache = \"/c\"\n[log]\nfile = \"w.log\"\n\
                  [sinks.a]\nurl = \"sqlite://x.db\"\n[sinks.b]\nurl = \"${SECRET_URL}\"\n[sinks.c]\nurl = \"sqlite:///abs.db\"\n";
    let config = parse(Path::new("wasmill.toml"), source).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.host.instance, "pod-0");
    assert_eq!(config.modules.dir, Path::new("/etc/wasmill/m"));
    assert_eq!(config.modules.cache.as_deref(), Some(Path::new("/c")));
    assert_eq!(config.log.file.as_deref(), Some(Path::new("/etc/wasmill/w.log")));
    assert_eq!(config.sinks["a"].url.expose(), "sqlite:///etc/wasmill/x.db");
    assert_eq!(config.sinks["b"].url.expose(), "postgres://me:hunter2@db/x");
    assert_eq!(config.sinks["c"].url.expose(), "sqlite:///abs.db");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_store_of_builds_is_a_folder_of_its_own() {
    let with = |modules: &str| parse(Path::new("wasmill.toml"), &format!("[modules]\n{modules}\n"));
    let config = with("store = \"kept\"").unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.modules.store.as_deref(), Some(Path::new("/etc/wasmill/kept")));
    assert!(with("store = \"\"").unwrap_or_else(|report| panic!("{report}")).modules.store.is_none());
    for same in ["store = \"./modules\"", "dir = \"m\"\nstore = \"m/\""] {
        let report = with(same).expect_err("what lies in the modules folder runs").to_string();
        assert!(report.contains("modules.store: the store is the modules folder"), "{report}");
    }
}

#[test]
fn the_environment_alone_is_enough() {
    let env = |name: &str| match name {
        "KAFKA_BROKERS" => Some("k1:9092,k2:9092".to_owned()),
        "MONGODB_URL" => Some("mongodb://m/".to_owned()),
        "POSTGRES_URL" => Some(String::new()),
        "WASMILL_MODULES" => Some("/m".to_owned()),
        "WASMILL_INSTANCE" => Some("pod-1".to_owned()),
        "WASMILL_LOG" => Some("debug".to_owned()),
        _ => None,
    };
    let config = Config::from_env(&env).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.kafka.brokers, "k1:9092,k2:9092");
    assert_eq!(config.sinks.keys().collect::<Vec<_>>(), ["mongodb"]);
    assert_eq!((config.modules.dir.as_path(), config.host.instance.as_str()), (Path::new("/m"), "pod-1"));
    assert_eq!(config.log.level, "debug");
}

#[test]
fn a_wrong_variable_is_named_without_its_value() {
    let env = |name: &str| (name == "POSTGRES_URL").then(|| "mysql://me:hunter2@db/x".to_owned());
    let said = Config::from_env(&env).unwrap_err().to_string();
    assert!(said.contains("environment variable POSTGRES_URL") && !said.contains("hunter2"), "{said}");
}

proptest! {
    #[test]
    fn garbage_is_refused_and_never_panics(source in "(?s).{0,200}") {
        drop(parse(Path::new("x"), &source));
    }

    #[test]
    fn toml_like_garbage_is_refused_and_never_panics(
        lines in proptest::collection::vec("(\\[\\[?[a-z.\"]{0,12}\\]?\\]?|[a-z_.\"]{1,12} = (\"[a-z${}:/.\\-?]{0,20}\"|[0-9a-z.-]{1,8}|\\[.{0,8}\\]|\\{.{0,12}\\}))", 0..12)
    ) {
        drop(parse(Path::new("x"), &lines.join("\n")));
    }

    #[test]
    fn a_damaged_example_never_panics(at in 0usize..EXAMPLE.len(), length in 0usize..40, with in "(?s).{0,6}") {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, with.bytes());
        if let Err(report) = parse(Path::new("x"), &String::from_utf8_lossy(&bytes)) {
            prop_assert!(!report.to_string().is_empty());
        }
    }
}
