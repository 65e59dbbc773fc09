//! Which examples are kept from training, and what a model makes of them.

use gauntlet_domain::experiment::{Criterion, Recipe, Validation, ValidationMetrics};
use tch::{Kind, Reduction, Tensor};

use super::inner::{Draws, Target, craft};
use super::passes::Route;
use crate::error::LabError;
use crate::examples::{Batch, Examples};
use crate::models::{Mode, Model};
use crate::random::{Purpose, Stream};

/// Indices of a split, each part in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Examples that are trained on.
    pub training: Vec<i64>,
    /// Examples that are kept from training.
    pub held_out: Vec<i64>,
}

impl Parts {
    /// All of so many examples are trained on.
    pub fn whole(examples: usize) -> Self {
        Self { training: (0..examples as i64).collect(), held_out: Vec::new() }
    }

    /// Keeps examples from training: of each class its share, rounded so that the sum is what was asked for, and never all of a class.
    ///
    /// # Errors
    /// More examples than can be kept.
    pub fn new(labels: &[i64], validation: &Validation) -> Result<Self, LabError> {
        let wanted = validation.examples(u32::try_from(labels.len()).unwrap_or(u32::MAX)) as usize;
        let classes = labels.iter().max().map_or(0, |largest| *largest as usize + 1);
        let mut of_class = vec![Vec::new(); classes];
        for index in Stream::new(validation.seed, Purpose::HeldOut).permutation(labels.len()) {
            of_class[labels[index as usize] as usize].push(index);
        }
        let counts: Vec<usize> = of_class.iter().map(Vec::len).collect();
        let quotas = quotas(&counts, wanted).ok_or_else(|| {
            let present = counts.iter().filter(|count| **count > 0).count();
            let all = labels.len();
            LabError::Spec(format!("of {all} examples of {present} classes {wanted} cannot be kept for validation"))
        })?;
        let chosen = of_class.iter().zip(quotas).flat_map(|(examples, quota)| &examples[..quota]);
        let mut held_out: Vec<i64> = chosen.copied().collect();
        held_out.sort_unstable();
        let training = (0..labels.len() as i64).filter(|index| held_out.binary_search(index).is_err()).collect();
        Ok(Self { training, held_out })
    }
}

/// How many of `wanted` each class gives in proportion to its count, by largest remainders; a class keeps at least one.
fn quotas(counts: &[usize], wanted: usize) -> Option<Vec<usize>> {
    let all: usize = counts.iter().sum();
    let spare = |class: usize| counts[class].saturating_sub(1);
    if wanted > (0..counts.len()).map(spare).sum() {
        return None;
    }
    let mut quotas: Vec<usize> =
        (0..counts.len()).map(|class| (counts[class] * wanted / all).min(spare(class))).collect();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|class| std::cmp::Reverse(counts[*class] * wanted % all));
    let mut missing = wanted - quotas.iter().sum::<usize>();
    while missing > 0 {
        for class in &order {
            if missing > 0 && quotas[*class] < spare(*class) {
                quotas[*class] += 1;
                missing -= 1;
            }
        }
    }
    Some(quotas)
}

/// What a model makes of the examples kept from training, in eval mode and 32-bit floats.
///
/// # Errors
/// No memory.
pub(super) fn validate(
    model: &Model,
    examples: &Examples,
    held_out: &[i64],
    recipe: &Recipe,
    validation: &Validation,
) -> Result<ValidationMetrics, LabError> {
    let robust = validation.select_by == Criterion::RobustAccuracy;
    let inner = recipe.objective.inner().filter(|_| robust);
    let (mut loss, mut correct, mut robust) = (0.0, 0.0, 0.0);
    let route = Route::uniform(model, Mode::Eval);
    for indices in held_out.chunks(recipe.batch_size.max(1) as usize) {
        let Batch { pixels, labels } = examples.select(indices)?;
        let logits = tch::no_grad(|| model.forward(&pixels, Mode::Eval))?.logits;
        let right = logits.f_argmax(1, false)?.f_eq_tensor(&labels)?;
        loss += logits.f_cross_entropy_loss(&labels, None::<&Tensor>, Reduction::Sum, -100, 0.0)?.f_double_value(&[])?;
        correct += count(&right)?;
        if let Some(inner) = inner {
            // Of the validation's seed: the same starting points after each epoch.
            let draws = Draws { seed: validation.seed, iteration: 0, examples: indices };
            let adversarial = craft(&route, &pixels, &Target::CrossEntropy(&labels), inner, &draws)?;
            let logits = tch::no_grad(|| model.forward(&adversarial, Mode::Eval))?.logits;
            let still = logits.f_argmax(1, false)?.f_eq_tensor(&labels)?;
            robust += count(&right.f_logical_and(&still)?)?;
        }
    }
    let examples = held_out.len().max(1) as f64;
    Ok(ValidationMetrics {
        loss: loss / examples,
        accuracy: correct / examples,
        robust_accuracy: inner.map(|_| robust / examples),
    })
}

fn count(right: &Tensor) -> tch::Result<f64> {
    right.f_sum(Kind::Int64)?.f_double_value(&[])
}

/// What epochs are compared by: the larger, the better.
pub(super) fn score(metrics: &ValidationMetrics, criterion: Criterion) -> f64 {
    match criterion {
        Criterion::Accuracy => metrics.accuracy,
        Criterion::RobustAccuracy => metrics.robust_accuracy.unwrap_or(0.0),
        Criterion::Loss => -metrics.loss,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_domain::experiment::HeldOut;

    fn parts(labels: &[i64], held_out: HeldOut, seed: u64) -> Result<Parts, LabError> {
        Parts::new(labels, &Validation { held_out, seed, select_by: Criterion::Accuracy })
    }

    #[test]
    fn every_class_gives_its_share_and_each_example_is_in_one_part() {
        let labels: Vec<i64> =
            (0..200).map(|example| i64::from(example % 10 == 0) + 2 * i64::from(example % 4 == 1)).collect();
        let of = |indices: &[i64], class| indices.iter().filter(|index| labels[**index as usize] == class).count();
        let split = parts(&labels, HeldOut::Share(0.2), 0).unwrap();
        assert_eq!((split.held_out.len(), split.training.len()), (40, 160));
        for class in 0..3 {
            let (kept, all) =
                (of(&split.held_out, class) as f64, labels.iter().filter(|l| **l == class).count() as f64);
            assert!((kept - 0.2 * all).abs() < 1.0, "{kept} of {all}");
        }
        let mut both = [split.training.clone(), split.held_out.clone()].concat();
        both.sort_unstable();
        assert_eq!(both, (0..200).collect::<Vec<_>>());
        assert_eq!(split, parts(&labels, HeldOut::Share(0.2), 0).unwrap());
        assert_ne!(split, parts(&labels, HeldOut::Share(0.2), 1).unwrap());
    }

    #[test]
    fn no_class_is_kept_whole() {
        let labels = [0, 1, 1, 1, 1, 1, 1, 3];
        let split = parts(&labels, HeldOut::Examples(5), 0).unwrap();
        assert!(split.held_out.iter().all(|index| labels[*index as usize] == 1));
        assert!(parts(&labels, HeldOut::Examples(6), 0).is_err());
    }
}
