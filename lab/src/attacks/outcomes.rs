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
    keep_images: bool,
    /// Per batch, f32 \[n,C,H,W\].
    images: Vec<Tensor>,
    /// Number in the split of the first example.
    start: u64,
    /// Row of the first example of the last batch.
    batch: usize,
}

impl Table {
    pub(super) fn new(norm: Norm, start: u64, keep_images: bool) -> Self {
        Self { columns: Outcomes::default(), norm, keep_images, images: Vec::new(), start, batch: 0 }
    }

    /// Where an example stands.
    const fn row(&self, example: u64) -> usize {
        (example - self.start) as usize
    }

    /// Adds examples with what the model says before any attack; until an attack says otherwise that is also what it says after.
    pub(super) fn append_clean(&mut self, batch: &Batch, clean: &Judgement) -> Result<(), LabError> {
        self.batch = self.columns.label.len();
        let predictions = classes(&clean.predictions)?;
        let losses = floats(&clean.losses)?;
        if let Some(offset) = losses.iter().position(|loss| !loss.is_finite()) {
            let example = self.start + (self.batch + offset) as u64;
            return Err(LabError::NotFinite { example, when: "before" });
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
        let rows: Vec<usize> = (0..examples.len()).collect();
        let distances = floats(&lengths(&points.f_sub(originals)?, self.norm)?)?;
        self.note_rows(&rows, examples, points, &distances, after)
    }

    /// Notes points of a minimum-norm attack that fool and are nearer than those noted before. What was never fooled keeps an infinite distance.
    pub(super) fn note_nearest(
        &mut self,
        examples: &[u64],
        points: &Tensor,
        originals: &Tensor,
        after: &Judgement,
        fooled: &Tensor,
    ) -> Result<(), LabError> {
        let distances = floats(&lengths(&points.f_sub(originals)?, self.norm)?)?;
        let fooled: Vec<bool> = Vec::try_from(fooled)?;
        let nearer = |row: &usize| {
            let at = self.row(examples[*row]);
            let unnoted = self.columns.adversarial_prediction[at] == self.columns.label[at];
            fooled[*row] && (unnoted || distances[*row] < self.columns.distance[at])
        };
        let rows: Vec<usize> = (0..examples.len()).filter(nearer).collect();
        for (example, _) in examples.iter().zip(&fooled).filter(|(_, fooled)| !**fooled) {
            let at = self.row(*example);
            if self.columns.adversarial_prediction[at] == self.columns.label[at] {
                self.columns.distance[at] = f32::INFINITY;
            }
        }
        self.note_rows(&rows, examples, points, &distances, after)
    }

    fn note_rows(
        &mut self,
        rows: &[usize],
        examples: &[u64],
        points: &Tensor,
        distances: &[f32],
        after: &Judgement,
    ) -> Result<(), LabError> {
        let predictions = classes(&after.predictions)?;
        let losses = floats(&after.losses)?;
        for row in rows {
            let example = examples[*row];
            if !losses[*row].is_finite() {
                return Err(LabError::NotFinite { example, when: "after" });
            }
            let at = self.row(example);
            self.columns.adversarial_prediction[at] = predictions[*row];
            self.columns.adversarial_loss[at] = losses[*row];
            self.columns.distance[at] = distances[*row];
        }
        if let Some(images) = self.images.last_mut() {
            let before = self.start + self.batch as u64;
            let to: Vec<i64> = rows.iter().map(|row| (examples[*row] - before) as i64).collect();
            let from: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
            let [to, from] = [to, from].map(|rows| Tensor::f_from_slice(&rows)?.f_to_device(points.device()));
            let _in_place = images.f_index_copy_(0, &to?, &points.f_detach()?.f_index_select(0, &from?)?)?;
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
