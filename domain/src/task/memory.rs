//! Running out of memory: what is tried, and what is learnt from it.

use serde::{Deserialize, Serialize};

/// How an attempt spares memory. Nothing of it changes a result: smaller batches, which would change the rounding, are not among it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// Activations are thrown away and computed again on the way back.
    pub recompute_activations: bool,
    /// The executor first forgets the data sets and models that it keeps from other tasks.
    pub forget_kept: bool,
}

impl MemoryPlan {
    /// All that can be done.
    pub const SPARING: Self = Self { recompute_activations: true, forget_kept: true };
}

/// How the attempt after so many that ran out of memory spares it.
pub const fn memory_plan(resource_failures: u32) -> MemoryPlan {
    match resource_failures {
        0 => MemoryPlan { recompute_activations: false, forget_kept: false },
        _ => MemoryPlan::SPARING,
    }
}

/// Memory that a task is known to need at least, in MiB, after an attempt under `plan` ran out with this much: only one that spared all it could tells
/// something about the task.
pub fn memory_needed(plan: MemoryPlan, insufficient_mib: u32) -> Option<u32> {
    (plan == MemoryPlan::SPARING).then(|| insufficient_mib.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_as_usual_and_every_further_one_spares_all_it_can() {
        assert_eq!(memory_plan(0), MemoryPlan::default());
        assert_eq!([1, 2, 9].map(memory_plan), [MemoryPlan::SPARING; 3]);
    }

    #[test]
    fn only_an_attempt_that_spared_all_it_could_tells_what_is_needed() {
        assert_eq!(memory_needed(MemoryPlan::default(), 8000), None);
        assert_eq!(memory_needed(MemoryPlan::SPARING, 8000), Some(8001));
    }
}
