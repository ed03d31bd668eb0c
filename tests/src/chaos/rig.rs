//! Services of the chaos test's own, since it kills them: Kafka, Postgres and a MongoDB server as processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::services::variable;
use crate::wait::{wait_for, wait_until};

/// Names the rig's directory for the process that works within it.
const RIG: &str = "WASMILL_CHAOS_RIG";

/// Starts the services, runs this program again with their addresses in the environment, and ends them.
pub fn within_rig(inside: impl FnOnce() -> ExitCode) -> ExitCode {
    if std::env::var_os(RIG).is_some() {
        return inside();
    }
    let directory = std::env::temp_dir().join(format!("wasmill-chaos-{}", std::process::id()));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("services/services.sh");
    let services = |verb: &str| {
        Command::new(&script)
            .arg(verb)
            .arg(&directory)
            .envs([("SERVICES_FROM", "native"), ("PG_FSYNC", "on"), ("MONGO_HEAP", "1g"), ("KAFKA_HEAP", "512m")])
            .env_remove("KAFKA_BROKERS")
            .env_remove("POSTGRES_URL")
            .env_remove("MONGODB_URL")
            .env_remove("MONGODB_VOLUME_URL")
            .stdout(Stdio::null())
            .status()
    };
    let started = services("up").is_ok_and(|status| status.success());
    let code = if started { again(&directory) } else { Some(3) };
    services("down").ok();
    fs::remove_dir_all(&directory).ok();
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn again(directory: &Path) -> Option<i32> {
    let env = fs::read_to_string(directory.join("env")).expect("the services say where they are");
    let lines = env.lines().filter_map(|line| line.split_once('='));
    let program = std::env::current_exe().expect("this program has a path");
    let child = Command::new(program).args(std::env::args_os().skip(1)).envs(lines).env(RIG, directory).status();
    child.expect("this program can be started again").code()
}

/// The services, from within.
#[derive(Debug)]
pub(super) struct Rig {
    directory: PathBuf,
}

impl Rig {
    pub(super) fn of_environment() -> Self {
        Rig { directory: variable(RIG).into() }
    }

    pub(super) fn kill_broker(&self) {
        let pid = self.pid("kafka1").expect("the broker was started");
        signal(pid, libc::SIGKILL);
        wait_until("the broker is gone", 10, || is_gone(pid));
    }

    pub(super) fn start_broker(&self) {
        let log = self.directory.join("kafka1/start");
        let mut command = Command::new("setsid");
        command.arg("bash").arg(log).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the broker can be started");
        self.note("kafka1", child.id(), "TERM");
        reap(child);
    }

    /// What `pg_ctl -m immediate stop` does: no checkpoint, every session is cut, recovery at the next start.
    pub(super) fn stop_postgres(&self) {
        let pid = self.pid("postgres").expect("postgres was started");
        signal(pid, libc::SIGQUIT);
        wait_until("postgres is gone", 30, || is_gone(pid));
    }

    pub(super) fn start_postgres(&self) {
        let data = PathBuf::from(variable("POSTGRES_DATA"));
        let command = fs::read_to_string(data.join("postmaster.opts")).expect("postgres left its command line");
        let line = format!("exec {} >>{}/../log 2>&1", command.trim(), data.display());
        let mut start = match is_root() {
            true => Command::new("runuser"),
            false => Command::new("sh"),
        };
        if is_root() {
            start.args(["-u", "postgres", "--", "sh"]);
        }
        start.args(["-c", &line]).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = start.spawn().expect("postgres can be started");
        let pid = wait_for("postgres writes its pid", 30, || {
            let file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
            file.lines().nth(7).filter(|state| state.trim() == "ready")?;
            file.lines().next()?.trim().parse::<u32>().ok()
        });
        self.note("postgres", pid, "INT");
        reap(child);
    }

    fn pid(&self, name: &str) -> Option<u32> {
        let pids = fs::read_to_string(self.directory.join("pids")).ok()?;
        let line = pids.lines().rfind(|line| line.split(' ').next() == Some(name))?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// In the words of `services.sh`, so that its `down` ends the process.
    fn note(&self, name: &str, pid: u32, signal: &str) {
        let file = self.directory.join("pids");
        let pids = fs::read_to_string(&file).unwrap_or_default();
        let others = pids.lines().filter(|line| line.split(' ').next() != Some(name));
        let started = start_time(pid).unwrap_or_default();
        let line = format!("{name} {pid} {started} {signal}");
        let all: Vec<&str> = others.chain([line.as_str()]).collect();
        fs::write(file, all.join("\n") + "\n").expect("the rig's directory can be written");
    }
}

/// Kernel start time of a process, field 22 of proc(5).
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(19).map(str::to_owned)
}

fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// Waits for a child on a thread of its own, so that no zombie is left.
fn reap(mut child: std::process::Child) {
    std::thread::spawn(move || child.wait());
    std::thread::sleep(Duration::from_millis(1));
}

#[allow(unsafe_code, reason = "kill(2) on a process that the rig's own books name")]
fn signal(pid: u32, signal: i32) {
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}

#[allow(unsafe_code, reason = "geteuid(2) has no preconditions")]
fn is_root() -> bool {
    unsafe { libc::geteuid() == 0 }
}
