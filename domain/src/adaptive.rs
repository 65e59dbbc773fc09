//! Evaluations that are spared, where a sweep asks for that: what is decided, as pure functions.

use crate::experiment::{AttackSpec, EVALUATION_BLOCK, InvalidOutcomes, Outcomes};
use crate::statistics::wilson_interval;

/// Whether an evaluation may stop after these examples: the 95 % Wilson interval of AAI is narrower than `stop_at_interval`.
pub fn narrow_enough(robust_correct: u64, examples: u64, stop_at_interval: f64) -> bool {
    wilson_interval(robust_correct, examples).is_some_and(|(low, high)| high - low < stop_at_interval)
}

/// After how many examples an evaluation with these outcomes stops: at the end of the first whole block at which the interval is
/// [`narrow_enough`]. None if it never is within these outcomes.
pub fn stopping_point(outcomes: &Outcomes, stop_at_interval: f64) -> Option<usize> {
    let block = EVALUATION_BLOCK as usize;
    let (mut examples, mut robust_correct) = (0, 0);
    for robust in outcomes.robust() {
        examples += 1;
        robust_correct += u64::from(robust);
        if examples % block == 0 && narrow_enough(robust_correct, examples as u64, stop_at_interval) {
            return Some(examples);
        }
    }
    None
}

/// Whether these are outcomes of as many examples as the task evaluates: all of them or, where it may stop early, exactly those up to the
/// [`stopping_point`].
///
/// # Errors
/// Columns that are no table, or another number of examples.
pub fn check_outcomes(outcomes: &Outcomes, spec: &AttackSpec) -> Result<(), InvalidOutcomes> {
    let (asked, found) = (spec.examples() as usize, outcomes.examples());
    let Some(stop_at_interval) = spec.attack.stop_at_interval else { return outcomes.check(asked) };
    outcomes.check(found)?;
    match stopping_point(outcomes, stop_at_interval) {
        Some(enough) if enough < found => Err(InvalidOutcomes::BeyondStop { found, enough }),
        Some(_) if found <= asked => Ok(()),
        None if found == asked => Ok(()),
        Some(_) | None => Err(InvalidOutcomes::NoStop { found, asked }),
    }
}

/// What the earlier attack of a cascade came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier<'a> {
    /// What people call the task, such as `glyphs · resnet18 · scratch · standard · seed 0 · pgd20 8/255`.
    pub label: &'a str,
    /// Examples that it left right.
    pub robust_correct: u64,
    /// Examples that it evaluated.
    pub examples: u64,
}

/// Why an attack that comes after `earlier` is pointless; none if it is not, because AAI is above `until_aai` or nothing was evaluated.
pub fn pointless(earlier: Earlier<'_>, until_aai: f64) -> Option<String> {
    let Earlier { label, robust_correct, examples } = earlier;
    if examples == 0 || robust_correct as f64 / examples as f64 > until_aai {
        return None;
    }
    let attack = label.rsplit(" · ").next().unwrap_or(label);
    let bound = if until_aai > 0.0 { format!(", an AAI of at most {until_aai}") } else { String::new() };
    Some(format!("pointless: {attack} left {robust_correct} of {examples} examples robust{bound}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::experiment::AttackMethod;

    const BLOCK: usize = EVALUATION_BLOCK as usize;

    fn outcomes(robust: &[bool]) -> Outcomes {
        let class = |robust: &bool| u32::from(!robust);
        Outcomes {
            label: vec![0; robust.len()],
            clean_prediction: vec![0; robust.len()],
            adversarial_prediction: robust.iter().map(class).collect(),
            clean_loss: vec![0.1; robust.len()],
            adversarial_loss: vec![0.2; robust.len()],
            distance: vec![0.1; robust.len()],
        }
    }

    fn spec(examples: u32, stop_at_interval: Option<f64>) -> AttackSpec {
        let mut spec = crate::experiment::samples::attack_spec(examples, AttackMethod::Fgsm);
        spec.attack.stop_at_interval = stop_at_interval;
        spec
    }

    #[test]
    fn what_never_holds_is_known_after_one_block_and_an_even_chance_after_many() {
        assert_eq!(stopping_point(&outcomes(&[false; 2 * BLOCK]), 0.05), Some(BLOCK));
        let even: Vec<bool> = (0..10 * BLOCK).map(|index| index % 2 == 0).collect();
        // 2 · 1.96 · √(0.25 / n) < 0.05 from n = 1,533 on.
        assert_eq!(stopping_point(&outcomes(&even), 0.05), Some(6 * BLOCK));
        assert_eq!(stopping_point(&outcomes(&even), 0.01), None);
        assert_eq!(stopping_point(&outcomes(&[false; BLOCK - 1]), 0.9), None, "only the end of a block is looked at");
    }

    #[test]
    fn another_number_of_examples_than_the_rule_gives_is_told_apart() {
        let check = |found: usize, asked: u32, stop| {
            check_outcomes(&outcomes(&vec![false; found]), &spec(asked, stop)).map_err(|error| error.to_string())
        };
        assert_eq!(check(BLOCK, 1000, Some(0.05)), Ok(()));
        assert_eq!(check(100, 100, Some(0.05)), Ok(()), "all there are");
        let beyond = "outcomes of 512 examples came, and after 256 the interval was narrow enough to stop";
        assert_eq!(check(2 * BLOCK, 1000, Some(0.05)), Err(beyond.to_owned()));
        let none = "outcomes of 200 examples came for a task of 1000, which could not stop there";
        assert_eq!(check(200, 1000, Some(0.05)), Err(none.to_owned()));
        assert!(check(BLOCK, 100, Some(0.05)).is_err(), "more than was asked for");
        assert!(check(0, 100, Some(0.05)).is_err());
        assert_eq!(
            check(BLOCK, 1000, None),
            Err("outcomes of 256 examples came for a task of 1000".to_owned()),
            "nobody asked it to stop"
        );
    }

    #[test]
    fn an_attack_is_pointless_where_the_earlier_one_left_no_more_than_was_said() {
        let why = |robust_correct, until_aai| {
            let label = "glyphs · resnet18 · scratch · standard · seed 0 · pgd20 8/255";
            pointless(Earlier { label, robust_correct, examples: 1000 }, until_aai)
        };
        assert_eq!(why(0, 0.0).as_deref(), Some("pointless: pgd20 8/255 left 0 of 1000 examples robust"));
        assert_eq!(why(1, 0.0), None);
        let some = "pointless: pgd20 8/255 left 20 of 1000 examples robust, an AAI of at most 0.02";
        assert_eq!(why(20, 0.02).as_deref(), Some(some));
        assert_eq!(why(21, 0.02), None);
        assert_eq!(
            pointless(Earlier { label: "pgd20", robust_correct: 0, examples: 0 }, 0.5),
            None,
            "nothing is known"
        );
    }

    proptest! {
        #[test]
        fn what_is_pointless_stays_so_where_less_is_left_or_more_is_allowed(
            robust in 0u64..1000, more in 0u64..1000, until_aai in 0.0f64..1.0, less in 0u64..1000, wider in 0.0f64..1.0,
        ) {
            let earlier = Earlier { label: "pgd20", robust_correct: robust, examples: robust + more };
            if pointless(earlier, until_aai).is_some() {
                let left = Earlier { robust_correct: robust.saturating_sub(less), ..earlier };
                prop_assert!(pointless(left, until_aai.max(wider)).is_some());
            }
        }

        #[test]
        fn exactly_one_number_of_examples_is_accepted(
            shares in prop::collection::vec(0.0f64..1.0, 1..6), examples in 1usize..1500, width in 0.01f64..0.3,
        ) {
            // Each part of the examples is robust with a share of its own, so that intervals also widen.
            let robust: Vec<bool> = (0..examples)
                .map(|index| ((index * 7919 % 1000) as f64) < 1000.0 * shares[index * shares.len() / examples])
                .collect();
            let spec = spec(examples as u32, Some(width));
            let accepted: Vec<usize> =
                (1..=examples).filter(|found| check_outcomes(&outcomes(&robust[..*found]), &spec).is_ok()).collect();
            prop_assert_eq!(accepted.len(), 1, "{:?}", accepted);
            let correct = |count: usize| robust[..count].iter().filter(|robust| **robust).count() as u64;
            let first = (1..=examples / BLOCK)
                .map(|blocks| blocks * BLOCK)
                .find(|count| narrow_enough(correct(*count), *count as u64, width));
            prop_assert_eq!(accepted[0], first.unwrap_or(examples));
        }

        #[test]
        fn an_interval_that_is_narrow_enough_is_so_for_every_wider_wish(robust in 0u64..500, more in 0u64..500, width in 0.001f64..0.5) {
            let examples = robust + more;
            if narrow_enough(robust, examples, width) {
                prop_assert!(narrow_enough(robust, examples, width * 1.5));
            }
            prop_assert!(!narrow_enough(robust, 0, width), "nothing is known of nothing");
        }
    }
}
