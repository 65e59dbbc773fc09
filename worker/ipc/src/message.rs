//! The messages.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gauntlet_domain::experiment::{EpochMetrics, TaskSpec};
use gauntlet_domain::task::{FailureClass, MemoryPlan};
use gauntlet_domain::{AttemptRef, Digest, TaskId};
use serde::{Deserialize, Serialize};

/// What the agent says, on the executor's stdin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Compute this. Sent only while the executor is idle.
    Execute(Box<Execute>),
    /// Stop this attempt at the next point where that can be done in good order, after a resumable checkpoint where the task has such. Heeded while busy;
    /// whoever does not run the attempt any more pays no attention.
    Yield {
        /// The attempt.
        attempt: AttemptRef,
    },
    /// Finish and exit with status 0. Closing stdin means: exit at once.
    Shutdown,
}

/// A task with the places of everything it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Execute {
    /// Which execution of which task this is.
    pub attempt: AttemptRef,
    /// What to compute.
    pub spec: TaskSpec,
    /// Where the user's files named in the spec lie.
    pub files: BTreeMap<Digest, PathBuf>,
    /// Where data that set-up brings (fonts) lies.
    pub data_dir: PathBuf,
    /// What the tasks made that it needs: trained weights, constructed data sets.
    pub task_artifacts: BTreeMap<TaskId, PathBuf>,
    /// A resumable checkpoint that an earlier attempt of the same task wrote.
    pub resume_from: Option<PathBuf>,
    /// An existing folder of this attempt alone, for everything it writes.
    pub output_dir: PathBuf,
    /// How it spares memory.
    pub memory: MemoryPlan,
}

/// What an executor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// [`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION) of its build.
    pub protocol: u32,
    /// [`NUMERICS_VERSION`](gauntlet_domain::experiment::NUMERICS_VERSION) of its build.
    pub numerics: u32,
    /// Version of libtorch, such as `2.13.0`.
    pub libtorch: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Threads of one operation.
    pub threads: u32,
    /// Memory of the device, where it is known: on the CPU what the machine has, or what the control group of the process may take of it.
    pub memory_mib: Option<u64>,
    /// Its process id.
    pub pid: u32,
}

/// What the executor says, on its stdout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// It is up and idle.
    Ready(Ready),
    /// How far the attempt is. Said at most a few times a second.
    Progress {
        /// The attempt.
        attempt: AttemptRef,
        /// Units done.
        done: u64,
        /// Units there are.
        total: u64,
        /// What a unit is: `steps` of a training, `examples` of an attack.
        unit: String,
    },
    /// An epoch of a training ended. After a resume the metrics of earlier epochs are said again first, so that they always come complete and in order.
    Epoch {
        /// The attempt.
        attempt: AttemptRef,
        /// What the epoch measured.
        metrics: EpochMetrics,
    },
    /// A resumable checkpoint is complete on disk.
    Checkpoint {
        /// The attempt.
        attempt: AttemptRef,
        /// The file; replaced by the next epoch's under another name, never rewritten.
        path: PathBuf,
        /// Epochs done in it, or blocks of an evaluation.
        epoch: u32,
    },
    /// The attempt succeeded.
    Finished {
        /// The attempt.
        attempt: AttemptRef,
        /// Where the [`TaskOutput`](crate::TaskOutput) lies.
        result_path: PathBuf,
        /// The most memory that the process took for it, where that is known.
        peak_memory_mib: Option<u32>,
    },
    /// The attempt stopped unfinished, as it was asked to; its checkpoint was told before. The executor is idle again.
    Yielded {
        /// The attempt.
        attempt: AttemptRef,
        /// As in [`Event::Finished`].
        peak_memory_mib: Option<u32>,
    },
    /// The attempt failed; the executor is idle again.
    Failed {
        /// The attempt.
        attempt: AttemptRef,
        /// What may help.
        class: FailureClass,
        /// What happened, for people.
        message: String,
        /// As in [`Event::Finished`].
        peak_memory_mib: Option<u32>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};
    use gauntlet_domain::AttemptNumber;
    use gauntlet_domain::experiment::{
        AttackConfig, AttackMethod, AttackSpec, Backbone, CheckpointFormat, DatasetSource, DatasetSpec, Fit, Head,
        ImageShape, ModelSpec, Norm, Normalize, Stem, Subset, Weights,
    };

    fn attempt() -> AttemptRef {
        AttemptRef { task: TaskId::from_digest(Digest::of(b"task")), attempt: AttemptNumber(3) }
    }

    fn spec() -> TaskSpec {
        TaskSpec::Attack(AttackSpec {
            dataset: DatasetSpec {
                subset: Subset::default(),
                source: DatasetSource::SafeTensors { file: Digest::of(b"images") },
                examples: 10,
                classes: 3,
                image: ImageShape { channels: 1, height: 32, width: 32 },
                fit: Fit::Pad,
                frequencies: None,
            },
            model: ModelSpec {
                backbone: Backbone::ResNet18W16,
                stem: Stem::Standard,
                width: None,
                channels: 1,
                classes: 3,
                normalize: Normalize { mean: vec![0.5], std: vec![0.5] },
            },
            weights: Weights::Imported {
                checkpoint: Digest::of(b"weights"),
                format: CheckpointFormat::Pytorch,
                head: Head::Keep,
            },
            attack: AttackConfig {
                method: AttackMethod::Fgsm,
                norm: Norm::Linf,
                eps: Some(8.0 / 255.0),
                target: None,
                early_stop: true,
                stop_at_interval: None,
            },
            seed: 7,
            numerics: 1,
            shard: None,
            cascade: None,
        })
    }

    #[test]
    fn a_request_survives_the_wire_with_every_digest_and_float() {
        let request = Request::Execute(Box::new(Execute {
            attempt: attempt(),
            spec: spec(),
            files: BTreeMap::from([(Digest::of(b"images"), "/data/a b.safetensors".into())]),
            data_dir: "/data".into(),
            task_artifacts: BTreeMap::from([(TaskId::from_digest(Digest::of(b"parent")), "/spool/p".into())]),
            resume_from: None,
            output_dir: "/spool/out".into(),
            memory: MemoryPlan::SPARING,
        }));
        let line = encode(&request).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let back: Request = decode(&line).unwrap();
        assert_eq!(back, request);
    }

    #[test]
    fn events_are_tagged_by_name_so_that_a_person_can_read_the_stream() {
        let message = "two\nlines".to_owned();
        let event =
            Event::Failed { attempt: attempt(), class: FailureClass::Permanent, message, peak_memory_mib: Some(812) };
        let line = String::from_utf8(encode(&event).unwrap()).unwrap();
        assert!(line.starts_with(r#"{"event":"failed","attempt":{"task":""#), "{line}");
        assert_eq!(decode::<Event>(line.as_bytes()).unwrap(), event);
    }
}
