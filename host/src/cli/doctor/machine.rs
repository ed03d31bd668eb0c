//! This machine: compiler, folders, port, file events.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::build::toolchain;
use crate::cli::check::Lines;
use crate::cli::health;
use crate::config::Config;
use crate::modules::watch;
use crate::runtime::cache::{self, Usable};

/// Rust and its target for modules. A machine that only runs them needs neither.
pub(super) fn toolchain(lines: &mut Lines) {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let (Some(cargo), Some(rustc)) = (version("cargo"), version("rustc")) else {
        let help = "only building modules needs it: install Rust from https://rustup.rs";
        return lines.note("toolchain", "no cargo and rustc in PATH", help);
    };
    lines.fine("toolchain", format!("{cargo}, {rustc}"));
    if toolchain::has_std(Path::new(".")) {
        lines.fine("Wasm target", toolchain::TARGET);
    } else if toolchain::is_prepared() {
        lines.fine("Wasm target", format!("{}, prepared by `wasmill build` beside the compiler", toolchain::TARGET));
    } else {
        let wrong = format!("the compiler has no standard library for {}", toolchain::TARGET);
        lines.environment("Wasm target", wrong, toolchain::BY_HAND);
    }
}

/// Where compiled modules are kept.
pub(super) fn cache(config: &Config, lines: &mut Lines) {
    let what = "compile cache";
    let Some(dir) = cache::directory(config.modules.cache.clone()) else {
        let help = "set HOME, or modules.cache to a directory of this user; \"\" says that none is wanted";
        return match &config.modules.cache {
            Some(_) => lines.fine(what, "none, as configured: modules are compiled at each start"),
            None => lines.note(what, "none: modules are compiled at each start", help),
        };
    };
    let name = dir.display();
    match cache::look(&dir) {
        Usable::Yes => lines.fine(what, name.to_string()),
        Usable::Shared => {
            let wrong = format!("{name} belongs to others as well, and what lies in it is run as native code");
            lines.environment(what, wrong, format!("chmod 700 {name} as its owner, or set modules.cache"));
        }
        Usable::No(cause) => {
            let help = format!("mkdir -p {name} && chown $(id -u) {name} && chmod 700 {name}, or set modules.cache");
            lines.note(what, format!("{name} cannot be used: {cause}; modules are compiled at each start"), help);
        }
    }
}

/// Whether changes of the modules folder are told by the system.
pub(super) fn folder(config: &Config, lines: &mut Lines) {
    let dir = &config.modules.dir;
    if !dir.is_dir() {
        // The folder has a line of its own.
        return;
    }
    let limit = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).unwrap_or_default();
        text.trim().parse::<u64>().ok()
    };
    let limits = match (limit("max_user_instances"), limit("max_user_watches")) {
        (Some(instances), Some(watches)) => format!(" (inotify: {instances} instances, {watches} watches per user)"),
        _ => String::new(),
    };
    match watch::rehearse(dir) {
        Ok(()) => lines.fine("file events", format!("{} can be watched{limits}", dir.display())),
        Err(cause) => {
            let help = "sysctl -w fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288";
            let found = format!("{} cannot be watched: {cause}{limits}; scans see changes later", dir.display());
            lines.note("file events", found, help);
        }
    }
}

/// Whether the HTTP server can listen.
pub(super) fn port(config: &Config, lines: &mut Lines) {
    let (what, listen) = ("port", config.admin.listen.as_str());
    if listen.is_empty() {
        return lines.fine(what, "none is wanted: admin.listen is empty");
    }
    match TcpListener::bind(listen) {
        Ok(_) => lines.fine(what, format!("{listen} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && health::answers(listen) => {
            lines.fine(what, format!("{listen} is taken by a host of wasmill that is running"));
        }
        Err(error) => {
            let help = "stop what listens there (ss -ltnp), or set admin.listen to another port, 0 for any free one";
            lines.environment(what, format!("cannot listen on {listen}: {error}"), help);
        }
    }
}
