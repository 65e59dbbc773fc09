//! From the configuration of an attack to the attack.

use gauntlet_domain::experiment::{AttackConfig, AttackMethod, Norm, UapMethod};

use super::apgd::Apgd;
use super::autoattack::AutoAttack;
use super::ball::Ball;
use super::carlini_wagner::CarliniWagner;
use super::deepfool::DeepFool;
use super::diversity::Diversity;
use super::fab::Fab;
use super::feature::Feature;
use super::gradient::{Noise, Pgd};
use super::momentum::Momentum;
use super::square::Square;
use super::template::{Attack, Evaluation};
use super::transfer::Transfer;
use super::universal::{Crafting, Universal};
use crate::error::LabError;

/// The attack of this method under the evaluation's threat model.
pub(super) fn attack<'a>(method: &AttackMethod, evaluation: &Evaluation<'a>) -> Result<Box<dyn Attack + 'a>, LabError> {
    let config = evaluation.attack;
    Ok(match method {
        AttackMethod::Noise { draws } => Box::new(Noise { draws: *draws }),
        AttackMethod::Fgsm => {
            Box::new(Pgd { steps: 1, step_size: config.eps.unwrap_or_default(), random_start: false, restarts: 1 })
        }
        AttackMethod::Pgd { steps, step_size, random_start, restarts } => {
            Box::new(Pgd { steps: *steps, step_size: *step_size, random_start: *random_start, restarts: *restarts })
        }
        AttackMethod::Cw { confidence, steps, learning_rate, initial_const, binary_search_steps } => {
            allow(method, config, &[Norm::L2], true)?;
            Box::new(CarliniWagner {
                confidence: *confidence,
                steps: *steps,
                learning_rate: *learning_rate,
                initial_const: *initial_const,
                binary_search_steps: *binary_search_steps,
                abort_early: config.early_stop,
            })
        }
        AttackMethod::DeepFool { steps, overshoot, candidates } => {
            allow(method, config, &[Norm::Linf, Norm::L2], false)?;
            Box::new(DeepFool { steps: *steps, overshoot: *overshoot, candidates: *candidates })
        }
        AttackMethod::Fab { targeted, steps, restarts, target_classes, alpha_max, beta, eta } => {
            allow(method, config, &Norm::ALL, false)?;
            Box::new(Fab {
                targeted: *targeted,
                steps: *steps,
                restarts: *restarts,
                target_classes: *target_classes,
                alpha_max: *alpha_max,
                beta: *beta,
                eta: *eta,
            })
        }
        AttackMethod::MiFgsm { steps, step_size, decay } => Box::new(Momentum {
            steps: *steps,
            step_size: *step_size,
            decay: *decay,
            diversity: None,
            random_start: false,
        }),
        AttackMethod::DiFgsm { steps, step_size, decay, resize_rate, diversity_probability, random_start } => {
            let diversity = Diversity { resize_rate: *resize_rate, probability: *diversity_probability };
            Box::new(Momentum {
                steps: *steps,
                step_size: *step_size,
                decay: *decay,
                diversity: Some(diversity),
                random_start: *random_start,
            })
        }
        AttackMethod::Apgd { loss, steps, restarts, rho, target_classes } => Box::new(Apgd {
            loss: *loss,
            steps: *steps,
            restarts: *restarts,
            rho: *rho,
            target_classes: *target_classes,
            gradient_passes: 1,
            larger_balls: true,
            first_start: 0,
        }),
        AttackMethod::AutoAttack { version } => {
            allow(method, config, &[Norm::Linf, Norm::L2], false)?;
            Box::new(AutoAttack::new(*version, evaluation.model.classes())?)
        }
        AttackMethod::Square { queries, p_init, restarts } => {
            Box::new(Square { queries: *queries, p_init: *p_init, restarts: *restarts })
        }
        AttackMethod::Feature { steps, step_size, restarts } => {
            Box::new(Feature { steps: *steps, step_size: *step_size, restarts: *restarts })
        }
        AttackMethod::Uap { by, passes, fooling_rate, .. } => {
            Box::new(crafted(evaluation, by, *passes, *fooling_rate)?)
        }
        AttackMethod::Transfer { by, .. } => {
            let source = evaluation.aids.source.ok_or_else(|| lacks("a model to craft on"))?;
            Box::new(Transfer { source, by: attack(by, evaluation)? })
        }
    })
}

fn crafted(evaluation: &Evaluation<'_>, by: &UapMethod, passes: u32, fooling_rate: f64) -> Result<Universal, LabError> {
    let AttackConfig { norm, eps, .. } = *evaluation.attack;
    let examples = evaluation.aids.crafted_on.ok_or_else(|| lacks("examples to craft on"))?;
    let crafting = Crafting {
        model: evaluation.model,
        examples,
        count: examples.len(),
        ball: Ball { norm, eps: eps.ok_or_else(|| lacks("eps"))? },
        seed: evaluation.seed,
        passes,
        fooling_rate,
    };
    Ok(Universal { perturbation: crafting.craft(by, &mut |_| Ok(()))? })
}

fn lacks(what: &str) -> LabError {
    LabError::Spec(format!("the attack has no {what}"))
}

/// Whether the method knows the norm and, if there is one, can lead to a target. The sweep reader checks the same; this is the last line.
fn allow(method: &AttackMethod, config: &AttackConfig, norms: &[Norm], targeted: bool) -> Result<(), LabError> {
    let name = method.name();
    if !norms.contains(&config.norm) {
        return Err(LabError::Spec(format!("the attack `{name}` does not know the norm {}", config.norm)));
    }
    if config.target.is_some() && !targeted {
        return Err(LabError::Spec(format!("the attack `{name}` leads to no target class")));
    }
    Ok(())
}
