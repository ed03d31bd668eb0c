//! What will go wrong, and when: a function of the seed and the length. Each lane has its own random numbers, so that
//! leaving one out does not change the others. Nothing is done here.

use std::time::Duration;

use crate::samples::Random;

/// Something that faults happen to, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// One of the hosts that are always there.
    Host(usize),
    /// A host that comes and goes.
    Visitor,
    Kafka,
    Postgres,
    Mongo,
    /// The connections to Postgres.
    PostgresWire,
    /// The connections to the MongoDB server.
    MongoWire,
    /// The folder of modules.
    Modules,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of a host, Kafka or the MongoDB server, an immediate stop of Postgres; started again after `down`.
    Kill { down: Duration },
    /// SIGSTOP and SIGCONT after `lasts`.
    Freeze { lasts: Duration },
    /// A further host joins, and leaves by SIGTERM after `lasts`.
    Visit { lasts: Duration },
    /// Connections of one host, or of all, break; after so many more bytes of answers, or at once.
    Cut { host: Option<usize>, after: Option<i64> },
    /// Nothing passes between one host and the database.
    Stall { host: usize, lasts: Duration },
    /// Each portion of an answer to one host waits.
    Slow { host: usize, delay: Duration, lasts: Duration },
    /// Both modules are replaced by another build.
    Swap,
}

/// A fault with the time since the beginning at which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub at: Duration,
    pub fault: Fault,
}

/// The schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub lanes: Vec<(Lane, Vec<Step>)>,
}

/// Every lane with the seconds between the end of one fault and the next, as from and to.
const LANES: [(Lane, u64, u64); 10] = [
    (Lane::Host(0), 4, 16),
    (Lane::Host(1), 4, 16),
    (Lane::Host(2), 4, 16),
    (Lane::Visitor, 4, 14),
    (Lane::Kafka, 60, 75),
    (Lane::Postgres, 10, 22),
    (Lane::Mongo, 20, 40),
    (Lane::PostgresWire, 3, 9),
    (Lane::MongoWire, 4, 12),
    (Lane::Modules, 4, 12),
];
/// Seconds before the first kill of Kafka: a short run has one as well.
const FIRST_KAFKA: (u64, u64) = (20, 35);

impl Plan {
    /// `hosts` is their number; lanes for which `able` says no are left out.
    pub fn new(seed: u64, length: Duration, hosts: usize, able: impl Fn(Lane) -> bool) -> Self {
        let lanes = LANES.iter().enumerate().filter(|(_, (lane, ..))| able(*lane));
        let lanes = lanes.map(|(number, &(lane, from, to))| {
            let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
            (lane, steps(lane, (from, to), length, hosts, &mut random))
        });
        Plan { lanes: lanes.collect() }
    }
}

fn steps(lane: Lane, gap: (u64, u64), length: Duration, hosts: usize, random: &mut Random) -> Vec<Step> {
    let mut steps = Vec::new();
    let first = if lane == Lane::Kafka { FIRST_KAFKA } else { gap };
    let mut at = between(random, first.0 * 1000, first.1 * 1000);
    while at < length {
        let fault = fault(lane, hosts, random);
        steps.push(Step { at, fault });
        at += lasts(&fault) + between(random, gap.0 * 1000, gap.1 * 1000);
    }
    steps
}

fn fault(lane: Lane, hosts: usize, random: &mut Random) -> Fault {
    match lane {
        Lane::Host(_) if random.below(5) == 0 => Fault::Freeze { lasts: between(random, 1_000, 15_000) },
        Lane::Host(_) => Fault::Kill { down: between(random, 0, 1_500) },
        Lane::Visitor => Fault::Visit { lasts: between(random, 500, 8_000) },
        Lane::Kafka | Lane::Postgres | Lane::Mongo => Fault::Kill { down: between(random, 0, 4_000) },
        Lane::PostgresWire | Lane::MongoWire => on_the_wire(hosts, random),
        Lane::Modules => Fault::Swap,
    }
}

fn on_the_wire(hosts: usize, random: &mut Random) -> Fault {
    let host = random.below(hosts as u64) as usize;
    match random.below(10) {
        0..2 => Fault::Cut { host: None, after: None },
        2..4 => Fault::Cut { host: Some(host), after: None },
        4..7 => Fault::Cut { host: Some(host), after: Some(random.below(3_000) as i64) },
        7..9 => Fault::Stall { host, lasts: between(random, 1_000, 12_000) },
        _ => Fault::Slow { host, delay: between(random, 20, 200), lasts: between(random, 2_000, 10_000) },
    }
}

fn lasts(fault: &Fault) -> Duration {
    match *fault {
        Fault::Kill { down } => down,
        Fault::Freeze { lasts } | Fault::Visit { lasts } | Fault::Stall { lasts, .. } | Fault::Slow { lasts, .. } => {
            lasts
        }
        Fault::Cut { .. } | Fault::Swap => Duration::ZERO,
    }
}

fn between(random: &mut Random, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + random.below(to - from))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(1200);

    #[test]
    fn a_seed_is_a_plan_and_another_seed_another() {
        let plan = |seed| Plan::new(seed, LENGTH, 3, |_| true);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        let without = Plan::new(7, LENGTH, 3, |lane| lane != Lane::Kafka);
        assert!(plan(7).lanes.iter().filter(|(lane, _)| *lane != Lane::Kafka).eq(&without.lanes));
    }

    #[test]
    fn kafka_is_given_a_minute_between_two_kills() {
        let plan = Plan::new(1, LENGTH, 3, |lane| lane == Lane::Kafka);
        let steps = &plan.lanes[0].1;
        assert!(steps.len() > 10 && steps.windows(2).all(|two| two[1].at - two[0].at >= Duration::from_secs(60)));
    }
}
