//! A place for a host: its name, its own proxies before the databases, its words in a file, and the process that is in
//! it now. A process that ends by itself is noted and replaced, as a container engine would.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::proxy::Proxy;
use crate::services::variable;

/// A host that was asked to stop must have ended by then.
const STOPPING: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(20);

/// One host, through all its lives.
#[derive(Debug)]
pub struct Slot {
    pub name: String,
    /// `None`: a random one per life.
    instance: Option<String>,
    pub to_postgres: Proxy,
    pub to_mongodb: Proxy,
    env: Vec<(String, String)>,
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    /// Length of the log when this life began.
    begun: u64,
    most: Peaks,
    /// Ends that nobody asked for, as exit codes; -1 for a signal.
    surprises: Vec<i32>,
}

/// The most that any life has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peaks {
    pub rss_kib: u64,
    pub files: usize,
}

impl Slot {
    pub fn new(number: usize, directory: &Path, postgres: &str, mongodb: &str, switches: &str) -> anyhow::Result<Self> {
        let (to_postgres, postgres) = Proxy::before(postgres);
        let (to_mongodb, mongodb) = Proxy::before(mongodb);
        // Half of them have a name that they keep, half are new each time.
        let instance = (number < 2).then(|| format!("chaos-{number}"));
        let mut env = vec![("CHAOS_POSTGRES".to_owned(), postgres), ("CHAOS_MONGODB".to_owned(), mongodb)];
        env.extend(instance.iter().map(|name| ("CHAOS_INSTANCE".to_owned(), name.clone())));
        if !switches.is_empty() {
            env.push(("FAILPOINTS".to_owned(), switches.to_owned()));
        }
        let name = format!("host{number}");
        let (directory, state) = (directory.to_owned(), Mutex::default());
        Ok(Slot { name, instance, to_postgres, to_mongodb, env, directory, state })
    }

    /// What tells the hosts apart in a report.
    pub fn describe(&self) -> String {
        format!("{} ({})", self.name, self.instance.as_deref().unwrap_or("random instance"))
    }

    pub fn start(&self) -> anyhow::Result<()> {
        let mut state = self.state();
        let words = OpenOptions::new().create(true).append(true).open(self.log())?;
        state.begun = words.metadata()?.len();
        let child = Command::new(variable("WASMILL_BIN"))
            .args(["run", "-c", "wasmill.toml"])
            .current_dir(&self.directory)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(words)
            .spawn()
            .context("WASMILL_BIN cannot be started")?;
        self.record(child.id())?;
        state.child = Some(child);
        Ok(())
    }

    /// Waits for the address of this life's admin server on stderr.
    pub fn wait_until_listening(&self, patience: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + patience;
        loop {
            let begun = self.state().begun as usize;
            let words = std::fs::read(self.log())?;
            if String::from_utf8_lossy(&words[begun..]).contains("listening on ") {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("{} does not listen after {patience:?}: see {}", self.name, self.log().display());
            }
            sleep(STEP);
        }
    }

    /// `kill -9`; also of a frozen one.
    pub fn kill(&self) {
        if let Some(mut child) = self.state().child.take() {
            send_signal(&child, libc::SIGKILL);
            child.wait().ok();
        }
    }

    /// SIGTERM; an error where it has not ended well in time.
    pub fn stop(&self) -> anyhow::Result<()> {
        let Some(mut child) = self.state().child.take() else { return Ok(()) };
        send_signal(&child, libc::SIGTERM);
        let end = Instant::now() + STOPPING;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                send_signal(&child, libc::SIGKILL);
                child.wait()?;
                bail!("{} did not end within {STOPPING:?} of SIGTERM", self.name);
            }
            sleep(STEP);
        };
        if !status.success() {
            bail!("{} ended with {status} after SIGTERM", self.name);
        }
        Ok(())
    }

    pub fn freeze(&self, frozen: bool) {
        if let Some(child) = &self.state().child {
            send_signal(child, if frozen { libc::SIGSTOP } else { libc::SIGCONT });
        }
    }

    /// Notes what it uses, and starts it again where it ended by itself; then tells with which exit code.
    pub fn look(&self) -> anyhow::Result<Option<i32>> {
        let mut state = self.state();
        let Some(child) = &mut state.child else { return Ok(None) };
        let Some(status) = child.try_wait()? else {
            let used = used(child.id());
            state.most.rss_kib = state.most.rss_kib.max(used.rss_kib);
            state.most.files = state.most.files.max(used.files);
            return Ok(None);
        };
        let code = status.code().unwrap_or(-1);
        state.surprises.push(code);
        state.child = None;
        drop(state);
        self.start()?;
        Ok(Some(code))
    }

    pub fn most(&self) -> Peaks {
        self.state().most
    }

    pub fn surprises(&self) -> Vec<i32> {
        self.state().surprises.clone()
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For `services.sh down`, should this process be killed.
    fn record(&self, pid: u32) -> anyhow::Result<()> {
        let Some(started) = stat(pid).and_then(|stat| stat.split(' ').nth(19).map(str::to_owned)) else {
            return Ok(());
        };
        let mut file: File =
            OpenOptions::new().create(true).append(true).open(self.directory.join("services/others"))?;
        writeln!(file, "{} {pid} {started} KILL", self.name)?;
        Ok(())
    }
}

fn used(pid: u32) -> Peaks {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    Peaks { rss_kib: peak.unwrap_or(0), files }
}

/// The fields of `/proc/PID/stat` after the command's name, which may hold spaces.
fn stat(pid: u32) -> Option<String> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(line.rsplit_once(") ")?.1.to_owned())
}

#[allow(unsafe_code, reason = "kill(2) on a child that has not been waited for, so its pid cannot be another's")]
fn send_signal(child: &Child, signal: i32) {
    unsafe { libc::kill(child.id() as libc::pid_t, signal) };
}
