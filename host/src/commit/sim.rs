//! A seeded simulator of hosts, a cluster and databases in which every decision is made by the code that the host runs.
//! Faults, schedules and records come from the seed, so that each run can be repeated. Tests only.
//!
//! `WASMILL_SIM_SCHEDULES=N` runs other than 200,000 schedules, `WASMILL_SIM_SEED=n` one of them and prints its steps.

mod batch;
mod check;
mod host;
mod kafka;
pub(crate) mod mutants;
mod plan;
mod reader;
mod rng;
mod sinks;
mod stages;
mod world;
mod writer;

use host::Host;
use mutants::Mutant;
use world::World;

/// Schedules of an ordinary test run.
const SCHEDULES: u64 = 200_000;
/// Schedules within which a broken rule has to show.
const CAUGHT_WITHIN: u64 = 300_000;
/// Rounds in which everything has to be drained once the faults are over.
const CALM_ROUNDS: usize = 1_500;

/// Runs one schedule; returns what is wrong.
fn run(seed: u64, trace: bool) -> Vec<String> {
    let mut world = World::new(seed, trace);
    let mut processes = world.plan.hosts as u32;
    let mut hosts: Vec<Host> = (0..world.plan.hosts).map(|h| Host::new(h, h as u32, &world)).collect();
    for _ in 0..world.plan.steps {
        let chosen = world.rng.below(hosts.len());
        match world.rng.below(1000 * world.plan.mildness) {
            0..25 => {
                hosts[chosen].say(&world, || "killed".into());
                hosts[chosen] = Host::new(chosen, processes, &world);
                processes += 1;
            }
            25..35 => {
                stop(&mut hosts[chosen], &mut world);
            }
            _ => {
                world.happen();
                hosts[chosen].step(&mut world);
                if hosts[chosen].is_half_way() && world.rng.chance(100) {
                    stop(&mut hosts[chosen], &mut world);
                }
            }
        }
    }
    world.calm();
    let mut wrong = Vec::new();
    for round in 0..CALM_ROUNDS {
        hosts.iter_mut().for_each(|host| host.step(&mut world));
        if round % 16 == 15 && hosts.iter().all(|host| host.epochs.in_flight() == 0) {
            wrong = check::check(&world);
            if !wrong.iter().any(|words| words.starts_with("stuck")) {
                return wrong;
            }
        }
    }
    if wrong.is_empty() { vec!["stuck: a batch never ends".into()] } else { wrong }
}

/// The process is not scheduled for a while, mostly for longer than its session lasts.
fn stop(host: &mut Host, world: &mut World) {
    host.stopped = 1 + world.rng.below(60) * (1 + world.rng.below(3));
    host.say(world, || "stops".into());
    if world.rng.chance(700) {
        world.group.expire(host.index, &mut world.rng);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn two_hundred_thousand_schedules_lose_double_and_reorder_nothing() {
    if let Some(seed) = number("WASMILL_SIM_SEED") {
        let wrong = run(seed, true);
        assert!(wrong.is_empty(), "schedule {seed}: {}", wrong.join("; "));
        return;
    }
    for seed in 0..number("WASMILL_SIM_SCHEDULES").unwrap_or(SCHEDULES) {
        let wrong = run(seed, false);
        assert!(
            wrong.is_empty(),
            "schedule {seed}: {}; WASMILL_SIM_SEED={seed} with this test prints its steps",
            wrong.join("; ")
        );
    }
}

#[test]
fn every_broken_rule_is_noticed() {
    let mut table = Vec::new();
    for (mutant, name) in mutants::ALL {
        let caught = caught_by(*mutant);
        table.push(match &caught {
            Some((seed, words)) => format!("{name:24} {seed:6} {words}"),
            None => format!("{name:24} not noticed within {CAUGHT_WITHIN} schedules"),
        });
    }
    eprintln!("{}", table.join("\n"));
    assert!(!table.iter().any(|line| line.contains("not noticed")), "{}", table.join("\n"));
}

/// The first schedule that a broken rule spoils, and how.
fn caught_by(mutant: Mutant) -> Option<(u64, String)> {
    mutants::set(Some(mutant));
    let found = (0..CAUGHT_WITHIN).find_map(|seed| Some((seed, run(seed, false).into_iter().next()?)));
    mutants::set(None);
    found
}
