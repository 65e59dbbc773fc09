//! A seeded simulation of coordinators, workers and what is between them, on a virtual clock.
//!
//! It drives the real decisions, [`gauntlet_domain::schedule::decide`] and [`gauntlet_domain::task::apply`], with crashes, stops, partitions, outages of
//! the database, and messages that come late, twice or never. Everything around the decisions is modelled after the real programs: what the store's
//! transactions do (`database`), the loops of a coordinator (`coordinator`), an agent (`worker`), streams (`network`). An observer (`ledger`) that knows
//! none of their logic follows what the database commits and what workers are told.
//!
//! `GAUNTLET_SIMULATION_SEEDS=10000` runs that many seeds, `GAUNTLET_SIMULATION_SEED=17` one alone.
#![allow(clippy::unwrap_used, reason = "a broken simulation may stop at once")]

mod coordinator;
mod database;
mod faults;
mod ledger;
mod network;
mod shares;
mod worker;
mod world;

use world::{Size, World};

/// Seeds of a run of the tests.
const SEEDS: u64 = 250;
/// Every so many seeds one with thousands of workers.
const LARGE_EVERY: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn size(seed: u64) -> Size {
    match seed % LARGE_EVERY {
        0 => Size { workers: 2_000, tasks: 5_000, coordinators: 3 },
        n => Size { workers: 1 + n % 23, tasks: 5 + n * 2, coordinators: 1 + n % 3 },
    }
}

#[test]
fn whatever_fails_no_task_has_two_leases_or_two_results_every_task_ends_and_everybody_gets_his_share() {
    let seeds = match number("GAUNTLET_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("GAUNTLET_SIMULATION_SEEDS").unwrap_or(SEEDS) + 1,
    };
    let mut told = world::Counts::default();
    for seed in seeds {
        match World::new(seed, size(seed)).run() {
            Ok(counts) => told.add(&counts),
            Err(violation) => panic!("{violation}\nIt happens again with GAUNTLET_SIMULATION_SEED={seed}"),
        }
    }
    println!("{told}");
}

#[test]
fn a_seed_replays() {
    let run = || World::new(42, size(42)).run().unwrap();
    assert_eq!(run(), run());
}
