//! What APGD climbs: the cross-entropy, or the difference of logits ratio (DLR, Croce & Hein 2020, arXiv 2003.01690), which does not change when the
//! logits are scaled or shifted.

use gauntlet_domain::experiment::ApgdLoss;
use tch::Tensor;

use super::arena::Arena;
use crate::error::LabError;
use crate::models::Output;

/// Added to the denominator of the DLR, as published.
const TINY: f64 = 1e-12;

/// A [`Loss`](super::oracle::Loss) that keeps what it needs.
type OwnLoss = Box<dyn Fn(&Output) -> tch::Result<Tensor>>;

/// What is climbed, for the examples in play.
pub(super) enum Objective {
    /// Cross-entropy of the label, or, negated, of the evaluation's target class.
    CrossEntropy,
    /// DLR between the label and the largest other logit.
    Dlr,
    /// DLR between the label and one class.
    TargetedDlr {
        /// The classes, i64 \[n\].
        towards: Tensor,
    },
}

/// Whether a model of so many classes has the logits that the loss compares.
///
/// # Errors
/// It has not.
pub(super) fn check_classes(loss: ApgdLoss, classes: u32) -> Result<(), LabError> {
    let (needed, form) = match loss {
        ApgdLoss::Ce => return Ok(()),
        ApgdLoss::Dlr => (3, "DLR loss"),
        ApgdLoss::DlrTargeted => (4, "targeted DLR loss"),
    };
    if classes < needed {
        let problem = format!("the {form} needs at least {needed} classes, the model has {classes}");
        return Err(LabError::Spec(problem));
    }
    Ok(())
}

impl Objective {
    /// The objective of this kind; the targeted one leads to the wrong class of this `rank`, counted from 0, on the original. None if there is no such
    /// class.
    ///
    /// # Errors
    /// Fewer classes than the loss compares; a DLR where the evaluation leads to a class of its own.
    pub(super) fn new(loss: ApgdLoss, rank: u32, arena: &mut Arena<'_>) -> Result<Option<Self>, LabError> {
        check_classes(loss, arena.classes())?;
        let form = match loss {
            ApgdLoss::Ce => return Ok(Some(Self::CrossEntropy)),
            ApgdLoss::Dlr => "DLR loss",
            ApgdLoss::DlrTargeted => "targeted DLR loss",
        };
        if arena.rules().target.is_some() {
            let problem = format!("an attack with the {form} cannot be led to a class: use the loss `ce`");
            return Err(LabError::Spec(problem));
        }
        Ok(match loss {
            ApgdLoss::DlrTargeted if rank + 1 >= arena.classes() => None,
            ApgdLoss::DlrTargeted => {
                Some(Self::TargetedDlr { towards: arena.wrong_classes()?.f_select(1, rank.into())? })
            }
            ApgdLoss::Ce | ApgdLoss::Dlr => Some(Self::Dlr),
        })
    }

    /// The loss, for the examples in play when it is made.
    pub(super) fn loss(&self, arena: &Arena<'_>) -> OwnLoss {
        let labels = arena.labels().shallow_clone();
        match self {
            Self::CrossEntropy => Box::new(arena.cross_entropy_loss()),
            Self::Dlr => Box::new(move |output| dlr(&output.logits, &labels)),
            Self::TargetedDlr { towards } => {
                let towards = towards.shallow_clone();
                Box::new(move |output| targeted_dlr(&output.logits, &labels, &towards))
            }
        }
    }

    /// What it keeps per example.
    pub(super) fn state(&mut self) -> Option<&mut Tensor> {
        match self {
            Self::CrossEntropy | Self::Dlr => None,
            Self::TargetedDlr { towards } => Some(towards),
        }
    }
}

/// −(z_y − max_{i≠y} z_i) / (z_π1 − z_π3), f32 \[n\], where π sorts the logits, f32 \[n,classes\], downwards. Labels are i64 \[n\].
fn dlr(logits: &Tensor, labels: &Tensor) -> tch::Result<Tensor> {
    let labels = labels.f_view([-1, 1])?;
    let (largest, classes) = logits.f_topk(3, 1, true, true)?;
    let first_is_label = classes.f_narrow(1, 0, 1)?.f_eq_tensor(&labels)?;
    let [first, second, third] = [0, 1, 2].map(|rank| largest.f_narrow(1, rank, 1));
    let (first, second) = (first?, second?);
    let other = second.f_where_self(&first_is_label, &first)?;
    let own = logits.f_gather(1, &labels, false)?;
    other.f_sub(&own)?.f_div(&first.f_sub(&third?)?.f_add_scalar(TINY)?)?.f_squeeze_dim(1)
}

/// −(z_y − z_t) / (z_π1 − (z_π3 + z_π4)/2), f32 \[n\]. Labels and target classes t are i64 \[n\].
fn targeted_dlr(logits: &Tensor, labels: &Tensor, targets: &Tensor) -> tch::Result<Tensor> {
    let (largest, _) = logits.f_topk(4, 1, true, true)?;
    let [first, third, fourth] = [0, 2, 3].map(|rank| largest.f_narrow(1, rank, 1));
    let scale = first?.f_sub(&third?.f_add(&fourth?)?.f_mul_scalar(0.5)?)?.f_add_scalar(TINY)?;
    let of = |classes: &Tensor| logits.f_gather(1, &classes.f_view([-1, 1])?, false);
    of(targets)?.f_sub(&of(labels)?)?.f_div(&scale)?.f_squeeze_dim(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor).unwrap()
    }

    #[test]
    fn the_ratio_compares_the_label_with_the_largest_other_logit() {
        let logits = Tensor::from_slice(&[4.0_f32, 1.0, 3.0, 2.0, 4.0, 1.0, 3.0, 2.0]).view([2, 4]);
        let labels = Tensor::from_slice(&[0_i64, 2]);
        // −(4 − 3)/(4 − 2), and −(3 − 4)/(4 − 2) where the model is wrong.
        assert_eq!(values(&dlr(&logits, &labels).unwrap()), [-0.5, 0.5]);
        let scaled = logits * 8.0 + 16.0;
        assert_eq!(values(&dlr(&scaled, &labels).unwrap()), [-0.5, 0.5]);
    }

    #[test]
    fn the_targeted_ratio_compares_the_label_with_the_target() {
        let logits = Tensor::from_slice(&[4.0_f32, 1.0, 3.0, 2.0, 4.0, 1.0, 3.0, 2.0]).view([2, 4]);
        let (labels, targets) = (Tensor::from_slice(&[0_i64, 2]), Tensor::from_slice(&[1_i64, 0]));
        // −(4 − 1)/(4 − (2 + 1)/2) and −(3 − 4)/(4 − (2 + 1)/2).
        let found = values(&targeted_dlr(&logits, &labels, &targets).unwrap());
        assert!((found[0] + 1.2).abs() < 1e-6 && (found[1] - 0.4).abs() < 1e-6, "{found:?}");
    }
}
