//! The table that an evaluation fills.

use gauntlet_domain::experiment::{Norm, Outcomes};
use tch::Tensor;

use super::ball::lengths;
use super::oracle::Judgement;
use crate::error::LabError;
use crate::examples::Batch;

/// Outcomes in the making.
pub(super) struct Table {
    columns: Outcomes,
    norm: Norm,
    keep_images: bool,
    /// Per batch, f32 \[n,C,H,W\].
    images: Vec<Tensor>,
    /// Index of the first example of the last batch.
    first: usize,
}

impl Table {
    pub(super) fn new(norm: Norm, keep_images: bool) -> Self {
        Self { columns: Outcomes::default(), norm, keep_images, images: Vec::new(), first: 0 }
    }

    /// Adds examples with what the model says before any attack; until an attack says otherwise that is also what it says after.
    pub(super) fn append_clean(&mut self, batch: &Batch, clean: &Judgement) -> Result<(), LabError> {
        let first = self.columns.label.len();
        self.first = first;
        let predictions = classes(&clean.predictions)?;
        let losses = floats(&clean.losses)?;
        if let Some(offset) = losses.iter().position(|loss| !loss.is_finite()) {
            return Err(LabError::NotFinite { example: (first + offset) as u64, when: "before" });
        }
        if self.keep_images {
            self.images.push(batch.pixels.f_detach_copy()?);
        }
        let table = &mut self.columns;
        table.label.extend(classes(&batch.labels)?);
        table.clean_prediction.extend(&predictions);
        table.adversarial_prediction.extend(&predictions);
        table.clean_loss.extend(&losses);
        table.adversarial_loss.extend(&losses);
        table.distance.extend(vec![0.0; losses.len()]);
        Ok(())
    }

    /// Notes what the model says about the perturbed `points` of `examples`.
    pub(super) fn note(
        &mut self,
        examples: &[u64],
        points: &Tensor,
        originals: &Tensor,
        after: &Judgement,
    ) -> Result<(), LabError> {
        let predictions = classes(&after.predictions)?;
        let losses = floats(&after.losses)?;
        let distances = floats(&lengths(&points.f_sub(originals)?, self.norm)?)?;
        for (row, example) in examples.iter().enumerate() {
            if !losses[row].is_finite() {
                return Err(LabError::NotFinite { example: *example, when: "after" });
            }
            let at = *example as usize;
            self.columns.adversarial_prediction[at] = predictions[row];
            self.columns.adversarial_loss[at] = losses[row];
            self.columns.distance[at] = distances[row];
        }
        if let Some(images) = self.images.last_mut() {
            let rows: Vec<i64> = examples.iter().map(|example| *example as i64 - self.first as i64).collect();
            let rows = Tensor::f_from_slice(&rows)?.f_to_device(points.device())?;
            let _in_place = images.f_index_copy_(0, &rows, &points.f_detach()?)?;
        }
        Ok(())
    }

    /// The outcomes, and the attack's output where it was to be kept.
    pub(super) fn finish(self) -> Result<(Outcomes, Option<Tensor>), LabError> {
        let images = if self.keep_images { Some(Tensor::f_cat(&self.images, 0)?) } else { None };
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
