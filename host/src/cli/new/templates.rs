//! What a new transform begins with: one idea each, with samples and what must come of them.

/// The ideas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Template {
    /// Each record becomes a row
    #[default]
    Map,
    /// Some records are passed on
    Filter,
    /// One record becomes many
    Split,
    /// The topic depends on what is in the record
    Route,
    /// The latest record of a key is the row, a tombstone deletes it
    Upsert,
}

/// The texts of a template; `{{name}}` and `{{fn}}` stand for the crate and its function.
pub(super) struct Parts {
    pub(super) idea: &'static str,
    pub(super) source: &'static str,
    pub(super) samples: &'static str,
    pub(super) expected: &'static str,
}

pub(super) const README: &str = include_str!("templates/README.md");
/// As the repository's own profile for modules.
pub(super) const GUEST_PROFILE: &str = "[profile.guest]\ninherits = \"release\"\nopt-level = 3\nlto = \"fat\"\n\
                                        codegen-units = 1\npanic = \"abort\"\nstrip = \"debuginfo\"\n";

macro_rules! parts {
    ($idea:literal, $dir:literal) => {
        Parts {
            idea: $idea,
            source: include_str!(concat!("templates/", $dir, "/lib.rs")),
            samples: include_str!(concat!("templates/", $dir, "/samples.jsonl")),
            expected: include_str!(concat!("templates/", $dir, "/expected.jsonl")),
        }
    };
}

impl Template {
    pub(super) fn parts(self) -> Parts {
        match self {
            Template::Map => parts!("each record becomes a row", "map"),
            Template::Filter => parts!("some records are passed on, the others are counted by reason", "filter"),
            Template::Split => parts!("one record becomes many", "split"),
            Template::Route => parts!("the topic depends on what is in the record", "route"),
            Template::Upsert => parts!("the latest record of a key is the row, a tombstone deletes it", "upsert"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_sample_is_one_and_has_its_expected_line() {
        for template in Template::value_variants() {
            let Parts { source, samples, expected, .. } = template.parts();
            assert!(source.contains("pub fn {{fn}}(record: &Record, out: &mut Outputs)"), "{template:?}");
            assert_eq!(samples.lines().count(), expected.lines().count(), "{template:?}");
            for line in samples.lines() {
                crate::samples::read::parse(line).unwrap_or_else(|error| panic!("{template:?}: {error}"));
            }
        }
    }
}
