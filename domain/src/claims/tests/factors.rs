//! What the effect of pre-training depends on: learning rates, frozen stages, the size of the network, the classes of the source.

use super::*;

const FACTORS: &str = r#"
name = "s"
seeds = [0, 1, 2]
[[dataset]]
name = "glyphs"
[[model]]
backbone = "resnet18-w16"
[[model]]
backbone = "resnet50"
[[model]]
backbone = "resnet18"
[[init]]
name = "scratch"
[[init]]
name = "classes-10"
pretrain = { dataset = { name = "fashion-mnist", keep_classes = 10 }, recipe = "slow" }
[[init]]
name = "classes-2"
pretrain = { dataset = { name = "fashion-mnist", keep_classes = 2 }, recipe = "slow" }
[[init]]
name = "classes-5"
pretrain = { dataset = { name = "fashion-mnist", keep_classes = 5 }, recipe = "slow" }
[[init]]
name = "all-classes"
pretrain = { dataset = "fashion-mnist", recipe = "slow" }
[[init]]
name = "longer"
pretrain = { dataset = { name = "fashion-mnist", keep_classes = 8 }, recipe = { method = "standard", epochs = 99 } }
[[init]]
name = "fewer-images"
pretrain = { dataset = { name = "fashion-mnist", keep_classes = 3, train_examples = 50 }, recipe = "slow" }
[[recipe]]
name = "slow"
method = "standard"
optimizer = { kind = "sgd", learning_rate = 0.01 }
[[recipe]]
name = "fast"
method = "standard"
optimizer = { kind = "sgd", learning_rate = 0.1, head_learning_rate = 0.1 }
[[recipe]]
name = "frozen"
method = "standard"
optimizer = { kind = "sgd", learning_rate = 0.1 }
freeze = 2
[[recipe]]
name = "small-batches"
method = "standard"
batch_size = 16
optimizer = { kind = "sgd", learning_rate = 0.2 }
[[attack]]
name = "pgd10"
method = "pgd"
eps = "4/255"
"#;

fn found(id: &str, evaluations: &[Evaluation]) -> Claim {
    claims(&parse(FACTORS).unwrap(), evaluations, &[]).into_iter().find(|claim| claim.id == id).unwrap()
}

/// Three seeds that agree but for one example.
fn seeds(backbone: &str, init: &str, recipe: &str, robust: u32) -> Vec<Evaluation> {
    let of_seed = |seed: u64| {
        let mut row = row(init, recipe, seed, "4/255", 80, robust + u32::from(seed == 1));
        row.backbone = backbone.into();
        counted(row)
    };
    (0..3).map(of_seed).collect()
}

fn sides(claim: &Claim, name: fn(&Side) -> &str) -> Vec<[String; 2]> {
    let names = |pair: &Comparison| [&pair.first, &pair.second].map(|side| name(side).to_owned());
    claim.comparisons.iter().map(names).collect()
}

const SMALL: &str = "resnet18-w16";

#[test]
fn each_recipe_of_other_learning_rates_or_freezing_is_compared_with_its_own_twin() {
    let rows = [
        seeds(SMALL, "scratch", "slow", 60),
        seeds(SMALL, "scratch", "fast", 50),
        seeds(SMALL, "scratch", "small-batches", 50),
        seeds(SMALL, "classes-2", "slow", 30),
        seeds(SMALL, "classes-2", "fast", 20),
        seeds(SMALL, "classes-2", "frozen", 10),
        seeds(SMALL, "classes-2", "small-batches", 10),
    ]
    .concat();
    let found = found("P2", &rows);
    // The twin of the frozen one is that of the same learning rate, not the first of the sweep.
    let expected = [["slow", "slow"], ["fast", "fast"], ["frozen", "fast"]].map(|pair| pair.map(str::to_owned));
    assert_eq!(sides(&found, |side| &side.recipe), expected);
    assert_eq!((found.verdict, found.count(Outcome::Holds)), (Verdict::Holds, 3));
}

#[test]
fn models_that_withstand_more_at_other_learning_rates_speak_against_the_study() {
    let rows = [
        seeds(SMALL, "scratch", "slow", 30),
        seeds(SMALL, "scratch", "fast", 30),
        seeds(SMALL, "classes-2", "slow", 60),
        seeds(SMALL, "classes-2", "fast", 60),
    ]
    .concat();
    assert_eq!(found("P2", &rows).verdict, Verdict::Fails);
}

#[test]
fn one_recipe_tells_nothing_about_other_learning_rates() {
    let alone = [seeds(SMALL, "scratch", "fast", 60), seeds(SMALL, "classes-2", "fast", 20)].concat();
    assert_eq!(found("P2", &alone).verdict, Verdict::NotTested);
    let in_more_than_rates = [
        alone.clone(),
        seeds(SMALL, "scratch", "small-batches", 60),
        seeds(SMALL, "classes-2", "small-batches", 20),
        seeds(SMALL, "classes-5", "slow", 20),
    ]
    .concat();
    assert_eq!(found("P2", &in_more_than_rates).verdict, Verdict::NotTested);
    assert_eq!(found("P1b", &in_more_than_rates).verdict, Verdict::Holds);
}

/// Standard and fine-tuned models of three networks.
fn networks(small: [u32; 2], middle: [u32; 2], large: [u32; 2]) -> Vec<Evaluation> {
    let of = |(backbone, [standard, fine_tuned]): (&str, [u32; 2])| {
        [seeds(backbone, "scratch", "fast", standard), seeds(backbone, "classes-2", "fast", fine_tuned)].concat()
    };
    [(SMALL, small), ("resnet18", middle), ("resnet50", large)].into_iter().flat_map(of).collect()
}

#[test]
fn the_loss_of_a_network_is_held_against_that_of_the_next_smaller_one() {
    let found = found("P6a", &networks([50, 45], [60, 40], [70, 20]));
    let expected = [["resnet50", "resnet18"], ["resnet18", SMALL]].map(|pair| pair.map(str::to_owned));
    assert_eq!(sides(&found, |side| &side.backbone), expected);
    assert_eq!((found.verdict, found.count(Outcome::Holds)), (Verdict::Holds, 2));
    let first = &found.comparisons[0];
    assert_eq!((first.basis, first.measure), (Basis::Seeds { seeds: 3, examples: 100 }, Measure::AaiGap));
    assert!((first.shares[0] + 0.5).abs() < 1e-9 && (first.shares[1] + 0.2).abs() < 1e-9, "{first:?}");
    assert!((first.difference.estimate + 0.3).abs() < 1e-9, "{first:?}");
}

#[test]
fn networks_that_lose_less_the_larger_they_are_speak_against_the_hypothesis() {
    assert_eq!(found("P6a", &networks([50, 10], [60, 40], [70, 68])).verdict, Verdict::Fails);
    // The larger is the less robust one, but not because of pre-training.
    assert_eq!(found("P6a", &networks([70, 60], [50, 40], [30, 20])).verdict, Verdict::Undecided);
}

#[test]
fn a_difference_of_differences_may_be_larger_than_any_of_two_shares() {
    let found = found("P6a", &networks([5, 70], [75, 5], [75, 5]));
    let extreme = &found.comparisons[1].difference;
    assert!((extreme.estimate + 1.35).abs() < 1e-9 && extreme.low < extreme.estimate, "{extreme:?}");
}

#[test]
fn networks_of_a_single_seed_or_without_a_twin_are_not_compared() {
    let mut rows = networks([50, 45], [60, 40], [70, 20]);
    rows.retain(|evaluation| evaluation.row.seed == 0);
    assert_eq!((found("P6a", &rows).verdict, found("P6a", &rows).untested), (Verdict::NotTested, 2));
    rows.retain(|evaluation| evaluation.row.init != "scratch");
    assert_eq!((found("P6a", &rows).verdict, found("P6a", &rows).untested), (Verdict::NotTested, 0));
}

fn classes(of: [(&str, u32); 6]) -> Claim {
    found("P6b", &of.map(|(init, robust)| seeds(SMALL, init, "fast", robust)).concat())
}

#[test]
fn a_source_is_held_against_the_one_of_the_next_fewer_of_the_same_classes() {
    let more_is_better = [
        ("classes-2", 30),
        ("classes-5", 40),
        ("classes-10", 50),
        ("all-classes", 50),
        // Neither is the same pre-training of other classes.
        ("longer", 5),
        ("fewer-images", 5),
    ];
    let found = classes(more_is_better);
    // All classes of Fashion-MNIST are ten.
    let expected = [["classes-10", "classes-5"], ["classes-5", "classes-2"], ["all-classes", "classes-5"]];
    assert_eq!(sides(&found, |side| &side.init), expected.map(|pair| pair.map(str::to_owned)));
    assert_eq!((found.verdict, found.count(Outcome::Holds)), (Verdict::Holds, 3));
    let turned_round = more_is_better.map(|(init, robust)| (init, 60 - robust));
    assert_eq!(classes(turned_round).verdict, Verdict::Fails);
}

/// A row for every cell of a sweep that is not excluded, all with the same counts.
fn every_cell(sweep: &Sweep, excluded: fn(&str, &str) -> bool) -> Vec<Evaluation> {
    let mut rows = Vec::new();
    let radii = || sweep.attacks.iter().flat_map(|attack| attack.eps.iter().map(|eps| (&attack.name, eps.text())));
    let arms = || sweep.inits.iter().flat_map(|init| sweep.recipes.iter().map(|recipe| (&init.name, &recipe.name)));
    for model in &sweep.models {
        for (init, recipe) in arms().filter(|(init, recipe)| !excluded(init, recipe)) {
            for (attack, eps) in radii() {
                for seed in &sweep.seeds {
                    let mut row = row(init, recipe, *seed, eps, 80, 40);
                    (row.backbone, row.attack) = (model.name.clone(), attack.clone());
                    rows.push(counted(row));
                }
            }
        }
    }
    rows
}

fn asked(id: &str, sweep: &Sweep, rows: &[Evaluation]) -> Claim {
    claims(sweep, rows, &[]).into_iter().find(|claim| claim.id == id).unwrap()
}

#[test]
fn the_sweep_of_learning_rates_tests_each_of_its_recipes() {
    let sweep = parse(include_str!("../../../../sweeps/paper/P2-lite.toml")).unwrap();
    let rows = every_cell(&sweep, |init, recipe| init == "scratch" && recipe.starts_with("frozen"));
    let found = asked("P2", &sweep, &rows);
    let compared = sides(&found, |side| &side.recipe);
    assert!(sweep.recipes.iter().all(|recipe| compared.iter().any(|[first, _]| *first == recipe.name)), "{compared:?}");
    let twin = |recipe: &str| match recipe.starts_with("frozen") {
        true => "head-0.1-backbone-0.1".to_owned(),
        false => recipe.to_owned(),
    };
    assert!(compared.iter().all(|[first, second]| *second == twin(first)), "{compared:?}");
}

#[test]
fn the_sweep_of_factors_tests_networks_and_sources() {
    let sweep = parse(include_str!("../../../../sweeps/paper/P6-lite.toml")).unwrap();
    let rows = every_cell(&sweep, |_, _| false);
    let networks = sides(&asked("P6a", &sweep, &rows), |side| &side.backbone);
    assert!(!networks.is_empty() && networks.iter().all(|pair| *pair == ["resnet18", SMALL]), "{networks:?}");
    let mut sources = sides(&asked("P6b", &sweep, &rows), |side| &side.init);
    sources.sort();
    sources.dedup();
    assert_eq!(sources, [["classes-10", "classes-5"], ["classes-5", "classes-2"]].map(|pair| pair.map(str::to_owned)));
}

#[test]
fn kept_classes_are_compared_where_one_set_certainly_lies_within_the_other() {
    let compared = |sources: [&str; 2]| {
        let start = FACTORS.find("[[init]]\nname = \"classes-10\"").unwrap();
        let end = FACTORS.find("[[recipe]]").unwrap();
        let init = |(name, source): (&str, &str)| {
            format!("[[init]]\nname = \"{name}\"\npretrain = {{ dataset = {source}, recipe = \"slow\" }}\n")
        };
        let inits: String = ["some", "more"].into_iter().zip(sources).map(init).collect();
        let sweep = parse(&format!("{}{inits}{}", &FACTORS[..start], &FACTORS[end..])).unwrap();
        let rows = [seeds(SMALL, "some", "fast", 30), seeds(SMALL, "more", "fast", 50)].concat();
        sides(&asked("P6b", &sweep, &rows), |side| &side.init)
    };
    let kept = |classes: &str| format!("{{ name = \"imagenet\", keep_classes = {classes} }}");
    let more = [["more", "some"].map(str::to_owned)];
    assert_eq!(compared([&kept("[0, 1]"), &kept("[1, 2, 0]")]), more);
    assert!(compared([&kept("[0, 1]"), &kept("[1, 2, 3]")]).is_empty());
    assert!(compared([&kept("[0, 1]"), &kept("[1, 0]")]).is_empty());
    // How many classes the folder of ImageNet holds is not told.
    assert_eq!(compared([&kept("100"), "\"imagenet\""]), more);
}
