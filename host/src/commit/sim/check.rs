//! What must hold when the faults are over and everything is drained.

use super::kafka::Sent;
use super::plan::{Dest, Reject};
use super::sinks::Id;
use super::world::World;

/// What is wrong; nothing where all is well.
pub(super) fn check(world: &World) -> Vec<String> {
    let mut wrong = world.broken.clone();
    let mut letters = Vec::new();
    let mut outputs = Vec::new();
    for sent in world.kafka.visible() {
        match sent {
            Sent::Output(id) => outputs.push(*id),
            Sent::Letter(partition, offset, path) => letters.push((*partition, *offset, path.clone())),
        }
    }
    if world.plan.table {
        letters.clone_from(&world.sql[0].dead);
    }
    check_letters(world, &letters, &mut wrong);
    world.sql.iter().for_each(|sql| in_order(&sql.rows, "rows", &mut wrong));
    if world.plan.transactional {
        in_order(&outputs, "published outputs", &mut wrong);
    }
    for (partition, records) in world.plan.records.iter().enumerate() {
        for (offset, record) in records.iter().enumerate() {
            let condemned = letters.contains(&(partition, offset as i64, String::new()));
            for (path, out) in record.outs.iter().enumerate() {
                let id = (partition, offset as i64, path);
                let count = match out.dest {
                    Dest::Sql(sink) => times(&world.sql[sink].rows, id),
                    Dest::Insert => times(&world.documents[0].inserted, id),
                    Dest::Kafka if world.plan.transactional => times(&outputs, id),
                    Dest::Kafka => times(&outputs, id).min(1),
                    Dest::Upsert(_) => continue,
                };
                // Modules that change their minds may leave the outputs of a record here and its letter there.
                let both = world.restored || matches!(record.reject, Reject::Since(_));
                let refused = out.refused && letters.contains(&(id.0, id.1, path.to_string()));
                match (count, condemned, out.refused) {
                    (0, true, _) | (1, false, false) => {}
                    (0, false, true) if refused => {}
                    (0, ..) => wrong.push(format!("lost: {id:?} to {:?}", out.dest)),
                    (1, true, false) if both => {}
                    (1, true, _) => wrong.push(format!("written and dead: {id:?} to {:?}", out.dest)),
                    (count, ..) => wrong.push(format!("{count} times: {id:?} to {:?}", out.dest)),
                }
            }
        }
    }
    check_keyed(world, &letters, &mut wrong);
    for partition in 0..world.plan.partitions() {
        let end = Some(world.end(partition));
        let behind = world.sql.iter().any(|sql| sql.lanes[partition] != end);
        if world.kafka.committed[partition] != end || behind {
            let lanes: Vec<_> = world.sql.iter().map(|sql| sql.lanes[partition]).collect();
            let group = world.kafka.committed[partition];
            wrong.push(format!("stuck: partition {partition} of {end:?}: group {group:?}, lanes {lanes:?}"));
        }
    }
    wrong
}

fn check_letters(world: &World, letters: &[(usize, i64, String)], wrong: &mut Vec<String>) {
    for letter in letters {
        let (partition, offset, path) = letter;
        let record = &world.plan.records[*partition][*offset as usize];
        let expected = match path.parse::<usize>() {
            Ok(path) => record.outs[path].refused,
            Err(_) => record.reject != Reject::Never || world.timed_out.contains(&(*partition, *offset)),
        };
        if !expected {
            wrong.push(format!("dead letter that is none: {letter:?}"));
        }
        let exact = world.plan.transactional || world.plan.table;
        if exact && letters.iter().filter(|other| *other == letter).count() > 1 {
            wrong.push(format!("dead letter repeated: {letter:?}"));
        }
    }
    for (partition, records) in world.plan.records.iter().enumerate() {
        for (offset, _) in records.iter().enumerate().filter(|(_, record)| record.reject == Reject::Always) {
            if !letters.contains(&(partition, offset as i64, String::new())) {
                wrong.push(format!("no dead letter for {partition}/{offset}"));
            }
        }
    }
}

/// The last of each partition that was to be written under a key is what its guard says.
fn check_keyed(world: &World, letters: &[(usize, i64, String)], wrong: &mut Vec<String>) {
    let Some(documents) = world.documents.first() else { return };
    for (key, keyed) in documents.keyed.iter().enumerate() {
        let keyed = keyed.clone().unwrap_or_default();
        for (partition, records) in world.plan.records.iter().enumerate() {
            let last = records.iter().enumerate().rev().find_map(|(offset, record)| {
                let unsure = matches!(record.reject, Reject::Since(_)) || world.restored;
                let dead = letters.contains(&(partition, offset as i64, String::new()));
                let written =
                    |path: &usize| record.outs[*path].dest == Dest::Upsert(key) && !record.outs[*path].refused;
                let path = (0..record.outs.len()).rev().find(written)?;
                (!dead || unsure).then_some((offset as i64, path, unsure && dead))
            });
            match (last, keyed.guards[partition]) {
                (Some((_, _, true)), _) | (None, None) => {}
                (Some((offset, path, _)), Some(guard)) if guard == (offset, path) => {
                    let (of, written) = (keyed.value.0, (keyed.value.1, keyed.value.2));
                    if of == partition && written != guard {
                        wrong.push(format!("stale: key {key} has {:?}, not {guard:?}", keyed.value));
                    }
                }
                (last, guard) => wrong.push(format!("stale: key {key} of {partition} has {guard:?}, not {last:?}")),
            }
        }
    }
}

fn in_order(ids: &[Id], what: &str, wrong: &mut Vec<String>) {
    for partition in 0..super::plan::MOST {
        let of = |id: &&Id| id.0 == partition;
        let mut neighbours = ids.iter().filter(of).zip(ids.iter().filter(of).skip(1));
        if let Some(pair) = neighbours.find(|(a, b)| a >= b) {
            wrong.push(format!("{what} out of order: {pair:?}"));
        }
    }
}

fn times(ids: &[Id], id: Id) -> usize {
    ids.iter().filter(|other| **other == id).count()
}
