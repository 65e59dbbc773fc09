//! What is measured.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Width of a slot of the timelines.
const TICK_MILLIS: u128 = 1;
/// Buckets of a power of two: latencies are kept to within 1.6 %.
const STEPS: u64 = 64;

/// What the sessions of a process saw.
#[derive(Debug, Default)]
pub struct Stats {
    /// Reports that were stored.
    pub accepted: u64,
    /// Reports that were not, by what was said of them.
    pub refused: BTreeMap<String, u64>,
    /// Tasks that were kept until the end and handed back.
    pub handed_back: u64,
    /// From the report that freed a slot to the next assignment.
    pub refill: Latencies,
    /// From a report to its acknowledgement.
    pub acknowledge: Latencies,
    /// When assignments came.
    pub assigned_at: Timeline,
    /// When results were acknowledged.
    pub accepted_at: Timeline,
}

impl Stats {
    /// Adds what another session saw.
    pub fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        for (what, count) in other.refused {
            *self.refused.entry(what).or_default() += count;
        }
        self.handed_back += other.handed_back;
        self.refill.add(&other.refill);
        self.acknowledge.add(&other.acknowledge);
        self.assigned_at.add(&other.assigned_at);
        self.accepted_at.add(&other.accepted_at);
    }

    /// For the harness, which adds up processes. Latencies are pairs of a bucket's upper bound in microseconds and a count, timelines pairs of
    /// a time since 1970 in milliseconds and a count.
    pub fn json(&self) -> String {
        serde_json::json!({
            "accepted": self.accepted,
            "refused": self.refused,
            "handed_back": self.handed_back,
            "refill_micros": self.refill.json(),
            "acknowledge_micros": self.acknowledge.json(),
            "assigned_at": self.assigned_at.0.iter().collect::<Vec<_>>(),
            "accepted_at": self.accepted_at.0.iter().collect::<Vec<_>>(),
        })
        .to_string()
    }
}

/// Counts by time of the clock.
#[derive(Debug, Default)]
pub struct Timeline(BTreeMap<u64, u64>);

impl Timeline {
    /// Something happened now.
    pub fn note(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let tick = u64::try_from(now.as_millis() / TICK_MILLIS).unwrap_or(u64::MAX);
        *self.0.entry(tick).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        for (tick, count) in &other.0 {
            *self.0.entry(*tick).or_default() += count;
        }
    }
}

/// Latencies in buckets whose width grows with them, so that any number of them takes little memory.
#[derive(Debug, Default)]
pub struct Latencies(BTreeMap<u64, u64>);

impl Latencies {
    /// Another one.
    pub fn note(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        *self.0.entry(upper_bound(micros)).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        for (bound, count) in &other.0 {
            *self.0.entry(*bound).or_default() += count;
        }
    }

    fn json(&self) -> Vec<(u64, u64)> {
        self.0.iter().map(|(bound, count)| (*bound, *count)).collect()
    }
}

/// Of the bucket that this number of microseconds lies in: exact below 128, then to within a 64th.
fn upper_bound(micros: u64) -> u64 {
    let width = (micros / STEPS + 1).next_power_of_two() / 2;
    match width {
        0 | 1 => micros,
        width => (micros / width).saturating_add(1).saturating_mul(width) - 1,
    }
}
