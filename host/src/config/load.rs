//! From a file or the environment to a checked [`Config`]. Finds everything that is wrong in one go where it can: a
//! part that does not parse is noted, left out, and the rest is read again. Environment variables are read only where
//! there is no file or where the file names them: they never override what it says.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::expand::Scope;
use super::place::{locate, remove, span_of};
use super::report::{Problem, Report};
use super::validate::{self, Finding};
use super::{Config, Secret, Sink, words};

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "wasmill.toml";
/// Most problems in one report: after so many the first ones are what matters.
const MAX_PROBLEMS: usize = 20;
/// Largest configuration file.
const MAX_FILE: u64 = 4 << 20;

/// Looks up an environment variable.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads `path`; without it `./wasmill.toml` where that exists, else the environment alone.
    pub fn load(path: Option<&Path>) -> Result<Config, Report> {
        let env = |name: &str| std::env::var(name).ok();
        match file_to_read(path) {
            Some(path) => Config::read(&path, &env).map(|config| Config { file: Some(path), ..config }),
            None => Config::from_env(&env),
        }
    }

    fn read(path: &Path, env: Env<'_>) -> Result<Config, Report> {
        let failed = |cause: String| {
            let message = format!("cannot read the configuration file {}: {cause}", path.display());
            Report::plain(
                None,
                message,
                "name an existing file with -c, or run without one: KAFKA_BROKERS, POSTGRES_URL, MONGODB_URL",
            )
        };
        let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if size > MAX_FILE {
            return Err(failed(format!("it has {size} bytes, more than {MAX_FILE}")));
        }
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let source = String::from_utf8(bytes)
            .map_err(|error| failed(format!("it is not UTF-8 at byte {}", error.utf8_error().valid_up_to())))?;
        let absolute = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
        Config::parse(path, &source, absolute.parent().unwrap_or(Path::new("/")), env)
    }

    /// Reads the text of a file. `file` is only its name for messages; relative paths refer to `base`.
    pub fn parse(file: &Path, source: &str, base: &Path, env: Env<'_>) -> Result<Config, Report> {
        let (root, errors) = DeTable::parse_recoverable(source);
        if !errors.is_empty() {
            let problems = errors
                .iter()
                .take(MAX_PROBLEMS)
                .map(|error| Problem::new("", format!("not TOML: {}", error.message())).at(error.span()));
            return Err(Report::new(Some(file), source, problems.collect()));
        }
        let mut document = Document { source, problems: Vec::new(), root: root.into_inner() };
        document.expand(&Scope { env, base });
        let config = document.read();
        let Document { root, mut problems, .. } = document;
        if let Some(config) = &config {
            let whole = problems.is_empty();
            for finding in validate::check(config, whole) {
                note(&mut problems, finding.problem().at(span_of(&root, &finding)));
            }
        }
        match config {
            Some(config) if problems.is_empty() => Ok(config.relative_to(base)),
            _ => Err(Report::new(Some(file), source, problems)),
        }
    }

    /// Only what the environment says: `KAFKA_BROKERS`, `POSTGRES_URL` (sink `postgres`), `MONGODB_URL` (sink
    /// `mongodb`), `WASMILL_MODULES`, `WASMILL_INSTANCE`, `WASMILL_LOG`.
    pub fn from_env(env: Env<'_>) -> Result<Config, Report> {
        let get = |name: &str| env(name).filter(|value| !value.is_empty());
        let mut config = Config::default();
        if let Some(brokers) = get("KAFKA_BROKERS") {
            config.kafka.brokers = brokers;
        }
        for (sink, variable) in [("postgres", "POSTGRES_URL"), ("mongodb", "MONGODB_URL")] {
            if let Some(url) = get(variable) {
                config.sinks.insert(sink.into(), Sink::at(url));
            }
        }
        config.modules.dir = get("WASMILL_MODULES").map_or_else(default_modules, PathBuf::from);
        config.host.instance = get("WASMILL_INSTANCE").unwrap_or_default();
        if let Some(level) = get("WASMILL_LOG") {
            config.log.level = level;
        }
        let problems: Vec<Problem> = validate::check(&config, true).iter().map(in_environment).collect();
        if !problems.is_empty() {
            return Err(Report::new(None, "", problems));
        }
        let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Ok(config.relative_to(&base))
    }

    fn relative_to(mut self, base: &Path) -> Config {
        self.base = base.to_path_buf();
        self.modules.dir = base.join(&self.modules.dir);
        let set = |dir: PathBuf| if dir.as_os_str().is_empty() { dir } else { base.join(dir) };
        self.modules.cache = self.modules.cache.map(set);
        self.modules.store = self.modules.store.filter(|dir| !dir.as_os_str().is_empty()).map(|dir| base.join(dir));
        self.log.file = self.log.file.map(|file| base.join(file));
        for sink in self.sinks.values_mut() {
            if let Some(url) = sqlite_at(sink.url.expose(), base) {
                sink.url = Secret::new(url);
            }
        }
        self
    }
}

impl Sink {
    /// A sink with nothing but its URL.
    pub fn at(url: impl Into<String>) -> Sink {
        Sink { url: Secret::new(url), allow_plaintext: false, max_rows_per_second: None, tables: Default::default() }
    }

    /// Whether its URL is one of Postgres.
    pub fn is_postgres(&self) -> bool {
        let url = self.url.expose();
        url.starts_with("postgres://") || url.starts_with("postgresql://")
    }
}

/// The file that [`Config::load`] reads; `None` where the environment decides.
pub fn file_to_read(path: Option<&Path>) -> Option<PathBuf> {
    path.map(Path::to_path_buf).or_else(|| Path::new(DEFAULT_FILE).is_file().then(|| DEFAULT_FILE.into()))
}

/// A parsed file with what is wrong in it.
struct Document<'s> {
    source: &'s str,
    root: DeTable<'s>,
    problems: Vec<Problem>,
}

impl<'s> Document<'s> {
    fn expand(&mut self, scope: &Scope<'_>) {
        let mut root = std::mem::take(&mut self.root);
        self.expand_table(&mut root, scope, &mut Vec::new());
        self.root = root;
    }

    fn expand_table(&mut self, table: &mut DeTable<'s>, scope: &Scope<'_>, path: &mut Vec<String>) {
        for (key, value) in table.iter_mut() {
            path.push(key.get_ref().to_string());
            self.expand_value(value, scope, path);
            path.pop();
        }
    }

    fn expand_value(&mut self, value: &mut Spanned<DeValue<'s>>, scope: &Scope<'_>, path: &mut Vec<String>) {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => match scope.expand(text) {
                Ok(expanded) => *text = expanded.into(),
                Err(missing) => {
                    let span = self.find(&span, &missing.expression);
                    let problem = Problem::new(key_name(path), missing.message).help(missing.help).at(Some(span));
                    note(&mut self.problems, problem);
                }
            },
            DeValue::Array(items) => items.iter_mut().for_each(|item| self.expand_value(item, scope, path)),
            DeValue::Table(table) => self.expand_table(table, scope, path),
            _ => {}
        }
    }

    /// Where `expression` is written within a value; escapes can hide it, then the whole value.
    fn find(&self, span: &Range<usize>, expression: &str) -> Range<usize> {
        let found = self.source.get(span.clone()).and_then(|text| text.find(expression));
        found.map_or(span.clone(), |at| span.start + at..span.start + at + expression.len())
    }

    /// The configuration without the parts that do not parse; `None` where those cannot be left out.
    fn read(&mut self) -> Option<Config> {
        let mut tree = self.root.clone();
        let mut removed: Vec<Vec<String>> = Vec::new();
        for _ in 0..MAX_PROBLEMS {
            let root = Spanned::new(0..self.source.len(), DeValue::Table(tree.clone()));
            let error = match Config::deserialize(ValueDeserializer::from(root)) {
                Ok(config) => return Some(config),
                Err(error) => error,
            };
            let span = error.span()?;
            let place = locate(&self.root, &span);
            // A required key that was left out for its value is not missing.
            let missed = error.message().strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
            if !missed.is_some_and(|key| removed.contains(&[place.as_slice(), &[key.to_owned()]].concat())) {
                note(&mut self.problems, words::problem(&place, error.message()).at(Some(span.clone())));
            }
            removed.push(place);
            if !remove(&mut tree, &span) {
                return None;
            }
        }
        None
    }
}

/// Adds a problem unless its place has one already: the first one is the cause of the others.
fn note(problems: &mut Vec<Problem>, problem: Problem) {
    let overlaps = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
    let known =
        problems.iter().any(|other| matches!((&other.span, &problem.span), (Some(a), Some(b)) if overlaps(a, b)));
    if !known && problems.len() < MAX_PROBLEMS {
        problems.push(problem);
    }
}

/// `flow.quotes.topics`, with names in quotes that need them.
pub(super) fn key_name(path: &[String]) -> String {
    let bare = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let names: Vec<String> =
        path.iter().map(|name| if bare(name) { name.clone() } else { format!("{name:?}") }).collect();
    names.join(".")
}

fn in_environment(finding: &Finding) -> Problem {
    let variable = match finding.path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["kafka", ..] => "KAFKA_BROKERS",
        ["sinks", "postgres", ..] => "POSTGRES_URL",
        ["sinks", "mongodb", ..] => "MONGODB_URL",
        ["modules", ..] => "WASMILL_MODULES",
        ["host", ..] => "WASMILL_INSTANCE",
        _ => "WASMILL_LOG",
    };
    let Problem { message, help, .. } = finding.problem();
    Problem { key: format!("environment variable {variable}"), message, help, span: None }
}

/// `./modules`, or the image's `/modules` where only that exists.
fn default_modules() -> PathBuf {
    let image = Path::new("/modules");
    if !Path::new("modules").is_dir() && image.is_dir() { image.into() } else { "modules".into() }
}

/// The URL of a SQLite file whose relative path refers to `base`.
fn sqlite_at(url: &str, base: &Path) -> Option<String> {
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"))?;
    if path.is_empty() || path.starts_with('/') || path.starts_with(":memory:") {
        return None;
    }
    Some(format!("sqlite://{}", base.join(path).display()))
}
