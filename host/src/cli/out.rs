//! Words for people: marks, colours where a terminal takes them, and nothing that could fail.

use std::io::{IsTerminal, Write};

/// Whether and how a stream takes colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    colour: bool,
}

impl Style {
    /// For a stream: plain where it is no terminal or the user says so.
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Style { colour: stream.is_terminal() && !set("NO_COLOR") && !dumb }
    }

    /// Without colours.
    pub(super) fn plain() -> Self {
        Style { colour: false }
    }

    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.paint("31;1", text)
    }

    pub(super) fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A line of words. Where standard error is gone there is nobody to tell.
pub(super) fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

/// A line of data. A reader that has closed the pipe has seen enough.
pub(super) fn data(text: &str) {
    is_read(text);
}

/// A line of data for as long as somebody reads: `false` where the pipe is closed.
pub(super) fn is_read(text: &str) -> bool {
    writeln!(std::io::stdout(), "{text}").is_ok()
}

/// Why the program ends. Reports of the configuration bring their own beginning.
pub(super) fn failure(message: &str) {
    let style = Style::of(&std::io::stderr());
    let error = style.bad("error");
    match message.trim_end() {
        "" => {}
        text if text.starts_with("error: ") => {
            let lines: Vec<String> = text
                .lines()
                .map(|line| line.strip_prefix("error: ").map_or(line.to_owned(), |rest| format!("{error}: {rest}")))
                .collect();
            say(&lines.join("\n"));
        }
        text => say(&format!("{error}: {text}")),
    }
}

/// Bytes as people read them.
pub(super) fn size(bytes: usize) -> String {
    if bytes < 10 << 10 { format!("{bytes} bytes") } else { format!("{} KiB", bytes.div_ceil(1 << 10)) }
}

/// `1234567` as `1,234,567`.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|chunk| std::str::from_utf8(chunk).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_marked() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(n), text);
        }
    }
}
