//! What goes wrong.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// Microseconds per second.
pub const SECOND: i64 = 1_000_000;

/// A fault, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    WorkerCrash {
        worker: usize,
        down: i64,
    },
    /// SIGSTOP.
    WorkerPause {
        worker: usize,
        pause: i64,
    },
    /// SIGTERM, or a preemption: it hands back what it runs.
    WorkerHandsBack {
        worker: usize,
    },
    /// Nothing passes between the worker and anybody.
    Partition {
        worker: usize,
        cut: i64,
    },
    CoordinatorCrash {
        coordinator: usize,
        down: i64,
    },
    CoordinatorPause {
        coordinator: usize,
        pause: i64,
    },
    /// The coordinator dies between its next commit and what it would have said about it.
    CoordinatorCrashAfterCommit {
        coordinator: usize,
    },
    DatabaseOutage {
        down: i64,
    },
    /// A user cancels one of the tasks.
    Cancel {
        task: usize,
    },
}

impl Fault {
    /// A fault of any kind. Times reach from blinks to beyond the lease.
    pub fn draw(random: &mut ChaCha8Rng, workers: usize, coordinators: usize, tasks: usize) -> Self {
        let worker = random.random_range(0..workers);
        let coordinator = random.random_range(0..coordinators);
        let short = SECOND / 10 + random.random_range(0..5 * SECOND);
        let time = if random.random_bool(0.5) { short } else { random.random_range(SECOND..90 * SECOND) };
        match random.random_range(0..100) {
            0..25 => Self::WorkerCrash { worker, down: time },
            25..33 => Self::WorkerHandsBack { worker },
            33..45 => Self::WorkerPause { worker, pause: time },
            45..70 => Self::Partition { worker, cut: time },
            70..78 => Self::CoordinatorCrash { coordinator, down: time / 2 },
            78..84 => Self::CoordinatorPause { coordinator, pause: time },
            84..92 => Self::CoordinatorCrashAfterCommit { coordinator },
            92..97 => Self::DatabaseOutage { down: time / 3 },
            _ => Self::Cancel { task: random.random_range(0..tasks) },
        }
    }
}
