//! Every code that wasmill gives a name to: those of dead letters, of modules that are not taken, and the exit codes. What
//! it means, why it comes about, what to do. `wasmill explain` and docs/operating.md say what stands here.

mod dead;
mod exit;
mod module;

use std::fmt;

/// What is said about one code.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// As it is written: `trap`, `pg-23505`, `exit-2`; a family's ends in `<…>`.
    pub code: &'static str,
    /// What has happened.
    pub means: &'static str,
    /// How it comes to that.
    pub why: &'static str,
    /// What a person does about it.
    pub act: &'static str,
}

/// The codes of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub title: &'static str,
    /// Where these codes are seen.
    pub where_seen: &'static str,
    pub entries: &'static [Entry],
}

/// Everything that can be explained, in the order in which it is listed.
pub const GROUPS: [Group; 3] = [
    Group {
        title: "Dead letters",
        where_seen: "`wasmill-code` of a dead letter, `code` of `wasmill_records_dead_total`, `wasmill dlq ls`",
        entries: &dead::ENTRIES,
    },
    Group {
        title: "Modules that are not taken",
        where_seen: "the log and `/health/ready`; the module that runs goes on",
        entries: &module::ENTRIES,
    },
    Group { title: "Exit codes", where_seen: "the end of the process", entries: &exit::ENTRIES },
];

/// All entries.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    GROUPS.iter().flat_map(|group| group.entries)
}

/// What is said about a code: its own entry, else that of its family. Numbers alone are exit codes.
pub fn explain(code: &str) -> Option<&'static Entry> {
    let code = code.trim().to_ascii_lowercase();
    let code = if code.parse::<u8>().is_ok() { format!("exit-{code}") } else { code };
    let exact = all().find(|entry| entry.code.to_ascii_lowercase() == code);
    exact.or_else(|| {
        let families = all().filter(|entry| entry.family().is_some_and(|family| is_member(&code, family)));
        families.max_by_key(|entry| entry.family().map_or(0, str::len))
    })
}

fn is_member(code: &str, family: &str) -> bool {
    code.strip_prefix(family).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

impl Entry {
    /// The beginning that a family's codes share.
    pub fn family(&self) -> Option<&'static str> {
        self.code.split_once('<').map(|(family, _)| family)
    }

    /// The name of the section in docs/operating.md.
    pub fn anchor(&self) -> String {
        self.code.to_ascii_lowercase().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { code, means, why, act } = self;
        write!(f, "{code}: {means}\n\n  why   {why}\n  do    {act}")
    }
}

/// The sections of docs/operating.md.
pub fn markdown() -> String {
    let mut text = String::new();
    for Group { title, where_seen, entries } in GROUPS {
        text.push_str(&format!("### {title}\n\nSeen in: {where_seen}.\n\n"));
        for Entry { code, means, why, act } in entries {
            text.push_str(&format!("#### `{code}`\n\n**{}.** {why}\n\n*What to do:* {act}\n\n", capital(means)));
        }
    }
    text
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::outcome::Code;

    const DOCS: &str = include_str!("../../docs/operating.md");
    const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md");
    const BEGIN: &str = "<!-- codes: written by the test of host/src/codes.rs, UPDATE_EXPECT=1 -->\n";
    const END: &str = "<!-- end of codes -->\n";

    #[test]
    fn the_operators_manual_has_a_section_for_each_code() {
        let (before, rest) = DOCS.split_once(BEGIN).expect("the mark of the codes is in docs/operating.md");
        let (section, after) = rest.split_once(END).expect("the codes end somewhere");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(PLACE, format!("{before}{BEGIN}{}{END}{after}", markdown())).unwrap();
        }
        assert!(section == markdown(), "docs/operating.md says other things: run with UPDATE_EXPECT=1 and read it");
    }

    #[test]
    fn every_code_of_the_host_is_explained() {
        let fixed = [
            Code::DECODE,
            Code::REJECT,
            Code::TRAP,
            Code::DEADLINE,
            Code::MEMORY,
            Code::OUTPUT_LIMIT,
            Code::TOO_LARGE,
            Code::UNKNOWN_TARGET,
        ];
        for code in fixed {
            assert_eq!(explain(code.as_str()).map(|entry| entry.code), Some(code.as_str()));
        }
        for (code, entry) in [
            ("pg-23505", "pg-23505"),
            ("PG-22p02", "pg-22P02"),
            ("pg-22012", "pg-22<xxx>"),
            ("pg-44000", "pg-<sqlstate>"),
            ("mongo-11000", "mongo-11000"),
            ("mongo-9", "mongo-<code>"),
            ("kafka-InvalidRecord", "kafka-InvalidRecord"),
            ("kafka-Whatever", "kafka-<name>"),
            ("sqlite-2067", "sqlite-2067"),
            ("sqlite-18", "sqlite-18"),
            ("sqlite-4", "sqlite-<code>"),
            ("2", "exit-2"),
            ("module.init", "module.init"),
        ] {
            assert_eq!(explain(code).map(|entry| entry.code), Some(entry), "{code}");
        }
        for code in ["", "pg-", "pg-2 2", "256", "exit-4", "nonsense"] {
            assert!(explain(code).is_none(), "{code}");
        }
    }

    /// What the sources say when they end the program or refuse a module.
    #[test]
    fn every_code_in_the_sources_is_explained() {
        let quoted = regex::Regex::new(r#""(module\.[a-z-]+)""#).unwrap();
        let sources = [
            include_str!("runtime.rs"),
            include_str!("runtime/dropped.rs"),
            include_str!("runtime/sanity.rs"),
            include_str!("modules/folder.rs"),
            include_str!("modules/file.rs"),
        ];
        let found: BTreeSet<&str> =
            sources.iter().flat_map(|text| quoted.captures_iter(text)).map(|c| c.get(1).unwrap().as_str()).collect();
        assert!(found.len() >= 9, "{found:?}");
        found.iter().for_each(|code| assert!(explain(code).is_some(), "{code}"));
        for code in [0, 1, 2, 3, 70, 78, 130, 143] {
            assert!(explain(&code.to_string()).is_some(), "{code}");
        }
    }

    #[test]
    fn no_code_is_explained_twice_and_every_one_has_its_own_section() {
        let anchors: BTreeSet<String> = all().map(Entry::anchor).collect();
        assert_eq!(anchors.len(), all().count());
    }
}
