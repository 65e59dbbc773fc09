//! An evaluation comes to the same bits in one piece, in shards, and resumed after any block.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use gauntlet_domain::Digest;
use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::{
    ApgdLoss, AttackConfig, AttackMethod, AttackResult, AttackSpec, Head, NUMERICS_VERSION, Norm, OtherModel, Shard,
    TargetClass, TaskSpec, UapMethod, Weights,
};
use gauntlet_lab::attacks::{Aids, Evaluation, evaluate, evaluate_range};
use gauntlet_lab::training::Wish;
use gauntlet_lab::{Examples, Inputs, Lab, LabError, Settings, TaskOutput};
use support::trained::{model, spec, trained};
use support::{Bench, Notes, given, model_spec, squares};
use tch::{Device, Tensor};

/// Two whole blocks and the beginning of a third.
const EXAMPLES: usize = 600;

fn examples() -> Examples {
    let mut images = squares("sharded", EXAMPLES);
    for wrong in [4, 255, 256, 400, 599] {
        images.labels[wrong] = (images.labels[wrong] + 1) % 3;
    }
    Examples::from_images(&images, 3, Device::Cpu).unwrap()
}

fn in_ball(method: AttackMethod) -> AttackConfig {
    AttackConfig {
        method,
        norm: Norm::Linf,
        eps: Some(24.0 / 255.0),
        target: None,
        early_stop: true,
        stop_at_interval: None,
    }
}

fn nearest(method: AttackMethod) -> AttackConfig {
    AttackConfig { method, norm: Norm::L2, eps: None, target: None, early_stop: false, stop_at_interval: None }
}

fn pgd() -> AttackMethod {
    AttackMethod::Pgd { steps: 2, step_size: 0.1, random_start: true, restarts: 2 }
}

fn fab() -> AttackMethod {
    AttackMethod::Fab { targeted: true, steps: 3, restarts: 1, target_classes: 2, alpha_max: 0.1, beta: 0.9, eta: 1.05 }
}

/// Results as text, in which no bit is lost.
fn bits(result: &AttackResult) -> String {
    serde_json::to_string(result).unwrap()
}

fn assert_shards_append(name: &str, attack: &AttackConfig) {
    tch::set_num_threads(1);
    let (model, examples, source) = (model(), examples(), model());
    let aids = Aids { source: Some(&source), crafted_on: None };
    let evaluation =
        Evaluation { model: &model, examples: &examples, attack, aids, seed: 5, batch_size: 100, keep_images: true };
    let whole = evaluate(&evaluation, &mut |_| ()).unwrap();
    let outcomes = &whole.result.outcomes;
    let (clean, robust) = (outcomes.clean_correct(), outcomes.robust_correct());
    println!("{name}: {clean} right before, {robust} after");
    assert!(robust < clean && clean < EXAMPLES, "{name} has something to do, and something to leave alone");
    for borders in [vec![0, 256, 512, EXAMPLES], vec![0, 512, EXAMPLES]] {
        let shards = borders.windows(2).map(|border| {
            let (mut told, range) = (0, border[0]..border[1]);
            let shard = evaluate_range(&evaluation, range.clone(), &mut |done| told = done).unwrap();
            assert_eq!(told, range.len());
            shard
        });
        let (results, images): (Vec<AttackResult>, Vec<Tensor>) =
            shards.map(|shard| (shard.result, shard.images.unwrap())).unzip();
        let appended = results.into_iter().reduce(|mut whole, next| {
            whole.append(next);
            whole
        });
        assert!(bits(&appended.unwrap()) == bits(&whole.result), "{name} {borders:?}");
        assert!(Tensor::cat(&images, 0).equal(whole.images.as_ref().unwrap()), "{name} {borders:?}");
    }
}

#[test]
fn restarts_of_gradient_attacks_append_to_the_whole() {
    assert_shards_append("pgd", &in_ball(pgd()));
    let targeted = AttackConfig { target: Some(TargetClass::Random), early_stop: false, ..in_ball(pgd()) };
    assert_shards_append("targeted pgd", &targeted);
}

#[test]
fn attacks_with_an_adaptive_pace_append_to_the_whole() {
    for loss in [ApgdLoss::Ce, ApgdLoss::Dlr] {
        let apgd = AttackMethod::Apgd { loss, steps: 5, restarts: 2, rho: 0.75, target_classes: 9 };
        assert_shards_append(loss.name(), &in_ball(apgd));
    }
}

#[test]
fn random_search_and_transferred_attacks_append_to_the_whole() {
    assert_shards_append(
        "square",
        &AttackConfig { eps: Some(0.4), ..in_ball(AttackMethod::Square { queries: 12, p_init: 0.3, restarts: 2 }) },
    );
    let source = OtherModel { model: spec(), weights: Weights::Scratch };
    let transfer = AttackMethod::Transfer { source: Box::new(source), by: Box::new(pgd()) };
    assert_shards_append("transfer", &in_ball(transfer));
}

#[test]
fn minimum_norm_attacks_append_to_the_whole_with_and_without_a_ball() {
    assert_shards_append("deepfool", &nearest(AttackMethod::DeepFool { steps: 3, overshoot: 0.02, candidates: 3 }));
    assert_shards_append("fab", &nearest(fab()));
    assert_shards_append("fab in a ball", &AttackConfig { eps: Some(20.0 / 255.0), ..in_ball(fab()) });
    let cw =
        AttackMethod::Cw { confidence: 0.0, steps: 6, learning_rate: 0.1, initial_const: 5.0, binary_search_steps: 2 };
    assert_shards_append("cw", &nearest(cw));
}

#[test]
fn ranges_that_are_no_whole_blocks_are_refused() {
    let (model, examples, attack) = (model(), examples(), in_ball(AttackMethod::Fgsm));
    let evaluation = Evaluation {
        model: &model,
        examples: &examples,
        attack: &attack,
        aids: Aids { source: None, crafted_on: Some(&examples) },
        seed: 5,
        batch_size: 100,
        keep_images: false,
    };
    for range in [0..EXAMPLES + 1, 256..256, 0..100, 10..256, 512..513] {
        let refused = evaluate_range(&evaluation, range.clone(), &mut |_| ());
        assert!(matches!(refused, Err(LabError::Spec(_))), "{range:?}");
    }
    let by = UapMethod::Gradient { step_size: 0.01, batch_size: 100 };
    let crafted_on = Box::new(Bench::new(3).dataset);
    let attack = in_ball(AttackMethod::Uap { crafted_on, by, passes: 1, fooling_rate: 0.9 });
    let error = evaluate_range(&Evaluation { attack: &attack, ..evaluation }, 0..256, &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("`uap` crafts for all examples and cannot be split"), "{error}");
}

/// A task that attacks a model that was trained for a moment, and what it needs.
fn task(bench: &Bench) -> (AttackSpec, Inputs) {
    let parent = TaskId::from_digest(Digest::of(b"parent"));
    let path = bench.folder.path().join("parent.safetensors");
    std::fs::write(&path, trained()).unwrap();
    let inputs = given(&bench.inputs, parent, path);
    let spec = AttackSpec {
        dataset: bench.dataset.clone(),
        model: model_spec(spec().backbone, 1, 3),
        weights: Weights::Task { task: parent, head: Head::Keep },
        attack: in_ball(pgd()),
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

#[test]
fn tasks_of_shards_append_to_the_task_of_the_whole() {
    let bench = Bench::new(EXAMPLES);
    let (spec, inputs) = task(&bench);
    let mut lab = Lab::new(Settings::default());
    let whole = executed(&mut lab, &spec, &inputs, &mut Notes::default()).unwrap();
    let mut shard = |first, examples| {
        let spec = AttackSpec { shard: Some(Shard { first, examples }), ..spec.clone() };
        let mut notes = Notes::default();
        let result = executed(&mut lab, &spec, &inputs, &mut notes).unwrap();
        let total = u64::from(examples);
        assert_eq!(notes.progress.first().copied(), Some((0, total, "examples")));
        assert_eq!(notes.progress.last().copied(), Some((total, total, "examples")));
        result
    };
    let mut appended = shard(0, 256);
    appended.append(shard(256, 344));
    assert_eq!(bits(&appended), bits(&whole));
}

#[test]
fn an_attack_that_was_lost_goes_on_at_its_last_block() {
    let bench = Bench::new(EXAMPLES);
    let (spec, inputs) = task(&bench);
    let often = Settings { checkpoint_interval: std::time::Duration::ZERO, ..Settings::default() };
    let mut lab = Lab::new(often);
    let mut notes = Notes::default();
    let whole = executed(&mut lab, &spec, &inputs, &mut notes).unwrap();
    assert_eq!(notes.checkpoints.iter().map(|(_, blocks)| *blocks).collect::<Vec<_>>(), [1, 2]);
    for (path, blocks) in &notes.checkpoints {
        let resumed = Inputs { resume_from: Some(path.clone()), ..inputs.clone() };
        let mut notes = Notes::default();
        assert_eq!(bits(&executed(&mut lab, &spec, &resumed, &mut notes).unwrap()), bits(&whole));
        assert_eq!(notes.progress.first().copied(), Some((u64::from(*blocks) * 256, 600, "examples")));
    }
    let resumed = Inputs { resume_from: Some(notes.checkpoints[1].0.clone()), ..inputs.clone() };
    let other = AttackSpec { seed: 1, ..spec };
    let error = executed(&mut lab, &other, &resumed, &mut Notes::default()).unwrap_err().to_string();
    assert!(error.contains("it belongs to task"), "{error}");
}

#[test]
fn an_attack_that_is_asked_to_stop_leaves_its_blocks_behind() {
    let bench = Bench::new(EXAMPLES);
    let (spec, inputs) = task(&bench);
    let mut lab = Lab::new(Settings::default());
    let whole = executed(&mut lab, &spec, &inputs, &mut Notes::default()).unwrap();
    let mut notes = Notes { wishes: [(256, Wish::Checkpoint), (512, Wish::Stop)].into(), ..Notes::default() };
    let stopped = executed(&mut lab, &spec, &inputs, &mut notes).unwrap_err();
    assert_eq!(notes.checkpoints.len(), 2, "{stopped}");
    let LabError::Stopped { path } = stopped else { panic!("{stopped}") };
    let resumed = Inputs { resume_from: Some(path), ..inputs };
    let mut notes = Notes::default();
    assert_eq!(bits(&executed(&mut lab, &spec, &resumed, &mut notes).unwrap()), bits(&whole));
    assert_eq!(notes.progress.first().copied(), Some((512, 600, "examples")));
}
