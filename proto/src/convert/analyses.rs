//! What analyses came to.

use gauntlet_domain::analyses::AnalysisRow;
use gauntlet_domain::experiment::{AnalysisResult, AnalysisValue};

use crate::v1;

impl From<AnalysisResult> for v1::Analyzed {
    fn from(result: AnalysisResult) -> Self {
        let value = |AnalysisValue { measure, layer, x, value }| v1::AnalysisValue { measure, layer, x, value };
        Self { values: result.values.into_iter().map(value).collect() }
    }
}

impl From<v1::Analyzed> for AnalysisResult {
    fn from(wire: v1::Analyzed) -> Self {
        let value = |v1::AnalysisValue { measure, layer, x, value }| AnalysisValue { measure, layer, x, value };
        Self { values: wire.values.into_iter().map(value).collect() }
    }
}

impl From<AnalysisRow> for v1::AnalysisRow {
    fn from(row: AnalysisRow) -> Self {
        let AnalysisRow { sweep, dataset, backbone, init, recipe, seed, analysis, .. } = row;
        let AnalysisRow { method, against, examples, measure, layer, x, value, .. } = row;
        Self {
            sweep,
            dataset,
            backbone,
            init,
            recipe,
            seed,
            analysis,
            method,
            against,
            examples,
            measure,
            layer,
            x,
            value,
        }
    }
}

impl From<v1::AnalysisRow> for AnalysisRow {
    fn from(wire: v1::AnalysisRow) -> Self {
        let v1::AnalysisRow { sweep, dataset, backbone, init, recipe, seed, analysis, .. } = wire;
        let v1::AnalysisRow { method, against, examples, measure, layer, x, value, .. } = wire;
        Self {
            sweep,
            dataset,
            backbone,
            init,
            recipe,
            seed,
            analysis,
            method,
            against,
            examples,
            measure,
            layer,
            x,
            value,
        }
    }
}
