//! What can go wrong, and whether trying again may help.

use std::io;
use std::path::PathBuf;

use gauntlet_data::DataError;
use gauntlet_domain::experiment::NormalizeConflict;
use gauntlet_domain::task::FailureClass;
use tch::TchError;

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A data set or checkpoint that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A spec whose parts do not go together.
    #[error("the task cannot be computed: {0}")]
    Spec(String),
    /// A file that the task needs was not handed over.
    #[error("{what} was not handed to the executor")]
    MissingInput {
        /// The file.
        what: String,
    },
    /// Weights that do not fit the model.
    #[error("{origin} does not fit {network}: {problem}")]
    Weights {
        /// Where the weights came from.
        origin: String,
        /// The network they should fill.
        network: String,
        /// What does not fit.
        problem: Box<WeightsError>,
    },
    /// A resumable checkpoint that cannot be used.
    #[error("resumable checkpoint {}: {problem}", path.display())]
    Resume {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A training that diverged.
    #[error(
        "the training loss became {loss} in epoch {epoch}, iteration {iteration} (learning rate {learning_rate:e}): a lower learning rate may help"
    )]
    Diverged {
        /// Counted from 1.
        epoch: u32,
        /// Counted from 1.
        iteration: u32,
        /// Rate of the step before which it happened.
        learning_rate: f64,
        /// The loss: an infinity or NaN.
        loss: f64,
    },
    /// A training or evaluation that was asked to stop. Its resumable checkpoint is on disk.
    #[error("stopped as asked, after the resumable checkpoint {}", path.display())]
    Stopped {
        /// The resumable checkpoint.
        path: PathBuf,
    },
    /// An evaluation that was asked to stop.
    #[error("stopped as asked, between two batches of an evaluation")]
    Interrupted,
    /// A model that gives numbers that are none.
    #[error("the model's output for example {example} is not finite ({when} the attack)")]
    NotFinite {
        /// Index in the split.
        example: u64,
        /// `before` or `after`.
        when: &'static str,
    },
    /// The device is out of memory.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// Anything else that libtorch refuses.
    #[error("libtorch: {0}")]
    Torch(String),
    /// A file of the task's own that cannot be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A defect of this program.
    #[error("a defect in the lab, please report it: {0}")]
    Defect(String),
}

/// What about weights does not fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WeightsError {
    /// Other names than the architecture has.
    #[error("{}", describe_names(missing, unexpected))]
    Names {
        /// Tensors of the architecture that the file lacks.
        missing: Vec<String>,
        /// Tensors of the file that the architecture lacks.
        unexpected: Vec<String>,
    },
    /// A tensor of another shape.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}{}", shape_hint(*in_head))]
    Shape {
        /// The tensor.
        name: String,
        /// In the file.
        found: Vec<u64>,
        /// In the architecture.
        expected: Vec<u64>,
        /// Whether it belongs to the classification head.
        in_head: bool,
    },
    /// Two copies of the model in one file that are not equal.
    #[error("tensor `{copy}` should be a copy of `{kept}`, and differs from it")]
    Copies {
        /// A tensor of the second copy.
        copy: String,
        /// The tensor it should equal.
        kept: String,
    },
    /// A checkpoint with a normalisation of its own.
    #[error(transparent)]
    Normalize(#[from] NormalizeConflict),
    /// A weight that is an infinity or NaN.
    #[error("tensor `{name}` holds a value that is not finite")]
    NotFinite {
        /// The tensor.
        name: String,
    },
}

const NAMES_SHOWN: usize = 6;

fn describe_names(missing: &[String], unexpected: &[String]) -> String {
    let list = |what: &str, names: &[String]| -> Option<String> {
        let shown = names.iter().take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let rest = names.len().saturating_sub(NAMES_SHOWN);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        (!names.is_empty()).then(|| format!("{} {what}: {shown}{more}", names.len()))
    };
    [list("missing", missing), list("unexpected", unexpected)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

const fn shape_hint(in_head: bool) -> &'static str {
    if in_head { " (a head for other classes can be replaced: head = \"replace\")" } else { "" }
}

impl LabError {
    /// What may help.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::OutOfMemory(_) | Self::Data(DataError::OutOfMemory { .. }) => FailureClass::Resource,
            Self::Io { .. }
            | Self::MissingInput { .. }
            | Self::Stopped { .. }
            | Self::Interrupted
            | Self::Data(DataError::Unreadable { .. }) => FailureClass::Transient,
            Self::Data(_)
            | Self::Spec(_)
            | Self::Weights { .. }
            | Self::Resume { .. }
            | Self::Diverged { .. }
            | Self::NotFinite { .. }
            | Self::Torch(_)
            | Self::Defect(_) => FailureClass::Permanent,
        }
    }

    /// The error that a message of libtorch means.
    pub(crate) fn from_torch_message(message: &str) -> Self {
        // The first line says what happened; the rest is a C++ backtrace.
        let line = message.lines().next().unwrap_or_default().trim().to_owned();
        const OUT_OF_MEMORY: [&str; 4] = ["out of memory", "can't allocate memory", "bad_alloc", "ALLOC_FAILED"];
        if OUT_OF_MEMORY.iter().any(|sign| message.contains(sign)) {
            Self::OutOfMemory(line)
        } else {
            Self::Torch(line)
        }
    }
}

impl From<TchError> for LabError {
    fn from(error: TchError) -> Self {
        match error {
            TchError::Torch(message) => Self::from_torch_message(&message),
            other => Self::Torch(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn running_out_of_memory_asks_for_more_resources_and_hides_the_backtrace() {
        let too_much = Tensor::f_zeros([1 << 50], (Kind::Float, Device::Cpu)).unwrap_err();
        let error = LabError::from(too_much);
        assert_eq!(error.class(), FailureClass::Resource);
        assert!(error.to_string().contains("allocate") && !error.to_string().contains('\n'), "{error}");
    }

    #[test]
    fn long_lists_of_names_are_shortened_with_their_count() {
        let missing: Vec<String> = (0..9).map(|i| format!("layer{i}")).collect();
        let text = WeightsError::Names { missing, unexpected: vec!["extra".into()] }.to_string();
        assert!(
            text.starts_with("9 missing: `layer0`") && text.contains("and 3 more; 1 unexpected: `extra`"),
            "{text}"
        );
    }
}
