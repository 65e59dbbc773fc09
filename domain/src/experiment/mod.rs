//! What a task computes, fully resolved: nothing here depends on names chosen by a user, on paths, or on defaults still to be filled in.
//!
//! Everything in [`TaskSpec`] is part of the task's identity, and nothing else is.

mod analysis;
mod attack;
mod band;
mod construction;
mod corruption;
mod dataset;
mod import;
mod model;
mod recipe;
mod result;
#[cfg(test)]
pub(crate) mod samples;
mod spec;
mod subset;
mod threat;

pub use analysis::{
    AnalysisImage, AnalysisMethod, AnalysisResult, AnalysisSpec, AnalysisValue, Ascents, InvalidAnalysis,
    MOST_ANALYSIS_IMAGES, MOST_ANALYSIS_VALUES, MOST_IMAGE_BYTES, OtherClasses,
};
pub use attack::{
    ApgdLoss, AttackConfig, AttackMethod, AutoAttackVersion, Knowledge, OtherModel, TargetClass, UapMethod,
};
pub use band::{FrequencyBand, Pass};
pub use construction::{Construction, Descent};
pub use corruption::Corruption;
pub use dataset::{
    CifarVariant, CuePairing, DatasetSource, DatasetSpec, Fit, FolderPart, GlyphCue, GlyphOptions, IdxVariant,
    ImageShape, Split,
};
pub use import::{Import, Moment, MomentTensor, NormalizeConflict, may_be_moment};
pub use model::{
    AlexNet, Backbone, CheckpointFormat, ConvNeXtLayout, DenseNetLayout, EfficientNet, Family, Head, InvertedBlock,
    InvertedStage, MobileNetV2, ModelSpec, Normalize, ParameterShape, PreActResNet, ResNetLayout, ResNetStem,
    ResidualBlock, Stage, Stem, Vgg, VitB16, Weights, WideResNetLayout,
};
pub use recipe::{
    Augmentation, Criterion, Decay, Drops, Ema, EpsilonSchedule, Frozen, HeadFirst, HeldOut, InnerAttack, Length,
    Objective, Optimizer, Precision, RandomCrop, Recipe, Schedule, Start, Steps, Validation,
};
pub use result::{
    ArtifactRef, AttackResult, EpochMetrics, InvalidOutcomes, Outcomes, TaskResult, TrainResult, ValidationMetrics,
};
pub use spec::{AttackSpec, Cascade, EVALUATION_BLOCK, NUMERICS_VERSION, Shard, TaskSpec, TrainSpec};
pub use subset::Subset;
pub use threat::{Epsilon, InvalidEpsilon, Norm};
