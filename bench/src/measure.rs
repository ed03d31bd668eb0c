//! One run of one program: from the moment that it has its partitions to the moment that the group has committed the
//! last record, with processor time and memory from the kernel's books.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use wasmill_tests::kafka;

use crate::scenario::Setting;

/// A run that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(600);

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    /// Processor time, user and system, of the whole process.
    pub(crate) cpu_seconds: f64,
    /// Peak resident memory in MB.
    pub(crate) memory: f64,
}

/// Ends with the run, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// One run's surroundings.
pub(crate) struct Run<'a> {
    pub(crate) group: String,
    pub(crate) setting: &'a Setting,
}

impl Run<'_> {
    pub(crate) fn measure(&self, program: &str, arguments: &[&str], env: &[(&str, String)]) -> Figures {
        let ends = kafka::ends(&self.setting.topic);
        let mut child = Running(
            Command::new(program)
                .args(arguments)
                .envs(env.iter().map(|(name, value)| (name, value)))
                .env("NO_COLOR", "1")
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|cause| panic!("could not start {program}: {cause}")),
        );
        let begun = self.wait_for_partitions(&mut child.0);
        let reader = kafka::Group::new(&self.group);
        while reader.committed(&self.setting.topic, &ends) < ends.values().sum() {
            assert!(begun.elapsed() < PATIENCE, "{program} did not commit everything in {} s", PATIENCE.as_secs());
            let ended = child.0.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "{program} ended with {ended:?} before everything was committed");
            std::thread::sleep(Duration::from_millis(5));
        }
        let seconds = begun.elapsed().as_secs_f64();
        let (cpu_seconds, memory) = books(child.0.id());
        Figures { seconds, cpu_seconds, memory }
    }

    /// Both programs say `reading` when their partitions are there.
    fn wait_for_partitions(&self, child: &mut Child) -> Instant {
        let (said, words) = mpsc::channel();
        let stderr = child.stderr.take().expect("piped");
        std::thread::spawn(move || {
            let mut kept = String::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains("reading") {
                    said.send(Instant::now()).ok();
                } else {
                    kept.push_str(&line);
                    kept.push('\n');
                }
            }
            drop(said);
            if std::env::var_os("VERBOSE").is_some() {
                eprint!("{kept}");
            }
        });
        words.recv_timeout(Duration::from_secs(60)).expect("the program gets its partitions")
    }
}

/// Processor seconds and peak memory of a running process.
fn books(pid: u32) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, after_name) = stat.rsplit_once(')').expect("a name in brackets");
    let fields: Vec<u64> = after_name.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    // Fields 14 and 15 of proc(5), in ticks of which there are a hundred in a second.
    let cpu = (fields[11] + fields[12]) as f64 / 100.0;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kilobytes: f64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    (cpu, kilobytes / 1024.0)
}
