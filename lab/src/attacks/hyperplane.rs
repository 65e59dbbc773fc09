//! The nearest point of a hyperplane in the box of all images.

use gauntlet_domain::experiment::Norm;
use tch::{Kind, Tensor};

/// One hyperplane per row: the points z with ⟨normal, z − point⟩ + gap = 0.
pub(super) struct Hyperplane<'a> {
    /// f32 \[n,d\].
    pub(super) normal: &'a Tensor,
    /// Value of the linear function at each row's point, f32 \[n\].
    pub(super) gap: &'a Tensor,
}

impl Hyperplane<'_> {
    /// The shortest changes in `norm` that bring the points, f32 \[n,d\] in \[0,1\], onto their hyperplanes without leaving \[0,1\]; f32 \[n,d\]. Where
    /// no point of the box lies on the hyperplane, the change to a corner that comes nearest to it.
    ///
    /// Each coordinate i can go towards the hyperplane by its room rᵢ, which closes |wᵢ| rᵢ of the gap. The solution closes the gap by waterfilling,
    /// coordinate i going min(rᵢ, λ) in L∞ and min(rᵢ, λ |wᵢ|) in L2, with the one λ that closes it (Hein & Andriushchenko 2017, arXiv 1705.08475);
    /// in L1 the coordinates of largest |wᵢ| go all the way, one after the other.
    pub(super) fn nearest(&self, points: &Tensor, norm: Norm) -> tch::Result<Tensor> {
        // Rows with vanishing gradients are scaled up, so that their squares do not underflow.
        let scale = self.normal.f_abs()?.f_amax([1i64].as_slice(), true)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
        let gap = self.gap.f_unsqueeze(1)?.f_div(&scale)?;
        let towards = self.normal.f_sign()?.f_mul(&gap.f_sign()?)?.f_neg()?;
        let steepness = self.normal.f_div(&scale)?.f_abs()?;
        let gap = gap.f_abs()?;
        let up = points.f_neg()?.f_add_scalar(1.0)?;
        let room = up.f_where_self(&towards.f_gt(0.0)?, points)?.f_mul(&towards.f_abs()?)?;
        let length = match norm {
            Norm::Linf => water_level(&steepness, &room, &gap)?.f_minimum(&room)?,
            Norm::L2 => {
                let fills_at = room.f_div(&steepness.f_clamp_min(f64::from(f32::MIN_POSITIVE))?)?;
                water_level(&steepness.f_square()?, &fills_at, &gap)?.f_mul(&steepness)?.f_minimum(&room)?
            }
            Norm::L1 => steepest_first(&steepness, &room, &gap)?,
        };
        towards.f_mul(&length)
    }
}

/// The λ, f32 \[n,1\], for which Σ weight·min(λ, fills_at) = amount; where the whole is less than `amount`, the
/// largest number. `weight` and `fills_at` f32 \[n,d\] and
/// `amount` f32 \[n,1\] are not negative.
fn water_level(weight: &Tensor, fills_at: &Tensor, amount: &Tensor) -> tch::Result<Tensor> {
    let (levels, order) = fills_at.f_sort(1, false)?;
    let weights = weight.f_gather(1, &order, false)?;
    let full = weights.f_mul(&levels)?.f_cumsum(1, Kind::Float)?;
    // Of the coordinate itself and those that fill later.
    let filling = weights.f_flip([1])?.f_cumsum(1, Kind::Float)?.f_flip([1])?;
    let filling_after = filling.f_sub(&weights)?.f_clamp_min(0.0)?;
    let held = full.f_add(&filling_after.f_mul(&levels)?)?;
    let count = held.f_lt_tensor(amount)?.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Int64)?;
    let last = levels.size()[1] - 1;
    let at = count.f_clamp_max(last)?;
    let before = full.f_gather(1, &at, false)?.f_sub(&weights.f_mul(&levels)?.f_gather(1, &at, false)?)?;
    let level = amount.f_sub(&before)?.f_clamp_min(0.0)?.f_div(&filling.f_gather(1, &at, false)?)?;
    // A level that is no number closes no gap: there is none, and no slope.
    let level = level.f_nan_to_num(0.0, f64::from(f32::MAX), 0.0)?;
    level.f_masked_fill(&count.f_gt(last)?, f64::from(f32::MAX))
}

/// How far each coordinate goes where the steepest go first, as far as they can, until `amount` f32 \[n,1\] is closed; f32 \[n,d\].
fn steepest_first(steepness: &Tensor, room: &Tensor, amount: &Tensor) -> tch::Result<Tensor> {
    let (slopes, order) = steepness.f_sort(1, true)?;
    let rooms = room.f_gather(1, &order, false)?;
    let closes = slopes.f_mul(&rooms)?;
    let before = closes.f_cumsum(1, Kind::Float)?.f_sub(&closes)?;
    let left = amount.f_sub(&before)?.f_clamp_min(0.0)?;
    let lengths = left.f_div(&slopes.f_clamp_min(f64::from(f32::MIN_POSITIVE))?)?.f_minimum(&rooms)?;
    room.f_zeros_like()?.f_scatter(1, &order, &lengths)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attacks::ball::lengths;

    fn row(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).view([1, -1])
    }

    fn nearest(normal: &[f32], gap: f32, point: &[f32], norm: Norm) -> Vec<f32> {
        let plane = Hyperplane { normal: &row(normal), gap: &Tensor::from_slice(&[gap]) };
        Vec::try_from(plane.nearest(&row(point), norm).unwrap().view([-1])).unwrap()
    }

    fn length(change: &[f32], norm: Norm) -> f64 {
        lengths(&row(change), norm).unwrap().double_value(&[0])
    }

    /// What is left of the gap after a change.
    fn left(normal: &[f32], gap: f32, change: &[f32]) -> f64 {
        f64::from(gap) + normal.iter().zip(change).map(|(w, d)| f64::from(w * d)).sum::<f64>()
    }

    fn close(found: &[f32], expected: &[f32]) -> bool {
        found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6)
    }

    #[test]
    fn changes_that_can_be_worked_out_by_hand_are_found() {
        let (normal, point) = ([1.0, -2.0, 0.5, 0.0], [0.5, 0.1, 0.9, 0.3]);
        let all_the_way = [0.5, -0.1, 0.1, 0.0];
        let cases = [
            (Norm::Linf, -0.2, [0.2 / 3.5, -0.2 / 3.5, 0.2 / 3.5, 0.0]),
            (Norm::L2, -0.2, [0.2 / 5.25, -0.4 / 5.25, 0.1 / 5.25, 0.0]),
            (Norm::L1, -0.2, [0.0, -0.1, 0.0, 0.0]),
            // The second coordinate has not enough room.
            (Norm::Linf, -0.5, [0.25, -0.1, 0.1, 0.0]),
            (Norm::L1, -0.3, [0.1, -0.1, 0.0, 0.0]),
            (Norm::L1, 0.3, [0.0, 0.15, 0.0, 0.0]),
            (Norm::Linf, -1.0, all_the_way),
            (Norm::L2, -1.0, all_the_way),
            (Norm::L1, -1.0, all_the_way),
        ];
        for (norm, gap, expected) in cases {
            let found = nearest(&normal, gap, &point, norm);
            assert!(close(&found, &expected), "{norm} {gap}: {found:?} instead of {expected:?}");
        }
    }

    #[test]
    fn a_gradient_that_vanishes_moves_nothing_and_one_that_nearly_does_moves_as_any_other() {
        for norm in Norm::ALL {
            assert_eq!(nearest(&[0.0, 0.0], -1.0, &[0.5, 0.5], norm), [0.0, 0.0]);
            let (whole, tiny) =
                (nearest(&[1.0, 2.0], -0.3, &[0.5, 0.5], norm), nearest(&[1e-30, 2e-30], -0.3e-30, &[0.5, 0.5], norm));
            assert!(close(&tiny, &whole), "{norm}: {tiny:?} instead of {whole:?}");
        }
    }

    fn unit() -> impl Strategy<Value = f32> {
        prop_oneof![8 => 0.0..=1.0f32, 1 => Just(0.0), 1 => Just(1.0)]
    }

    proptest! {
        #[test]
        fn no_point_of_the_box_on_the_hyperplane_is_nearer(
            rows in prop::collection::vec((-1.0..1.0f32, unit(), unit(), any::<bool>()), 2..12),
            norm in prop_oneof![Just(Norm::Linf), Just(Norm::L2), Just(Norm::L1)],
            others in prop::collection::vec(prop::collection::vec(-0.2..0.2f32, 12), 16),
        ) {
            let normal: Vec<f32> = rows.iter().map(|(w, _, _, zero)| if *zero { 0.0 } else { *w }).collect();
            let point: Vec<f32> = rows.iter().map(|(_, x, _, _)| *x).collect();
            // The hyperplane goes through a point of the box.
            let goal: Vec<f32> = rows.iter().map(|(_, _, goal, _)| *goal).collect();
            let straight: Vec<f32> = goal.iter().zip(&point).map(|(goal, x)| goal - x).collect();
            let gap = -left(&normal, 0.0, &straight) as f32;
            let found = nearest(&normal, gap, &point, norm);
            prop_assert!(left(&normal, gap, &found).abs() < 1e-5, "{found:?} leaves {}", left(&normal, gap, &found));
            prop_assert!(found.iter().zip(&point).all(|(d, x)| (-1e-6..=1.0 + 1e-6).contains(&(x + d))));
            let shortest = length(&found, norm);
            prop_assert!(shortest <= length(&straight, norm) + 1e-5);
            // Any point of the box near the solution, brought back to the hyperplane towards the goal or the solution, is no nearer.
            for other in &others {
                let near: Vec<f32> =
                    found.iter().zip(&point).zip(other).map(|((d, x), o)| (x + d + o).clamp(0.0, 1.0) - x).collect();
                let over = left(&normal, gap, &near);
                for far in corners(&normal, &point) {
                    let beyond = left(&normal, gap, &far);
                    if over * beyond < 0.0 {
                        let share = (over / (over - beyond)) as f32;
                        let on: Vec<f32> = near.iter().zip(&far).map(|(a, b)| a + share * (b - a)).collect();
                        prop_assert!(shortest <= length(&on, norm) + 1e-5, "{on:?} is nearer than {found:?}");
                    }
                }
            }
        }

        #[test]
        fn where_the_box_does_not_reach_the_hyperplane_the_change_goes_as_far_as_it_can(
            rows in prop::collection::vec((-1.0..1.0f32, unit()), 2..12),
            norm in prop_oneof![Just(Norm::Linf), Just(Norm::L2), Just(Norm::L1)],
            side in any::<bool>(),
        ) {
            let (normal, point): (Vec<f32>, Vec<f32>) = rows.into_iter().unzip();
            let gap = if side { 100.0 } else { -100.0 };
            let found = nearest(&normal, gap, &point, norm);
            let corner = &corners(&normal, &point)[usize::from(side)];
            prop_assert!(close(&found, corner), "{found:?} instead of {corner:?}");
        }
    }

    /// Changes to the corners where the linear function is largest and smallest.
    fn corners(normal: &[f32], point: &[f32]) -> [Vec<f32>; 2] {
        [1.0, -1.0].map(|side| {
            let to = |(w, x): (&f32, &f32)| match w * side {
                slope if slope > 0.0 => 1.0 - x,
                slope if slope < 0.0 => -x,
                _ => 0.0,
            };
            normal.iter().zip(point).map(to).collect()
        })
    }
}
