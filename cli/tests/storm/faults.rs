//! The schedule: which fault comes when, drawn from a seed.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    KillExecutor,
    KillWorker,
    KillCoordinator,
    KillPostgres,
    /// SIGSTOP, and SIGCONT after a while.
    StopExecutor,
    StopWorker,
    StopCoordinator,
    StopPostgres,
    /// The worker's connections break, and new ones are refused.
    CutLink,
    /// The worker's connections stand, and nothing passes.
    StallLink,
    /// Nothing can be written where the worker keeps its reports.
    FillSpool,
    /// The database's clock goes an hour ahead, as far as leases and waiting times can tell.
    ClockAhead,
    /// It goes an hour back.
    ClockBack,
}

impl Kind {
    /// How often each kind is drawn.
    const WEIGHTS: [(Self, u32); 13] = [
        (Self::KillExecutor, 6),
        (Self::KillWorker, 3),
        (Self::KillCoordinator, 3),
        (Self::KillPostgres, 2),
        (Self::StopExecutor, 2),
        (Self::StopWorker, 3),
        (Self::StopCoordinator, 2),
        (Self::StopPostgres, 1),
        (Self::CutLink, 3),
        (Self::StallLink, 3),
        (Self::FillSpool, 1),
        (Self::ClockAhead, 1),
        (Self::ClockBack, 1),
    ];
}

/// One fault.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub kind: Kind,
    /// Number of the worker or coordinator that is hit, to be taken modulo how many there are.
    pub victim: usize,
    /// How long it lasts, or how long what was killed stays away.
    pub lasts: Duration,
}

/// So many faults. The first ones are one of each kind, so that a short storm has them all.
pub fn schedule(seed: u64, count: usize) -> Vec<Fault> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let all: u32 = Kind::WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let mut draw = |number: usize| {
        let mut ticket = random.random_range(0..all);
        let drawn = Kind::WEIGHTS.iter().find(|(_, weight)| {
            let hit = ticket < *weight;
            ticket = ticket.saturating_sub(*weight);
            hit
        });
        let kind = Kind::WEIGHTS.get(number).or(drawn).map_or(Kind::KillExecutor, |(kind, _)| *kind);
        // The lease lasts five seconds: some faults are shorter, some outlast it.
        let millis =
            if random.random_bool(0.7) { random.random_range(50..2_000) } else { random.random_range(4_000..9_000) };
        Fault { kind, victim: random.random_range(0..64), lasts: Duration::from_millis(millis) }
    };
    (0..count).map(&mut draw).collect()
}
