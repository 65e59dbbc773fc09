//! Fourier heat maps: which single frequencies a model errs on (Yin et al. 2019, arXiv 1906.08988).

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use tch::{Kind, Tensor};

use super::frequency::{frequencies, plane};
use super::shown::Shown;
use crate::error::LabError;
use crate::examples::{Batch, Examples};
use crate::models::Model;
use crate::random::{Purpose, Stream};
use crate::training::Wish;

/// The waves that are added to images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waves {
    /// L2 norm of a wave in one channel, in pixels of \[0,1\], above 0: an image of C channels is changed by √C times as much.
    pub norm: f64,
    /// Seed of their signs.
    pub seed: u64,
    /// Largest frequency along either side, in cycles per image; all without it. Each frequency costs a pass of all examples, and the number of
    /// frequencies grows with the square of this.
    pub reach: Option<u32>,
}

/// How many examples a model gets wrong at each frequency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeatMap {
    /// Examples shown at each frequency.
    pub examples: u64,
    /// Vertical frequencies of the rows, rising, in cycles per image; below zero the first ones.
    pub vertical: Vec<i64>,
    /// Horizontal frequencies of the columns, likewise.
    pub horizontal: Vec<i64>,
    /// Wrong predictions, a row for each vertical frequency. Opposite frequencies are one wave, and have one number.
    pub errors: Vec<Vec<u64>>,
}

/// A pair of a vertical and a horizontal frequency.
type Frequency = [i64; 2];

/// The wave of this frequency in an image of \[height, width\], f64 \[H,W\] of L2 norm 1: cos 2π(vy/H + hx/W), scaled. Its DFT is zero but at the
/// frequency and its opposite.
///
/// # Errors
/// An image without pixels; no memory.
pub fn wave([height, width]: [i64; 2], [vertical, horizontal]: Frequency) -> Result<Tensor, LabError> {
    if height < 1 || width < 1 {
        return Err(LabError::Spec(format!("there is no wave in an image of {height}×{width} pixels")));
    }
    // Whole numbers keep the phase exact, however many cycles there are.
    let phase = |y: i64, x: i64| (vertical * y * width + horizontal * x * height).rem_euclid(height * width);
    let value = |y: i64, x: i64| (TAU * phase(y, x) as f64 / (height * width) as f64).cos();
    let values: Vec<f64> = (0..height).flat_map(|y| (0..width).map(move |x| value(y, x))).collect();
    let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    Ok(Tensor::f_from_slice(&values)?.f_view([height, width])?.f_div_scalar(norm)?)
}

/// Adds to every example a wave of each frequency, in each channel with a sign of its own, clips to \[0,1\], and counts wrong predictions.
///
/// The signs are named by seed, example and frequency: neither the batches nor the reach change them. `go_on` hears how many of how many images the
/// model has been shown; [`Wish::Stop`] ends it.
///
/// # Errors
/// A norm that is not above zero; a model whose output is not finite; images that do not fit it; no memory; [`LabError::Interrupted`].
pub fn fourier_heat_map(
    model: &Model,
    examples: &Examples,
    waves: Waves,
    batch_size: usize,
    go_on: &mut dyn FnMut(u64, u64) -> Wish,
) -> Result<HeatMap, LabError> {
    let _guard = tch::no_grad_guard();
    if !(waves.norm > 0.0 && waves.norm.is_finite()) {
        return Err(LabError::Spec(format!("the norm of a wave must be above zero, found {}", waves.norm)));
    }
    let (count, step) = (examples.len(), batch_size.max(1));
    let grid = Grid::new(plane(&examples.range(0, 1)?.pixels)?, waves.reach);
    let mut errors: BTreeMap<Frequency, u64> = grid.frequencies().map(|frequency| (frequency, 0)).collect();
    let mut model = Shown::new(model, (count * errors.len()) as u64, go_on);
    for first in (0..count).step_by(step) {
        let Batch { pixels, labels } = examples.range(first, step.min(count - first))?;
        for (frequency, wrong) in &mut errors {
            let perturbed = waves.added(&pixels, *frequency, first)?;
            *wrong += labels.numel() as u64 - model.right(&perturbed, &labels, first)?;
        }
    }
    Ok(grid.map(count as u64, &errors))
}

impl Waves {
    /// Images with the wave of a frequency, f32 \[n,C,H,W\] in \[0,1\]; the first is that of index `first`.
    fn added(&self, pixels: &Tensor, frequency: Frequency, first: usize) -> Result<Tensor, LabError> {
        let (examples, channels) = (pixels.size()[0], pixels.size()[1]);
        let wave = wave(plane(pixels)?, frequency)?.f_mul_scalar(self.norm)?;
        let signs: Vec<f32> = (first..first + examples as usize)
            .flat_map(|example| self.signs(example as u64, frequency, channels as usize))
            .collect();
        let signs = Tensor::f_from_slice(&signs)?.f_view([examples, channels, 1, 1])?.f_to_device(pixels.device())?;
        let wave = wave.f_to_kind(Kind::Float)?.f_to_device(pixels.device())?;
        Ok(signs.f_mul(&wave)?.f_add(pixels)?.f_clamp(0.0, 1.0)?)
    }

    /// +1 or −1 for each channel.
    fn signs(&self, example: u64, frequency: Frequency, channels: usize) -> Vec<f32> {
        let mut stream = Stream::new(self.seed, Purpose::WaveSigns { example, frequency });
        (0..channels).map(|_| if stream.coin() { 1.0 } else { -1.0 }).collect()
    }
}

/// The frequencies of a map.
struct Grid {
    size: [i64; 2],
    vertical: Vec<i64>,
    horizontal: Vec<i64>,
}

impl Grid {
    /// Those of images of this \[height, width\] up to a largest one.
    fn new(size: [i64; 2], reach: Option<u32>) -> Self {
        let [vertical, horizontal] = size.map(|length| {
            let within = |frequency: &i64| reach.is_none_or(|reach| frequency.unsigned_abs() <= u64::from(reach));
            let mut kept: Vec<i64> = frequencies(length).filter(within).collect();
            kept.sort_unstable();
            kept
        });
        Self { size, vertical, horizontal }
    }

    /// The one of a frequency and its opposite whose wave stands for both.
    fn representative(&self, frequency: Frequency) -> Frequency {
        let opposite = |side: usize| {
            let (length, half) = (self.size[side], self.size[side] / 2);
            (half - frequency[side]).rem_euclid(length) - half
        };
        frequency.max([opposite(0), opposite(1)])
    }

    /// Those that stand for all.
    fn frequencies(&self) -> impl Iterator<Item = Frequency> {
        let row =
            |vertical: &i64| self.horizontal.iter().map(|horizontal| [*vertical, *horizontal]).collect::<Vec<_>>();
        self.vertical.iter().flat_map(row).filter(|frequency| self.representative(*frequency) == *frequency)
    }

    /// The map with these numbers of errors.
    fn map(self, examples: u64, errors: &BTreeMap<Frequency, u64>) -> HeatMap {
        let at = |vertical: &i64, horizontal: &i64| {
            errors.get(&self.representative([*vertical, *horizontal])).copied().unwrap_or_default()
        };
        let row = |vertical: &i64| self.horizontal.iter().map(|horizontal| at(vertical, horizontal)).collect();
        let errors = self.vertical.iter().map(row).collect();
        HeatMap { examples, vertical: self.vertical, horizontal: self.horizontal, errors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_map_holds_every_frequency_and_half_of_them_are_shown() {
        for size in [[4, 6], [5, 7], [4, 5], [1, 1], [2, 2]] {
            let grid = Grid::new(size, None);
            let shown: Vec<Frequency> = grid.frequencies().collect();
            let all = || grid.vertical.iter().flat_map(|v| grid.horizontal.iter().map(move |h| [*v, *h]));
            assert_eq!(all().count() as i64, size[0] * size[1]);
            assert!(all().all(|frequency| shown.contains(&grid.representative(frequency))), "{size:?}: {shown:?}");
            let own = all().filter(|[v, h]| (2 * v) % size[0] == 0 && (2 * h) % size[1] == 0).count();
            assert_eq!(2 * shown.len() - own, all().count(), "{size:?}: {shown:?}");
        }
    }

    #[test]
    fn opposite_frequencies_have_one_wave() {
        let grid = Grid::new([4, 6], None);
        for frequency in [[1, 2], [-1, -3], [-2, 1], [0, -3]] {
            let [one, other] = [frequency, grid.representative(frequency)].map(|f| wave([4, 6], f).unwrap());
            assert!((one - other).abs().max().double_value(&[]) < 1e-12, "{frequency:?}");
        }
    }

    #[test]
    fn what_is_added_has_the_norm_in_each_channel_and_signs_of_its_own() {
        let waves = Waves { norm: 0.5, seed: 3, reach: None };
        let grey = Tensor::full([40, 3, 8, 8], 0.5, (Kind::Float, Device::Cpu));
        let added = waves.added(&grey, [2, -1], 0).unwrap() - &grey;
        let norms = added.square().sum_dim_intlist([2i64, 3].as_slice(), false, Kind::Double).sqrt();
        assert!((&norms - 0.5).abs().max().double_value(&[]) < 1e-6, "{norms:?}");
        let ups = added.select(3, 0).select(2, 0).gt(0.0).sum(Kind::Int64).int64_value(&[]);
        assert!((40..80).contains(&ups), "{ups} of 120 signs are plus");
        let later = waves.added(&grey.narrow(0, 0, 5), [2, -1], 35).unwrap() - grey.narrow(0, 0, 5);
        assert_eq!(later, added.narrow(0, 35, 5));
    }
}
