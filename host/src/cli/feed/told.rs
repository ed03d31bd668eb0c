//! What a feed says while it runs and when it ends: on a terminal a line that changes, elsewhere one every ten seconds.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::json;

use super::out;
use crate::feed::publish::{Ended, Listener, Progress};

/// Between two lines of progress, on a terminal and elsewhere.
const ON_A_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(10);

pub(super) struct Told {
    topic: String,
    terminal: bool,
    begun: Instant,
    /// When progress was last shown, and how much it was.
    last: (Instant, u64),
    /// A line that has no end yet stands on the terminal.
    open: bool,
}

impl Told {
    pub(super) fn new(topic: &str) -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Told { topic: topic.to_owned(), terminal, begun: now, last: (now, 0), open: false }
    }

    /// What it came to, and how to go on.
    pub(super) fn end(&mut self, ended: &Ended, json: bool) {
        self.clear();
        let Progress { acknowledged, outstanding, keyless, resume, mark, .. } = &ended.progress;
        out::say(&format!("{acknowledged} records to {}", self.topic));
        if *keyless > 0 {
            out::say(&format!("{keyless} of those that were sent have no such field: they have no key"));
        }
        if *outstanding > 0 {
            out::say(&format!("{outstanding} more may have arrived or not"));
        }
        let complete = !ended.stopped && ended.result.is_ok();
        match resume {
            Some(resume) if !complete || mark.is_some() => {
                out::say(&format!("to go on after what is acknowledged: the same command with {resume}"));
            }
            None if !complete => out::say("no place to go on from is known: the same command begins anew"),
            _ => {}
        }
        if json {
            let result = json!({
                "topic": self.topic,
                "acknowledged": acknowledged,
                "unknown": outstanding,
                "without_key": keyless,
                "complete": complete,
                "resume": resume,
                "seconds": self.begun.elapsed().as_secs_f64(),
            });
            out::data(&result.to_string());
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.open) {
            write!(std::io::stderr(), "\r\x1b[K").ok();
        }
    }
}

impl Listener for Told {
    fn progress(&mut self, progress: &Progress) {
        let (at, before) = self.last;
        let passed = at.elapsed();
        if passed < if self.terminal { ON_A_TERMINAL } else { ELSEWHERE } {
            return;
        }
        let rate = progress.acknowledged.saturating_sub(before) as f64 / passed.as_secs_f64();
        let (done, rate) = (out::number(progress.acknowledged), out::number(rate as u64));
        let words = format!("{done} records to {}, {rate}/s", self.topic);
        match self.terminal {
            true => {
                self.open = write!(std::io::stderr(), "\r{words}\x1b[K").is_ok();
            }
            false => out::say(&words),
        }
        self.last = (Instant::now(), progress.acknowledged);
    }

    fn note(&mut self, words: &str) {
        self.clear();
        out::say(words);
    }
}
