//! What is wrong with a configuration, said with the place: file, line, an excerpt with a caret and what to do.
//! Passwords in the excerpt are masked; values that came out of `${…}` are never shown.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// Longest excerpt of a line in characters; the rest is cut.
const EXCERPT: usize = 160;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as `flow.quotes.topics`; empty where the whole file is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Bytes of the source that the caret points at.
    pub span: Option<Range<usize>>,
}

/// Everything that is wrong with one configuration.
#[derive(Clone, Debug)]
pub struct Report {
    /// The file; `None` where the configuration came from the environment.
    pub file: Option<PathBuf>,
    /// The file's text with passwords masked, byte for byte as long as the original.
    source: String,
    pub problems: Vec<Problem>,
}

impl Problem {
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { key: key.into(), message: message.into(), help: None, span: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn at(mut self, span: Option<Range<usize>>) -> Self {
        self.span = span;
        self
    }
}

impl Report {
    /// Sorts the problems by their place in the file.
    pub fn new(file: Option<&Path>, source: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
        Report { file: file.map(Path::to_path_buf), source: mask(source), problems }
    }

    /// A report without an excerpt, such as for a file that cannot be read.
    pub fn plain(file: Option<&Path>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Report::new(file, "", vec![Problem::new("", message).help(help)])
    }

    fn place(&self, f: &mut fmt::Formatter<'_>, span: &Range<usize>) -> fmt::Result {
        let (line, column, text, width) = excerpt(&self.source, span);
        let name = self.file.as_deref().unwrap_or(Path::new("environment"));
        let gutter = " ".repeat(line.to_string().len());
        writeln!(f, "{gutter}--> {}:{line}:{}", name.display(), column + 1)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{line} | {text}")?;
        writeln!(f, "{gutter} | {}{}", " ".repeat(column), "^".repeat(width))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            let key = if problem.key.is_empty() { String::new() } else { format!("{}: ", problem.key) };
            writeln!(f, "error: {key}{}", problem.message)?;
            match (&problem.span, &self.file) {
                (Some(span), _) => self.place(f, span)?,
                (None, Some(file)) => writeln!(f, " --> {}", file.display())?,
                (None, None) => {}
            }
            if let Some(help) = &problem.help {
                writeln!(f, "  = help: {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// The nearest of `known`, where one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().max(word.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Line (from 1), column (from 0, in characters), the line's text and the number of carets.
fn excerpt<'a>(source: &'a str, span: &Range<usize>) -> (usize, usize, std::borrow::Cow<'a, str>, usize) {
    let start = floor(source, span.start);
    let from = source[..start].rfind('\n').map_or(0, |at| at + 1);
    let to = source[start..].find('\n').map_or(source.len(), |at| start + at);
    let line = source[..from].matches('\n').count() + 1;
    let column = source[from..start].chars().count();
    let end = floor(source, span.end).clamp(start, to);
    let width = source[start..end].chars().count().max(1);
    // Tabs and control characters would move the caret away from its token.
    let text: String = source[from..to].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim_end();
    if text.chars().count() <= EXCERPT || column + 4 > EXCERPT {
        // A token far to the right keeps its place: the excerpt then begins near it.
        let skip = column.saturating_sub(EXCERPT / 2) * usize::from(column + 4 > EXCERPT);
        let shown: String = text.chars().skip(skip).take(EXCERPT).collect();
        return (line, column - skip, shown.into(), width.min(EXCERPT));
    }
    let shown: String = text.chars().take(EXCERPT).chain(['…']).collect();
    (line, column, shown.into(), width.min(EXCERPT + 1 - column))
}

fn floor(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Puts `*` in the place of passwords: of URLs, and of keys that sound like one.
fn mask(source: &str) -> String {
    static SECRETS: LazyLock<[Regex; 2]> = LazyLock::new(|| {
        [r#"://[^:/@\s"']*:([^"'\s]+)@"#, r#"(?i)(?:password|secret|token|jaas|\.pem)[^=\n]*=\s*["']+([^"'\n]+)"#]
            .map(|pattern| Regex::new(pattern).expect("the patterns are constant"))
    });
    let mut masked = source.as_bytes().to_vec();
    for secret in SECRETS.iter().flat_map(|pattern| pattern.captures_iter(source)).filter_map(|found| found.get(1)) {
        // `${…}` names a secret but holds none.
        if !secret.as_str().contains("${") {
            masked[secret.range()].fill(b'*');
        }
    }
    String::from_utf8(masked).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn passwords_never_reach_the_excerpt() {
        let source = "url = \"postgres://me:pa@ss@db/x\"\n\"sasl.password\" = \"hunter2\"\n";
        let problems = vec![Problem::new("a", "x").at(Some(0..3)), Problem::new("b", "y").at(Some(35..40))];
        let text = Report::new(None, source, problems).to_string();
        assert!(!text.contains("pa@ss") && !text.contains("hunter2"), "{text}");
        assert!(text.contains("postgres://me:*****@db/x"), "{text}");
    }

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("topcs", ["topics", "group"]), Some("topics"));
        assert_eq!(nearest("banana", ["topics", "group"]), None);
    }

    proptest! {
        #[test]
        fn any_span_of_any_text_can_be_shown(source in "(?s).{0,300}", a in 0usize..400, b in 0usize..400) {
            let report = Report::new(None, &source, vec![Problem::new("k", "m").at(Some(a.min(b)..a.max(b)))]);
            prop_assert!(report.to_string().contains('^'));
        }
    }
}
