//! When a look at everything is due, where looks are slow because they walk over rows that are dead and cannot be removed.

use std::time::{Duration, Instant};

/// From here on a look is slow.
const SLOW: Duration = Duration::from_millis(20);
/// One that took long may be followed by another one no sooner than after so many times as long: looking takes a tenth of the time at most,
const REST: u32 = 9;
/// unless that would be later than this.
const LONGEST: Duration = Duration::from_secs(10);

/// How long looks at everything take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// When the last one was over.
    at: Option<Instant>,
    took: Duration,
    /// Of the last ones, how many were slow: a single one may have met a machine that was busy.
    slow: u32,
}

impl Pace {
    /// A look at everything is over.
    pub fn looked(&mut self, now: Instant, took: Duration) {
        self.slow = if took >= SLOW { self.slow.saturating_add(1) } else { 0 };
        (self.at, self.took) = (Some(now), took);
    }

    /// Whether the last look was slow.
    pub const fn is_slow(&self) -> bool {
        self.slow > 0
    }

    /// How long the last look took, if looks are slow.
    pub fn slow_look(&self) -> Option<Duration> {
        (self.slow > 1).then_some(self.took)
    }

    /// Whether the next look is to be one at everything. When the last one found nothing to do, there is nothing to hold up but other users of the
    /// database.
    pub fn is_due(&self, now: Instant, in_vain: bool) -> bool {
        let Some(at) = self.at.filter(|_| self.slow_look().is_some()) else { return true };
        let rest = if in_vain { self.took } else { self.took * REST };
        now.saturating_duration_since(at) >= rest.min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// After looks that took so long, each over at this moment.
    fn after(looks: &[u64], now: Instant) -> Pace {
        let mut pace = Pace::default();
        looks.iter().for_each(|took| pace.looked(now, millis(*took)));
        pace
    }

    #[test]
    fn where_looks_are_fast_each_is_one_at_everything() {
        let now = Instant::now();
        assert!(Pace::default().is_due(now, false));
        assert!(after(&[1, 19], now).is_due(now, false));
    }

    #[test]
    fn one_slow_look_is_no_reason_and_a_fast_one_ends_it() {
        let now = Instant::now();
        assert!(after(&[500], now).is_due(now, false));
        assert!(!after(&[500, 500], now).is_due(now, false));
        assert!(after(&[500, 500, 5], now).is_due(now, false));
        assert!(after(&[500, 500, 5, 500], now).is_due(now, false));
    }

    #[test]
    fn slow_looks_take_a_tenth_of_the_time() {
        let now = Instant::now();
        let pace = after(&[100, 100], now);
        assert!(!pace.is_due(now + millis(899), false));
        assert!(pace.is_due(now + millis(900), false));
    }

    #[test]
    fn nobody_who_is_idle_waits_longer_than_a_look_takes() {
        let now = Instant::now();
        let pace = after(&[100, 100], now);
        assert!(!pace.is_due(now + millis(99), true));
        assert!(pace.is_due(now + millis(100), true));
    }

    #[test]
    fn however_slow_a_look_is_another_one_follows_within_ten_seconds() {
        let now = Instant::now();
        let pace = after(&[60_000, 60_000], now);
        assert!(!pace.is_due(now + millis(9_999), false));
        assert!(pace.is_due(now + millis(10_000), false));
        assert!(pace.is_due(now + millis(10_000), true));
    }
}
