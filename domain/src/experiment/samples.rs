//! Specs for tests.

use super::{
    AttackConfig, AttackMethod, AttackSpec, Backbone, DatasetSource, DatasetSpec, Fit, ImageShape, ModelSpec,
    NUMERICS_VERSION, Norm, Normalize, Stem, Subset, Weights,
};
use crate::digest::Digest;

/// An attack on so many examples.
pub(crate) fn attack_spec(examples: u32, method: AttackMethod) -> AttackSpec {
    AttackSpec {
        dataset: dataset(examples),
        model: ModelSpec {
            backbone: Backbone::ResNet18W16,
            stem: Stem::Standard,
            width: None,
            channels: 1,
            classes: 10,
            normalize: Normalize { mean: vec![0.5], std: vec![0.5] },
        },
        weights: Weights::Scratch,
        attack: AttackConfig {
            method,
            norm: Norm::Linf,
            eps: Some(0.1),
            target: None,
            early_stop: true,
            stop_at_interval: None,
        },
        seed: 0,
        numerics: NUMERICS_VERSION,
        shard: None,
        cascade: None,
    }
}

/// So many grey images of ten classes.
pub(crate) fn dataset(examples: u32) -> DatasetSpec {
    DatasetSpec {
        subset: Subset::default(),
        source: DatasetSource::SafeTensors { file: Digest::of(b"images") },
        examples,
        classes: 10,
        image: ImageShape { channels: 1, height: 32, width: 32 },
        fit: Fit::Pad,
        frequencies: None,
    }
}
