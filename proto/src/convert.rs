//! Conversions between wire and domain. A failed one names the field.

mod analyses;
mod masking;
mod skipped;

use std::str::FromStr;

use gauntlet_domain::experiment::{
    ArtifactRef, CifarVariant, EpochMetrics, MomentTensor, Outcomes, ParameterShape, ValidationMetrics,
};
use gauntlet_domain::results::ResultRow;
use gauntlet_domain::share::{Quota, Terms, UserName, Weight};
use gauntlet_domain::sweep::{Facts, FileContent, FileFacts, FilePlace, FolderClass};
use gauntlet_domain::task::{Failure, FailureClass, MemoryPlan};
use gauntlet_domain::{AttemptNumber, AttemptRef, Digest};

use crate::v1;

/// A field of a message that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {problem}")]
pub struct InvalidField {
    /// Its name, such as `files[2].digest`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl InvalidField {
    /// `field` is wrong for this reason.
    pub fn new(field: impl Into<String>, problem: impl ToString) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }

    fn inside(self, parent: impl std::fmt::Display) -> Self {
        Self { field: format!("{parent}.{}", self.field), ..self }
    }
}

/// The value of a field that must be there.
///
/// # Errors
/// It is not.
pub fn required<T>(value: Option<T>, field: &str) -> Result<T, InvalidField> {
    value.ok_or_else(|| InvalidField::new(field, "missing"))
}

/// Whose sweep it is; none where nothing is said.
///
/// # Errors
/// A text that cannot be the name of a user.
pub fn user(text: &str) -> Result<Option<UserName>, InvalidField> {
    if text.is_empty() { Ok(None) } else { parse(text, "user").map(Some) }
}

/// On what terms a sweep shares the workers.
///
/// # Errors
/// A weight beyond its bounds, a quota of 0, or one that is also to be taken away.
pub fn terms(
    weight: Option<u32>,
    priority: Option<i32>,
    max_concurrent: Option<u32>,
    no_max_concurrent: bool,
) -> Result<Terms, InvalidField> {
    let weight = weight.map(Weight::try_from).transpose();
    let weight = weight.map_err(|error| InvalidField::new("weight", error.to_string()))?;
    Ok(Terms { weight, priority, quota: quota(max_concurrent, no_max_concurrent)?, preempts: None })
}

/// How many tasks may run at once; none where that stays as it is.
///
/// # Errors
/// A bound of 0, or one that is also to be taken away.
pub fn quota(max_concurrent: Option<u32>, no_max_concurrent: bool) -> Result<Option<Quota>, InvalidField> {
    match (max_concurrent, no_max_concurrent) {
        (None, false) => Ok(None),
        (None, true) => Ok(Some(Quota::NONE)),
        (Some(_), true) => Err(InvalidField::new("no_max_concurrent", "`max_concurrent` is given too")),
        (Some(most), false) => {
            Quota::of(most).map(Some).ok_or_else(|| InvalidField::new("max_concurrent", "expected 1 or more"))
        }
    }
}

/// A text field that must parse: an id or a digest.
///
/// # Errors
/// It does not.
pub fn parse<T>(text: &str, field: &str) -> Result<T, InvalidField>
where
    T: FromStr,
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| InvalidField::new(field, error))
}

impl From<AttemptRef> for v1::AttemptRef {
    fn from(attempt: AttemptRef) -> Self {
        Self { task_id: attempt.task.to_string(), attempt: attempt.attempt.0 }
    }
}

impl TryFrom<v1::AttemptRef> for AttemptRef {
    type Error = InvalidField;

    fn try_from(wire: v1::AttemptRef) -> Result<Self, InvalidField> {
        Ok(Self { task: parse(&wire.task_id, "task_id")?, attempt: AttemptNumber(wire.attempt) })
    }
}

/// An attempt that must be there.
///
/// # Errors
/// It is missing or malformed.
pub fn attempt_ref(wire: Option<v1::AttemptRef>) -> Result<AttemptRef, InvalidField> {
    required(wire, "attempt")?.try_into().map_err(|error: InvalidField| error.inside("attempt"))
}

impl From<ArtifactRef> for v1::Artifact {
    fn from(artifact: ArtifactRef) -> Self {
        Self { digest: artifact.digest.to_string(), size_bytes: artifact.size_bytes }
    }
}

impl TryFrom<v1::Artifact> for ArtifactRef {
    type Error = InvalidField;

    fn try_from(wire: v1::Artifact) -> Result<Self, InvalidField> {
        Ok(Self { digest: parse(&wire.digest, "digest")?, size_bytes: wire.size_bytes })
    }
}

/// An artifact in field `field` that must be there.
///
/// # Errors
/// It is missing or malformed.
pub fn artifact(wire: Option<v1::Artifact>, field: &str) -> Result<ArtifactRef, InvalidField> {
    required(wire, field)?.try_into().map_err(|error: InvalidField| error.inside(field))
}

impl From<EpochMetrics> for v1::EpochMetrics {
    fn from(metrics: EpochMetrics) -> Self {
        let EpochMetrics { epoch, iterations, learning_rate, train_loss, train_accuracy, validation } = metrics;
        let validation = validation.map(Into::into);
        Self { epoch, iterations, learning_rate, train_loss, train_accuracy, validation }
    }
}

impl From<v1::EpochMetrics> for EpochMetrics {
    fn from(wire: v1::EpochMetrics) -> Self {
        let v1::EpochMetrics { epoch, iterations, learning_rate, train_loss, train_accuracy, validation } = wire;
        let validation = validation.map(Into::into);
        Self { epoch, iterations, learning_rate, train_loss, train_accuracy, validation }
    }
}

impl From<ValidationMetrics> for v1::ValidationMetrics {
    fn from(metrics: ValidationMetrics) -> Self {
        let ValidationMetrics { loss, accuracy, robust_accuracy } = metrics;
        Self { loss, accuracy, robust_accuracy }
    }
}

impl From<v1::ValidationMetrics> for ValidationMetrics {
    fn from(wire: v1::ValidationMetrics) -> Self {
        let v1::ValidationMetrics { loss, accuracy, robust_accuracy } = wire;
        Self { loss, accuracy, robust_accuracy }
    }
}

impl From<Outcomes> for v1::Outcomes {
    fn from(outcomes: Outcomes) -> Self {
        let Outcomes { label, clean_prediction, adversarial_prediction, clean_loss, adversarial_loss, distance } =
            outcomes;
        Self { label, clean_prediction, adversarial_prediction, clean_loss, adversarial_loss, distance }
    }
}

impl From<v1::Outcomes> for Outcomes {
    fn from(wire: v1::Outcomes) -> Self {
        let v1::Outcomes { label, clean_prediction, adversarial_prediction, clean_loss, adversarial_loss, distance } =
            wire;
        Self { label, clean_prediction, adversarial_prediction, clean_loss, adversarial_loss, distance }
    }
}

impl From<Failure> for v1::Failed {
    fn from(failure: Failure) -> Self {
        Self { failure_class: failure.class.name().to_owned(), message: failure.message }
    }
}

impl TryFrom<v1::Failed> for Failure {
    type Error = InvalidField;

    fn try_from(wire: v1::Failed) -> Result<Self, InvalidField> {
        let class = FailureClass::from_name(&wire.failure_class).ok_or_else(|| {
            InvalidField::new(
                "failure_class",
                format!("`{}` is none of transient, crash, resource, permanent", wire.failure_class),
            )
        })?;
        Ok(Self { class, message: wire.message })
    }
}

impl From<MemoryPlan> for v1::MemoryPlan {
    fn from(plan: MemoryPlan) -> Self {
        let MemoryPlan { recompute_activations, forget_kept } = plan;
        Self { recompute_activations, forget_kept }
    }
}

impl From<v1::MemoryPlan> for MemoryPlan {
    fn from(wire: v1::MemoryPlan) -> Self {
        let v1::MemoryPlan { recompute_activations, forget_kept } = wire;
        Self { recompute_activations, forget_kept }
    }
}

/// Seconds in field `field`, which must make sense.
///
/// # Errors
/// They are negative or not a number.
pub fn seconds(value: Option<f64>, field: &str) -> Result<Option<f64>, InvalidField> {
    match value {
        Some(seconds) if !(seconds.is_finite() && seconds >= 0.0) => {
            Err(InvalidField::new(field, format!("{seconds} is not a number of seconds")))
        }
        other => Ok(other),
    }
}

/// A file with its facts and the path under which workers find it.
#[derive(Debug, Clone, PartialEq)]
pub struct LocatedFile {
    /// Where the sweep says it lies.
    pub place: FilePlace,
    /// What it holds.
    pub facts: FileFacts,
    /// Absolute path.
    pub location: String,
}

impl From<LocatedFile> for v1::FileFacts {
    fn from(file: LocatedFile) -> Self {
        use v1::file_facts::{Content, Place};
        let content = match file.facts.content {
            FileContent::IdxImages { examples, height, width } => {
                Content::IdxImages(v1::IdxImages { examples, height, width })
            }
            FileContent::IdxLabels { examples, max_label, per_class } => {
                Content::IdxLabels(v1::IdxLabels { examples, max_label, per_class })
            }
            FileContent::SafeTensorsDataset { examples, channels, height, width, max_label, per_class } => {
                Content::SafetensorsDataset(v1::SafeTensorsDataset {
                    examples,
                    channels,
                    height,
                    width,
                    max_label,
                    per_class,
                })
            }
            FileContent::Cifar { examples, variant, per_class } => Content::Cifar(v1::Cifar {
                examples,
                per_class,
                fine_labels: match variant {
                    CifarVariant::Cifar10 => false,
                    CifarVariant::Cifar100 => true,
                },
            }),
            FileContent::ImageFolder { classes } => Content::ImageFolder(v1::ImageFolder {
                classes: classes
                    .into_iter()
                    .map(|FolderClass { name, examples }| v1::FolderClass { name, examples })
                    .collect(),
            }),
            FileContent::Checkpoint { tensors, moments } => Content::Checkpoint(v1::Checkpoint {
                tensors: tensors
                    .into_iter()
                    .map(|ParameterShape { name, shape }| v1::TensorShape { name, shape })
                    .collect(),
                moments: moments
                    .into_iter()
                    .map(|MomentTensor { name, values }| v1::MomentTensor { name, values })
                    .collect(),
            }),
        };
        let place = match file.place {
            FilePlace::Sweep(path) => Place::SweepPath(path),
            FilePlace::Data(path) => Place::DataPath(path),
        };
        Self {
            place: Some(place),
            digest: file.facts.digest.to_string(),
            location: file.location,
            content: Some(content),
        }
    }
}

impl TryFrom<v1::FileFacts> for LocatedFile {
    type Error = InvalidField;

    fn try_from(wire: v1::FileFacts) -> Result<Self, InvalidField> {
        use v1::file_facts::{Content, Place};
        let content = match required(wire.content, "content")? {
            Content::IdxImages(v1::IdxImages { examples, height, width }) => {
                FileContent::IdxImages { examples, height, width }
            }
            Content::IdxLabels(v1::IdxLabels { examples, max_label, per_class }) => {
                FileContent::IdxLabels { examples, max_label, per_class }
            }
            Content::SafetensorsDataset(v1::SafeTensorsDataset {
                examples,
                channels,
                height,
                width,
                max_label,
                per_class,
            }) => FileContent::SafeTensorsDataset { examples, channels, height, width, max_label, per_class },
            Content::Cifar(v1::Cifar { examples, fine_labels, per_class }) => {
                let variant = if fine_labels { CifarVariant::Cifar100 } else { CifarVariant::Cifar10 };
                FileContent::Cifar { examples, variant, per_class }
            }
            Content::ImageFolder(v1::ImageFolder { classes }) => FileContent::ImageFolder {
                classes: classes
                    .into_iter()
                    .map(|v1::FolderClass { name, examples }| FolderClass { name, examples })
                    .collect(),
            },
            Content::Checkpoint(v1::Checkpoint { tensors, moments }) => FileContent::Checkpoint {
                tensors: tensors
                    .into_iter()
                    .map(|v1::TensorShape { name, shape }| ParameterShape { name, shape })
                    .collect(),
                moments: moments
                    .into_iter()
                    .map(|v1::MomentTensor { name, values }| MomentTensor { name, values })
                    .collect(),
            },
        };
        let place = match required(wire.place, "place")? {
            Place::SweepPath(path) => FilePlace::Sweep(path),
            Place::DataPath(path) => FilePlace::Data(path),
        };
        let digest: Digest = parse(&wire.digest, "digest")?;
        Ok(Self { place, facts: FileFacts { digest, content }, location: wire.location })
    }
}

/// All files of a sweep's source.
///
/// # Errors
/// One of them is malformed.
pub fn located_files(wire: Vec<v1::FileFacts>) -> Result<Vec<LocatedFile>, InvalidField> {
    let convert = |(index, file): (usize, v1::FileFacts)| {
        file.try_into().map_err(|error: InvalidField| error.inside(format_args!("source.files[{index}]")))
    };
    wire.into_iter().enumerate().map(convert).collect()
}

/// What the planner needs to know of them.
pub fn facts(files: &[LocatedFile]) -> Facts {
    Facts { files: files.iter().map(|file| (file.place.clone(), file.facts.clone())).collect() }
}

impl From<ResultRow> for v1::ResultRow {
    fn from(row: ResultRow) -> Self {
        let ResultRow {
            sweep,
            dataset,
            backbone,
            init,
            recipe,
            seed,
            attack,
            norm,
            eps,
            examples,
            clean_correct,
            robust_correct,
            aoi,
            aai,
            decline_ratio,
            aai_low,
            aai_high,
            stop_at_interval,
            examples_asked,
        } = row;
        Self {
            sweep,
            dataset,
            backbone,
            init,
            recipe,
            seed,
            attack,
            norm,
            eps,
            examples,
            clean_correct,
            robust_correct,
            aoi,
            aai,
            decline_ratio,
            aai_low,
            aai_high,
            stop_at_interval,
            examples_asked,
        }
    }
}

impl From<v1::ResultRow> for ResultRow {
    fn from(row: v1::ResultRow) -> Self {
        let v1::ResultRow {
            sweep,
            dataset,
            backbone,
            init,
            recipe,
            seed,
            attack,
            norm,
            eps,
            examples,
            clean_correct,
            robust_correct,
            aoi,
            aai,
            decline_ratio,
            aai_low,
            aai_high,
            stop_at_interval,
            examples_asked,
        } = row;
        Self {
            sweep,
            dataset,
            backbone,
            init,
            recipe,
            seed,
            attack,
            norm,
            eps,
            examples,
            clean_correct,
            robust_correct,
            aoi,
            aai,
            decline_ratio,
            aai_low,
            aai_high,
            stop_at_interval,
            // A coordinator from before evaluations could stop early does not say it.
            examples_asked: examples_asked.max(examples),
        }
    }
}
