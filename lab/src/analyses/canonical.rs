//! Canonical correlations of two layers, from their covariances.

use tch::{Kind, Tensor};

use super::moments::{Covariances, EPSILON};
use crate::error::LabError;

/// The principal directions of a layer whose variance is not below [`EPSILON`] of the largest variance of a channel, largest first.
#[derive(Debug)]
pub(super) struct Principal {
    /// Variance along each, f64 \[k\].
    variances: Tensor,
    /// Unit vectors, f64 \[C,k\].
    vectors: Tensor,
    /// Variance along all directions, those left out included.
    total: f64,
}

impl Principal {
    /// Those of a covariance matrix, f64 \[C,C\].
    fn of(covariance: &Tensor) -> Result<Self, LabError> {
        let (rising, vectors) = covariance.f_linalg_eigh("L")?;
        let (variances, vectors) = (rising.f_flip([0])?, vectors.f_flip([1])?);
        let kept = variances.f_ge(EPSILON)?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        let total = covariance.f_trace()?.f_double_value(&[])?;
        Ok(Self { variances: variances.f_narrow(0, 0, kept)?, vectors: vectors.f_narrow(1, 0, kept)?, total })
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.variances.size()[0] as u32
    }

    /// The smallest number of them that explains this share of the variance, at most all.
    pub fn explaining(&self, share: f64) -> Result<u32, LabError> {
        let explained: Vec<f64> = Vec::try_from(self.variances.f_cumsum(0, Kind::Double)?)?;
        let enough = explained.iter().position(|variance| *variance >= share * self.total);
        Ok(enough.map_or(self.count(), |place| place as u32 + 1))
    }

    /// Columns that make variables of unit variance of the channels, f64 \[C,k\].
    fn whitening(&self) -> tch::Result<Tensor> {
        self.vectors.f_div(&self.variances.f_sqrt()?)
    }

    /// Covariances of those variables with the channels, f64 \[k,C\].
    fn loadings(&self) -> tch::Result<Tensor> {
        self.vectors.f_mul(&self.variances.f_sqrt()?)?.f_tr()
    }
}

/// Two layers between which correlations are asked for.
#[derive(Debug)]
pub(super) struct Pair {
    /// Principal directions of each.
    pub sides: [Principal; 2],
    /// Correlations of the principal components of the first with those of the second, f64 \[k₀,k₁\].
    components: Tensor,
}

impl Pair {
    /// The pair with these covariances; both layers vary.
    pub fn new(covariances: &Covariances) -> Result<Self, LabError> {
        let sides = [Principal::of(&covariances.own[0])?, Principal::of(&covariances.own[1])?];
        let half = sides[0].whitening()?.f_tr()?.f_matmul(&covariances.cross)?;
        let components = half.f_matmul(&sides[1].whitening()?)?;
        Ok(Self { sides, components })
    }

    /// Mean canonical correlation of all directions, plain and weighted by how much the canonical variables take part in the channels of the layer
    /// with fewer directions, of the first on a tie: Σᵢ αᵢρᵢ / Σᵢ αᵢ with αᵢ = Σⱼ |⟨hᵢ, zⱼ⟩| over that layer's channels zⱼ.
    pub fn correlations(&self) -> Result<[f64; 2], LabError> {
        let (first, correlations, second) = self.components.f_svd(true, true)?;
        let correlations = correlations.f_clamp(0.0, 1.0)?;
        let [own, other] = &self.sides;
        let (rotation, side) = if own.count() <= other.count() { (first, own) } else { (second, other) };
        let products = rotation.f_tr()?.f_matmul(&side.loadings()?)?;
        let weights = products.f_abs()?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Double)?;
        let weighted = weights.f_dot(&correlations)?.f_div(&weights.f_sum(Kind::Double)?)?;
        Ok([correlations.f_mean(Kind::Double)?.f_double_value(&[])?, weighted.f_double_value(&[])?])
    }

    /// Mean canonical correlation of the subspaces of the first so many principal directions.
    pub fn leading_correlation(&self, directions: [u32; 2]) -> Result<f64, LabError> {
        let [rows, columns] = directions.map(i64::from);
        let block = self.components.f_narrow(0, 0, rows)?.f_narrow(1, 0, columns)?;
        let (_, correlations, _) = block.f_svd(true, false)?;
        Ok(correlations.f_clamp(0.0, 1.0)?.f_mean(Kind::Double)?.f_double_value(&[])?)
    }
}
