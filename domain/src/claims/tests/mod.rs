//! Constructed sweeps in which the claims hold, fail, are undecided, or cannot be tested.

mod factors;
mod kinship;
mod sources;

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::results::tests::row;
use crate::sweep::parse;

const SWEEP: &str = r#"
name = "s"
seeds = [0, 1, 2]
[[dataset]]
name = "glyphs"
[[model]]
backbone = "resnet18-w16"
[[init]]
name = "scratch"
[[init]]
name = "pretrained"
pretrain = { dataset = "fashion-mnist", recipe = "standard" }
[[init]]
name = "robust"
pretrain = { dataset = "fashion-mnist", recipe = { method = "pgd-at", inner = { eps = "8/255" } } }
[[recipe]]
name = "standard"
method = "standard"
[[recipe]]
name = "dm"
method = "dm"
[[attack]]
name = "pgd10"
method = "pgd"
eps = ["2/255", "4/255"]
[[attack]]
name = "noise"
method = "noise"
eps = "4/255"
[[analysis]]
name = "likeness-start"
method = "similarity"
against = "start"
[[analysis]]
name = "likeness-twin"
method = "similarity"
against = { init = "scratch" }
runs = { init = "pretrained" }
[[analysis]]
name = "uap-start"
method = "uap"
against = "start"
eps = "8/255"
[[analysis]]
name = "uap-twin"
method = "uap"
against = { init = "scratch" }
runs = { init = "pretrained" }
eps = "8/255"
"#;

fn sweep() -> Sweep {
    parse(SWEEP).unwrap()
}

fn counted(row: ResultRow) -> Evaluation {
    Evaluation { row, examples: None }
}

/// Outcomes of 100 examples: the last ones are wrong, those before them fall.
fn in_order(row: ResultRow) -> Evaluation {
    let labels = vec![1; row.examples as usize];
    let right = |count: u32| (0..row.examples).map(|index| u32::from(index < count)).collect::<Vec<_>>();
    let examples = Examples::new(&labels, &right(row.clean_correct), &right(row.robust_correct));
    Evaluation { row, examples: Some(examples) }
}

/// A standard and a fine-tuned model per seed, with the AAI of the latter.
fn twins(fine_tuned: &[u32]) -> Vec<Evaluation> {
    let mut rows = Vec::new();
    for (seed, robust) in (0u64..).zip(fine_tuned) {
        rows.push(counted(row("scratch", "standard", seed, "4/255", 80, 50)));
        rows.push(counted(row("pretrained", "standard", seed, "4/255", 85, *robust)));
    }
    rows
}

fn claim(id: &str, evaluations: &[Evaluation]) -> Claim {
    claims(&sweep(), evaluations, &[]).into_iter().find(|claim| claim.id == id).unwrap()
}

#[test]
fn a_fine_tuned_model_that_falls_in_every_seed_bears_the_study_out() {
    let found = claim("P1b", &twins(&[21, 22, 20]));
    assert_eq!((found.verdict, found.comparisons.len()), (Verdict::Holds, 1));
    let only = &found.comparisons[0];
    assert_eq!(only.basis, Basis::Seeds { seeds: 3, examples: 100 });
    assert!((only.difference.estimate + 0.29).abs() < 1e-12 && only.difference.high < 0.0, "{only:?}");
    assert_eq!((only.first.init.as_str(), only.second.init.as_str()), ("pretrained", "scratch"));
}

#[test]
fn a_fine_tuned_model_that_withstands_more_speaks_against_the_study() {
    assert_eq!(claim("P1b", &twins(&[78, 77, 79])).verdict, Verdict::Fails);
}

#[test]
fn seeds_that_disagree_decide_nothing() {
    let found = claim("P1b", &twins(&[20, 60, 40]));
    assert_eq!(found.verdict, Verdict::Undecided);
    assert!(found.comparisons[0].difference.low < 0.0 && found.comparisons[0].difference.high > 0.0);
}

#[test]
fn what_no_comparison_decides_may_be_decided_in_the_mean_over_all_of_them() {
    let mut rows = twins(&[21, 40, 30]);
    assert_eq!(claim("P1b", &rows).overall(), None, "the mean of one is that one");
    for (seed, robust) in [(0, 40), (1, 21), (2, 30)] {
        rows.push(counted(row("scratch", "standard", seed, "2/255", 80, 50)));
        rows.push(counted(row("pretrained", "standard", seed, "2/255", 85, robust)));
    }
    let found = claim("P1b", &rows);
    assert_eq!(found.verdict, Verdict::Undecided);
    assert_eq!(found.comparisons[0].by_seed.iter().map(|(seed, _)| *seed).collect::<Vec<_>>(), [0, 1, 2]);
    let overall = found.overall().unwrap();
    assert_eq!((overall.comparisons, overall.seeds, overall.outcome), (2, 3, Outcome::Holds));
    assert!((overall.difference.estimate + 0.59 / 3.0).abs() < 1e-12 && overall.difference.high < 0.0, "{overall:?}");
    // A seed that one of them lacks is no seed of the mean.
    rows.retain(|evaluation| evaluation.row.eps == "4/255" || evaluation.row.seed == 0);
    rows.push(counted(row("scratch", "standard", 3, "2/255", 80, 50)));
    rows.push(counted(row("pretrained", "standard", 3, "2/255", 85, 40)));
    assert_eq!(claim("P1b", &rows).overall(), None, "one seed in common has no spread");
}

#[test]
fn what_holds_at_one_epsilon_and_fails_at_another_is_mixed() {
    let mut rows = twins(&[21, 22, 20]);
    for seed in 0..3 {
        rows.push(counted(row("scratch", "standard", seed, "2/255", 80, 50)));
        rows.push(counted(row("pretrained", "standard", seed, "2/255", 85, 79 + seed as u32 % 2)));
    }
    let found = claim("P1b", &rows);
    assert_eq!((found.verdict, found.comparisons.len()), (Verdict::Mixed, 2));
    assert_eq!((found.count(Outcome::Holds), found.count(Outcome::Fails)), (1, 1));
}

#[test]
fn original_inputs_are_compared_once_however_many_radii_there_are() {
    let mut rows = twins(&[21, 22, 20]);
    for seed in 0..3 {
        rows.push(counted(row("scratch", "standard", seed, "2/255", 80, 50)));
        rows.push(counted(row("pretrained", "standard", seed, "2/255", 85, 40)));
    }
    let found = claim("P1a", &rows);
    assert_eq!((found.verdict, found.comparisons.len()), (Verdict::Holds, 1));
}

#[test]
fn one_seed_is_tested_over_its_examples_and_only_with_outcomes() {
    let rows = [row("scratch", "standard", 0, "4/255", 80, 50), row("pretrained", "standard", 0, "4/255", 85, 20)];
    let without = claim("P1b", &rows.clone().map(counted));
    assert_eq!((without.verdict, without.untested), (Verdict::NotTested, 1));
    let with = claim("P1b", &rows.map(in_order));
    assert_eq!((with.verdict, with.untested), (Verdict::Holds, 0));
    assert_eq!(with.comparisons[0].basis, Basis::Examples { examples: 100, only_first: 0, only_second: 30 });
}

#[test]
fn the_decline_of_one_seed_is_that_of_the_examples_both_models_get_right() {
    let rows = [row("scratch", "standard", 0, "4/255", 60, 50), row("pretrained", "standard", 0, "4/255", 85, 20)];
    let found = claim("P1c", &rows.map(in_order));
    let only = &found.comparisons[0];
    assert_eq!(only.basis, Basis::Examples { examples: 60, only_first: 30, only_second: 0 });
    assert_eq!((only.shares, found.verdict), ([40.0 / 60.0, 10.0 / 60.0], Verdict::Holds));
}

/// A standard and a fine-tuned model per seed: which examples of 100 each gets right before the attack, and which still under it.
fn twins_of_examples(seeds: u64, standard: [Range<u32>; 2], fine_tuned: [Range<u32>; 2]) -> Vec<Evaluation> {
    let labels = vec![1; 100];
    let of = |init: &str, seed, [clean, robust]: &[Range<u32>; 2]| {
        let right = |range: &Range<u32>| (0..100).map(|index| u32::from(range.contains(&index))).collect::<Vec<_>>();
        let examples = Examples::new(&labels, &right(clean), &right(robust));
        let row = row(init, "standard", seed, "4/255", clean.len() as u32, robust.len() as u32);
        Evaluation { row, examples: Some(examples) }
    };
    (0..seeds).flat_map(|seed| [of("scratch", seed, &standard), of("pretrained", seed, &fine_tuned)]).collect()
}

#[test]
fn a_model_that_gets_less_right_throughout_is_not_less_accurate_on_the_inputs_that_both_get_right() {
    // Of the 60 inputs that both get right, the same 30 withstand the attack; the other 30 robust ones only the standard model gets right at all.
    for seeds in [1, 3] {
        let rows = twins_of_examples(seeds, [0..90, 30..90], [0..60, 30..60]);
        assert_eq!(claim("P1b", &rows).verdict, Verdict::Holds);
        let matched = claim("P1d", &rows);
        assert_eq!((matched.verdict, matched.comparisons[0].shares), (Verdict::Undecided, [0.5, 0.5]));
    }
}

#[test]
fn on_inputs_that_both_get_right_the_shares_under_attack_are_compared_over_seeds_or_examples() {
    let found = |seeds| claim("P1d", &twins_of_examples(seeds, [0..60, 0..45], [0..80, 0..15]));
    let (one, three) = (found(1), found(3));
    assert_eq!(one.comparisons[0].basis, Basis::Examples { examples: 60, only_first: 0, only_second: 30 });
    assert_eq!(three.comparisons[0].basis, Basis::Seeds { seeds: 3, examples: 60 });
    for found in [one, three] {
        assert_eq!((found.verdict, found.comparisons[0].shares), (Verdict::Holds, [0.25, 0.75]));
    }
    let turned_round = twins_of_examples(3, [0..80, 0..15], [0..60, 0..45]);
    assert_eq!(claim("P1d", &turned_round).verdict, Verdict::Fails);
}

#[test]
fn without_outcomes_per_example_or_inputs_that_both_get_right_nothing_is_matched() {
    let counts_alone = claim("P1d", &twins(&[21, 22, 20]));
    assert_eq!((counts_alone.verdict, counts_alone.untested), (Verdict::NotTested, 1));
    let nothing_shared = claim("P1d", &twins_of_examples(3, [0..50, 0..20], [50..100, 50..80]));
    assert_eq!((nothing_shared.verdict, nothing_shared.untested), (Verdict::NotTested, 1));
}

#[test]
fn twins_that_stopped_at_different_examples_are_compared_on_those_of_both() {
    let mut rows = [row("scratch", "standard", 0, "4/255", 80, 50), row("pretrained", "standard", 0, "4/255", 85, 20)];
    rows[0].examples = 64;
    rows[0].clean_correct = 64;
    let found = claim("P1b", &rows.map(in_order));
    assert_eq!(found.comparisons[0].basis, Basis::Examples { examples: 64, only_first: 0, only_second: 30 });
}

#[test]
fn robust_pre_training_and_dm_are_held_against_ordinary_fine_tuning() {
    let mut rows = twins(&[21, 22, 20]);
    for seed in 0..3 {
        rows.push(counted(row("robust", "standard", seed, "4/255", 80, 40 + seed as u32)));
        rows.push(counted(row("robust", "dm", seed, "4/255", 80, 43 + seed as u32)));
        rows.push(counted(row("pretrained", "dm", seed, "4/255", 80, 21 + [1, 0, 2][seed as usize])));
    }
    let verdicts = ["P7a", "P7b", "P7c"].map(|id| claim(id, &rows).verdict);
    assert_eq!(verdicts, [Verdict::Holds; 3]);
    let dm = claim("P7b", &rows);
    assert_eq!((dm.comparisons.len(), dm.count(Outcome::Undecided)), (2, 1), "{dm:#?}");
}

#[test]
fn noise_that_fools_more_than_gradients_fails_the_control() {
    let noise = |robust| {
        let mut rows = twins(&[21, 22, 20]);
        for seed in 0..3 {
            let mut row = row("scratch", "standard", seed, "4/255", 80, robust + seed as u32 % 2);
            row.attack = "noise".into();
            rows.push(counted(row));
        }
        claim("C1", &rows).verdict
    };
    assert_eq!([noise(78), noise(20)], [Verdict::Holds, Verdict::Fails]);
}

#[test]
fn a_sweep_without_what_a_claim_needs_does_not_test_it() {
    let scratch_alone = [counted(row("scratch", "standard", 0, "4/255", 80, 50))];
    assert!(claims(&sweep(), &scratch_alone, &[]).iter().all(|claim| claim.verdict == Verdict::NotTested));
    assert!(claims(&sweep(), &[], &[]).iter().all(|claim| claim.verdict == Verdict::NotTested && claim.untested == 0));
}

#[test]
fn twins_are_paired_by_seed_and_epsilon() {
    let rows = twins(&[21, 22]);
    let sweep = sweep();
    let found = super::twins(&sweep, &rows);
    let seeds: Vec<[u64; 2]> = found.iter().map(|pair| pair.map(|row| row.seed)).collect();
    assert_eq!(seeds, [[0, 0], [1, 1]]);
    assert_eq!(found[0].map(|row| row.init.as_str()), ["pretrained", "scratch"]);
}

#[test]
fn what_inits_start_from_is_read_off_the_sweep() {
    let sweep = sweep();
    let starts: Vec<Start> = sweep.inits.iter().map(|init| Start::of(&sweep, init)).collect();
    assert_eq!(starts, [Start::Scratch, Start::Ordinary, Start::Robust]);
}

/// The sweep with checkpoints in place of its pre-trainings, of which this is said.
fn with_checkpoints(ordinary: &str, robust: &str) -> Sweep {
    let pretrained = r#"pretrain = { dataset = "fashion-mnist", recipe = "standard" }"#;
    let robustly =
        r#"pretrain = { dataset = "fashion-mnist", recipe = { method = "pgd-at", inner = { eps = "8/255" } } }"#;
    let source = SWEEP
        .replace(pretrained, &format!("checkpoint = \"a.pth\"\n{ordinary}"))
        .replace(robustly, &format!("checkpoint = \"b.pth\"\n{robust}"));
    parse(&source).expect("the sweep can be read")
}

#[test]
fn a_checkpoint_is_what_the_file_declares_it_to_be() {
    let starts = |sweep: &Sweep| sweep.inits.iter().map(|init| Start::of(sweep, init)).collect::<Vec<_>>();
    let declared = with_checkpoints("robust = false", "robust = true");
    assert_eq!(starts(&declared), [Start::Scratch, Start::Ordinary, Start::Robust]);
    assert_eq!(starts(&with_checkpoints("", "")), [Start::Scratch, Start::Imported, Start::Imported]);
    let chained = SWEEP.replace(r#"recipe = "standard" }"#, r#"recipe = "standard", init = "robust" }"#);
    let robustly =
        r#"pretrain = { dataset = "fashion-mnist", recipe = { method = "pgd-at", inner = { eps = "8/255" } } }"#;
    let chained =
        parse(&chained.replace(robustly, "checkpoint = \"b.pth\"\nrobust = true")).expect("the sweep can be read");
    assert_eq!(starts(&chained), [Start::Scratch, Start::Several, Start::Robust]);
}

#[test]
fn claims_about_robust_pre_training_are_tested_on_declared_checkpoints_as_on_pre_trainings() {
    let rows: Vec<Evaluation> = (0..3)
        .flat_map(|seed| {
            let of = |init: &str, recipe: &str, robust| counted(row(init, recipe, seed, "4/255", 90, robust));
            [of("pretrained", "standard", 5), of("robust", "standard", 60), of("robust", "dm", 70)]
        })
        .collect();
    let trained = claims(&sweep(), &rows, &[]);
    let declared = claims(&with_checkpoints("robust = false", "robust = true"), &rows, &[]);
    let silent = claims(&with_checkpoints("", ""), &rows, &[]);
    for id in ["P7a", "P7c"] {
        let verdict =
            |claims: &[Claim]| claims.iter().find(|claim| claim.id == id).expect("the claim is there").verdict;
        assert_eq!(
            [verdict(&trained), verdict(&declared), verdict(&silent)],
            [Verdict::Holds, Verdict::Holds, Verdict::NotTested],
            "{id}"
        );
    }
}

/// The same rows with the two models' counts exchanged.
fn exchanged(rows: &[Evaluation]) -> Vec<Evaluation> {
    let mut rows = rows.to_vec();
    for pair in rows.chunks_mut(2) {
        let [standard, fine_tuned] = pair else { unreachable!("rows come in pairs") };
        std::mem::swap(&mut standard.row.init, &mut fine_tuned.row.init);
    }
    rows
}

proptest! {
    #[test]
    fn exchanging_the_twins_turns_every_verdict_round(robust in proptest::collection::vec(0u32..80, 1..6)) {
        let rows: Vec<Evaluation> = twins(&robust).into_iter().map(|evaluation| in_order(evaluation.row)).collect();
        let back = exchanged(&rows);
        for (there, back) in claims(&sweep(), &rows, &[]).iter().zip(claims(&sweep(), &back, &[])).take(4) {
            let turned = match there.verdict {
                Verdict::Holds => Verdict::Fails,
                Verdict::Fails => Verdict::Holds,
                other => other,
            };
            prop_assert_eq!(turned, back.verdict, "{}", there.id);
            for (there, back) in there.comparisons.iter().zip(&back.comparisons) {
                prop_assert!((there.difference.estimate + back.difference.estimate).abs() < 1e-9);
                prop_assert!((there.adjusted_p_value - back.adjusted_p_value).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_verdict_follows_from_its_comparisons(robust in proptest::collection::vec(0u32..80, 2..6)) {
        for claim in claims(&sweep(), &twins(&robust), &[]) {
            let against = claim.count(Outcome::Fails);
            match claim.verdict {
                Verdict::Holds => prop_assert!(claim.count(Outcome::Holds) > 0 && against == 0),
                Verdict::Fails => prop_assert!(claim.count(Outcome::Holds) == 0 && against > 0),
                Verdict::Mixed => prop_assert!(claim.count(Outcome::Holds) > 0 && against > 0),
                Verdict::Undecided => prop_assert!(claim.count(Outcome::Undecided) == claim.comparisons.len()),
                Verdict::NotTested => prop_assert!(claim.comparisons.is_empty()),
            }
        }
    }
}
