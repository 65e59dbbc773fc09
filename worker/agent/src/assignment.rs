//! Work as it comes over the wire, checked before anything is done with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gauntlet_domain::experiment::{ArtifactRef, NUMERICS_VERSION, TaskSpec};
use gauntlet_domain::task::{Failure, FailureClass, MemoryPlan};
use gauntlet_domain::{AttemptRef, Digest, TaskId};
use gauntlet_proto::convert::{self, InvalidField};
use gauntlet_proto::v1;

/// An attempt to run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) attempt: AttemptRef,
    pub(crate) spec: TaskSpec,
    pub(crate) inputs: BTreeMap<TaskId, ArtifactRef>,
    pub(crate) files: BTreeMap<Digest, PathBuf>,
    pub(crate) resume_from: Option<ArtifactRef>,
    /// How it spares memory.
    pub(crate) memory: MemoryPlan,
    /// For people.
    pub(crate) label: String,
    /// What it takes of the worker.
    pub(crate) place: Place,
}

/// What an attempt takes of a worker, as the coordinator reckons.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// The device to run it on; any if there is none.
    pub(crate) device: Option<String>,
    /// Memory in MiB.
    pub(crate) memory_mib: u32,
}

/// Why an assignment is not worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not even say what it is about: nothing can be reported.
    Nameless(InvalidField),
    /// The attempt fails at once.
    Failed(AttemptRef, Failure),
}

/// What the coordinator asks for.
pub(crate) fn read(wire: v1::Assign) -> Result<Assignment, Refusal> {
    let attempt = convert::attempt_ref(wire.attempt.clone()).map_err(Refusal::Nameless)?;
    let refuse = |failure| Refusal::Failed(attempt, failure);
    let spec = spec(attempt, &wire.spec_json).map_err(refuse)?;
    let (inputs, files, resume_from) =
        places(&wire).map_err(|error| refuse(permanent(format!("the assignment's {error}"))))?;
    if let Some(missing) = spec.artifacts().into_iter().find(|input| !inputs.contains_key(input)) {
        return Err(refuse(permanent(format!("the assignment names no checkpoint of its input task {missing}"))));
    }
    if let Some(missing) = spec.files().into_iter().find(|file| !files.contains_key(file)) {
        return Err(refuse(permanent(format!(
            "the assignment does not say where the file with digest {missing} lies"
        ))));
    }
    let memory = wire.memory.map(Into::into).unwrap_or_default();
    let place = Place { device: Some(wire.device).filter(|device| !device.is_empty()), memory_mib: wire.memory_mib };
    Ok(Assignment { attempt, spec, inputs, files, resume_from, memory, label: wire.label, place })
}

fn permanent(message: String) -> Failure {
    Failure { class: FailureClass::Permanent, message }
}

fn spec(attempt: AttemptRef, json: &str) -> Result<TaskSpec, Failure> {
    let found = TaskId::from_digest(Digest::of(json.as_bytes()));
    if found != attempt.task {
        return Err(permanent(format!("the spec's SHA-256 is {found}, which is not the task's id {}", attempt.task)));
    }
    // A spec that hashes right was written by some coordinator: not the task but this worker's build is at fault, and another worker may do better.
    let other_build = |message| Failure { class: FailureClass::Transient, message };
    let spec: TaskSpec = serde_json::from_str(json).map_err(|error| {
        other_build(format!(
            "this worker does not understand the spec ({error}): is its version older than the coordinator's?"
        ))
    })?;
    let numerics = match &spec {
        TaskSpec::Train(train) => train.numerics,
        TaskSpec::Attack(attack) => attack.numerics,
        TaskSpec::Analyze(analysis) => analysis.numerics,
    };
    if numerics != NUMERICS_VERSION {
        return Err(other_build(format!(
            "the task was planned for version {numerics} of the numerics, this worker computes version {NUMERICS_VERSION}"
        )));
    }
    Ok(spec)
}

type Places = (BTreeMap<TaskId, ArtifactRef>, BTreeMap<Digest, PathBuf>, Option<ArtifactRef>);

fn places(wire: &v1::Assign) -> Result<Places, InvalidField> {
    let mut inputs = BTreeMap::new();
    for (index, input) in wire.inputs.iter().enumerate() {
        let task = convert::parse(&input.task_id, &format!("inputs[{index}].task_id"))?;
        inputs.insert(task, convert::artifact(input.artifact.clone(), &format!("inputs[{index}].artifact"))?);
    }
    let mut files = BTreeMap::new();
    for (index, file) in wire.files.iter().enumerate() {
        let location = PathBuf::from(&file.location);
        if !location.is_absolute() {
            let problem = format!("`{}` is not an absolute path", file.location);
            return Err(InvalidField::new(format!("files[{index}].location"), problem));
        }
        files.insert(convert::parse(&file.digest, &format!("files[{index}].digest"))?, location);
    }
    let resume_from = match &wire.resume_from {
        Some(checkpoint) => Some(convert::artifact(checkpoint.artifact.clone(), "resume_from.artifact")?),
        None => None,
    };
    Ok((inputs, files, resume_from))
}
