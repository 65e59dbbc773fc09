//! Trainings: they learn, they repeat, they go on where they stopped.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gauntlet_domain::experiment::{
    Augmentation, InnerAttack, Length, Norm, Objective, Optimizer, Start, TaskSpec, TrainSpec,
};
use gauntlet_domain::task::FailureClass;
use gauntlet_lab::{Inputs, Lab, LabError, Settings, TaskOutput};
use support::{Bench, Notes};

fn lab() -> Lab {
    Lab::new(Settings { checkpoint_interval: Duration::ZERO, ..Settings::default() })
}

fn objectives() -> [Objective; 3] {
    let inner = |norm, start| InnerAttack { norm, eps: 4.0 / 255.0, steps: 2, step_size: 2.0 / 255.0, start };
    [
        Objective::Standard,
        Objective::PgdAt { inner: inner(Norm::L2, Start::Uniform) },
        Objective::Dm { coefficient: 10.0, inner: inner(Norm::Linf, Start::Gaussian) },
    ]
}

fn train(spec: &TrainSpec, inputs: &Inputs) -> Result<(PathBuf, Notes), LabError> {
    let mut notes = Notes::default();
    let output = lab().execute(&TaskSpec::Train(spec.clone()), inputs, &mut notes)?;
    let TaskOutput::Trained { checkpoint } = output else { panic!("a training gave {output:?}") };
    Ok((checkpoint, notes))
}

fn resumed_from(inputs: Inputs, path: &Path) -> Inputs {
    Inputs { resume_from: Some(path.to_owned()), ..inputs }
}

#[test]
fn a_resumed_training_equals_an_uninterrupted_one_bit_for_bit_under_every_objective_and_optimiser() {
    let bench = Bench::new(48);
    let adam = Optimizer::Adam { learning_rate: 0.002, weight_decay: 1e-4, betas: [0.9, 0.999], epsilon: 1e-8 };
    let mut specs = objectives().map(|objective| bench.train_spec(objective, Length::Epochs(3))).to_vec();
    let mut with_adam = specs[0].clone();
    with_adam.recipe.optimizer = adam;
    specs.push(with_adam);
    for (number, spec) in specs.iter().enumerate() {
        let (whole, told) = train(spec, &bench.inputs_for(&format!("whole-{number}"))).unwrap();
        assert_eq!(told.checkpoints.iter().map(|(_, epoch)| *epoch).collect::<Vec<_>>(), [1, 2]);
        for (resumable, epoch) in &told.checkpoints {
            let inputs = bench.inputs_for(&format!("resumed-{number}-{epoch}"));
            let (resumed, told_again) = train(spec, &resumed_from(inputs, resumable)).unwrap();
            assert!(fs::read(&whole).unwrap() == fs::read(resumed).unwrap(), "{:?} from {epoch}", spec.recipe);
            assert_eq!(told_again.epochs, told.epochs);
        }
    }
}

#[test]
fn the_same_training_gives_the_same_bytes_and_another_seed_others() {
    let bench = Bench::new(48);
    let spec = bench.train_spec(Objective::Standard, Length::Epochs(1));
    let bytes = |spec: &TrainSpec, folder: &str| fs::read(train(spec, &bench.inputs_for(folder)).unwrap().0).unwrap();
    let first = bytes(&spec, "first");
    assert!(first == bytes(&spec, "second"));
    assert!(first != bytes(&TrainSpec { seed: 2, ..spec }, "third"));
}

#[test]
fn the_loss_falls_under_every_objective_and_metrics_come_in_order() {
    let bench = Bench::new(96);
    for (number, objective) in objectives().into_iter().enumerate() {
        let spec = bench.train_spec(objective, Length::Iterations(22));
        let (_, told) = train(&spec, &bench.inputs_for(&format!("falls-{number}"))).unwrap();
        let steps: Vec<u32> = told.epochs.iter().map(|epoch| epoch.iterations).collect();
        assert_eq!(steps, [6, 12, 18, 22]);
        let (first, last) = (&told.epochs[0], &told.epochs[3]);
        assert!(last.train_loss < 0.7 * first.train_loss, "{} → {}", first.train_loss, last.train_loss);
        assert!(last.train_accuracy > 0.9, "{}", last.train_accuracy);
        assert_eq!(told.progress.last(), Some(&(22, 22, "steps")));
    }
}

#[test]
fn every_epoch_has_an_order_of_its_own() {
    let bench = Bench::new(48);
    let mut spec = bench.train_spec(Objective::Standard, Length::Epochs(2));
    spec.recipe.augmentation = Augmentation::default();
    // A rate that moves nothing: what is left of an epoch's loss is which images shared a batch.
    spec.recipe.optimizer = Optimizer::Sgd { learning_rate: 1e-30, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let (_, told) = train(&spec, &bench.inputs_for("still")).unwrap();
    assert_ne!(told.epochs[0].train_loss, told.epochs[1].train_loss);
}

#[test]
fn only_the_last_two_resumable_checkpoints_stay() {
    let bench = Bench::new(16);
    let inputs = bench.inputs_for("many");
    let (_, told) = train(&bench.train_spec(Objective::Standard, Length::Epochs(5)), &inputs).unwrap();
    let there: Vec<bool> = told.checkpoints.iter().map(|(path, _)| path.exists()).collect();
    assert_eq!(there, [false, false, true, true]);
}

#[test]
fn the_resumable_checkpoint_of_another_task_is_refused() {
    let bench = Bench::new(32);
    let spec = bench.train_spec(Objective::Standard, Length::Epochs(2));
    let (_, told) = train(&spec, &bench.inputs_for("own")).unwrap();
    let foreign = TrainSpec { seed: 9, ..spec };
    let error = train(&foreign, &resumed_from(bench.inputs_for("foreign"), &told.checkpoints[0].0)).unwrap_err();
    assert!(error.to_string().contains("it belongs to task"), "{error}");
    assert_eq!(error.class(), FailureClass::Permanent);
}

#[test]
fn a_cut_resumable_checkpoint_is_an_error_that_names_it() {
    let bench = Bench::new(32);
    let spec = bench.train_spec(Objective::Standard, Length::Epochs(2));
    let (_, told) = train(&spec, &bench.inputs_for("own")).unwrap();
    let bytes = fs::read(&told.checkpoints[0].0).unwrap();
    let cut = bench.folder.path().join("cut.safetensors");
    for length in [0, 5, 100, bytes.len() / 2] {
        fs::write(&cut, &bytes[..length]).unwrap();
        let error = train(&spec, &resumed_from(bench.inputs_for("again"), &cut)).unwrap_err();
        assert!(error.to_string().contains("cut.safetensors"), "{error}");
    }
}

#[test]
fn a_diverging_training_ends_with_the_place_where_it_happened() {
    let bench = Bench::new(48);
    let mut spec = bench.train_spec(Objective::Standard, Length::Epochs(4));
    spec.recipe.optimizer = Optimizer::Sgd { learning_rate: 1e38, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let error = train(&spec, &bench.inputs_for("diverges")).unwrap_err();
    assert!(error.to_string().contains("in epoch 1, iteration"), "{error}");
    assert_eq!(error.class(), FailureClass::Permanent);
}
