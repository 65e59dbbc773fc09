//! Mixed precision: convolutions and matrix products in 16 bits, everything else in 32.

use std::cell::Cell;

use gauntlet_domain::experiment::Precision;
use tch::{Kind, Tensor};

thread_local! {
    static PRECISION: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// Puts the precision back when it goes.
struct Restore(Precision);

impl Drop for Restore {
    fn drop(&mut self) {
        PRECISION.set(self.0);
    }
}

/// Runs `compute` with the convolutions and matrix products of all models on this thread in this format, as PyTorch's autocast does: their operands
/// are rounded, weights stay 32-bit floats, and gradients come back as such. libtorch's own autocast is not used, since tch can switch it on for
/// half precision on CUDA alone; this works on every device that has the format's kernels.
pub fn computing_in<T>(precision: Precision, compute: impl FnOnce() -> T) -> T {
    let _restore = Restore(PRECISION.replace(precision));
    compute()
}

/// An operand of a convolution or matrix product in the format of the moment.
pub(super) fn operand(x: &Tensor) -> tch::Result<Tensor> {
    match PRECISION.get() {
        Precision::F32 => Ok(x.shallow_clone()),
        Precision::Bf16 => x.f_to_kind(Kind::BFloat16),
    }
}

/// What comes out of a model in 16 bits, in 32.
pub(super) fn widened(x: &Tensor) -> tch::Result<Tensor> {
    if x.kind() == Kind::BFloat16 { x.f_to_kind(Kind::Float) } else { Ok(x.shallow_clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_put_back_even_after_a_panic() {
        let one = Tensor::from(1f32);
        let kind = || operand(&one).unwrap().kind();
        assert_eq!(computing_in(Precision::Bf16, kind), Kind::BFloat16);
        let panicked = std::panic::catch_unwind(|| computing_in(Precision::Bf16, || panic!("on purpose")));
        assert!(panicked.is_err());
        assert_eq!(kind(), Kind::Float);
    }
}
