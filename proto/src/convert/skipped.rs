//! Evaluations that were skipped.

use gauntlet_domain::results::SkippedRow;

use crate::v1;

impl From<SkippedRow> for v1::SkippedEvaluation {
    fn from(row: SkippedRow) -> Self {
        let SkippedRow { sweep, dataset, backbone, init, recipe, seed, attack, norm, eps, reason } = row;
        Self { sweep, dataset, backbone, init, recipe, seed, attack, norm, eps, reason }
    }
}

impl From<v1::SkippedEvaluation> for SkippedRow {
    fn from(wire: v1::SkippedEvaluation) -> Self {
        let v1::SkippedEvaluation { sweep, dataset, backbone, init, recipe, seed, attack, norm, eps, reason } = wire;
        Self { sweep, dataset, backbone, init, recipe, seed, attack, norm, eps, reason }
    }
}
