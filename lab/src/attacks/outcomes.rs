//! The table that an evaluation fills.

use gauntlet_domain::experiment::{Norm, Outcomes};
use tch::Tensor;

use super::arena::cross_entropies;
use super::ball::lengths;
use crate::error::LabError;
use crate::examples::Batch;

/// What the model says about points.
pub(super) struct Judgement {
    /// Predicted classes, i64 \[n\].
    pub(super) predictions: Tensor,
    /// Cross-entropy in nats, f32 \[n\].
    pub(super) losses: Tensor,
}

impl Judgement {
    /// What these logits, f32 \[n,classes\], say.
    pub(super) fn of(logits: &Tensor, labels: &Tensor) -> tch::Result<Self> {
        Ok(Self { predictions: logits.f_argmax(1, false)?, losses: cross_entropies(logits, labels)? })
    }
}

/// Outcomes in the making.
pub(super) struct Table {
    columns: Outcomes,
    norm: Norm,
    /// Index in the split of the first row.
    start: u64,
    /// f32 \[N,C,H,W\], if they are to be kept.
    images: Option<Vec<Tensor>>,
}

impl Table {
    pub(super) fn new(norm: Norm, start: u64, keep_images: bool) -> Self {
        Self { columns: Outcomes::default(), norm, start, images: keep_images.then(Vec::new) }
    }

    /// Adds examples with what the model says before any attack; until an attack says otherwise that is also what it says after.
    /// Gives the row of the first of them.
    pub(super) fn append_clean(&mut self, batch: &Batch, clean: &Judgement) -> Result<usize, LabError> {
        let first = self.columns.label.len();
        let predictions = classes(&clean.predictions)?;
        let losses = floats(&clean.losses)?;
        if let Some(offset) = losses.iter().position(|loss| !loss.is_finite()) {
            return Err(LabError::NotFinite { example: self.start + (first + offset) as u64, when: "before" });
        }
        if let Some(images) = &mut self.images {
            let rows = batch.pixels.f_detach_copy()?.f_split(1, 0)?;
            images.extend(rows);
        }
        let table = &mut self.columns;
        table.label.extend(classes(&batch.labels)?);
        table.clean_prediction.extend(&predictions);
        table.adversarial_prediction.extend(&predictions);
        table.clean_loss.extend(&losses);
        table.adversarial_loss.extend(&losses);
        table.distance.extend(vec![0.0; losses.len()]);
        Ok(first)
    }

    /// Notes what the model says about the perturbed `points` of the rows `slots`.
    pub(super) fn note(
        &mut self,
        slots: &[usize],
        points: &Tensor,
        originals: &Tensor,
        after: &Judgement,
    ) -> Result<(), LabError> {
        let rows: Vec<usize> = (0..slots.len()).collect();
        let distances = floats(&lengths(&points.f_sub(originals)?, self.norm)?)?;
        self.note_rows(&rows, slots, points, &distances, after)
    }

    /// Notes points of a minimum-norm attack that fool and are nearer than those noted before. What was never fooled keeps an infinite distance.
    pub(super) fn note_nearest(
        &mut self,
        slots: &[usize],
        points: &Tensor,
        originals: &Tensor,
        after: &Judgement,
        fooled: &Tensor,
    ) -> Result<(), LabError> {
        let distances = floats(&lengths(&points.f_sub(originals)?, self.norm)?)?;
        let fooled: Vec<bool> = Vec::try_from(fooled)?;
        let nearer = |row: &usize| {
            let at = slots[*row];
            let unnoted = self.columns.adversarial_prediction[at] == self.columns.label[at];
            fooled[*row] && (unnoted || distances[*row] < self.columns.distance[at])
        };
        let rows: Vec<usize> = (0..slots.len()).filter(nearer).collect();
        for (at, _) in slots.iter().zip(&fooled).filter(|(_, fooled)| !**fooled) {
            if self.columns.adversarial_prediction[*at] == self.columns.label[*at] {
                self.columns.distance[*at] = f32::INFINITY;
            }
        }
        self.note_rows(&rows, slots, points, &distances, after)
    }

    /// Lengths of the perturbations noted for these rows, which were right before the attack; +∞ where none fools.
    pub(super) fn shortest(&self, slots: &[usize]) -> Vec<f32> {
        let fooled = |at: &usize| self.columns.adversarial_prediction[*at] != self.columns.label[*at];
        slots.iter().map(|at| if fooled(at) { self.columns.distance[*at] } else { f32::INFINITY }).collect()
    }

    fn note_rows(
        &mut self,
        rows: &[usize],
        slots: &[usize],
        points: &Tensor,
        distances: &[f32],
        after: &Judgement,
    ) -> Result<(), LabError> {
        let predictions = classes(&after.predictions)?;
        let losses = floats(&after.losses)?;
        for row in rows {
            let at = slots[*row];
            if !losses[*row].is_finite() {
                return Err(LabError::NotFinite { example: self.start + at as u64, when: "after" });
            }
            self.columns.adversarial_prediction[at] = predictions[*row];
            self.columns.adversarial_loss[at] = losses[*row];
            self.columns.distance[at] = distances[*row];
            if let Some(images) = &mut self.images {
                images[at] = points.f_detach()?.f_narrow(0, *row as i64, 1)?.f_detach_copy()?;
            }
        }
        Ok(())
    }

    /// The outcomes, and the attack's output where it was to be kept.
    pub(super) fn finish(self) -> Result<(Outcomes, Option<Tensor>), LabError> {
        let images = self.images.map(|images| Tensor::f_cat(&images, 0)).transpose()?;
        Ok((self.columns, images))
    }
}

fn classes(tensor: &Tensor) -> Result<Vec<u32>, LabError> {
    let values: Vec<i64> = Vec::try_from(tensor)?;
    Ok(values.into_iter().map(|value| value as u32).collect())
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>, LabError> {
    Ok(Vec::try_from(tensor)?)
}
