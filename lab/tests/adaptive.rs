//! An evaluation that stops once the interval of AAI is narrow enough does so at the same block, whoever resumes it.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use std::time::Duration;

use gauntlet_domain::Digest;
use gauntlet_domain::TaskId;
use gauntlet_domain::adaptive::{check_outcomes, narrow_enough};
use gauntlet_domain::experiment::{
    AttackConfig, AttackMethod, AttackResult, AttackSpec, Head, NUMERICS_VERSION, Norm, Shard, TaskSpec, Weights,
};
use gauntlet_domain::statistics::wilson_interval;
use gauntlet_lab::training::Wish;
use gauntlet_lab::{Inputs, Lab, LabError, Settings, TaskOutput};
use support::trained::{spec, trained};
use support::{Bench, Notes, given, model_spec};

/// Three whole blocks and the beginning of a fourth.
const EXAMPLES: usize = 800;

fn task(bench: &Bench, stop_at_interval: Option<f64>) -> (AttackSpec, Inputs) {
    let parent = TaskId::from_digest(Digest::of(b"parent"));
    let path = bench.folder.path().join("parent.safetensors");
    std::fs::write(&path, trained()).unwrap();
    let inputs = given(&bench.inputs, parent, path);
    let method = AttackMethod::Pgd { steps: 2, step_size: 0.1, random_start: true, restarts: 1 };
    let (norm, eps) = (Norm::Linf, Some(24.0 / 255.0));
    let spec = AttackSpec {
        dataset: bench.dataset.clone(),
        model: model_spec(spec().backbone, 1, 3),
        weights: Weights::Task { task: parent, head: Head::Keep },
        attack: AttackConfig { method, norm, eps, target: None, early_stop: true, stop_at_interval },
        seed: 0,
        numerics: NUMERICS_VERSION,
        shard: None,
        cascade: None,
    };
    (spec, inputs)
}

fn executed(lab: &mut Lab, spec: &AttackSpec, inputs: &Inputs, notes: &mut Notes) -> Result<AttackResult, LabError> {
    match lab.execute(&TaskSpec::Attack(spec.clone()), inputs, notes)? {
        TaskOutput::Attacked(result) => Ok(result),
        other => panic!("an attack gave {other:?}"),
    }
}

fn bits(result: &AttackResult) -> String {
    serde_json::to_string(result).unwrap()
}

/// Width of the interval after so many examples.
fn width(whole: &AttackResult, examples: usize) -> f64 {
    let robust = whole.outcomes.robust().take(examples).filter(|robust| *robust).count();
    let (low, high) = wilson_interval(robust as u64, examples as u64).unwrap();
    high - low
}

#[test]
fn it_stops_at_the_first_block_that_suffices_and_a_resumed_one_at_the_same() {
    let bench = Bench::new(EXAMPLES);
    let often = Settings { checkpoint_interval: Duration::ZERO, ..Settings::default() };
    let mut lab = Lab::new(often);
    let (whole_spec, inputs) = task(&bench, None);
    let whole = executed(&mut lab, &whole_spec, &inputs, &mut Notes::default()).unwrap();
    let widths = [256, 512, 768].map(|examples| width(&whole, examples));
    assert!(widths[0] > widths[1] && widths[1] > widths[2], "{widths:?}");
    let wanted = widths[1].midpoint(widths[0]);

    let two_blocks = AttackSpec { shard: Some(Shard { first: 0, examples: 512 }), ..whole_spec };
    let expected = executed(&mut lab, &two_blocks, &inputs, &mut Notes::default()).unwrap();

    let (spec, _) = task(&bench, Some(wanted));
    let mut notes = Notes::default();
    let stopped = executed(&mut lab, &spec, &inputs, &mut notes).unwrap();
    assert_eq!(check_outcomes(&stopped.outcomes, &spec), Ok(()));
    assert_eq!(bits(&stopped), bits(&expected), "the blocks it evaluated are those of the whole");
    assert_eq!(notes.checkpoints.iter().map(|(_, blocks)| *blocks).collect::<Vec<_>>(), [1]);

    let resumed = Inputs { resume_from: Some(notes.checkpoints[0].0.clone()), ..inputs.clone() };
    let mut later = Notes::default();
    assert_eq!(bits(&executed(&mut lab, &spec, &resumed, &mut later).unwrap()), bits(&stopped));
    assert_eq!(later.progress.first().copied(), Some((256, EXAMPLES as u64, "examples")));

    let mut notes = Notes { wishes: [(256, Wish::Stop)].into(), ..Notes::default() };
    let LabError::Stopped { path } = executed(&mut lab, &spec, &inputs, &mut notes).unwrap_err() else {
        panic!("it was asked to stop")
    };
    let resumed = Inputs { resume_from: Some(path), ..inputs.clone() };
    assert_eq!(bits(&executed(&mut lab, &spec, &resumed, &mut Notes::default()).unwrap()), bits(&stopped));

    let mut other = Lab::new(Settings { attack_batch_size: 37, ..Settings::default() });
    let in_other_batches = executed(&mut other, &spec, &inputs, &mut Notes::default()).unwrap();
    assert_eq!(in_other_batches.outcomes.examples(), 512);
}

#[test]
fn where_no_block_suffices_all_examples_are_evaluated_and_a_part_of_them_is_refused() {
    let bench = Bench::new(300);
    let mut lab = Lab::new(Settings::default());
    let (spec, inputs) = task(&bench, Some(1e-6));
    let all = executed(&mut lab, &spec, &inputs, &mut Notes::default()).unwrap();
    assert_eq!(all.outcomes.examples(), 300);
    assert!(!narrow_enough(all.outcomes.robust_correct() as u64, 300, 1e-6));
    let part = AttackSpec { shard: Some(Shard { first: 0, examples: 256 }), ..spec };
    let error = executed(&mut lab, &part, &inputs, &mut Notes::default()).unwrap_err().to_string();
    assert!(error.contains("an evaluation that may stop early cannot be split"), "{error}");
}
