//! Attack methods, resolved for the run that they meet.

use super::planner::Mistakes;
use crate::catalogue::defaults;
use crate::experiment::{ApgdLoss, AttackMethod, DatasetSpec, OtherModel, UapMethod};
use crate::sweep::{AttackSection, AttackTemplate, Located, Place, StepSize, UapTemplate, counted, grouped};

/// What an attack may depend on besides its own section.
#[derive(Clone, Copy)]
pub(super) struct Circumstances<'a> {
    /// Radius of the ball; none for a minimum-norm attack.
    pub(super) eps: Option<f64>,
    /// Classes of the attacked model.
    pub(super) classes: u32,
    /// Name of the data set.
    pub(super) dataset: &'a str,
    /// Its train split, in the classes of the model.
    pub(super) train: Option<&'a DatasetSpec>,
    /// The model that a transferred attack is crafted on.
    pub(super) source: Option<&'a OtherModel>,
}

/// The method of an attack, fully resolved; none, and a mistake, where it does not fit.
pub(super) fn method(
    section: &AttackSection,
    circumstances: Circumstances<'_>,
    mistakes: &mut Mistakes,
) -> Option<AttackMethod> {
    Resolver { at: &section.at, circumstances, mistakes }.method(&section.method)
}

struct Resolver<'a> {
    at: &'a Place,
    circumstances: Circumstances<'a>,
    mistakes: &'a mut Mistakes,
}

impl Resolver<'_> {
    fn method(&mut self, template: &AttackTemplate) -> Option<AttackMethod> {
        Some(match template {
            AttackTemplate::Fixed(method) => method.clone(),
            &AttackTemplate::Pgd { steps, step_size, random_start, restarts } => {
                AttackMethod::Pgd { steps, step_size: self.step(step_size)?, random_start, restarts }
            }
            &AttackTemplate::MiFgsm { steps, step_size, decay } => {
                AttackMethod::MiFgsm { steps, step_size: self.step(step_size)?, decay }
            }
            &AttackTemplate::DiFgsm { steps, step_size, decay, resize_rate, diversity_probability, random_start } => {
                let step_size = self.step(step_size)?;
                AttackMethod::DiFgsm { steps, step_size, decay, resize_rate, diversity_probability, random_start }
            }
            &AttackTemplate::Feature { steps, step_size, restarts } => {
                AttackMethod::Feature { steps, step_size: self.step(step_size)?, restarts }
            }
            AttackTemplate::DeepFool { steps, overshoot, candidates } => AttackMethod::DeepFool {
                steps: *steps,
                overshoot: *overshoot,
                candidates: self.candidates(candidates.as_ref())?,
            },
            AttackTemplate::Apgd { loss, steps, restarts, rho, target_classes } => {
                self.require_classes(loss.least_classes(), &format!("the loss `{}`", loss.name()), &loss.at)?;
                let targeted = loss.value == ApgdLoss::DlrTargeted;
                let target_classes = self.target_classes(targeted, target_classes.as_ref())?;
                AttackMethod::Apgd { loss: loss.value, steps: *steps, restarts: *restarts, rho: *rho, target_classes }
            }
            &AttackTemplate::Fab { targeted, steps, restarts, ref target_classes, alpha_max, beta, eta } => {
                let target_classes = self.target_classes(targeted, target_classes.as_ref())?;
                AttackMethod::Fab { targeted, steps, restarts, target_classes, alpha_max, beta, eta }
            }
            AttackTemplate::AutoAttack { version } => {
                let what = format!("AutoAttack's version `{}`", version.name());
                self.require_classes(version.least_classes(), &what, &version.at)?;
                AttackMethod::AutoAttack { version: version.value }
            }
            AttackTemplate::Uap { craft_examples, by, passes, fooling_rate } => AttackMethod::Uap {
                crafted_on: Box::new(self.crafted_on(craft_examples.as_ref())?),
                by: self.uap_method(by)?,
                passes: *passes,
                fooling_rate: *fooling_rate,
            },
            AttackTemplate::Transfer { by, .. } => AttackMethod::Transfer {
                source: Box::new(self.circumstances.source?.clone()),
                by: Box::new(self.method(by)?),
            },
        })
    }

    fn step(&mut self, step: StepSize) -> Option<f64> {
        let length = match (step, self.circumstances.eps) {
            (StepSize::Absolute(length), _) => Some(length),
            (StepSize::OfEps(_), Some(eps)) => Some(step.resolve(eps)),
            (StepSize::OfEps(_), None) => None,
        };
        if length.is_none() {
            self.mistakes.push(self.at.mistake("a step relative to ε needs an ε"));
        }
        length
    }

    fn require_classes(&mut self, least: u32, what: &str, at: &Place) -> Option<()> {
        let classes = self.circumstances.classes;
        if classes >= least {
            return Some(());
        }
        let name = self.circumstances.dataset;
        let message =
            format!("{what} is defined for {least} classes and more, and the model for `{name}` has {classes}");
        self.mistakes.push(at.mistake(message));
        None
    }

    /// At most all classes.
    fn candidates(&mut self, wanted: Option<&Located<u32>>) -> Option<u32> {
        self.at_most(wanted, defaults::DEEPFOOL_CANDIDATES, self.circumstances.classes)
    }

    /// At most all wrong classes. Where there are no targets the answer is always the same, so that it makes no other identity.
    fn target_classes(&mut self, targeted: bool, wanted: Option<&Located<u32>>) -> Option<u32> {
        if !targeted {
            return Some(defaults::TARGET_CLASSES);
        }
        self.at_most(wanted, defaults::TARGET_CLASSES, self.circumstances.classes.saturating_sub(1))
    }

    fn at_most(&mut self, wanted: Option<&Located<u32>>, default: u32, most: u32) -> Option<u32> {
        let Some(wanted) = wanted else { return Some(default.min(most)) };
        if wanted.value <= most {
            return Some(wanted.value);
        }
        let (name, classes) = (self.circumstances.dataset, self.circumstances.classes);
        let message = format!("the model for `{name}` has {classes} classes: at most {most} can be asked for here");
        self.mistakes.push(wanted.at.mistake(message));
        None
    }

    fn crafted_on(&mut self, wanted: Option<&Located<u32>>) -> Option<DatasetSpec> {
        let name = self.circumstances.dataset;
        let Some(train) = self.circumstances.train else {
            let message = format!("a universal perturbation is crafted on the train split, and `{name}` has none");
            self.mistakes.push(self.at.mistake(message));
            return None;
        };
        if let Some(wanted) = wanted.filter(|wanted| wanted.value > train.examples) {
            let (has, wants) = (counted(train.examples, "example"), grouped(wanted.value));
            let message = format!("the train split of `{name}` has {has}, fewer than {wants}");
            self.mistakes.push(wanted.at.mistake(message));
            return None;
        }
        let examples = wanted.map_or(defaults::UAP_CRAFT_EXAMPLES.min(train.examples), |wanted| wanted.value);
        Some(DatasetSpec { examples, ..train.clone() })
    }

    fn uap_method(&mut self, by: &UapTemplate) -> Option<UapMethod> {
        Some(match by {
            UapTemplate::DeepFool { steps, overshoot, candidates } => UapMethod::DeepFool {
                steps: *steps,
                overshoot: *overshoot,
                candidates: self.candidates(candidates.as_ref())?,
            },
            &UapTemplate::Gradient { step_size, batch_size } => {
                UapMethod::Gradient { step_size: self.step(step_size)?, batch_size }
            }
        })
    }
}
