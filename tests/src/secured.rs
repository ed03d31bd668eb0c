//! What the tests of secured services ask of a case: the right words, in time, and never a password.

use std::time::{Duration, Instant};

use crate::host::{Finished, wasmill};
use crate::{Case, wait_until};

/// Longest time until a command or a host has said what is wrong.
const SECONDS: u64 = 60;

/// A case, and the passwords that nobody may read.
#[derive(Clone, Copy, Debug)]
pub struct Secured<'c> {
    pub case: &'c Case,
    pub passwords: &'c [&'c str],
}

impl Secured<'_> {
    /// A command with the configuration of the case.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> Finished {
        let file = self.case.path().join("asked.toml");
        std::fs::write(&file, self.case.config()).expect("the configuration can be written");
        let file = file.to_string_lossy();
        let begun = Instant::now();
        let finished = wasmill(&[&["-c", &file], arguments].concat(), self.case.path(), &self.case.env);
        assert!(begun.elapsed() < Duration::from_secs(SECONDS), "{arguments:?} took {:?}", begun.elapsed());
        self.is_silent(&finished);
        finished
    }

    /// `check`, `doctor` and a running host say these words; the host goes on and is not ready.
    #[track_caller]
    pub fn is_named(&self, words: &[&str]) {
        for command in ["check", "doctor"] {
            let asked = self.command(&[command]);
            assert_eq!(asked.code, 3, "{command}: {}{}", asked.stdout, asked.stderr);
            for word in words {
                assert!(asked.stdout.contains(word), "{command} does not say {word:?}: {}", asked.stdout);
            }
        }
        let host = self.case.start();
        wait_until(&format!("/health/ready says {words:?}"), SECONDS, || {
            let page = host.get("/health/ready").1;
            words.iter().all(|word| page.contains(word))
        });
        assert_eq!(host.get("/health/ready").0, 503);
        assert_eq!(host.get("/health/live").0, 200);
        let stopped = host.stop();
        assert_eq!(stopped.code, 0, "{}", stopped.stderr);
        self.is_silent(&stopped);
    }

    /// No password was said.
    #[track_caller]
    pub fn is_silent(&self, finished: &Finished) {
        for password in self.passwords {
            let said = finished.stderr.contains(password) || finished.stdout.contains(password);
            assert!(!said, "a password was said");
        }
    }
}
