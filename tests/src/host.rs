//! A running host: its process, its words, its HTTP face. The process ends with the value.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::services::variable;
use crate::wait::{wait_for, wait_until};

/// Seconds that a host may take to start or to stop.
const PATIENCE: u64 = 120;

/// A process of the wasmill binary.
#[derive(Debug)]
pub struct Host {
    child: Mutex<Child>,
    pid: u32,
    stderr: Arc<Mutex<String>>,
    stdout: Arc<Mutex<String>>,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; -1 where a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command of the binary to its end.
pub fn wasmill(arguments: &[&str], directory: &Path, env: &[(String, String)]) -> Finished {
    Host::spawn(arguments, directory, env).finish()
}

impl Host {
    pub fn spawn(arguments: &[&str], directory: &Path, env: &[(String, String)]) -> Self {
        let mut child = Command::new(variable("WASMILL_BIN"))
            .args(arguments)
            .current_dir(directory)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("WASMILL_BIN can be started");
        let stdout = collect(child.stdout.take().expect("piped"));
        let stderr = collect(child.stderr.take().expect("piped"));
        Host { pid: child.id(), child: Mutex::new(child), stderr, stdout }
    }

    /// Everything said so far on stderr.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything written so far on stdout.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line on stderr.
    #[track_caller]
    pub fn wait_for_words(&self, words: &str) {
        wait_until(&format!("`{words}` on stderr"), PATIENCE, || self.stderr().contains(words));
    }

    /// Where the admin server listens, as said on stderr.
    #[track_caller]
    pub fn address(&self) -> String {
        wait_for("`listening on ADDRESS` on stderr", PATIENCE, || {
            assert!(self.exited().is_none(), "the host ended instead of listening");
            let words = self.stderr();
            let (_, rest) = words.split_once("listening on ")?;
            let end = rest.find(|c: char| c.is_whitespace() || c == '"' || c == ',')?;
            Some(rest[..end].trim_start_matches("http://").trim_end_matches('/').to_owned())
        })
    }

    /// Status and body of a page.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        wait_for(path, PATIENCE, || get(&self.address(), path))
    }

    /// What `/api/state` says of a flow; null where it has none of this name.
    #[track_caller]
    pub fn flow_state(&self, flow: &str) -> Value {
        let state: Value = serde_json::from_str(&self.get("/api/state").1).expect("/api/state is JSON");
        let flows = state["flows"].as_array().expect("flows");
        flows.iter().find(|one| one["name"] == flow).cloned().unwrap_or_default()
    }

    /// Waits until `/health/ready` says yes.
    #[track_caller]
    pub fn ready(&self) {
        wait_until("/health/ready answers 200", PATIENCE, || self.get("/health/ready").0 == 200);
    }

    /// Waits until a flow reads partitions; a host is ready before.
    #[track_caller]
    pub fn runs(&self, flow: &str) {
        wait_until(&format!("{flow} reads partitions"), PATIENCE, || self.flow_state(flow)["state"] == "running");
    }

    /// Sum of all samples of a metric that carry these labels.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sum(&self.get("/metrics").1, name, labels)
    }

    /// Waits for a value of a metric: a batch is counted after its commit.
    #[track_caller]
    pub fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], fact: impl Fn(f64) -> bool) {
        wait_until(&format!("the value of {name} {labels:?}"), PATIENCE, || fact(self.metric(name, labels)));
    }

    /// Waits until a metric has reached a count, which it must not exceed.
    #[track_caller]
    pub fn counts(&self, name: &str, labels: &[(&str, &str)], count: f64) {
        self.wait_for_metric(name, labels, |counted| counted >= count);
        assert_eq!(self.metric(name, labels), count, "{name} {labels:?}");
    }

    /// For the kernel's books on the process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Peak resident memory in MiB, and open files.
    pub fn size(&self) -> (f64, usize) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count);
        (peak.unwrap_or(0.0) / 1024.0, files)
    }

    /// The exit status where the process has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().expect("a child can be waited for")
    }

    /// Asks it to stop and waits for the end.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.signal(libc::SIGTERM);
        self.finish()
    }

    /// `kill -9`, a supported way to stop.
    pub fn kill(self) {
        self.signal(libc::SIGKILL);
        self.finish();
    }

    /// Waits for the end.
    #[track_caller]
    pub fn finish(self) -> Finished {
        let status = wait_for("the process ends", 2 * PATIENCE, || self.exited());
        // The pipes may still hold words when the process is gone.
        wait_until("its pipes are closed", PATIENCE, || {
            Arc::strong_count(&self.stderr) == 1 && Arc::strong_count(&self.stdout) == 1
        });
        let stdout = self.stdout.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Finished { code: status.code().unwrap_or(-1), stdout, stderr: self.stderr() }
    }

    pub fn signal(&self, signal: i32) {
        if self.exited().is_none() {
            send_signal(self.pid, signal);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.exited().is_none() {
            send_signal(self.pid, libc::SIGKILL);
        }
        self.child.lock().unwrap_or_else(PoisonError::into_inner).wait().ok();
        if std::thread::panicking() {
            let (pid, words) = (self.pid, self.stderr());
            let tail: Vec<&str> = words.lines().rev().take(80).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("---- last words of the host with pid {pid}\n{}\n----", tail.join("\n"));
        }
    }
}

/// One HTTP request; `None` where nobody answers.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

fn sum(page: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    let lines = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let matching = lines.filter(|line| wanted.iter().all(|label| line.contains(label.as_str())));
    // Not `sum`: that of nothing is -0.
    matching.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).fold(0.0, |sum, value| sum + value)
}

fn collect(pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let words = Arc::new(Mutex::new(String::new()));
    let written = words.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let mut words = written.lock().unwrap_or_else(PoisonError::into_inner);
            words.push_str(&String::from_utf8_lossy(&line));
            words.push('\n');
        }
    });
    words
}

#[allow(unsafe_code, reason = "kill(2) on a child that has not been waited for, so its pid cannot be another's")]
fn send_signal(pid: u32, signal: i32) {
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}
