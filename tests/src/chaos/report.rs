//! A run as one row of a table, with the words for what it means. A row can be made again by its seed and length.

use std::fmt::Write;
use std::time::Duration;

use super::check::Found;
use super::faults::{Count, Tally};
use super::host::Peaks;

/// Most that a host may use.
pub const MOST_RSS_MIB: u64 = 256;
pub const MOST_FILES: usize = 256;
/// Time after the last fault within which everything is committed.
pub const RECOVERY: Duration = Duration::from_secs(60);

/// Everything that one run has shown.
pub struct Report {
    pub seed: u64,
    pub length: Duration,
    pub found: Found,
    pub recovery: Option<Duration>,
    pub peaks: Peaks,
    pub compared: u64,
    pub hanging: u64,
    pub aborted: u64,
    /// Hosts that ended by themselves, with their codes.
    pub surprises: Vec<String>,
    /// What must not be and is none of the columns.
    pub findings: Vec<String>,
    pub about: String,
    pub left_out: Vec<String>,
    pub switches: String,
}

impl Report {
    pub fn is_well(&self) -> bool {
        self.found.is_well() && self.reasons().is_empty()
    }

    /// Why the run has failed, beside what the checker counts.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = self.findings.clone();
        match self.recovery {
            None => reasons.push("not everything was committed after the last fault".to_owned()),
            Some(time) if time > RECOVERY => reasons.push(format!("recovery took {time:?}, not {RECOVERY:?}")),
            Some(_) => {}
        }
        if self.peaks.rss_kib / 1024 > MOST_RSS_MIB {
            reasons.push(format!("a host used {} MiB", self.peaks.rss_kib / 1024));
        }
        if self.peaks.files > MOST_FILES {
            reasons.push(format!("a host had {} files open", self.peaks.files));
        }
        reasons.extend(self.surprises.iter().cloned());
        reasons
    }

    /// The head of the table.
    pub fn head() -> &'static str {
        "| seed | min | records | kills | freezes (zombies) | joins | Kafka kills | Postgres stops | MongoDB kills | cuts | stalls, slow | swaps \
         | lost | doubled | out of order | wrong | dead letters | hanging | recovery | RSS | files | verdict |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    }

    pub fn row(&self, tally: &Tally) -> String {
        let n = |count| tally.count(count);
        let Found { records, lost, doubled, out_of_order, wrong, letters, letters_expected, .. } = self.found;
        let recovery = self.recovery.map_or("never".to_owned(), |time| format!("{:.0} s", time.as_secs_f64()));
        let again = match self.found.letters_again {
            0 => String::new(),
            again => format!(" + {again} again"),
        };
        format!(
            "| {} | {:.1} | {records} | {} | {} ({}) | {} | {} | {} | {} | {} | {} | {} | {lost} | {doubled} | {out_of_order} | {wrong} \
             | {letters} of {letters_expected}{again} | {} | {recovery} | {} MiB | {} | {} |",
            self.seed,
            self.length.as_secs_f64() / 60.0,
            n(Count::HostKills),
            n(Count::Freezes),
            n(Count::Zombies),
            n(Count::Visits),
            n(Count::KafkaKills),
            n(Count::PostgresStops),
            n(Count::MongoKills),
            n(Count::Cuts),
            n(Count::Stalls) + n(Count::Slow),
            n(Count::Swaps),
            self.hanging,
            self.peaks.rss_kib / 1024,
            self.peaks.files,
            if self.is_well() { "ok" } else { "FAILED" },
        )
    }

    /// Everything else, in lines.
    pub fn words(&self, tally: &Tally) -> String {
        let mut words = String::new();
        let mut line = |text: String| writeln!(words, "{text}").expect("a text takes everything");
        self.about.lines().for_each(|about| line(about.to_owned()));
        if !self.left_out.is_empty() {
            line(format!(
                "left out, because these services are not processes of this run: {}",
                self.left_out.join(", ")
            ));
        }
        if !self.switches.is_empty() {
            line(format!("switched off on purpose: {}", self.switches));
        }
        line(format!(
            "{} faults hit nothing and are not counted; offsets were compared with the sinks {} times; {} records of aborted \
             transactions; {} inputs with outputs of two builds; {} hanging transactions, {} aborted",
            tally.count(Count::Idle),
            self.compared,
            self.found.aborted,
            self.found.two_builds,
            self.hanging,
            self.aborted
        ));
        self.reasons().into_iter().for_each(|reason| line(format!("FAILED: {reason}")));
        self.found.examples.iter().for_each(|example| line(format!("  {example}")));
        words
    }
}
