//! One run of one program: from the moment that it has its partitions to the moment that its groups have committed the
//! last record, with processor time and memory from the kernel's books.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use wasmill_tests::services::{mongodb_volume_url, variable};
use wasmill_tests::{kafka, mongo};

use crate::load::Load;
use crate::onlooker::Watching;
use crate::place::{Place, Setup};
use crate::scenario::{Scenario, Who};

/// A run that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(900);

/// As the others make it by themselves; the sink of Kafka Connect would make it of other types and without a key.
const TABLE: &str = "CREATE TABLE bench_quotes (quote_id SERIAL PRIMARY KEY, quotes varchar(500), charact varchar(500), \
    imag varchar(500))";
/// What programs say when they have partitions: our own words, and those of Kafka's client.
const READING: [&str; 2] = ["reading", "Adding newly assigned partitions"];

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    /// Processor time, user and system, of the whole process.
    pub(crate) cpu_seconds: f64,
    /// The part of it from the first partition on.
    pub(crate) cpu_after_start: f64,
    /// Peak resident memory in MB.
    pub(crate) memory: f64,
}

/// Ends with the run, whatever happens.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs a scenario once, in a database, groups and an output topic of its own.
pub(crate) fn run(scenario: &Scenario, who: Who, load: Load, topics: &[String]) -> Figures {
    let place = Place::new(scenario.to.contains("record").then_some(load.partitions));
    let command = command(scenario, who, &place, topics);
    let groups = groups(scenario, who, &place, topics.len());
    let watched = (who == Who::Watched).then(|| place.flow(0, topics.len()));
    let figures = measure(command, topics, &groups, watched.as_deref());
    if who != Who::ConsumeOnly {
        check(scenario, who, load, &place);
    }
    figures
}

/// Who commits: a group for each topic, but in Kafka Connect for each sink.
fn groups(scenario: &Scenario, who: Who, place: &Place, topics: usize) -> Vec<String> {
    match who {
        Who::Connect => scenario.to.split('+').map(|sink| format!("{}.{sink}", place.group(0, 1))).collect(),
        _ => (0..topics).map(|number| place.group(number, topics)).collect(),
    }
}

/// The program with what it is to do.
fn command(scenario: &Scenario, who: Who, place: &Place, topics: &[String]) -> Command {
    if who.is_wasmill() {
        let Scenario { to, batch, passes, workers, .. } = *scenario;
        let setup = Setup { topics, to, delivery: who.delivery(), batch, passes, workers, ..Setup::default() };
        return wasmill(place, &setup);
    }
    let to = if who == Who::ConsumeOnly { "consume" } else { scenario.to };
    other(who, place, to, &topics[0])
}

pub(crate) fn wasmill(place: &Place, setup: &Setup<'_>) -> Command {
    let mut command = Command::new(variable("WASMILL_BIN"));
    command.args(["run", "-c", &place.configure(setup).to_string_lossy()]);
    command
}

/// The native program or a peer; they take the same arguments.
pub(crate) fn other(who: Who, place: &Place, to: &str, topic: &str) -> Command {
    if who == Who::Connect {
        place.database.execute(TABLE);
    }
    let mut command = Command::new(variable(who.peer().unwrap_or("BENCH_NATIVE")));
    command
        .current_dir(place.path())
        .args([to, topic, &place.group(0, 1), who.delivery(), &place.output])
        .env("BENCH_POSTGRES_URL", &place.database.url)
        .env("BENCH_MONGODB_URL", mongodb_volume_url());
    command
}

/// Starts a program and gives the moments at which it says that it has partitions, one by one or all at once.
pub(crate) fn start(command: Command) -> (Running, mpsc::Receiver<Instant>) {
    let (running, words, _) = start_told(command);
    (running, words)
}

/// As [`start`], with the address that a host listens on.
fn start_told(mut command: Command) -> (Running, mpsc::Receiver<Instant>, mpsc::Receiver<String>) {
    command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap_or_else(|cause| panic!("could not start {command:?}: {cause}")));
    let stderr = running.0.stderr.take().expect("piped");
    let (said, words) = mpsc::channel();
    let (listens, address) = mpsc::channel();
    let verbose = std::env::var_os("VERBOSE").is_some();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(|c: char| c.is_whitespace() || c == '"' || c == ',').unwrap_or(rest.len());
                listens.send(rest[..end].trim_start_matches("http://").trim_end_matches('/').to_owned()).ok();
            }
            if READING.iter().any(|words| line.contains(words)) {
                said.send(Instant::now()).ok();
            } else if verbose || line.contains("ERROR") {
                eprintln!("{line}");
            }
        }
    });
    (running, words, address)
}

/// From the first partition to the last commit; somebody may look at a flow meanwhile.
fn measure(command: Command, topics: &[String], groups: &[String], watched: Option<&str>) -> Figures {
    let ends: Vec<_> = topics.iter().map(|topic| kafka::ends(topic)).collect();
    let readers: Vec<kafka::Group> = groups.iter().map(|group| kafka::Group::new(group)).collect();
    let (mut running, words, address) = start_told(command);
    let watching = watched.map(|flow| {
        let address = address.recv_timeout(Duration::from_secs(60)).expect("the host says where it listens");
        Watching::begin(&address, flow)
    });
    let begun = words.recv_timeout(Duration::from_secs(60)).expect("the program gets its partitions");
    let (cpu_before, _) = books(running.0.id());
    for ((topic, ends), reader) in topics.iter().zip(&ends).cycle().zip(&readers) {
        while reader.committed(topic, ends) < ends.values().sum() {
            assert!(begun.elapsed() < PATIENCE, "not everything was committed in {} s", PATIENCE.as_secs());
            let ended = running.0.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "the program ended with {ended:?} before everything was committed");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let (cpu_seconds, memory) = books(running.0.id());
    if let Some(watching) = watching {
        assert!(watching.end() > 0, "the page has shown no record, so that there was nothing to measure");
    }
    Figures { seconds, cpu_seconds, cpu_after_start: cpu_seconds - cpu_before, memory }
}

/// Nobody is fast by leaving something out.
fn check(scenario: &Scenario, who: Who, load: Load, place: &Place) {
    let enough = |what: &str, found: usize, of: usize| {
        assert!(found > of * 9 / 10, "{}: {found} {what} of {of} records", scenario.name);
    };
    let records = load.records / load.topics * load.topics;
    if scenario.to.contains("row") {
        enough("rows", place.database.count("bench_quotes") as usize, records);
    }
    if scenario.to.contains("latest") {
        enough("rows", place.database.count("bench_latest") as usize, if load.repeats { records / 2 } else { records });
    }
    if scenario.to.contains("document") {
        let collection = if who.is_wasmill() { "quotes" } else { "native" };
        enough("documents", mongo::take_all(&mongodb_volume_url(), "bench", collection) as usize, records);
    }
    if scenario.to.contains("record") {
        // Of a transaction the markers count too, which only makes more.
        enough("records", kafka::ends(&place.output).values().sum::<i64>() as usize, records);
    }
}

/// Processor seconds and peak memory of a running process.
pub(crate) fn books(pid: u32) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, after_name) = stat.rsplit_once(')').expect("a name in brackets");
    let fields: Vec<u64> = after_name.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    // Fields 14 and 15 of proc(5), in ticks of which there are a hundred in a second.
    ((fields[11] + fields[12]) as f64 / 100.0, megabytes(pid, "VmHWM:"))
}

/// A size in the process's status: `VmHWM:` is the peak of resident memory, `VmRSS:` is now.
pub(crate) fn megabytes(pid: u32, what: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let size = status.lines().find_map(|line| line.strip_prefix(what)).expect("a size");
    size.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}
