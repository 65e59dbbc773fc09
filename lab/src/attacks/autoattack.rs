//! The ensemble of Croce & Hein (2020, arXiv 2003.01690) in L∞ and L2, with the settings of its published code.

use gauntlet_domain::experiment::{ApgdLoss, AutoAttackVersion};

use super::apgd::Apgd;
use super::arena::Arena;
use super::fab::Fab;
use super::objective::check_classes;
use super::square::Square;
use super::template::Attack;
use crate::error::LabError;

/// Steps of a restart of APGD and FAB.
const STEPS: u32 = 100;
/// Classes that targeted attacks lead to, if there are so many wrong ones.
const TARGET_CLASSES: u32 = 9;
/// Passes whose gradients are averaged for a defence that draws at random.
const RANDOMISED_PASSES: u32 = 20;

/// Attacks one after the other, each of which meets the examples that those before it did not fool.
pub(super) struct AutoAttack {
    parts: Vec<Box<dyn Attack>>,
}

impl AutoAttack {
    /// The ensemble against a model of so many classes.
    ///
    /// # Errors
    /// Too few classes for one of its losses.
    pub(super) fn new(version: AutoAttackVersion, classes: u32) -> Result<Self, LabError> {
        let parts: Vec<Box<dyn Attack>> = match version {
            AutoAttackVersion::Standard => {
                check_classes(ApgdLoss::DlrTargeted, classes)?;
                vec![
                    Box::new(apgd(ApgdLoss::Ce)),
                    Box::new(Apgd { first_start: 1, ..apgd(ApgdLoss::DlrTargeted) }),
                    Box::new(fab(true)),
                    square(),
                ]
            }
            AutoAttackVersion::Plus => {
                check_classes(ApgdLoss::DlrTargeted, classes)?;
                vec![
                    Box::new(Apgd { restarts: 5, ..apgd(ApgdLoss::Ce) }),
                    Box::new(Apgd { restarts: 5, first_start: 5, ..apgd(ApgdLoss::Dlr) }),
                    Box::new(Fab { restarts: 5, ..fab(false) }),
                    square(),
                    Box::new(Apgd { first_start: 10, ..apgd(ApgdLoss::DlrTargeted) }),
                    Box::new(fab(true)),
                ]
            }
            AutoAttackVersion::Rand => {
                check_classes(ApgdLoss::Dlr, classes)?;
                let averaged = |loss, first_start| {
                    Box::new(Apgd { gradient_passes: RANDOMISED_PASSES, first_start, ..apgd(loss) })
                };
                vec![averaged(ApgdLoss::Ce, 0), averaged(ApgdLoss::Dlr, 1)]
            }
        };
        Ok(Self { parts })
    }
}

fn apgd(loss: ApgdLoss) -> Apgd {
    Apgd {
        loss,
        steps: STEPS,
        restarts: 1,
        rho: 0.75,
        target_classes: TARGET_CLASSES,
        gradient_passes: 1,
        larger_balls: false,
        first_start: 0,
    }
}

const fn fab(targeted: bool) -> Fab {
    Fab { targeted, steps: STEPS, restarts: 1, target_classes: TARGET_CLASSES, alpha_max: 0.1, beta: 0.9, eta: 1.05 }
}

fn square() -> Box<Square> {
    Box::new(Square { queries: 5_000, p_init: 0.8, restarts: 1 })
}

impl Attack for AutoAttack {
    fn tries(&self) -> u32 {
        self.parts.iter().map(|part| part.tries()).sum()
    }

    fn attempt(&self, arena: &mut Arena<'_>, number: u32) -> Result<(), LabError> {
        let mut number = number;
        for part in &self.parts {
            if number < part.tries() {
                return part.attempt(arena, number);
            }
            number -= part.tries();
        }
        Err(LabError::Defect("AutoAttack was asked for more tries than it has".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(version: AutoAttackVersion) -> Vec<u32> {
        AutoAttack::new(version, 10).unwrap().parts.iter().map(|part| part.tries()).collect()
    }

    #[test]
    fn its_parts_have_the_published_restarts_and_target_classes() {
        use AutoAttackVersion::{Plus, Rand, Standard};
        assert_eq!(tries(Standard), [1, 9, 9, 1]);
        assert_eq!(tries(Plus), [5, 5, 5, 1, 9, 9]);
        assert_eq!(tries(Rand), [1, 1]);
    }

    #[test]
    fn models_of_too_few_classes_are_refused() {
        for (version, needed) in
            [(AutoAttackVersion::Standard, 4), (AutoAttackVersion::Plus, 4), (AutoAttackVersion::Rand, 3)]
        {
            assert!(AutoAttack::new(version, needed).is_ok());
            let refused = AutoAttack::new(version, needed - 1).err().unwrap().to_string();
            assert!(refused.contains(&format!("needs at least {needed} classes")), "{refused}");
        }
    }
}
