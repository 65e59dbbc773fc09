//! What is dropped at random in a training step: activations, and whole branches.

use tch::Tensor;

use super::Dropout;
use crate::random::{Purpose, Stream};

/// The activations with each set to 0 with probability `rate` and the rest scaled by 1/(1 − `rate`), in \[0,1), as `nn.Dropout` (Srivastava et al. 2014).
/// `layer` tells the masks of one step apart.
pub(super) fn dropout(x: &Tensor, rate: f32, dropout: Dropout, layer: u32) -> tch::Result<Tensor> {
    let stream = Stream::new(dropout.seed, Purpose::Dropout { iteration: dropout.iteration, layer });
    x.f_mul(&mask(stream, rate, dropout.first_row, &x.size(), x)?)
}

/// The branch of a residual block, \[n,…\], left out with probability `rate` for each image by itself and else scaled by 1/(1 − `rate`), in \[0,1)
/// (Huang et al. 2016, arXiv 1603.09382). `layer` tells the masks of one step apart.
pub(super) fn stochastic_depth(branch: &Tensor, rate: f32, dropout: Dropout, layer: u32) -> tch::Result<Tensor> {
    let stream = Stream::new(dropout.seed, Purpose::StochasticDepth { iteration: dropout.iteration, layer });
    let mut size = vec![1; branch.dim()];
    size[0] = branch.size()[0];
    branch.f_mul(&mask(stream, rate, dropout.first_row, &size, branch)?)
}

/// 0 with probability `rate`, else 1/(1 − `rate`), for rows from `first_row` on.
fn mask(mut stream: Stream, rate: f32, first_row: usize, size: &[i64], like: &Tensor) -> tch::Result<Tensor> {
    let kept = 1.0 / (1.0 - rate);
    let per_row = size.iter().skip(1).product::<i64>() as usize;
    let count = size.iter().product::<i64>() as usize;
    let earlier = first_row * per_row;
    let draws = (0..earlier + count).map(|_| if stream.unit() < rate { 0.0 } else { kept });
    let values: Vec<f32> = draws.skip(earlier).collect();
    Tensor::f_from_slice(&values)?.f_view(size)?.f_to_device(like.device())?.f_to_kind(like.kind())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    const STEP: Dropout = Dropout { seed: 3, iteration: 5, first_row: 0 };

    fn ones(size: &[i64]) -> Tensor {
        Tensor::ones(size, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn dropout_zeroes_the_share_of_its_rate_and_keeps_the_mean() {
        let dropped = dropout(&ones(&[40, 1000]), 0.2, STEP, 0).unwrap();
        let zeros = dropped.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((zeros - 0.2).abs() < 0.01, "{zeros}");
        assert!(dropped.max().double_value(&[]) == 1.25);
        assert!((dropped.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.01);
    }

    #[test]
    fn stochastic_depth_drops_whole_images_of_the_branch() {
        let dropped = stochastic_depth(&ones(&[400, 3, 2, 2]), 0.5, STEP, 0).unwrap().view([400, 12]);
        let (least, most) = (dropped.amin([1i64].as_slice(), false), dropped.amax([1i64].as_slice(), false));
        assert_eq!(least, most);
        let zeros = least.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((zeros - 0.5).abs() < 0.1, "{zeros}");
        assert_eq!(most.max().double_value(&[]), 2.0);
    }

    #[test]
    fn masks_depend_on_seed_step_and_layer_alone() {
        let x = ones(&[2, 64]);
        let mask = |step, layer| dropout(&x, 0.5, step, layer).unwrap();
        assert_eq!(mask(STEP, 1), mask(STEP, 1));
        assert_ne!(mask(STEP, 1), mask(STEP, 2));
        assert_ne!(mask(STEP, 1), mask(Dropout { seed: 4, ..STEP }, 1));
        assert_ne!(mask(STEP, 1), mask(Dropout { iteration: 6, ..STEP }, 1));
    }

    #[test]
    fn a_part_of_a_batch_has_the_masks_of_its_rows() {
        let whole = dropout(&ones(&[6, 8]), 0.5, STEP, 0).unwrap();
        let part = dropout(&ones(&[2, 8]), 0.5, Dropout { first_row: 3, ..STEP }, 0).unwrap();
        assert_eq!(part, whole.narrow(0, 3, 2));
        let whole = stochastic_depth(&ones(&[6, 2]), 0.5, STEP, 0).unwrap();
        let part = stochastic_depth(&ones(&[4, 2]), 0.5, Dropout { first_row: 2, ..STEP }, 0).unwrap();
        assert_eq!(part, whole.narrow(0, 2, 4));
    }

    #[test]
    fn gradients_are_dropped_as_the_activations_are() {
        let x = ones(&[2, 64]).set_requires_grad(true);
        let dropped = dropout(&x, 0.5, STEP, 0).unwrap();
        dropped.sum(Kind::Float).backward();
        assert_eq!(x.grad(), dropped.detach());
    }
}
