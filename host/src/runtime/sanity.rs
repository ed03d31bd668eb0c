//! Whether a manifest makes sense on its own. What it may do in a flow (topics, granted targets) is judged there.

use std::collections::HashSet;

use super::LoadError;
use crate::manifest::{Manifest, TableSpec, TargetSpec};

const TOPICS: usize = 1_000;
const TARGETS: usize = 1_000;
const EXAMPLES: usize = 100;
/// Postgres takes 1,600 columns.
const COLUMNS: usize = 1_600;
/// Longest name; Kafka's topics have 249, a qualified table or collection may have more.
const NAME_BYTES: usize = 512;
/// Bytes of all examples together.
const EXAMPLE_BYTES: usize = 1 << 20;

pub(super) fn check(manifest: &Manifest) -> Result<(), LoadError> {
    problem(manifest).map_or(Ok(()), |what| Err(LoadError::new("module.manifest", format!("its manifest {what}"))))
}

fn problem(manifest: &Manifest) -> Option<String> {
    let counts = [
        ("topics", manifest.topics.len(), TOPICS),
        ("targets", manifest.targets.len(), TARGETS),
        ("examples", manifest.examples.len(), EXAMPLES),
    ];
    let too_many = counts.into_iter().find(|(_, count, most)| count > most);
    if let Some((what, count, most)) = too_many {
        return Some(format!("has {count} {what}; {most} are possible"));
    }
    let bytes = |field: &Option<Vec<u8>>| field.as_ref().map_or(0, Vec::len);
    if manifest.examples.iter().map(|e| bytes(&e.key) + bytes(&e.value)).sum::<usize>() > EXAMPLE_BYTES {
        return Some(format!("has examples of more than {EXAMPLE_BYTES} bytes"));
    }
    let own = name("name", &manifest.name).or_else(|| name("version", &manifest.version));
    let topics = || manifest.topics.iter().find_map(|topic| name("topic", topic).or_else(|| pattern(topic)));
    let targets = || manifest.targets.iter().find_map(target);
    own.or_else(topics).or_else(targets).or_else(|| twice(&manifest.targets))
}

fn target(target: &TargetSpec) -> Option<String> {
    let star = || {
        let inside = target.name.trim_end_matches('*').contains('*') || target.name.ends_with("**");
        inside.then(|| format!("has the target {}: only one `*`, at the end, is possible", target.label()))
    };
    let next = target.sink == "next";
    let named = name("sink", &target.sink).or_else(|| if next { None } else { name("target", &target.name) });
    named.or_else(star).or_else(|| target.table.as_ref().and_then(|spec| table(&target.label(), spec)))
}

fn table(label: &str, table: &TableSpec) -> Option<String> {
    if table.columns.len() > COLUMNS {
        return Some(format!("has {} columns in {label}; {COLUMNS} are possible", table.columns.len()));
    }
    if table.columns.is_empty() {
        return Some(format!("declares the table {label} without columns"));
    }
    let mut names = HashSet::new();
    for column in &table.columns {
        let wrong = name("column", &column.name).or_else(|| name("column type", &column.ty));
        if wrong.is_some() {
            return wrong;
        }
        if !names.insert(column.name.as_str()) {
            return Some(format!("has the column {} twice in {label}", column.name));
        }
    }
    let unknown = table.key.iter().find(|key| !names.contains(key.as_str()));
    let serial = table.serial.iter().find(|serial| names.contains(serial.as_str()));
    unknown
        .map(|key| format!("names {key} in the key of {label}, which is not one of its columns"))
        .or_else(|| serial.map(|serial| format!("has the serial column {serial} of {label} among the others as well")))
        .or_else(|| table.serial.iter().find_map(|serial| name("serial column", serial)))
}

fn twice(targets: &[TargetSpec]) -> Option<String> {
    let mut seen = HashSet::new();
    let again = targets.iter().find(|target| !seen.insert((&target.sink, &target.name)))?;
    Some(format!("has the target {} twice", again.label()))
}

fn pattern(topic: &str) -> Option<String> {
    let cause = topic.starts_with('^').then(|| regex::Regex::new(topic).err()).flatten()?;
    let line = cause.to_string().lines().last().unwrap_or_default().trim().to_owned();
    Some(format!("has the topic pattern {topic}, which is not a regular expression: {line}"))
}

fn name(what: &str, name: &str) -> Option<String> {
    match name {
        "" => Some(format!("has a {what} without a name")),
        name if name.len() > NAME_BYTES => {
            Some(format!("has a {what} with {} bytes; {NAME_BYTES} are possible", name.len()))
        }
        name if name.chars().any(char::is_control) => Some(format!("has a {what} with control characters")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Column, Example};

    fn manifest() -> Manifest {
        let column = |name: &str| Column { name: name.into(), ty: "text".into(), nullable: true };
        let table =
            TableSpec { columns: vec![column("a"), column("b")], key: vec!["a".into()], serial: Some("id".into()) };
        Manifest {
            name: "quotes".into(),
            version: "1.0.0".into(),
            topics: vec!["topic_quotes".into(), "^logs\\..*".into()],
            targets: vec![
                TargetSpec { sink: "postgres".into(), name: "quotes".into(), table: Some(table) },
                TargetSpec { sink: "kafka".into(), name: "tenant-*".into(), table: None },
                TargetSpec { sink: "next".into(), name: String::new(), table: None },
            ],
            examples: vec![Example { key: None, value: Some(b"{}".to_vec()), outputs: None }],
        }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Manifest), words: &str) {
        let mut changed = manifest();
        change(&mut changed);
        let error = check(&changed).expect_err("must be refused");
        assert_eq!(error.code, "module.manifest");
        assert!(error.message.contains(words), "{}", error.message);
    }

    #[test]
    fn an_ordinary_manifest_is_taken() {
        check(&manifest()).unwrap();
    }

    #[test]
    fn an_unreasonable_manifest_is_refused_by_name() {
        refused(|m| m.topics = vec!["t".into(); 2000], "2000 topics");
        refused(|m| m.name = "x".repeat(600), "600 bytes");
        refused(|m| m.version.clear(), "version without a name");
        refused(|m| m.topics.push("^(".into()), "not a regular expression");
        refused(|m| m.targets[1].name = "a*b*".into(), "only one `*`");
        refused(|m| m.targets.push(m.targets[0].clone()), "postgres:quotes twice");
        refused(|m| m.targets[0].sink = "a\nb".into(), "control characters");
        refused(|m| m.targets[0].table.as_mut().unwrap().columns.clear(), "without columns");
        refused(|m| m.targets[0].table.as_mut().unwrap().key.push("z".into()), "not one of its columns");
        refused(|m| m.examples[0].value = Some(vec![0; 2 << 20]), "examples of more than");
    }
}
