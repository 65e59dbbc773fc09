//! Into how many parts an evaluation is split.

use crate::experiment::{AttackSpec, EVALUATION_BLOCK, Shard};

/// The shards of an evaluation that is expected to take so many seconds, so that each takes about `shard_secs`: whole blocks, as even as they can be.
/// None if it stays in one piece: because it is short, has one block, crafts for all examples at once, may stop early, or because `shard_secs` is 0.
pub fn shards(spec: &AttackSpec, secs: f64, shard_secs: f64) -> Vec<Shard> {
    let blocks = spec.dataset.examples.div_ceil(EVALUATION_BLOCK);
    let wanted = if shard_secs > 0.0 { (secs / shard_secs).ceil() } else { 1.0 };
    // A number that is none, or too large, is as good as the number of blocks.
    let count = if wanted < f64::from(blocks) { wanted as u32 } else { blocks };
    if count <= 1 || !spec.attack.can_be_split() || spec.shard.is_some() {
        return Vec::new();
    }
    let border = |number: u32| {
        let block = u64::from(number) * u64::from(blocks) / u64::from(count);
        (block as u32).saturating_mul(EVALUATION_BLOCK).min(spec.dataset.examples)
    };
    (0..count).map(|number| Shard { first: border(number), examples: border(number + 1) - border(number) }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::experiment::samples::{attack_spec as spec, dataset};
    use crate::experiment::{AttackMethod, UapMethod};

    #[test]
    fn short_evaluations_and_those_that_craft_once_stay_in_one_piece() {
        assert_eq!(shards(&spec(10_000, AttackMethod::Fgsm), 119.0, 120.0), []);
        assert_eq!(shards(&spec(10_000, AttackMethod::Fgsm), 1e9, 0.0), [], "never split");
        assert_eq!(shards(&spec(256, AttackMethod::Fgsm), 1e9, 1.0), [], "a block is not split");
        let by = UapMethod::Gradient { step_size: 0.01, batch_size: 8 };
        let uap = AttackMethod::Uap { crafted_on: Box::new(dataset(100)), by, passes: 1, fooling_rate: 0.9 };
        assert_eq!(shards(&spec(10_000, uap), 1e9, 1.0), []);
        let mut stops = spec(10_000, AttackMethod::Fgsm);
        stops.attack.stop_at_interval = Some(0.05);
        assert_eq!(shards(&stops, 1e9, 1.0), [], "what may stop early goes through its blocks in their order");
    }

    #[test]
    fn a_long_evaluation_is_split_evenly() {
        let found = shards(&spec(2_500, AttackMethod::Fgsm), 350.0, 120.0);
        let expected = [(0, 768), (768, 768), (1536, 964)].map(|(first, examples)| Shard { first, examples });
        assert_eq!(found, expected);
        assert_eq!(shards(&spec(600, AttackMethod::Fgsm), f64::INFINITY, 1.0).len(), 3);
    }

    proptest! {
        #[test]
        fn shards_are_whole_blocks_that_follow_each_other_to_the_end(
            examples in 1u32..100_000, secs in 0.0f64..1e7, target in 0.0f64..1e4,
        ) {
            let found = shards(&spec(examples, AttackMethod::Fgsm), secs, target);
            let mut next = 0;
            for shard in &found {
                prop_assert_eq!(shard.first, next);
                prop_assert!(shard.examples > 0 && shard.first.is_multiple_of(EVALUATION_BLOCK));
                next += shard.examples;
            }
            prop_assert!(found.is_empty() || (next == examples && found.len() > 1));
        }
    }
}
