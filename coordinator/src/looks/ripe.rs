//! Tasks that became ready before the place where a look begins that builds on an earlier one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gauntlet_domain::TaskId;

/// What goes beyond waits for a look at everything.
const MOST: usize = 10_000;

/// What this coordinator has made ready since the last look, noted only where looks build on each other.
#[derive(Debug, Default)]
pub struct Ripe(Mutex<Option<Vec<TaskId>>>);

impl Ripe {
    /// These tasks are ready now.
    pub fn note(&self, tasks: impl IntoIterator<Item = TaskId>) {
        if let Some(noted) = self.lock().as_mut() {
            let room = MOST.saturating_sub(noted.len());
            noted.extend(tasks.into_iter().take(room));
        }
    }

    /// What was noted. From now on more is, or nothing.
    pub fn take(&self, more: bool) -> Vec<TaskId> {
        std::mem::replace(&mut *self.lock(), more.then(Vec::new)).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<TaskId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use gauntlet_domain::Digest;

    use super::*;

    #[test]
    fn what_became_ready_is_noted_only_on_demand_and_once() {
        let task = |n: u64| TaskId::from_digest(Digest::of(&n.to_be_bytes()));
        let ripe = Ripe::default();
        ripe.note([task(1)]);
        assert_eq!(ripe.take(true), []);
        ripe.note([task(2), task(3)]);
        ripe.note([task(4)]);
        assert_eq!(ripe.take(true), [task(2), task(3), task(4)]);
        assert_eq!(ripe.take(false), []);
        ripe.note([task(5)]);
        assert_eq!(ripe.take(true), []);
        ripe.note((0..20_000).map(task));
        assert_eq!(ripe.take(true).len(), MOST);
    }
}
