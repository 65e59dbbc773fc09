//! Data sets that show trainings what a model sees in their images.

#![allow(clippy::unwrap_used, reason = "a test may stop at once, and so may its helpers")]

mod common;

use common::{parse_mistakes, plan_mistakes, planned};
use gauntlet_domain::catalogue::pinned_facts;
use gauntlet_domain::experiment::{
    AnalysisMethod, AnalysisSpec, Construction, DatasetSource, Descent, Head, Norm, TaskSpec, TrainSpec, Weights,
};
use gauntlet_domain::plan::{Plan, TaskKind};

/// A grid of one recipe from scratch, on letters of which `features` are left, beside a robust and an ordinary source of the same letters.
fn sweep(features: &str) -> String {
    format!(
        "name = \"t\"\n[[dataset]]\nname = \"letters\"\nformat = \"glyphs\"\n{features}\n[[model]]\nbackbone = \"resnet18-w16\"\n\
         [[init]]\nname = \"scratch\"\n\
         [[init]]\nname = \"plain\"\npretrain = {{ dataset = {{ name = \"glyphs\", frequencies = {{ keep = \"low\", radius = 4 }} }}, recipe = \"standard\" }}\n\
         [[init]]\nname = \"robust\"\npretrain = {{ dataset = \"glyphs\", recipe = {{ method = \"pgd-at\", epochs = 1, inner = {{ eps = \"4/255\" }} }} }}\n\
         [[recipe]]\nname = \"standard\"\nmethod = \"standard\"\nepochs = 1\n\
         [[attack]]\nname = \"fgsm\"\nmethod = \"fgsm\"\neps = \"1/255\"\n[[exclude]]\ninit = [\"plain\", \"robust\"]\n"
    )
}

fn plan_of(features: &str) -> Plan {
    planned(&sweep(&format!("features = {features}")), &pinned_facts())
}

/// The construction of a plan, and the training that it is for.
fn construction(plan: &Plan) -> (&AnalysisSpec, &TrainSpec) {
    let made = plan.tasks.iter().find_map(|task| match &task.spec {
        TaskSpec::Analyze(spec) => Some(spec),
        _ => None,
    });
    let trained = plan.tasks.iter().find_map(|task| match (&task.spec, task.kind) {
        (TaskSpec::Train(spec), TaskKind::Train) => Some(spec),
        _ => None,
    });
    (made.unwrap(), trained.unwrap())
}

fn mistakes(features: &str) -> String {
    let text = sweep(&format!("features = {features}"));
    match parse_mistakes(&text) {
        said if said == "no mistake" => plan_mistakes(&text, &pinned_facts()),
        said => said,
    }
}

#[test]
fn a_training_takes_what_a_pretrained_model_makes_of_the_train_split_and_is_attacked_on_the_images_themselves() {
    let plan = plan_of("{ set = \"robust\", from = \"robust\", steps = 50 }");
    let kinds: Vec<TaskKind> = plan.tasks.iter().map(|task| task.kind).collect();
    assert_eq!(kinds, [TaskKind::Pretrain, TaskKind::Analyze, TaskKind::Train, TaskKind::Attack]);
    let (made, trained) = construction(&plan);
    let construction = Construction::Represented { steps: 50, step_size: 0.1 };
    assert_eq!(made.method, AnalysisMethod::RobustFeatures { construction });
    assert_eq!(made.weights, Weights::Task { task: plan.tasks[0].id, head: Head::Keep });
    assert!(matches!(made.dataset.source, DatasetSource::Glyphs(_)));
    assert_eq!(trained.dataset.source, DatasetSource::Constructed { task: plan.tasks[1].id });
    assert_eq!((trained.dataset.examples, trained.dataset.classes), (made.dataset.examples, made.dataset.classes));
    assert_eq!((trained.weights.clone(), plan.tasks[2].inputs.clone()), (Weights::Scratch, vec![plan.tasks[1].id]));
    assert!(matches!(plan.tasks[3].spec.dataset().source, DatasetSource::Glyphs(_)), "the test split is the letters'");
    let cell = &plan.analyses[0];
    let told = [&cell.dataset, &cell.init, &cell.recipe, &cell.analysis, &cell.method];
    assert_eq!(told, ["letters", "robust", "none", "features", "robust-features"]);
}

#[test]
fn the_sets_with_new_labels_have_the_published_radius_and_steps_unless_told() {
    let descent = Descent { norm: Norm::L2, eps: 0.5, steps: 100, step_size: 0.1 };
    let of = |features| match &construction(&plan_of(features)).0.method {
        AnalysisMethod::RobustFeatures { construction } => construction.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(of("{ set = \"rand\", from = \"plain\" }"), Construction::RandomTarget(descent.clone()));
    let told = Descent { norm: Norm::Linf, eps: 8.0 / 255.0, steps: 10, step_size: 2.0 / 255.0 };
    let text = "{ set = \"det\", from = \"plain\", norm = \"linf\", eps = \"8/255\", steps = 10, step_size = { of_eps = 0.25 } }";
    assert_eq!(of(text), Construction::NextTarget(told));
}

#[test]
fn a_source_can_be_made_so_and_the_same_construction_is_made_once() {
    let source = "{ name = \"glyphs\", features = { set = \"det\", from = \"plain\" } }";
    let init = |name| {
        format!(
            "[[init]]\nname = \"{name}\"\npretrain = {{ dataset = {source}, recipe = \"standard\", init = \"plain\" }}\n"
        )
    };
    let text = format!("{}{}{}", sweep("train_examples = 2000"), init("one"), init("other"));
    let plan = planned(&text, &pinned_facts());
    let made = plan.tasks.iter().filter(|task| task.kind == TaskKind::Analyze).count();
    assert_eq!((made, plan.analyses.len()), (1, 1));
    let taught: Vec<&TrainSpec> = plan
        .tasks
        .iter()
        .filter_map(|task| match &task.spec {
            TaskSpec::Train(spec) if spec.dataset.source.task().is_some() => Some(spec),
            _ => None,
        })
        .collect();
    assert_eq!(taught.len(), 1, "two names for one pre-training");
    assert!(matches!(taught[0].weights, Weights::Task { .. }));
}

#[test]
fn features_that_cannot_be_made_are_mistakes_with_a_place() {
    insta::assert_snapshot!(mistakes("{ set = \"robust\", from = \"plain\" }"));
    insta::assert_snapshot!(mistakes("{ set = \"non-robust\", from = \"robust\" }"));
    insta::assert_snapshot!(mistakes("{ set = \"det\", from = \"scratch\" }"));
    insta::assert_snapshot!(mistakes("{ set = \"robust\", from = \"robust\", eps = \"8/255\" }"));
    insta::assert_snapshot!(mistakes("{ set = \"good\", from = \"rubost\" }"));
    insta::assert_snapshot!(mistakes("{ set = \"det\", from = \"plain\", norm = \"linf\" }"));
}

#[test]
fn inits_that_wait_for_what_is_made_with_themselves_go_in_a_circle() {
    let source = "{ name = \"glyphs\", features = { set = \"det\", from = \"circle\" } }";
    let circle = format!("[[init]]\nname = \"circle\"\npretrain = {{ dataset = {source}, recipe = \"standard\" }}\n");
    insta::assert_snapshot!(parse_mistakes(&format!("{}{circle}", sweep(""))));
}

#[test]
fn a_model_of_other_classes_says_nothing_of_these() {
    let other = "[[init]]\nname = \"clothes\"\npretrain = { dataset = { name = \"fashion-mnist\", image_size = 32 }, recipe = \"standard\" }\n";
    let text = format!("{}{other}", sweep("features = { set = \"non-robust\", from = \"clothes\" }"));
    insta::assert_snapshot!(plan_mistakes(&text, &pinned_facts()));
}
