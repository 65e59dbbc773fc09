//! Agreement with the published code, on values that `tests/reference/golden_attacks_a.py` computed with it from the same start.

use std::cell::RefCell;

use gauntlet_domain::experiment::{AttackConfig, AttackMethod, Backbone};
use support::{Golden, floats, formula_examples, formula_model, pattern};

use super::*;
use crate::attacks::template::{Aids, Evaluated, Evaluation, run};
use crate::training::Wish;

#[path = "../../../tests/support/mod.rs"]
mod support;

const EXAMPLES: usize = 200;

/// What APGD did in one run.
struct Trace {
    /// Best losses after each step, f32 \[steps,n\].
    best_losses: Tensor,
    /// Step sizes at each step, f32 \[steps,n\].
    step_sizes: Tensor,
}

/// APGD from the golden start.
struct Traced {
    apgd: Apgd,
    trace: RefCell<Option<Trace>>,
}

impl Attack for Traced {
    fn tries(&self) -> u32 {
        1
    }

    fn attempt(&self, arena: &mut Arena<'_>, _: u32) -> Result<(), LabError> {
        let Apgd { loss, steps, rho, .. } = self.apgd;
        let start = golden_start(arena, &self.apgd)?;
        let ball = arena.ball()?;
        if ball.norm == Norm::L1 {
            return self.apgd.climb(arena, 0, start);
        }
        let objective = Objective::new(loss, 0, arena)?.unwrap();
        let start = Start { points: start, found: false };
        let mut climb = Climb::new(arena, Plan { ball, steps, rho }, (true, 1), objective, start)?.unwrap();
        let (mut best_losses, mut step_sizes) = (Vec::new(), Vec::new());
        for step in 0..steps {
            step_sizes.push(climb.pace.step_size.shallow_clone());
            assert!(climb.step(arena, step)?);
            best_losses.push(climb.best_loss.shallow_clone());
        }
        let [best_losses, step_sizes] = [best_losses, step_sizes].map(|steps| Tensor::stack(&steps, 0));
        *self.trace.borrow_mut() = Some(Trace { best_losses, step_sizes });
        arena.conclude(&climb.end()?.0)
    }
}

fn golden_start(arena: &Arena<'_>, apgd: &Apgd) -> Result<Tensor, LabError> {
    let draws = Tensor::from_slice(&pattern("attack.start", EXAMPLES * 1024)).view([EXAMPLES as i64, 1, 32, 32]);
    let rows: Vec<i64> = arena.examples().iter().map(|example| *example as i64).collect();
    let draws = draws.index_select(0, &Tensor::from_slice(&rows));
    let ball = arena.ball()?;
    let widest = apgd.phases(ball)[0].eps;
    Ok(stretched(&draws, arena.originals(), Ball { eps: widest, ..ball })?)
}

fn apgd(loss: ApgdLoss) -> Apgd {
    Apgd {
        loss,
        steps: 20,
        restarts: 1,
        rho: 0.75,
        target_classes: 9,
        gradient_passes: 1,
        larger_balls: true,
        first_start: 0,
    }
}

/// Runs an attack on the golden examples.
fn evaluated(golden: &Golden, attack: &dyn Attack, norm: Norm, early_stop: bool) -> Evaluated {
    // The examples are few: threads would wait for each other.
    tch::set_num_threads(1);
    let eps = match norm {
        Norm::Linf => 4.0 / 255.0,
        Norm::L2 => 0.35,
        Norm::L1 => 6.0,
    };
    // What the attack is called here plays no part.
    let config = AttackConfig {
        method: AttackMethod::Fgsm,
        norm,
        eps: Some(eps),
        target: None,
        early_stop,
        stop_at_interval: None,
    };
    let model = formula_model(Backbone::ResNet18W16, 1, 10);
    let examples = formula_examples("attack.many", golden.classes("many.labels"), 10);
    let evaluation = Evaluation {
        model: &model,
        examples: &examples,
        attack: &config,
        aids: Aids::default(),
        seed: 0,
        batch_size: EXAMPLES,
        keep_images: true,
    };
    let evaluated = run(&evaluation, attack, 0..EXAMPLES, &mut |_| Wish::GoOn).unwrap();
    assert_eq!(evaluated.result.outcomes.clean_correct(), EXAMPLES);
    evaluated
}

/// Whether each example is still right after the attack.
fn survivors(evaluated: &Evaluated) -> Vec<bool> {
    let outcomes = &evaluated.result.outcomes;
    outcomes.adversarial_prediction.iter().zip(&outcomes.label).map(|(after, label)| after == label).collect()
}

fn equal(ours: &[bool], theirs: &[bool]) -> usize {
    ours.iter().zip(theirs).filter(|(ours, theirs)| ours == theirs).count()
}

/// Share of the entries that differ by more than a thousandth of the size of such values.
fn share_of_others(found: &Tensor, golden: &Tensor) -> f64 {
    let apart = (found - golden).abs().gt_tensor(&(golden.abs() * 1e-3 + 1e-4));
    apart.to_kind(tch::Kind::Double).mean(tch::Kind::Double).double_value(&[])
}

fn assert_follows_the_published_code(norm: Norm, loss: ApgdLoss, name: &str) {
    let golden = Golden::read("attacks_a");
    let attack = Traced { apgd: apgd(loss), trace: RefCell::new(None) };
    let ours = survivors(&evaluated(&golden, &attack, norm, false));
    let theirs: Vec<bool> = golden.classes(&format!("{name}.right")).iter().map(|right| *right == 1).collect();
    let same = equal(&ours, &theirs);
    let right = theirs.iter().filter(|right| **right).count();
    println!("{name}: {same} of {EXAMPLES} success flags equal, {right} survive");
    assert!(same * 1000 >= EXAMPLES * 995, "{name}: only {same} of {EXAMPLES} success flags are equal");
    let Some(trace) = attack.trace.into_inner() else { return };
    let (losses, sizes) = (golden.get(&format!("{name}.best_losses")), golden.get(&format!("{name}.step_sizes")));
    for (step, allowed) in [(0, 0.01), (3, 0.02), (9, 0.03), (19, 0.05)] {
        let other = share_of_others(&trace.best_losses.get(step), &losses.get(step));
        println!("{name}: after step {}, {other:.3} of the best losses differ", step + 1);
        assert!(other <= allowed, "{name}: {other} of the best losses differ after step {}", step + 1);
    }
    // The published sizes are those before the checkpoints, which come after steps 4, 7, 9, 10, 11, …
    let checkpoints = [4, 7].into_iter().chain(9..=20).map(|step| step - 1).collect::<Vec<i64>>();
    let sizes_at = trace.step_sizes.index_select(0, &Tensor::from_slice(&checkpoints));
    let other = share_of_others(&(sizes_at / sizes), &sizes.ones_like());
    println!("{name}: {other:.4} of the step sizes differ");
    assert!(other <= 0.02, "{name}: {other} of the step sizes differ");
}

#[test]
fn in_linf_it_follows_the_published_code_step_by_step() {
    assert_follows_the_published_code(Norm::Linf, ApgdLoss::Ce, "apgd.linf.ce");
    assert_follows_the_published_code(Norm::Linf, ApgdLoss::Dlr, "apgd.linf.dlr");
    assert_follows_the_published_code(Norm::Linf, ApgdLoss::DlrTargeted, "apgd.linf.dlr-targeted");
}

#[test]
fn in_l2_it_follows_the_published_code_step_by_step() {
    assert_follows_the_published_code(Norm::L2, ApgdLoss::Ce, "apgd.l2.ce");
    assert_follows_the_published_code(Norm::L2, ApgdLoss::DlrTargeted, "apgd.l2.dlr-targeted");
}

#[test]
fn in_l1_it_ends_where_the_published_code_ends() {
    assert_follows_the_published_code(Norm::L1, ApgdLoss::Ce, "apgd.l1.ce");
}

#[test]
fn who_retires_changes_nothing_for_the_survivors() {
    let golden = Golden::read("attacks_a");
    let [early, full] = [true, false].map(|early_stop| evaluated(&golden, &apgd(ApgdLoss::Ce), Norm::Linf, early_stop));
    let (stay, all) = (survivors(&early), survivors(&full));
    let same = equal(&stay, &all);
    assert!(same * 1000 >= EXAMPLES * 995, "{same} of {EXAMPLES} fates are equal");
    assert!(early.result.model_queries < full.result.model_queries / 2);
    let [early, full] = [early, full].map(|evaluated| floats(&evaluated.images.unwrap()));
    let elsewhere = |example: &usize| {
        let pixels = example * 1024..(example + 1) * 1024;
        let pairs = early[pixels.clone()].iter().zip(&full[pixels]);
        // The network's rounding depends on the size of the batch, and the sign of a gradient that is as good as zero on the rounding.
        pairs.filter(|(early, full)| (*early - *full).abs() > 1e-5).count() > 20
    };
    let both: Vec<usize> = (0..EXAMPLES).filter(|example| stay[*example] && all[*example]).collect();
    let others = both.iter().filter(|example| elsewhere(example)).count();
    println!("{others} of {} survivors end elsewhere", both.len());
    assert!(both.len() > 40 && others * 20 <= both.len(), "{others} of {} survivors end elsewhere", both.len());
}
