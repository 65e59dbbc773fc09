//! What analyses found, as the numbers that are stored.

use gauntlet_domain::analyses::heat_map::row;
use gauntlet_domain::analyses::place;
use gauntlet_domain::experiment::{AnalysisImage, AnalysisResult, AnalysisValue};
use tch::Tensor;

use super::{
    confidence, corruptions, frequency, heat_map, landscape, pictures, robust_features, saliency, similarity, spectrum,
    transfer, universal,
};
use crate::error::LabError;

/// CCA and PWCCA of too few points are high by counting alone, and left out.
pub(super) fn similarity(layer: &similarity::LayerSimilarity) -> Vec<AnalysisValue> {
    let similarity = &layer.similarity;
    let mut values = vec![("cka", similarity.cka), ("svcca", similarity.svcca)];
    if !similarity.is_underdetermined() {
        values.extend([("cca", similarity.cca), ("pwcca", similarity.pwcca)]);
    }
    let value = |(measure, value): (&str, f64)| AnalysisValue {
        measure: measure.to_owned(),
        layer: layer.layer.clone(),
        x: None,
        value,
    };
    values.into_iter().map(value).collect()
}

pub(super) fn accuracy(accuracy: &frequency::PassAccuracy) -> AnalysisValue {
    let measure = match accuracy.pass {
        frequency::Pass::Low => "low-pass-accuracy",
        frequency::Pass::High => "high-pass-accuracy",
    };
    let value = accuracy.correct as f64 / accuracy.examples.max(1) as f64;
    AnalysisValue { measure: measure.to_owned(), layer: String::new(), x: Some(accuracy.radius), value }
}

/// The shares of a heat map, row by row, and the map as an image of a few pixels for each frequency: the lighter, the more is wrong.
pub(super) fn heat_map(map: &heat_map::HeatMap) -> Result<AnalysisResult, LabError> {
    const SIDE: i64 = 8;
    let share = |errors: &u64| *errors as f64 / map.examples.max(1) as f64;
    let rows = map.vertical.iter().zip(&map.errors);
    let values = rows.flat_map(|(vertical, errors)| {
        map.horizontal.iter().zip(errors).map(move |(horizontal, errors)| AnalysisValue {
            measure: "error".to_owned(),
            layer: row(*vertical),
            x: Some(*horizontal as f64),
            value: share(errors),
        })
    });
    let shares: Vec<f32> = map.errors.iter().flatten().map(|errors| share(errors) as f32).collect();
    let shares = Tensor::f_from_slice(&shares)?.f_view([1, map.vertical.len() as i64, map.horizontal.len() as i64])?;
    let large = shares.f_repeat_interleave_self_int(SIDE, 1, None)?.f_repeat_interleave_self_int(SIDE, 2, None)?;
    Ok(AnalysisResult { values: values.collect(), images: vec![pictures::picture("heat-map", &large)?], dataset: None })
}

pub(super) fn construction(outcome: &robust_features::Outcome) -> Vec<AnalysisValue> {
    let mut values = vec![("agreement", outcome.agreement), ("distance", outcome.distance)];
    if let Some([end, start]) = outcome.feature_distances {
        values.extend([("feature-distance", end), ("start-feature-distance", start)]);
    }
    let value = |(measure, value): (&str, f64)| AnalysisValue {
        measure: measure.to_owned(),
        layer: String::new(),
        x: None,
        value,
    };
    values.into_iter().map(value).collect()
}

/// The accuracy on the examples as they are, the mean over the corruptions at each severity, and each of them.
pub(super) fn corruption(found: &[corruptions::CorruptedAccuracy], severities: &[u32]) -> Vec<AnalysisValue> {
    let value = |measure: &str, x: Option<f64>, value: f64| AnalysisValue {
        measure: measure.to_owned(),
        layer: String::new(),
        x,
        value,
    };
    let mean = |severity: &u32| {
        let of_severity = found.iter().filter(|it| it.corruption.is_some_and(|(_, of)| of == *severity));
        let shares: Vec<f64> = of_severity.map(corruptions::CorruptedAccuracy::share).collect();
        value("mean", Some(f64::from(*severity)), shares.iter().sum::<f64>() / shares.len().max(1) as f64)
    };
    let one = |it: &corruptions::CorruptedAccuracy| match it.corruption {
        Some((corruption, severity)) => value(corruption.name(), Some(f64::from(severity)), it.share()),
        None => value("clean", None, it.share()),
    };
    let (clean, corrupted) = found.split_at(found.len().min(1));
    clean.iter().map(one).chain(severities.iter().map(mean)).chain(corrupted.iter().map(one)).collect()
}

/// Where no example counts there are no shares.
pub(super) fn transfer(at: &transfer::Transferred) -> Vec<AnalysisValue> {
    let [[own, passed_on], [received, other]] = at.fooled;
    let shares = [("own-fooled", own), ("passed-on", passed_on), ("received", received), ("other-fooled", other)];
    let shares = shares.into_iter().filter(|_| at.eligible > 0);
    let shares = shares.map(|(measure, fooled)| (measure, fooled as f64 / at.eligible as f64));
    shares.chain([("eligible", at.eligible as f64)]).map(|(measure, value)| value_at(measure, at.eps, value)).collect()
}

/// What was crafted on the model and on the other one, to look at.
pub(super) fn perturbations(crafted: &[Tensor; 2]) -> Result<Vec<AnalysisImage>, LabError> {
    let named = ["crafted-on-the-run", "crafted-on-the-other"].into_iter().zip(crafted);
    let room = pictures::room(&crafted[0]);
    named.take(room).map(|(name, crafted)| pictures::amplified(name, &crafted.f_squeeze_dim(0)?)).collect()
}

pub(super) fn universal(crafted: &universal::Crafted, eps: f64) -> Vec<AnalysisValue> {
    let ([[own, passed_on], [received, other]], [noise, other_noise]) = (crafted.fooled, crafted.noise);
    let fooled = [("own-fooled", own), ("passed-on", passed_on), ("received", received), ("other-fooled", other)];
    let all = fooled.into_iter().chain([("noise", noise), ("other-noise", other_noise)]);
    all.map(|(measure, fooled)| value_at(measure, eps, fooled as f64 / crafted.examples.max(1) as f64)).collect()
}

pub(super) fn landscape(place: &landscape::Surroundings) -> [AnalysisValue; 4] {
    let mean = |sum: f64| sum / place.examples.max(1) as f64;
    let landscape::Surroundings { gradient, random, .. } = place;
    [
        ("gradient-loss", mean(gradient.loss)),
        ("random-loss", mean(random.loss)),
        ("gradient-accuracy", mean(gradient.correct as f64)),
        ("random-accuracy", mean(random.correct as f64)),
    ]
    .map(|(measure, value)| value_at(measure, place.distance, value))
}

pub(super) fn saliency(alignments: &saliency::Alignments) -> Vec<AnalysisValue> {
    let saliency::Alignments { gradient, integrated } = alignments;
    let all = [
        ("gradient-alignment", gradient.same),
        ("gradient-null", gradient.null),
        ("integrated-alignment", integrated.same),
        ("integrated-null", integrated.null),
    ];
    let value = |(measure, value): (&str, f64)| AnalysisValue { x: None, ..value_at(measure, 0.0, value) };
    all.into_iter().map(value).collect()
}

pub(super) fn confidence(at: &confidence::Confidence) -> [AnalysisValue; 4] {
    let [low, median, high] = at.deciles;
    [("confidence", at.mean), ("confidence-q10", low), ("confidence-q50", median), ("confidence-q90", high)]
        .map(|(measure, value)| value_at(measure, at.eps, value))
}

/// Shares by distance from frequency zero; perturbations of nothing have none.
pub(super) fn spectrum(spectra: &[spectrum::Spectrum]) -> Vec<AnalysisValue> {
    let several = spectra.len() > 1;
    let values = |at: &spectrum::Spectrum| {
        let layer = if several { format!("eps={}", place(at.eps)) } else { String::new() };
        let both = [("energy", &at.adversarial), ("noise-energy", &at.noise)];
        let value = move |(measure, radius, share): (&str, u32, f64)| AnalysisValue {
            layer: layer.clone(),
            ..value_at(measure, radius.into(), share)
        };
        let shares = both.into_iter().flat_map(|(measure, energy)| {
            energy.shares().into_iter().map(move |(radius, share)| (measure, radius, share))
        });
        shares.map(value).collect::<Vec<_>>()
    };
    spectra.iter().flat_map(values).collect()
}

/// A number about no layer, at a place.
fn value_at(measure: &str, x: f64, value: f64) -> AnalysisValue {
    AnalysisValue { measure: measure.to_owned(), layer: String::new(), x: Some(x), value }
}
