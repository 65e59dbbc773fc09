//! Ratios and intervals over counts.

pub mod paired;

/// 97.5 % quantile of the normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// Two-sided 95 % Wilson score interval of a proportion (Wilson 1927); `None` without trials.
pub fn wilson_interval(successes: u64, trials: u64) -> Option<(f64, f64)> {
    if trials == 0 {
        return None;
    }
    let n = trials as f64;
    let p = successes as f64 / n;
    let z2 = Z_95 * Z_95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Some(((centre - half).max(0.0), (centre + half).min(1.0)))
}

/// Mean and sample standard deviation (n − 1); the latter `None` for fewer than two values, both for none.
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, Option<f64>)> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation =
        (values.len() > 1).then(|| (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt());
    Some((mean, deviation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wilson_interval_agrees_with_statsmodels() {
        // statsmodels.stats.proportion.proportion_confint(45, 50, method="wilson")
        let (low, high) = wilson_interval(45, 50).unwrap();
        assert!((low - 0.786_397_6).abs() < 1e-6 && (high - 0.956_524_2).abs() < 1e-6, "{low} {high}");
        assert_eq!(wilson_interval(0, 10).unwrap().0, 0.0);
        assert_eq!(wilson_interval(0, 0), None);
    }

    #[test]
    fn one_value_has_a_mean_and_no_deviation() {
        assert_eq!(mean_and_deviation(&[2.0]), Some((2.0, None)));
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), Some((2.0, Some(2.0f64.sqrt()))));
        assert_eq!(mean_and_deviation(&[]), None);
    }
}
