//! The chaos driver: three hosts with two flows on services of their own, records in flight, faults from a seed, and a
//! checker that reads topics and databases only. The hosts are the real binary; nothing in them helps, except that a
//! safeguard can be switched off to see that the checker notices.

pub mod broker;
pub mod check;
pub mod faults;
pub mod host;
pub mod load;
pub mod plan;
pub mod report;
pub mod rig;
pub mod watch;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use faults::Tally;
use host::{Peaks, Slot};
use load::Load;
use plan::{Lane, Plan};
use report::Report;
use rig::Rig;
use watch::Watch;

/// Hosts that are always there; one more comes and goes.
pub const HOSTS: usize = 3;
/// What both flows read.
pub const TOPIC: &str = "chaos_in";
pub const PARTITIONS: i32 = 6;
/// `full` is transactional and writes to all three; `plain` is idempotent and writes to the databases.
pub const FLOWS: [&str; 2] = ["full", "plain"];

/// Time for hanging transactions to show themselves and be ended, after everything else is done.
const SETTLING: Duration = Duration::from_secs(90);

/// One run.
#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    /// How long faults go on.
    pub length: Duration,
    /// Records per second, as long as less than `backlog` are unread.
    pub rate: u64,
    pub backlog: u64,
    /// The run is given up where nothing more of what is in flight at the end is committed for so long.
    pub patience: Duration,
    /// For the services, the hosts' words, the journal of faults, the table.
    pub directory: PathBuf,
    /// Safeguards to switch off, as in FAILPOINTS.
    pub switches: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            seed: 1,
            length: Duration::from_secs(120),
            rate: 3_000,
            backlog: 20_000,
            patience: Duration::from_secs(180),
            directory: PathBuf::from("chaos"),
            switches: String::new(),
        }
    }
}

/// What came out.
pub struct Outcome {
    pub report: Report,
    pub row: String,
    pub words: String,
}

/// Does it all.
pub fn run(settings: &Settings) -> anyhow::Result<Outcome> {
    std::fs::create_dir_all(&settings.directory)?;
    let table = settings.directory.join("chaos.md");
    let directory = settings.directory.join(format!("seed-{}", settings.seed));
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context("removing what is left of the last run with this seed")?;
    }
    std::fs::create_dir_all(&directory)?;
    let rig = Rig::start(&directory, &settings.switches)?;
    let plan = Plan::new(settings.seed, settings.length, HOSTS, |lane| rig.able(lane));
    let tally = Tally::new(File::create(directory.join("faults.log"))?);
    tally.say(format_args!("seed {}, {:?}", settings.seed, settings.length));
    let report = storm(settings, &rig, &plan, &tally)?;
    let (row, words) = (report.row(&tally), report.words(&tally));
    let mut file = OpenOptions::new().create(true).append(true).open(table)?;
    if file.metadata()?.len() == 0 {
        writeln!(file, "{}", Report::head())?;
    }
    writeln!(file, "{row}")?;
    std::fs::write(directory.join("report.txt"), format!("{}\n{row}\n{words}", Report::head()))?;
    Ok(Outcome { report, row, words })
}

/// Load, faults and watch together; then quiet, then the check.
fn storm(settings: &Settings, rig: &Rig, plan: &Plan, tally: &Tally) -> anyhow::Result<Report> {
    let (load, watch) = (Arc::new(Load::new()), Watch::default());
    let recovery = thread::scope(|scope| {
        let comparing = scope.spawn(|| watch.compare(rig, &load, tally));
        let aborting = scope.spawn(|| watch.find_hanging(rig, tally));
        scope.spawn(|| watch.keep_hosts(rig, tally));
        let producing = scope.spawn(|| load.run(&rig.brokers, settings.seed, settings.rate, settings.backlog));
        // Ended on a panic too: the scope would wait for ever.
        let faulted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            faults::run(rig, plan, settings.length, &load, tally);
        }));
        load.stop();
        let produced = producing.join().expect("the load does not panic");
        let recovery = produced.map(|()| settle(rig, tally, settings.patience));
        watch.stop();
        let ends = [comparing, aborting].map(|watching| watching.join().expect("the watch does not panic"));
        faulted.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ends.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
        recovery
    })?;
    rig.hosts.iter().filter_map(|host| host.stop().err()).for_each(|cause| tally.find(format!("{cause:#}")));
    tally.say("checking");
    let found = check::check(rig)?;
    let most = |peaks: Peaks, host: &Slot| Peaks {
        rss_kib: peaks.rss_kib.max(host.most().rss_kib),
        files: peaks.files.max(host.most().files),
    };
    let surprise = |host: &Slot| {
        let codes = host.surprises();
        (!codes.is_empty()).then(|| format!("{} ended by itself with {codes:?}", host.describe()))
    };
    let lanes = [Lane::Kafka, Lane::Postgres, Lane::Mongo];
    Ok(Report {
        seed: settings.seed,
        length: settings.length,
        found,
        recovery,
        peaks: rig.hosts.iter().fold(Peaks::default(), most),
        compared: watch.compared.into_inner(),
        hanging: watch.hanging.into_inner(),
        aborted: watch.aborted.into_inner(),
        surprises: rig.hosts.iter().filter_map(surprise).collect(),
        findings: tally.findings(),
        about: rig.about(),
        left_out: lanes.iter().filter(|lane| !rig.able(**lane)).map(|lane| format!("{lane:?}")).collect(),
        switches: settings.switches.clone(),
    })
}

/// Waits until everything is committed, and until readers of committed records see the ends of all topics.
fn settle(rig: &Rig, tally: &Tally, patience: Duration) -> Option<Duration> {
    let quiet = tally.last_fault();
    tally.say("no more faults");
    let step = Duration::from_millis(200);
    let (mut least, mut since) = (i64::MAX, Instant::now());
    loop {
        match watch::lag(rig) {
            Some(0) => break,
            Some(lag) if lag < least => (least, since) = (lag, Instant::now()),
            _ => {}
        }
        if since.elapsed() > patience {
            return None;
        }
        thread::sleep(step);
    }
    let recovery = quiet.elapsed();
    tally.say(format_args!("everything is committed {recovery:?} after the last fault"));
    let begun = Instant::now();
    while watch::all_stable(rig) != Some(true) {
        if begun.elapsed() > SETTLING.min(patience) {
            tally.find("readers of committed records do not see the end of every topic".to_owned());
            break;
        }
        thread::sleep(step);
    }
    Some(recovery)
}
