//! Whether what workers report can be.

use gauntlet_domain::adaptive;
use gauntlet_domain::experiment::{ArtifactRef, AttackResult, AttackSpec, TaskSpec};

use super::claim::TrainingCheckpoint;
use super::report::{Content, Spec};

/// Whether the report fits the task.
pub(super) fn check(content: &Content, spec: impl FnOnce() -> Spec) -> Result<(), String> {
    let wants_training = match content {
        Content::Failed(_) | Content::HandedBack(_) => return Ok(()),
        Content::Nonsense(problem) => return Err(problem.clone()),
        Content::Attacked(_) | Content::Analyzed(_) => false,
        Content::Epoch(_) | Content::Checkpoint(_) | Content::Trained(_) => true,
    };
    let spec = spec().map_err(|error| format!("the task was planned by another version: {error}"))?;
    match (content, &*spec) {
        (Content::Attacked(result), TaskSpec::Attack(spec)) => check_attack(result, spec),
        (Content::Analyzed(result), TaskSpec::Analyze(spec)) => {
            result.check(&spec.method).map_err(|problem| problem.to_string())?;
            match result.dataset {
                Some(dataset) if i64::try_from(dataset.size_bytes).is_err() => Err(too_big(dataset)),
                _ => Ok(()),
            }
        }
        (Content::Epoch(metrics), _) if !epoch_fits(metrics.epoch) => {
            Err(format!("there is no epoch {}", metrics.epoch))
        }
        (Content::Epoch(metrics), _) if i32::try_from(metrics.iterations).is_err() => {
            Err(format!("{} iterations are too many", metrics.iterations))
        }
        (Content::Checkpoint(checkpoint), _) if !epoch_fits(checkpoint.epoch) => {
            Err(format!("there is no epoch {}", checkpoint.epoch))
        }
        (Content::Checkpoint(TrainingCheckpoint { artifact, .. }) | Content::Trained(artifact), _)
            if i64::try_from(artifact.size_bytes).is_err() =>
        {
            Err(too_big(*artifact))
        }
        (Content::Checkpoint(_), TaskSpec::Attack(_)) => Ok(()),
        (_, TaskSpec::Train(_)) if wants_training => Ok(()),
        (content, spec) => Err(format!("{} came for a task that {}", what(content), does(spec))),
    }
}

fn too_big(artifact: ArtifactRef) -> String {
    format!("a file of {} bytes is too big", artifact.size_bytes)
}

const fn what(content: &Content) -> &'static str {
    match content {
        Content::Attacked(_) => "outcomes",
        Content::Analyzed(_) => "the numbers of an analysis",
        Content::Epoch(_)
        | Content::Checkpoint(_)
        | Content::Trained(_)
        | Content::Failed(_)
        | Content::HandedBack(_)
        | Content::Nonsense(_) => "the report of a training",
    }
}

const fn does(spec: &TaskSpec) -> &'static str {
    match spec {
        TaskSpec::Train(_) => "trains",
        TaskSpec::Attack(_) => "attacks",
        TaskSpec::Analyze(_) => "analyzes",
    }
}

/// Whether a column holds the number of an epoch.
pub(super) fn epoch_fits(epoch: u32) -> bool {
    epoch > 0 && i32::try_from(epoch).is_ok()
}

fn check_attack(result: &AttackResult, spec: &AttackSpec) -> Result<(), String> {
    let outcomes = &result.outcomes;
    adaptive::check_outcomes(outcomes, spec).map_err(|problem| problem.to_string())?;
    let classes = [
        ("label", &outcomes.label, spec.dataset.classes),
        ("clean_prediction", &outcomes.clean_prediction, spec.model.classes),
        ("adversarial_prediction", &outcomes.adversarial_prediction, spec.model.classes),
    ];
    for (column, values, classes) in classes {
        if let Some((index, value)) = values.iter().enumerate().find(|(_, value)| **value >= classes) {
            return Err(format!("`{column}` of example {index} is {value}; there are {classes} classes"));
        }
    }
    if let Some(index) = outcomes.distance.iter().position(|distance| *distance < 0.0) {
        return Err(format!("`distance` of example {index} is negative"));
    }
    if let (Some(index), Some(_)) = (outcomes.distance.iter().position(|it| it.is_infinite()), spec.attack.eps) {
        return Err(format!("`distance` of example {index} is infinite, and the attack has a radius"));
    }
    if result.zero_gradient_examples > outcomes.clean_correct() as u64 {
        return Err(format!(
            "{} examples with zero gradients are more than were attacked",
            result.zero_gradient_examples
        ));
    }
    if i64::try_from(result.model_queries).is_err() {
        return Err(format!("{} model queries are too many", result.model_queries));
    }
    Ok(())
}
