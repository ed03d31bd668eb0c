//! What serde cannot check: names, ranges and how parts fit together. Pure: nothing is opened or connected to.

mod feed;
mod flow;
mod sink;

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use super::report::{Problem, nearest};
use super::{Admin, Config, Log, load::key_name, plaintext};
use crate::reach::{self, Reach};

/// Longest name of an instance or a flow: both are part of transactional ids.
const MAX_NAME: usize = 200;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Something wrong with a key of the parsed configuration.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) path: Vec<String>,
    /// The element, where the key holds a list.
    pub(super) item: Option<usize>,
    /// Whether the key's name is wrong rather than its value.
    pub(super) on_key: bool,
    message: String,
    help: String,
}

impl Finding {
    fn new(path: &[&str], message: impl Into<String>, help: impl Into<String>) -> Self {
        let path = path.iter().map(|name| (*name).to_owned()).collect();
        Finding { path, item: None, on_key: false, message: message.into(), help: help.into() }
    }

    fn item(mut self, index: usize) -> Self {
        self.item = Some(index);
        self
    }

    fn on_key(mut self) -> Self {
        self.on_key = true;
        self
    }

    pub(super) fn problem(&self) -> Problem {
        Problem::new(key_name(&self.path), &self.message).help(&self.help)
    }
}

/// Everything wrong with `config`. `whole` tells that nothing was left out of it, so that what is missing is missing.
pub(super) fn check(config: &Config, whole: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    host(config, &mut findings);
    kafka(config, &mut findings);
    modules(config, whole, &mut findings);
    for (name, sink) in &config.sinks {
        sink::check(name, sink, &mut findings);
    }
    plaintext(config, &mut findings);
    admin(&config.admin, &mut findings);
    log(&config.log, &mut findings);
    flow::check(config, whole, &mut findings);
    feed::check(config, whole, &mut findings);
    findings
}

fn host(config: &Config, findings: &mut Vec<Finding>) {
    let instance = &config.host.instance;
    if !instance.is_empty() && !is_name(instance) {
        let help = format!("use letters, digits, `.`, `_` and `-`, at most {MAX_NAME}; empty for a random id");
        findings.push(Finding::new(&["host", "instance"], "not a name for an instance", help));
    }
    if config.host.workers.is_some_and(|workers| !(1..=1024).contains(&workers)) {
        findings.push(Finding::new(
            &["host", "workers"],
            "not a number of threads",
            "write 1 to 1024, or leave it out",
        ));
    }
}

fn kafka(config: &Config, findings: &mut Vec<Finding>) {
    let path = ["kafka", "brokers"];
    for broker in config.kafka.brokers.split(',').map(str::trim) {
        let help = "write `host:port`, several separated by commas";
        if broker.is_empty() {
            findings.push(Finding::new(&path, "a broker has no name", help));
        } else if port_of(broker).is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
            findings.push(Finding::new(&path, "a broker's port is not a number from 1 to 65535", help));
        } else if broker.contains(char::is_whitespace) {
            findings.push(Finding::new(&path, "a broker's name contains a space", help));
        }
    }
    if let Err(problems) = super::properties::check(&config.kafka.properties) {
        for problem in problems {
            findings.push(Finding::new(&["kafka", "properties", &problem.key], problem.message, problem.help));
        }
    }
}

/// What an address or a name tells by itself; the other names are looked up by those who connect.
fn plaintext(config: &Config, findings: &mut Vec<Finding>) {
    for open in plaintext::open(config).into_iter().filter(|open| reach::of(&open.host) == Reach::Public) {
        let path: Vec<&str> = open.path.iter().map(String::as_str).collect();
        findings.push(Finding::new(&path, open.message(), open.help));
    }
}

/// What follows the last colon, where there is one outside of `[…]`.
fn port_of(broker: &str) -> Option<&str> {
    let (host, port) = broker.rsplit_once(':')?;
    (!port.ends_with(']') && !host.is_empty()).then_some(port)
}

fn modules(config: &Config, whole: bool, findings: &mut Vec<Finding>) {
    let modules = &config.modules;
    if modules.dir.as_os_str().is_empty() {
        findings.push(Finding::new(&["modules", "dir"], "the folder has no name", "write a path such as \"modules\""));
    }
    let plain = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    if modules.store.as_ref().is_some_and(|store| plain(store) == plain(&modules.dir)) {
        let help = "name another folder, such as \"store\": what lies in the modules folder runs";
        findings.push(Finding::new(&["modules", "store"], "the store is the modules folder", help));
    }
    if !(0.05..=3600.0).contains(&modules.scan_interval.0.as_secs_f64()) {
        let help = "write 50ms to 1h; file events make it faster anyway";
        findings.push(Finding::new(&["modules", "scan_interval"], "not a useful time between two scans", help));
    }
    if !(1.0..=3600.0).contains(&modules.compile_time.0.as_secs_f64()) {
        let help = "write 1s to 1h, such as \"30s\"";
        findings.push(Finding::new(&["modules", "compile_time"], "not a useful time for compiling a file", help));
    }
    if modules.compile_memory.bytes() < 64 << 20 {
        let help = "write at least 64MiB, such as \"512MiB\"";
        findings.push(Finding::new(&["modules", "compile_memory"], "too little memory for a compiler", help));
    }
    for (index, target) in modules.targets.iter().flatten().enumerate() {
        let path = ["modules", "targets"];
        match target.split_once(':') {
            Some((sink, name)) if !sink.is_empty() && !name.is_empty() => {
                let known = || config.sinks.keys().map(String::as_str).chain(["kafka"]);
                if whole && !known().any(|name| name == sink) {
                    let help = match nearest(sink, known()) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!("declare [sinks.{sink}], or remove the target"),
                    };
                    findings.push(Finding::new(&path, format!("there is no sink `{sink}`"), help).item(index));
                }
            }
            _ => {
                let help = "write `sink:name`, such as \"postgres:quotes\" or \"kafka:*\"";
                findings.push(Finding::new(&path, "not a target", help).item(index));
            }
        }
    }
}

fn admin(admin: &Admin, findings: &mut Vec<Finding>) {
    let listen = &*admin.listen;
    let localhost = listen.strip_prefix("localhost:").is_some_and(|port| port.parse::<u16>().is_ok());
    if !listen.is_empty() && !localhost && listen.parse::<SocketAddr>().is_err() {
        let help =
            "write `address:port`, such as \"127.0.0.1:8686\", \"0.0.0.0:8686\" or \"[::1]:0\"; \"\" for no server";
        findings.push(Finding::new(&["admin", "listen"], "not an address to listen on", help));
    } else if !listen.is_empty() && !admin.is_local() && admin.token().is_none() {
        let help = "set [admin] token = \"${file:/run/secrets/wasmill_token}\", or listen on 127.0.0.1";
        findings.push(Finding::new(
            &["admin", "listen"],
            "other machines reach this address, so a token is needed",
            help,
        ));
    }
    if admin
        .token()
        .is_some_and(|token| token.len() < Admin::TOKEN_LENGTH || !token.bytes().all(|c| c.is_ascii_graphic()))
    {
        let help =
            "write at least 16 printable ASCII characters without spaces, such as those of `openssl rand -hex 32`";
        findings.push(Finding::new(&["admin", "token"], "not a token", help));
    }
}

fn log(log: &Log, findings: &mut Vec<Finding>) {
    let levels = [
        ("level", Some(&log.level)),
        ("file_level", log.file_level.as_ref()),
        ("console_level", log.console_level.as_ref()),
    ];
    for (key, level) in levels {
        if let Some(Err(help)) = level.map(|level| check_level(level)) {
            findings.push(Finding::new(&["log", key], "not a log level", help));
        }
    }
    if log.file_size.0 < 4 << 10 {
        findings.push(Finding::new(
            &["log", "file_size"],
            "too small to rotate at",
            "write at least 4KiB, such as \"10MiB\"",
        ));
    }
    if log.file_keep > 1000 {
        findings.push(Finding::new(&["log", "file_keep"], "too many files to keep", "write 0 to 1000"));
    }
}

/// A level, or a comma-separated list of `target=level` with at most one bare level.
fn check_level(text: &str) -> Result<(), String> {
    for directive in text.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim().to_ascii_lowercase();
        if !LEVELS.contains(&level.as_str()) {
            return Err(match nearest(&level, LEVELS) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("write one of {}, or filters such as `info,wasmill::source=debug`", LEVELS.join(", ")),
            });
        }
    }
    Ok(())
}

/// What Kafka takes in group instance ids and what is safe in ids, labels and file names.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(allowed) && name != "." && name != ".."
}
