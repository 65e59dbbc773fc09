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

/// Memory that the task is now known to need at least, in MiB, after an attempt under `plan` ran out with `insufficient_mib`: only one that spared all it
/// could tells something about the task. `known_mib` is what earlier ones told.
pub fn memory_needed(plan: MemoryPlan, insufficient_mib: Option<u32>, known_mib: Option<u32>) -> Option<u32> {
    let told = insufficient_mib.filter(|_| plan == MemoryPlan::SPARING).map(|mib| mib.saturating_add(1));
    told.max(known_mib)
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
    fn only_a_sparing_attempt_tells_what_is_needed_and_the_need_never_falls() {
        assert_eq!(memory_needed(MemoryPlan::default(), Some(8000), None), None);
        assert_eq!(memory_needed(MemoryPlan::SPARING, Some(8000), None), Some(8001));
        assert_eq!(memory_needed(MemoryPlan::SPARING, Some(4000), Some(8001)), Some(8001));
        assert_eq!(memory_needed(MemoryPlan::SPARING, None, Some(8001)), Some(8001));
    }
}
