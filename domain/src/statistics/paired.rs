//! Differences of two measurements that belong together: how large, how sure, and how many were looked at.

use statrs::distribution::{Binomial, ContinuousCDF as _, DiscreteCDF as _, StudentsT};

use super::{Z_95, mean_and_deviation};

/// Standard deviation of the rounding of a difference of two counts, in steps of one example: each count is off by a uniform ±1/2.
const ROUNDING_DEVIATION: f64 = 0.408_248_290_463_863;
/// Halvings of an interval of length 2 until its ends are the same number.
const HALVINGS: usize = 60;

/// A difference, first minus second, with its two-sided 95 % interval and p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// What was measured.
    pub estimate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Of no difference, two-sided.
    pub p_value: f64,
}

/// The mean of the differences of several seeds, by the paired t test; none for fewer than two.
///
/// `step` is what one example more or less changes. Seeds that agree to the example do not prove that there is no spread: it counts as no smaller than
/// the rounding to whole examples.
pub fn over_seeds(differences: &[f64], step: f64) -> Option<Difference> {
    over_seeds_within(differences, step, 1.0)
}

/// The same of differences that lie within ±`bound`: two shares differ by at most 1, two of their differences by at most 2.
pub fn over_seeds_within(differences: &[f64], step: f64, bound: f64) -> Option<Difference> {
    let (estimate, error, distribution) = mean_and_error(differences, step)?;
    let half = distribution.inverse_cdf(0.975) * error;
    let p_value = if estimate == 0.0 { 1.0 } else { 2.0 * distribution.sf((estimate / error).abs()) };
    let (low, high) = ((estimate - half).max(-bound), (estimate + half).min(bound));
    Some(Difference { estimate, low, high, p_value: p_value.min(1.0) })
}

/// Two-sided 95 % t interval of the mean of shares measured with several seeds, within [0,1]; none for fewer than two.
pub fn share_interval(shares: &[f64], step: f64) -> Option<(f64, f64)> {
    let (mean, error, distribution) = mean_and_error(shares, step)?;
    let half = distribution.inverse_cdf(0.975) * error;
    Some(((mean - half).max(0.0), (mean + half).min(1.0)))
}

fn mean_and_error(values: &[f64], step: f64) -> Option<(f64, f64, StudentsT)> {
    let (mean, deviation) = mean_and_deviation(values)?;
    let n = values.len() as f64;
    let distribution = StudentsT::new(0.0, 1.0, n - 1.0).ok()?;
    Some((mean, deviation?.max(step * ROUNDING_DEVIATION).max(f64::MIN_POSITIVE) / n.sqrt(), distribution))
}

/// The difference of two shares of the same examples: the p-value by the exact McNemar test, the interval by Tango's score (Tango 1998). None without
/// examples.
///
/// `only_first` and `only_second` count the examples that one of the two alone has.
pub fn over_examples(only_first: u64, only_second: u64, examples: u64) -> Option<Difference> {
    if examples == 0 {
        return None;
    }
    let (first, second, n) = (only_first as f64, only_second as f64, examples as f64);
    let (low, high) = score_interval(first, second, n);
    Some(Difference { estimate: (first - second) / n, low, high, p_value: mcnemar(only_first, only_second) })
}

/// The two-sided exact McNemar test: how often a fair coin falls at least as unevenly.
pub fn mcnemar(only_first: u64, only_second: u64) -> f64 {
    match Binomial::new(0.5, only_first + only_second) {
        Ok(coin) => (2.0 * coin.cdf(only_first.min(only_second))).min(1.0),
        Err(_) => 1.0,
    }
}

/// The differences that the score test does not refuse at 5 %.
fn score_interval(first: f64, second: f64, n: f64) -> (f64, f64) {
    let estimate = (first - second) / n;
    // The score falls as the assumed difference grows.
    let crossing = |level: f64, mut below: f64, mut above: f64| {
        for _ in 0..HALVINGS {
            let middle = 0.5 * (below + above);
            if score(first, second, n, middle) > level { below = middle } else { above = middle }
        }
        0.5 * (below + above)
    };
    (crossing(Z_95, -1.0, estimate), crossing(-Z_95, estimate, 1.0))
}

/// How far the counts are from an assumed difference, in standard errors under it.
fn score(first: f64, second: f64, n: f64, assumed: f64) -> f64 {
    let a = 2.0 * n;
    let b = (2.0 * n - first + second) * assumed - first - second;
    let c = -second * assumed * (1.0 - assumed);
    let only_second = ((b * b - 4.0 * a * c).max(0.0).sqrt() - b) / (2.0 * a);
    let variance = n * (2.0 * only_second + assumed * (1.0 - assumed));
    let distance = first - second - n * assumed;
    if variance > 0.0 { distance / variance.sqrt() } else { distance * f64::INFINITY }
}

/// p-values adjusted for their number by Holm (1979), in the same order.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0f64;
    for (rank, index) in order.into_iter().enumerate() {
        largest = largest.max(p_values[index] * (p_values.len() - rank) as f64);
        adjusted[index] = largest.min(1.0);
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn the_test_over_seeds_agrees_with_scipy() {
        // scipy.stats.ttest_1samp([-0.20, -0.26, -0.17], 0) and its confidence_interval(0.95)
        let found = over_seeds(&[-0.20, -0.26, -0.17], 0.01).unwrap();
        assert!(close(found.estimate, -0.21) && close(found.p_value, 0.015_504_815), "{found:?}");
        assert!(close(found.low, -0.323_837_491) && close(found.high, -0.096_162_509), "{found:?}");
        assert_eq!(over_seeds(&[0.1], 0.01), None);
    }

    #[test]
    fn mcnemar_agrees_with_scipy() {
        // scipy.stats.binomtest(3, 43).pvalue and of (10, 17)
        assert!((mcnemar(40, 3) / 3.021_341_399e-9 - 1.0).abs() < 1e-8, "{}", mcnemar(40, 3));
        assert!(close(mcnemar(7, 10), 0.629_058_838));
        assert_eq!(mcnemar(0, 0), 1.0);
    }

    #[test]
    fn the_score_interval_is_that_of_the_likelihood_maximized_numerically() {
        // Roots of the score with the share of `only_second` from scipy.optimize.minimize_scalar on the multinomial likelihood.
        let cases = [
            ((12, 2, 44), (0.069_166_218, 0.386_003_770)),
            ((40, 3, 500), (0.051_268_789, 0.101_806_866)),
            ((10, 0, 100), (0.055_229_137, 0.174_365_662)),
            ((0, 0, 50), (-0.071_347_599, 0.071_347_599)),
            ((7, 10, 52), (-0.216_550_886, 0.102_371_080)),
        ];
        for ((only_first, only_second, examples), (low, high)) in cases {
            let found = over_examples(only_first, only_second, examples).unwrap();
            assert!(
                close(found.low, low) && close(found.high, high),
                "{only_first} {only_second} {examples}: {found:?}"
            );
        }
        assert_eq!(over_examples(0, 0, 0), None);
    }

    #[test]
    fn seeds_that_agree_to_the_example_still_have_the_spread_of_rounding() {
        let one_example = over_seeds(&[-0.01, -0.01], 0.01).unwrap();
        assert!(one_example.p_value > 0.05, "{one_example:?}");
        let many = over_seeds(&[-0.4, -0.4, -0.4], 0.01).unwrap();
        assert!(many.p_value < 1e-3 && many.low < many.high, "{many:?}");
        assert_eq!(over_seeds(&[0.0, 0.0], 0.01).unwrap().p_value, 1.0);
    }

    #[test]
    fn holm_multiplies_the_smallest_most_and_keeps_the_order() {
        // statsmodels.stats.multitest.multipletests([0.04, 0.01, 0.03], method="holm")
        let adjusted = holm(&[0.04, 0.01, 0.03]);
        assert!(adjusted.iter().zip([0.06, 0.03, 0.06]).all(|(a, b)| close(*a, b)), "{adjusted:?}");
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }

    proptest! {
        #[test]
        fn exchanging_the_two_turns_the_difference_round(first in 0u64..60, second in 0u64..60, neither in 0u64..200) {
            prop_assume!(first + second + neither > 0);
            let examples = first + second + neither;
            let there = over_examples(first, second, examples).unwrap();
            let back = over_examples(second, first, examples).unwrap();
            prop_assert!(close(there.estimate, -back.estimate) && close(there.p_value, back.p_value));
            prop_assert!(close(there.low, -back.high) && close(there.high, -back.low), "{there:?} {back:?}");
            prop_assert!(there.low <= there.estimate && there.estimate <= there.high, "{there:?}");
        }

        #[test]
        fn the_interval_over_seeds_leaves_out_zero_just_where_p_is_below_5_percent(
            differences in proptest::collection::vec(-0.5f64..0.5, 2..9),
        ) {
            let found = over_seeds(&differences, 0.01).unwrap();
            prop_assume!((found.p_value - 0.05).abs() > 1e-6);
            prop_assert_eq!(found.low > 0.0 || found.high < 0.0, found.p_value < 0.05);
        }

        #[test]
        fn adjusting_never_lowers_a_p_value(p_values in proptest::collection::vec(0.0f64..=1.0, 0..20)) {
            let adjusted = holm(&p_values);
            prop_assert!(p_values.iter().zip(&adjusted).all(|(p, adjusted)| p <= adjusted && *adjusted <= 1.0));
        }
    }
}
