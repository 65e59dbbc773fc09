//! Seconds per unit of cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::work::{DeviceKind, Work};
use crate::plan::PlannedTask;

/// What attempts at one kind of work took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rate {
    /// Attempts it was learnt from.
    pub attempts: u64,
    /// Sum of their seconds, older ones with less weight.
    pub secs: f64,
    /// Sum of their costs, with the same weights.
    pub cost: f64,
}

impl Rate {
    /// Weight of what was known before, for each attempt that is learnt from.
    pub const FADING: f64 = 0.98;

    /// Learns from attempts that took so many seconds for so much cost in all.
    pub fn learn(&mut self, attempts: u64, secs: f64, cost: f64) {
        let fading = Self::FADING.powf(attempts as f64);
        self.secs = self.secs * fading + secs;
        self.cost = self.cost * fading + cost;
        self.attempts += attempts;
    }

    fn merged(rates: impl Iterator<Item = Self>) -> Option<Self> {
        let sum =
            |a: Self, b: Self| Self { attempts: a.attempts + b.attempts, secs: a.secs + b.secs, cost: a.cost + b.cost };
        rates.reduce(sum).filter(|rate| rate.attempts > 0 && rate.cost > 0.0)
    }

    fn secs_per_cost(self) -> f64 {
        self.secs / self.cost
    }
}

/// What a forecast rests on, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The same work on the same kind of device.
    SameWork,
    /// The same method on the same kind of device, with another network or size of image.
    SameMethod,
    /// Other work on the same kind of device.
    SameDevice,
    /// Nothing that was seen.
    Guess,
}

impl Basis {
    /// All of them, the surest first.
    pub const ALL: [Self; 4] = [Self::SameWork, Self::SameMethod, Self::SameDevice, Self::Guess];

    /// The name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SameWork => "same-work",
            Self::SameMethod => "same-method",
            Self::SameDevice => "same-device",
            Self::Guess => "guess",
        }
    }
}

/// All that was learnt.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rates {
    rates: BTreeMap<DeviceKind, BTreeMap<Work, Rate>>,
}

impl Rates {
    /// Notes what was learnt of some work.
    pub fn insert(&mut self, device: DeviceKind, work: Work, rate: Rate) {
        self.rates.entry(device).or_default().insert(work, rate);
    }

    /// Seconds per unit of cost, and what that rests on. Of work that nothing is known about (none), the device alone tells.
    pub fn secs_per_cost(&self, device: &DeviceKind, work: Option<&Work>) -> (f64, Basis) {
        let Some(known) = self.rates.get(device) else { return (device.usual_secs_per_cost(), Basis::Guess) };
        let same_work = || work.and_then(|work| Rate::merged(known.get(work).copied().into_iter()));
        let same_method = || {
            let method = work.map(|work| &work.method)?;
            Rate::merged(known.iter().filter(|(other, _)| other.method == *method).map(|(_, rate)| *rate))
        };
        let same_device = || Rate::merged(known.values().copied());
        let found = same_work()
            .map(|rate| (rate, Basis::SameWork))
            .or_else(|| same_method().map(|rate| (rate, Basis::SameMethod)))
            .or_else(|| same_device().map(|rate| (rate, Basis::SameDevice)));
        match found {
            Some((rate, basis)) => (rate.secs_per_cost(), basis),
            None => (device.usual_secs_per_cost(), Basis::Guess),
        }
    }

    /// Attempts that this work was learnt from, on this kind of device.
    pub fn attempts(&self, device: &DeviceKind, work: &Work) -> u64 {
        self.rates.get(device).and_then(|known| known.get(work)).map_or(0, |rate| rate.attempts)
    }
}

/// Seconds that work will take where it will run: the mean over the slots there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    rates: Rates,
    /// Kinds of devices with the number of their slots; never empty.
    slots: BTreeMap<DeviceKind, u32>,
}

impl Forecast {
    /// A forecast for these slots; for a single core if there are none.
    pub fn new(rates: Rates, slots: impl IntoIterator<Item = (DeviceKind, u32)>) -> Self {
        let mut counts: BTreeMap<DeviceKind, u32> = BTreeMap::new();
        for (device, count) in slots.into_iter().filter(|(_, count)| *count > 0) {
            *counts.entry(device).or_default() += count;
        }
        if counts.is_empty() {
            counts.insert(DeviceKind::of("cpu", 1), 1);
        }
        Self { rates, slots: counts }
    }

    /// The kinds of devices with the number of their slots.
    pub const fn slots(&self) -> &BTreeMap<DeviceKind, u32> {
        &self.slots
    }

    /// Seconds of work of this cost, and the least sure of what that rests on.
    pub fn secs(&self, work: Option<&Work>, cost: f64) -> (f64, Basis) {
        let all: u32 = self.slots.values().sum();
        let mut mean = 0.0;
        let mut basis = Basis::SameWork;
        for (device, count) in &self.slots {
            let (rate, found) = self.rates.secs_per_cost(device, work);
            mean += rate * f64::from(*count) / f64::from(all);
            basis = basis.max(found);
        }
        (mean * cost, basis)
    }

    /// Seconds of a planned task.
    pub fn task_secs(&self, task: &PlannedTask) -> (f64, Basis) {
        self.secs(Some(&Work::of(&task.spec)), task.cost)
    }

    /// Attempts that this work was learnt from, on any of these devices.
    pub fn attempts(&self, work: &Work) -> u64 {
        self.slots.keys().map(|device| self.rates.attempts(device, work)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(method: &str, backbone: &str) -> Work {
        Work { method: method.into(), backbone: backbone.into(), image: "3x32x32".into() }
    }

    fn rate(attempts: u64, secs: f64) -> Rate {
        let mut rate = Rate::default();
        rate.learn(attempts, secs, 10.0);
        rate
    }

    #[test]
    fn what_was_never_seen_is_read_off_its_like() {
        let cpu = DeviceKind::of("cpu", 1);
        let mut rates = Rates::default();
        assert_eq!(
            rates.secs_per_cost(&cpu, Some(&work("attack pgd", "a"))),
            (cpu.usual_secs_per_cost(), Basis::Guess)
        );
        rates.insert(cpu.clone(), work("attack pgd", "a"), rate(3, 20.0));
        rates.insert(cpu.clone(), work("attack pgd", "b"), rate(3, 40.0));
        rates.insert(cpu.clone(), work("train dm", "a"), rate(1, 120.0));
        let of = |method, backbone| rates.secs_per_cost(&cpu, Some(&work(method, backbone)));
        assert_eq!(of("attack pgd", "a"), (2.0, Basis::SameWork));
        assert_eq!(of("attack pgd", "c"), (3.0, Basis::SameMethod));
        assert_eq!(of("attack square", "a"), (6.0, Basis::SameDevice));
        assert_eq!(rates.secs_per_cost(&cpu, None), (6.0, Basis::SameDevice));
        let gpu = DeviceKind::of("cuda:0", 1);
        assert_eq!(rates.secs_per_cost(&gpu, None), (gpu.usual_secs_per_cost(), Basis::Guess));
    }

    #[test]
    fn a_rate_follows_what_changed_and_is_not_thrown_off_by_one_attempt() {
        let mut rate = rate(100, 1_000.0 * 10.0 / 10.0);
        let before = rate.secs_per_cost();
        rate.learn(1, before * 10.0 * 0.1, 0.1);
        assert!(rate.secs_per_cost() < 1.2 * before, "one small attempt weighs little");
        for _ in 0..300 {
            rate.learn(1, 20.0, 10.0);
        }
        assert!((rate.secs_per_cost() - 2.0).abs() < 0.1, "{}", rate.secs_per_cost());
        assert_eq!(rate.attempts, 401);
    }

    #[test]
    fn a_forecast_is_the_mean_over_the_slots_and_as_sure_as_the_least_known_of_them() {
        let [cpu, gpu] = [DeviceKind::of("cpu", 1), DeviceKind::of("cuda:0", 1)];
        let mut rates = Rates::default();
        rates.insert(cpu.clone(), work("attack pgd", "a"), rate(3, 20.0));
        let pgd = work("attack pgd", "a");
        let alone = Forecast::new(rates.clone(), [(cpu.clone(), 3)]);
        assert_eq!(alone.secs(Some(&pgd), 4.0), (8.0, Basis::SameWork));
        assert_eq!(alone.attempts(&pgd), 3);
        let mixed = Forecast::new(rates, [(cpu, 3), (gpu.clone(), 1)]);
        let (secs, basis) = mixed.secs(Some(&pgd), 4.0);
        assert_eq!((secs, basis), (4.0 * (2.0 * 0.75 + gpu.usual_secs_per_cost() * 0.25), Basis::Guess));
        let nothing = Forecast::new(Rates::default(), []);
        assert_eq!(nothing.slots().len(), 1);
    }
}
