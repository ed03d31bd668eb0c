//! What a reset says: per partition from where to where, and per destination what that means. Decides nothing.

use serde_json::json;

use super::{Flow, Move, ResetArgs};
use crate::cli::out;
use crate::config::Start;
use crate::router::KAFKA;

pub(super) fn tell(args: &ResetArgs, flow: &Flow, moves: &[Move]) {
    let notes = notes(flow, moves, &args.to);
    if args.json {
        let partitions: Vec<_> = moves.iter().map(as_json).collect();
        let object = json!({
            "flow": args.flow, "group": flow.group, "changed": !args.dry_run, "partitions": partitions, "notes": notes,
        });
        return out::data(&object.to_string());
    }
    moves.iter().for_each(|m| out::data(&line(m)));
    notes.iter().for_each(|note| out::say(note));
    match args.dry_run {
        true => out::say("nothing was changed (--dry-run)"),
        false => out::say(&format!("flow {} begins there at its next start", args.flow)),
    }
}

fn as_json(m: &Move) -> serde_json::Value {
    let (topic, partition) = &m.standing.partition;
    json!({
        "topic": &**topic, "partition": partition, "old": m.old, "new": m.new, "again": m.again(), "skipped": m.skipped(),
    })
}

fn line(m: &Move) -> String {
    let (topic, partition) = &m.standing.partition;
    let old = m.old.map_or_else(|| "none".to_owned(), |old| old.to_string());
    let what = match (m.again(), m.skipped()) {
        (0, 0) => String::new(),
        (again, 0) => format!("  {again} offsets again"),
        (_, skipped) => format!("  {skipped} offsets skipped"),
    };
    format!("{topic}/{partition}  {old} → {}{what}", m.new)
}

fn notes(flow: &Flow, moves: &[Move], to: &Start) -> Vec<String> {
    let mut notes = Vec::new();
    let (again, skipped) = moves.iter().fold((0, 0), |(a, s), m| (a + m.again(), s + m.skipped()));
    if let Start::Offset(asked) = to {
        let beyond = moves.iter().filter(|m| m.new != *asked).count();
        if beyond > 0 {
            notes.push(format!("offset {asked} is not in the log of {beyond} partitions: the nearest one was taken"));
        }
    }
    if skipped > 0 {
        notes.push(format!("what lies at {skipped} offsets will not be read: no sink gets it"));
    }
    if again > 0 {
        notes.extend(flow.targets.iter().filter_map(|target| written_again(target, again)));
    }
    notes
}

fn written_again(target: &str, offsets: i64) -> Option<String> {
    let (sink, _) = target.split_once(':')?;
    Some(match sink {
        KAFKA => {
            format!("{target}: what comes of {offsets} offsets is published a second time, with the same wasmill-id")
        }
        _ => format!(
            "{target}: what comes of {offsets} offsets is written again: inserted rows are there twice unless the table is \
             emptied before the start; upserts and documents keep their key or _id"
        ),
    })
}
