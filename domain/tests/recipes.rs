//! What recipes come to in a plan, and what is refused of them.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod common;

use common::{parsed, planned};
use gauntlet_domain::catalogue::pinned_facts;
use gauntlet_domain::experiment::{
    EpsilonSchedule, Frozen, HeadFirst, Length, Norm, Objective, Recipe, Start, TaskSpec,
};
use gauntlet_domain::plan::plan;
use gauntlet_domain::sweep;

fn source(backbone: &str, recipe: &str) -> String {
    format!(
        "name = \"x\"\n[[dataset]]\nname = \"glyphs\"\nchannels = 3\nimage_size = 64\n[[model]]\nbackbone = \"{backbone}\"\n\
         [[init]]\nname = \"scratch\"\n[[recipe]]\nname = \"r\"\n{recipe}\n\
         [[attack]]\nname = \"a\"\nmethod = \"fgsm\"\neps = \"8/255\"\n"
    )
}

/// The recipe of the only training.
fn recipe(text: &str) -> Recipe {
    let plan = planned(&source("resnet18", text), &pinned_facts());
    let mut trainings = plan.tasks.iter().filter_map(|task| match &task.spec {
        TaskSpec::Train(spec) => Some(spec.recipe.clone()),
        TaskSpec::Attack(_) | TaskSpec::Analyze(_) => None,
    });
    trainings.next_back().unwrap()
}

/// What is wrong with a recipe, in the text or in the plan.
fn mistakes(backbone: &str, text: &str) -> Vec<String> {
    let source = source(backbone, text);
    let found = match sweep::parse(&source) {
        Err(mistakes) => mistakes,
        Ok(_) => plan(&parsed(&source), &pinned_facts()).unwrap_err(),
    };
    found.into_iter().map(|mistake| mistake.message).collect()
}

#[test]
fn every_method_is_known_by_its_name_in_the_plan() {
    let methods = [
        ("standard", ""),
        ("linear-probe", ""),
        ("lp-ft", ""),
        ("pgd-at", "inner = { eps = 0.1 }"),
        ("robust-linear-init", "inner = { eps = 0.1 }"),
        ("fast-at", "inner = { eps = 0.1 }"),
        ("free-at", "inner = { eps = 0.1 }"),
        ("trades", "inner = { eps = 0.1 }"),
        ("mart", "inner = { eps = 0.1 }"),
        ("dm", ""),
        ("twins", "inner = { eps = 0.1 }"),
    ];
    for (method, rest) in methods {
        assert_eq!(recipe(&format!("method = \"{method}\"\n{rest}")).method(), method);
    }
}

#[test]
fn inner_attacks_have_the_published_defaults() {
    let inner = |method: &str| {
        let objective = recipe(&format!("method = \"{method}\"\ninner = {{ eps = 0.5 }}")).objective;
        let inner = objective.inner().unwrap();
        assert_eq!((inner.norm, inner.eps), (Norm::Linf, 0.5));
        (inner.steps, inner.step_size, inner.start)
    };
    assert_eq!(inner("pgd-at"), (7, 0.125, Start::Uniform));
    assert_eq!(inner("fast-at"), (1, 0.625, Start::Uniform));
    assert_eq!(inner("trades"), (10, 0.113, Start::Gaussian));
    assert_eq!(inner("mart"), (10, 0.113, Start::Gaussian));
    assert_eq!(inner("twins"), (10, 0.125, Start::Uniform));
    let free = recipe("method = \"free-at\"\ninner = { eps = 0.5 }").objective;
    assert_eq!(free, Objective::FreeAt { eps: 0.5, step_size: 0.5, replays: 8 });
}

#[test]
fn a_probe_comes_first_where_the_method_or_the_recipe_says_so() {
    let first = |text: &str| recipe(text).head_first;
    let sgd = "optimizer = { kind = \"sgd\", learning_rate = 0.1 }";
    let probe = HeadFirst { length: Length::Epochs(4), learning_rate: 0.1, objective: Objective::Standard };
    assert_eq!(first(&format!("method = \"lp-ft\"\nepochs = 4\n{sgd}")), Some(probe.clone()));
    assert_eq!(first(&format!("method = \"standard\"\nepochs = 4\n{sgd}")), None);
    let said = "head_first = { iterations = 7, learning_rate = 0.5 }";
    let said = first(&format!("method = \"trades\"\ninner = {{ eps = 0.1 }}\nepochs = 4\n{sgd}\n{said}"));
    assert_eq!(said, Some(HeadFirst { length: Length::Iterations(7), learning_rate: 0.5, ..probe }));
    let robust = recipe("method = \"robust-linear-init\"\ninner = { eps = 0.1 }");
    assert_eq!(robust.head_first.unwrap().objective, robust.objective);
}

#[test]
fn stages_are_frozen_by_number_by_name_or_all() {
    let frozen = |freeze: &str| recipe(&format!("method = \"dm\"\nfreeze = {freeze}")).frozen;
    assert_eq!(frozen("2"), Frozen::Stages(2));
    assert_eq!(frozen("\"layer2\""), Frozen::Stages(3));
    assert_eq!(frozen("\"backbone\""), Frozen::Backbone);
    assert_eq!(recipe("method = \"linear-probe\"").frozen, Frozen::Backbone);
    assert_eq!(recipe("method = \"standard\"").frozen, Frozen::NOTHING);
    assert_eq!(mistakes("resnet18", "method = \"dm\"\nfreeze = 6"), ["`resnet18` has 5 stages"]);
    assert_eq!(mistakes("resnet18", "method = \"dm\"\nfreeze = \"layer5\""), ["`resnet18` has no stage `layer5`"]);
}

#[test]
fn epsilon_grows_as_the_recipe_says() {
    let schedule = |text: &str| recipe(&format!("method = \"dm\"\neps_schedule = {text}")).epsilon_schedule;
    assert_eq!(schedule("{ kind = \"ramp\" }"), EpsilonSchedule::Ramp { zero: 0.25, ramp: 0.5 });
    assert_eq!(schedule("{ kind = \"ramp\", zero = 0, ramp = 1 }"), EpsilonSchedule::Ramp { zero: 0.0, ramp: 1.0 });
    assert_eq!(recipe("method = \"dm\"").epsilon_schedule, EpsilonSchedule::Constant);
    let more = mistakes("resnet18", "method = \"dm\"\neps_schedule = { kind = \"ramp\", zero = 0.75 }");
    assert_eq!(more, ["`zero` and `ramp` are shares of the steps, and 0.75 + 0.5 is more than 1"]);
}

#[test]
fn the_head_may_learn_at_a_rate_of_its_own() {
    let adam =
        "method = \"standard\"\noptimizer = { kind = \"adam\", learning_rate = 0.001, head_learning_rate = 0.1 }";
    assert_eq!(recipe(adam).head_learning_rate, Some(0.1));
    assert_eq!(recipe("method = \"standard\"").head_learning_rate, None);
}

#[test]
fn what_a_method_cannot_use_is_refused() {
    let cases = [
        (
            "method = \"standard\"\neps_schedule = { kind = \"constant\" }",
            "`eps_schedule` belongs to the methods that perturb the images",
        ),
        (
            "method = \"fast-at\"\ninner = { eps = 0.1, steps = 2 }",
            "`steps` is fixed: `fast-at` takes one step from a random start",
        ),
        (
            "method = \"linear-probe\"\nfreeze = 1",
            "`freeze` does not go with `linear-probe`, which trains the head alone",
        ),
        ("method = \"mart\"\ninner = { eps = 0.1 }\nbeta = 5", "`beta` belongs to the methods `trades` and `dm`"),
        (
            "method = \"trades\"\ninner = { eps = 0.1, start = \"clean\" }",
            "`trades` cannot start at the image itself: the divergence it climbs has no gradient there",
        ),
        (
            "method = \"lp-ft\"\nhead_first = { adversarial = true }",
            "`adversarial` needs a method with an inner attack",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(mistakes("resnet18", text), [expected], "{text}");
    }
    let twins = mistakes("alexnet", "method = \"twins\"\ninner = { eps = 0.1 }");
    assert_eq!(twins, ["`twins` keeps the statistics of batch normalisation, and `alexnet` has none"]);
}
