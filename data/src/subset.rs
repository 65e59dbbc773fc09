//! Which examples of a split a spec wants.

use gauntlet_domain::experiment::DatasetSpec;

use crate::images::DatasetProblem;

/// An example that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Its number in the source.
    pub(crate) index: usize,
    /// Its label in the split.
    pub(crate) label: u32,
}

/// The examples that a spec wants of a source, whose labels these are, in the order of the source.
///
/// Labels after the last wanted example are not looked at.
pub(crate) fn choose(labels: impl IntoIterator<Item = u32>, spec: &DatasetSpec) -> Result<Vec<Chosen>, DatasetProblem> {
    let wanted = spec.examples as usize;
    let mut chosen = Vec::new();
    let mut taken = vec![0_u32; spec.classes as usize];
    for (index, found) in labels.into_iter().enumerate() {
        if chosen.len() == wanted {
            break;
        }
        let Some(label) = spec.subset.label(found) else { continue };
        let Some(taken) = taken.get_mut(label as usize) else {
            return Err(DatasetProblem::LabelOutOfRange { index, found, classes: spec.classes });
        };
        if spec.subset.per_class.is_none_or(|most| *taken < most) {
            *taken += 1;
            chosen.push(Chosen { index, label });
        }
    }
    if chosen.len() < wanted {
        return Err(DatasetProblem::TooFew { found: chosen.len() as u32, expected: spec.examples });
    }
    Ok(chosen)
}

/// How many images of a source have to be read for these examples.
pub(crate) fn last_needed(chosen: &[Chosen]) -> usize {
    chosen.last().map_or(0, |last| last.index + 1)
}

/// The images \[N,…\] of the examples, and their labels, out of the first images of the source.
pub(crate) fn gather(mut pixels: Vec<u8>, image_bytes: usize, chosen: &[Chosen]) -> (Vec<u8>, Vec<u32>) {
    let labels = chosen.iter().map(|example| example.label).collect();
    if last_needed(chosen) == chosen.len() {
        pixels.truncate(chosen.len() * image_bytes);
        return (pixels, labels);
    }
    let mut kept = Vec::with_capacity(chosen.len() * image_bytes);
    chosen.iter().for_each(|example| kept.extend_from_slice(&pixels[example.index * image_bytes..][..image_bytes]));
    (kept, labels)
}
