//! What the demo shows: records before and after, throughput, a summary. Rows and documents are read from the SQLite
//! file and numbers from the metrics, as anybody could.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::TOPIC;
use super::generator::{Kind, Sample};
use crate::cli::out::{self, Style};
use crate::metrics::Metrics;

/// Longest value that is shown of a record, row or document.
const SHOWN: usize = 100;

/// Totals since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Counts {
    pub(in crate::cli) records: u64,
    pub(in crate::cli) outputs: BTreeMap<String, u64>,
    pub(in crate::cli) filtered: BTreeMap<String, u64>,
    pub(in crate::cli) dead: BTreeMap<String, u64>,
}

impl Counts {
    /// As the page `/metrics` tells them.
    pub(in crate::cli) fn of(metrics: &Metrics) -> Counts {
        Counts::parse(&metrics.page())
    }

    fn parse(page: &str) -> Counts {
        let mut counts = Counts::default();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let value = value.parse().unwrap_or(0);
            let name = series.split('{').next().unwrap_or_default();
            let (group, label) = match name {
                "wasmill_records_in_total" => {
                    counts.records += value;
                    continue;
                }
                "wasmill_outputs_total" => (&mut counts.outputs, "sink"),
                "wasmill_records_filtered_total" => (&mut counts.filtered, "reason"),
                "wasmill_records_dead_total" => (&mut counts.dead, "code"),
                _ => continue,
            };
            *group.entry(label_of(series, label)).or_default() += value;
        }
        counts
    }
}

fn label_of(series: &str, label: &str) -> String {
    let rest = series.split_once(&format!("{label}=\"")).map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default().to_owned()
}

pub(super) struct View {
    database: PathBuf,
    tokio: tokio::runtime::Handle,
    style: Style,
    /// When the examples were shown, the last line of throughput and what was counted then.
    start: Instant,
    last: (Instant, Counts),
}

/// A row as it is found: where, and its columns as text.
struct Found {
    table: String,
    columns: Vec<(String, Option<String>)>,
}

impl View {
    pub(super) fn new(database: PathBuf, tokio: tokio::runtime::Handle) -> Self {
        let now = Instant::now();
        View { database, tokio, style: Style::of(&std::io::stdout()), start: now, last: (now, Counts::default()) }
    }

    /// Shows a record of each kind with what became of it; `false` while the first one is not in the database.
    pub(super) fn examples(&mut self, samples: &[Sample], counts: &Counts) -> bool {
        let Some(quote) = samples.iter().find(|sample| sample.kind == Kind::Quote) else { return false };
        let found = self.tokio.block_on(find(&self.database, &quote.text)).unwrap_or_default();
        if found.is_empty() || samples.len() < 4 {
            return false;
        }
        out::data(&format!("\n{}", self.style.bold("records before → after")));
        for sample in samples {
            let key = sample.key.as_ref().map_or_else(String::new, |key| format!(" key {key}"));
            let place = self.style.dim(&format!("{TOPIC}[{}]{key}", sample.partition));
            out::data(&format!("\n{place} {}", cut(&sample.value)));
            let fate = self.fate(sample, &found, counts);
            fate.iter().for_each(|line| out::data(&format!("  → {line}")));
        }
        out::data("");
        self.start = Instant::now();
        self.last = (self.start, counts.clone());
        true
    }

    fn fate(&self, sample: &Sample, found: &[Found], counts: &Counts) -> Vec<String> {
        let reason = |word: &str| counts.filtered.keys().find(|reason| reason.contains(word)).cloned();
        let filtered = |word| format!("filtered: {}", reason(word).unwrap_or_else(|| "no output".into()));
        match sample.kind {
            Kind::Quote => found.iter().map(|row| self.row(row)).collect(),
            Kind::NotJson => vec![self.style.warn(&filtered("JSON"))],
            Kind::Keyed => vec![self.style.warn(&filtered("key"))],
            Kind::OtherShape => {
                let code = counts.dead.keys().next().map_or("reject", String::as_str);
                vec![self.style.bad(&format!("dead letter in {TOPIC}.dlq, code {code}"))]
            }
        }
    }

    fn row(&self, found: &Found) -> String {
        let is_document = found.columns.iter().any(|(name, _)| name == "document");
        let shown = found.columns.iter().map(|(name, value)| {
            format!("{} {}", self.style.dim(name), value.as_deref().map_or_else(|| "NULL".into(), cut))
        });
        let columns = shown.collect::<Vec<_>>().join(self.style.dim(" | ").as_str());
        let sink = if is_document { "mongodb" } else { "postgres" };
        format!("{} {columns}", self.style.good(&format!("{sink}:{}", found.table)))
    }

    /// What was done since the last line.
    pub(super) fn throughput(&mut self, counts: &Counts) {
        let now = Instant::now();
        let (last, before) = &self.last;
        let seconds = now.duration_since(*last).as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| out::number((now.saturating_sub(before) as f64 / seconds) as u64);
        let outputs = counts
            .outputs
            .iter()
            .map(|(sink, count)| format!("{sink} {}/s", rate(*count, before.outputs.get(sink).copied().unwrap_or(0))));
        out::data(&format!(
            "{:>4} s   in {}/s   out {}   filtered {}   dead {}",
            self.start.elapsed().as_secs(),
            rate(counts.records, before.records),
            outputs.collect::<Vec<_>>().join(", "),
            out::number(counts.filtered.values().sum()),
            out::number(counts.dead.values().sum()),
        ));
        self.last = (now, counts.clone());
    }

    /// What it came to, and what to do next.
    pub(super) fn summary(&self, counts: &Counts, made: u64) {
        out::data(&format!("\n{}", self.style.bold("what it came to")));
        out::data(&format!("  records made {}, read {}", out::number(made), out::number(counts.records)));
        for (title, group) in
            [("written to", &counts.outputs), ("filtered,", &counts.filtered), ("dead, code", &counts.dead)]
        {
            for (name, count) in group {
                out::data(&format!("  {title} {name}: {}", out::number(*count)));
            }
        }
        out::data(&format!("\n{}", self.style.bold("what to do next")));
        out::data("  make up                       a real Kafka, Postgres and MongoDB server with this module");
        out::data("  wasmill build PATH            your own transform into ./modules: it runs when it is there");
        out::data("  wasmill run                   with KAFKA_BROKERS, POSTGRES_URL, MONGODB_URL set");
        out::data("  README.md                     the first screen has the whole way");
    }
}

/// Rows and documents that hold `text`, one per table.
async fn find(database: &std::path::Path, text: &str) -> Result<Vec<Found>, sqlx::Error> {
    if !database.exists() {
        return Ok(Vec::new());
    }
    let options = SqliteConnectOptions::new().filename(database).read_only(true).busy_timeout(Duration::from_secs(1));
    let mut connection = options.connect().await?;
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' \
                  AND name NOT LIKE '%wasmill%' ORDER BY name DESC";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await?;
    let mut found = Vec::new();
    for table in tables {
        found.extend(find_in(&mut connection, table, text).await?);
    }
    Ok(found)
}

async fn find_in(connection: &mut SqliteConnection, table: String, text: &str) -> Result<Option<Found>, sqlx::Error> {
    let names = "SELECT name FROM pragma_table_info(?1)";
    let names: Vec<String> = sqlx::query_scalar(names).bind(&table).fetch_all(&mut *connection).await?;
    let casts: Vec<String> = names.iter().map(|name| format!("CAST({} AS TEXT)", quoted(name))).collect();
    let tests: Vec<String> = casts.iter().map(|cast| format!("coalesce(instr({cast}, ?1), 0) > 0")).collect();
    if casts.is_empty() {
        return Ok(None);
    }
    let query = format!("SELECT {} FROM {} WHERE {} LIMIT 1", casts.join(", "), quoted(&table), tests.join(" OR "));
    // Only names of the file's own tables and columns, quoted; the text is bound.
    let row = sqlx::query(AssertSqlSafe(query)).bind(text).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let columns = names.into_iter().enumerate().map(|(index, name)| (name, row.get(index))).collect();
    Ok(Some(Found { table, columns }))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn cut(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = clean.take(SHOWN).collect();
    if text.chars().count() > SHOWN {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_the_metrics_page() {
        let metrics = Metrics::new();
        let topic = |topic: &str| crate::metrics::ByTopic { flow: "quotes".into(), topic: topic.into() };
        metrics.records_in.get_or_create(&topic("a")).inc_by(3);
        metrics.records_in.get_or_create(&topic("b")).inc_by(4);
        let reason = crate::metrics::ByReason { flow: "quotes".into(), reason: "not JSON".into() };
        metrics.records_filtered.get_or_create(&reason).inc_by(2);
        let counts = Counts::of(&metrics);
        assert_eq!(counts.records, 7);
        assert_eq!(counts.filtered, BTreeMap::from([("not JSON".to_owned(), 2)]));
        assert!(counts.dead.is_empty());
    }

    #[test]
    fn a_row_is_found_by_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            let mut connection =
                SqliteConnectOptions::new().filename(&file).create_if_missing(true).connect().await.unwrap();
            for statement in [
                "CREATE TABLE quotes (quote_id INTEGER PRIMARY KEY, quotes TEXT)",
                "CREATE TABLE \"simpson_db.quotes\" (_id TEXT, document TEXT)",
                "CREATE TABLE wasmill_progress (x TEXT)",
                "INSERT INTO quotes (quotes) VALUES ('no'), ('yes #0'), (NULL)",
                "INSERT INTO \"simpson_db.quotes\" VALUES ('a', '{\"quote\":\"yes #0\"}')",
            ] {
                sqlx::query(statement).execute(&mut connection).await.unwrap();
            }
            find(&file, "yes #0").await.unwrap()
        });
        let tables: Vec<&str> = found.iter().map(|row| row.table.as_str()).collect();
        assert_eq!(tables, ["simpson_db.quotes", "quotes"]);
        assert_eq!(found[1].columns[0], ("quote_id".to_owned(), Some("2".to_owned())));
    }
}
