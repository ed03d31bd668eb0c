//! What goes wrong and when, from a seed.

use std::time::Duration;

use crate::samples::Random;

/// Something that goes wrong. Numbers of hosts count the places, of which each has one host at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`, and another process in its place after so long.
    Kill {
        host: usize,
        away: Duration,
    },
    /// The process stands still and wakes up again.
    Stop {
        host: usize,
        still: Duration,
    },
    KillBroker,
    /// Immediate stop, and a start after so long.
    StopPostgres {
        away: Duration,
    },
    Cut {
        proxy: usize,
        away: Duration,
    },
    Stall {
        proxy: usize,
        away: Duration,
    },
    /// Another host joins the group and leaves it again.
    Join {
        stay: Duration,
    },
    Swap {
        flow: usize,
    },
}

/// Between two kills of the broker: it takes ten seconds to be there again.
const BROKER_RESTS: Duration = Duration::from_secs(40);
const POSTGRES_RESTS: Duration = Duration::from_secs(5);

/// Faults with the time since the start at which each begins.
pub(super) fn plan(seed: u64, length: Duration, hosts: usize) -> Vec<(Duration, Fault)> {
    let mut random = Random::new(seed);
    let mut planned = Vec::new();
    let mut at = Duration::from_secs(2);
    let (mut broker_free, mut postgres_free) = (Duration::from_secs(8), Duration::ZERO);
    while at < length {
        let fault = draw(&mut random, hosts);
        let free = match fault {
            Fault::KillBroker => broker_free,
            Fault::StopPostgres { .. } => postgres_free,
            _ => Duration::ZERO,
        };
        if free <= at {
            match fault {
                Fault::KillBroker => broker_free = at + BROKER_RESTS,
                Fault::StopPostgres { .. } => postgres_free = at + POSTGRES_RESTS,
                _ => {}
            }
            planned.push((at, fault));
            at += millis(&mut random, 300, 2700);
        }
    }
    planned
}

fn draw(random: &mut Random, hosts: usize) -> Fault {
    let host = random.below(hosts as u64) as usize;
    let proxy = random.below(2) as usize;
    match random.below(100) {
        0..34 => Fault::Kill { host, away: millis(random, 0, 2500) },
        34..46 => Fault::Stop { host, still: millis(random, 500, 12_000) },
        46..54 => Fault::KillBroker,
        54..64 => Fault::StopPostgres { away: millis(random, 0, 1500) },
        64..78 => Fault::Cut { proxy, away: millis(random, 0, 800) },
        78..84 => Fault::Stall { proxy, away: millis(random, 500, 6000) },
        84..88 => Fault::Join { stay: millis(random, 1000, 5000) },
        _ => Fault::Swap { flow: proxy },
    }
}

fn millis(random: &mut Random, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + random.below(to - from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_plan() {
        let length = Duration::from_secs(120);
        assert_eq!(plan(7, length, 3), plan(7, length, 3));
        assert_ne!(plan(7, length, 3), plan(8, length, 3));
        assert!(plan(7, length, 3).iter().any(|(_, fault)| *fault == Fault::KillBroker));
    }
}
