//! One run: rig, hosts, load, faults; then quiet, then the checker; one line at the end.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::check::{Flow, Verdict, check};
use super::faults::World;
use super::load::{Load, Sent};
use super::plan::plan;
use super::rig::Rig;
use crate::proxy::Proxy;
use crate::{Case, Host, guests, kafka, services};

const PARTITIONS: u64 = 4;
const HOSTS: usize = 3;
/// From the last fault to the last commit.
const RECOVERY: Duration = Duration::from_secs(60);
/// Resident memory in MiB, and open files, that no host may pass.
const LARGEST: (f64, usize) = (400.0, 500);

/// What a run can be told.
#[derive(Clone, Copy, Debug)]
pub struct Knobs {
    pub seed: u64,
    /// How long faults happen.
    pub length: Duration,
    /// Records per second.
    pub rate: u64,
}

impl Knobs {
    /// `SEED` (default: the time), `SECONDS_OF_FAULTS` (120), `RATE` (3000).
    pub fn of_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let now = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs() % 1_000_000);
        Knobs {
            seed: number("SEED").unwrap_or(now),
            length: Duration::from_secs(number("SECONDS_OF_FAULTS").unwrap_or(120)),
            rate: number("RATE").unwrap_or(3000),
        }
    }
}

/// Runs and reports; needs the environment of a rig.
pub fn run(knobs: Knobs) -> ExitCode {
    let Knobs { seed, length, .. } = knobs;
    eprintln!("chaos with seed {seed} for {} s; again with: make chaos SEED={seed} LENGTH={0}", length.as_secs());
    let mut case = Case::new("chaos");
    let topic = case.topic("in", PARTITIONS as i32);
    let output = format!("chaos_out-{}", case.name);
    kafka::create_topic(&output, PARTITIONS as i32);
    let (postgres, postgres_url) = Proxy::before(&case.database.url);
    let (mongodb, mongodb_url) = Proxy::before(&services::mongodb_volume_url());
    (case.postgres_url, case.mongodb_url) = (postgres_url, mongodb_url);
    let flows = configure(&mut case, &topic, &output);
    let configs = configs(&case);
    let modules = ["chaos-idem", "chaos-txn"];
    modules.iter().for_each(|module| case.install_as(module, &guests::with_number("chaos", 0)));
    let world = World {
        hosts: (0..HOSTS).map(|place| Mutex::new(Some(case.spawn(&configs[place])))).collect(),
        case: &case,
        rig: Rig::of_environment(),
        proxies: [postgres, mongodb],
        configs,
        modules,
        counts: Mutex::default(),
        broker: Mutex::default(),
        postgres: Mutex::default(),
        ended: Mutex::default(),
        swaps: Mutex::default(),
        peaks: Mutex::default(),
    };
    let load = Load::start(&topic, PARTITIONS, knobs.rate, seed);
    world.suffer(&plan(seed, length, HOSTS));
    eprintln!("the last fault is over; {} records so far", load.count());
    let quiet = Instant::now();
    let sent = load.finish();
    let recovery = wait_for_commits(&case, &flows, &topic, quiet);
    let verdict = check(&case, &flows, &sent);
    report(knobs, &world, &sent, recovery, &verdict)
}

fn configure(case: &mut Case, topic: &str, output: &str) -> Vec<Flow> {
    // A host that lives for seconds would spend them on compiling.
    case.modules.push_str("cache = \"cache\"\n");
    case.tables.push_str(
        "[kafka.properties]\n\"session.timeout.ms\" = \"6000\"\n\"heartbeat.interval.ms\" = \"500\"\n\
         \"reconnect.backoff.max.ms\" = \"1000\"\n",
    );
    let mut flows = Vec::new();
    for (flow, delivery) in [("idem", "idempotent"), ("txn", "transactional")] {
        let to = if flow == "txn" { format!(", to = \"{output}\"") } else { String::new() };
        let name = case.named(flow);
        let letters = format!("{topic}.{flow}.dlq");
        let lines = format!(
            "modules = [\"chaos-{flow}\"]\ntopics = [\"{topic}\"]\ndelivery = \"{delivery}\"\n\
             dead_letters = \"{letters}\"\nbatch = {{ records = 1000 }}\nvars = {{ flow = \"{flow}\"{to} }}"
        );
        case.flow(&name, &lines);
        let output = (flow == "txn").then(|| output.to_owned());
        flows.push(Flow { name: flow.into(), output, letters, repeats: flow == "idem" });
    }
    flows
}

/// Two places have a name, so that their hosts take over at once; the others wait for the session to end.
fn configs(case: &Case) -> Vec<String> {
    let named = |place: usize| format!("[host]\ninstance = \"{}-{place}\"\n{}", case.name, case.config());
    (0..=HOSTS).map(|place| if place < 2 { named(place) } else { case.config() }).collect()
}

fn wait_for_commits(case: &Case, flows: &[Flow], topic: &str, since: Instant) -> Option<Duration> {
    let groups: Vec<String> = flows.iter().map(|flow| format!("wasmill.{}", case.named(&flow.name))).collect();
    // Transactions of hosts that were killed hold offsets until they time out, after fifteen seconds.
    while since.elapsed() < RECOVERY {
        if groups.iter().all(|group| kafka::lag(group, topic) == 0) {
            return Some(since.elapsed());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    None
}

fn report(knobs: Knobs, world: &World<'_>, sent: &[Sent], recovery: Option<Duration>, verdict: &Verdict) -> ExitCode {
    world.hosts.iter().filter_map(|host| host.lock().ok()).for_each(|host| {
        host.iter().for_each(|host| world.note_peaks(host));
    });
    let (memory, files) = *world.peaks.lock().expect("no fault panicked");
    let bounded = memory <= LARGEST.0 && files <= LARGEST.1;
    let good = verdict.is_good() && recovery.is_some() && bounded;
    let counts: BTreeMap<&str, usize> = world.counts.lock().expect("no fault panicked").clone();
    let ended = world.ended.lock().expect("no fault panicked").len();
    verdict.examples.iter().for_each(|words| eprintln!("{words}"));
    if !good {
        tell_hosts(world);
    }
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    let names = ["kills", "stops", "broker kills", "postgres stops", "cuts", "stalls", "joins", "swaps"];
    let cells: Vec<String> = names.iter().map(|name| count(name).to_string()).collect();
    let recovery = recovery.map_or("none".to_owned(), |time| format!("{:.1}", time.as_secs_f64()));
    println_(&format!(
        "| seed | s | records | {} | ended alone | lost | doubled | disordered | foreign | letters | recovery s | peak MiB | files | verdict |",
        names.join(" | ")
    ));
    println_(&format!(
        "| {} | {} | {} | {} | {ended} | {} | {} | {} | {} | {} of {} | {recovery} | {memory:.0} | {files} | {} |",
        knobs.seed,
        knobs.length.as_secs(),
        sent.len(),
        cells.join(" | "),
        verdict.lost,
        verdict.doubled,
        verdict.disordered,
        verdict.foreign,
        verdict.letters,
        verdict.letters_expected,
        if good { "good" } else { "BAD" },
    ));
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell_hosts(world: &World<'_>) {
    for (place, host) in world.hosts.iter().enumerate() {
        let words = host.lock().ok().and_then(|host| host.as_ref().map(Host::stderr)).unwrap_or_default();
        let file = std::env::temp_dir().join(format!("wasmill-chaos-host-{place}.log"));
        std::fs::write(&file, words).ok();
        eprintln!("words of host {place}: {}", file.display());
    }
}

fn println_(line: &str) {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}").ok();
}
