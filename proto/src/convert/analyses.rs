//! What analyses came to.

use gauntlet_domain::analyses::{AnalysisRow, ImageRow};
use gauntlet_domain::experiment::{AnalysisImage, AnalysisResult, AnalysisValue};

use super::InvalidField;
use crate::v1;

impl From<AnalysisResult> for v1::Analyzed {
    fn from(result: AnalysisResult) -> Self {
        let value = |AnalysisValue { measure, layer, x, value }| v1::AnalysisValue { measure, layer, x, value };
        let image = |AnalysisImage { name, png }| v1::AnalysisImage { name, png };
        Self {
            values: result.values.into_iter().map(value).collect(),
            images: result.images.into_iter().map(image).collect(),
            dataset: result.dataset.map(Into::into),
        }
    }
}

impl TryFrom<v1::Analyzed> for AnalysisResult {
    type Error = InvalidField;

    fn try_from(wire: v1::Analyzed) -> Result<Self, InvalidField> {
        let value = |v1::AnalysisValue { measure, layer, x, value }| AnalysisValue { measure, layer, x, value };
        let image = |v1::AnalysisImage { name, png }| AnalysisImage { name, png };
        let dataset = wire.dataset.map(|dataset| super::artifact(Some(dataset), "analyzed.dataset")).transpose()?;
        Ok(Self {
            values: wire.values.into_iter().map(value).collect(),
            images: wire.images.into_iter().map(image).collect(),
            dataset,
        })
    }
}

impl From<ImageRow> for v1::AnalysisImageRow {
    fn from(row: ImageRow) -> Self {
        let ImageRow { sweep, dataset, backbone, init, recipe, seed, analysis, against, image, png } = row;
        Self { sweep, dataset, backbone, init, recipe, seed, analysis, against, image, png }
    }
}

impl From<v1::AnalysisImageRow> for ImageRow {
    fn from(wire: v1::AnalysisImageRow) -> Self {
        let v1::AnalysisImageRow { sweep, dataset, backbone, init, recipe, seed, analysis, against, image, png } = wire;
        Self { sweep, dataset, backbone, init, recipe, seed, analysis, against, image, png }
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
