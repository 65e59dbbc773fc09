//! Perturbations that another model is fooled by.

use super::arena::Arena;
use super::template::Attack;
use crate::error::LabError;
use crate::models::Model;

/// An attack on a source model, whose output is judged by the attacked one (Papernot et al. 2016, arXiv 1605.07277).
///
/// Every example is attacked with all steps, also those that the source gets wrong by itself: how far a perturbation carries is not told by where the
/// source falls. Passes through the source are not queries of the attacked model.
pub(super) struct Transfer<'a> {
    pub(super) source: &'a Model,
    pub(super) by: Box<dyn Attack + 'a>,
}

impl Attack for Transfer<'_> {
    fn tries(&self) -> u32 {
        self.by.tries()
    }

    fn attempt(&self, arena: &mut Arena<'_>, number: u32) -> Result<(), LabError> {
        let mut elsewhere = arena.on_another(self.source)?;
        self.by.attempt(&mut elsewhere, number)?;
        let images =
            elsewhere.finish()?.images.ok_or_else(|| LabError::Defect("an arena kept no images".to_owned()))?;
        arena.conclude(&images)
    }
}
