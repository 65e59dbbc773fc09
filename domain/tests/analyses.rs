//! What `[[analysis]]` sections come to, and what is said of those that cannot be meant.

mod common;

use common::{parse_mistakes, plan_mistakes, planned};
use gauntlet_domain::catalogue::pinned_facts;
use gauntlet_domain::experiment::{
    AnalysisMethod, AnalysisSpec, Ascents, Corruption, Head, Norm, OtherClasses, TaskSpec, UapMethod, Weights,
};
use gauntlet_domain::plan::{AnalysisCell, Plan, TaskKind};

/// Runs of two seeds on letters, from scratch and from a pre-training.
fn sweep(analyses: &str) -> String {
    format!(
        r#"
name = "s"
seeds = [0, 1]
[[dataset]]
name = "glyphs"
[[model]]
backbone = "resnet18-w16"
[[init]]
name = "scratch"
[[init]]
name = "pretrained"
pretrain = {{ dataset = {{ name = "fashion-mnist", image_size = 32 }}, recipe = "standard" }}
[[recipe]]
name = "standard"
method = "standard"
epochs = 1
[[attack]]
name = "fgsm"
method = "fgsm"
eps = "8/255"
{analyses}
"#
    )
}

fn plan(analyses: &str) -> Plan {
    planned(&sweep(analyses), &pinned_facts())
}

fn spec<'a>(plan: &'a Plan, cell: &AnalysisCell) -> &'a AnalysisSpec {
    let task = plan.tasks.iter().find(|task| task.id == cell.task).expect("its task is planned");
    assert_eq!(task.kind, TaskKind::Analyze);
    match &task.spec {
        TaskSpec::Analyze(spec) => spec,
        TaskSpec::Train(_) | TaskSpec::Attack(_) => panic!("{} is no analysis", task.label),
    }
}

const TO_THE_START: &str = r#"
[[analysis]]
name = "to-the-start"
method = "similarity"
against = "start"
examples = 200
"#;

#[test]
fn a_run_is_compared_with_the_model_it_started_from_and_one_from_scratch_with_the_untrained_network() {
    let plan = plan(TO_THE_START);
    let found: Vec<(&str, u64, &str)> =
        plan.analyses.iter().map(|cell| (cell.init.as_str(), cell.seed, cell.against.as_str())).collect();
    assert_eq!(
        found,
        [("scratch", 0, "start"), ("scratch", 1, "start"), ("pretrained", 0, "start"), ("pretrained", 1, "start")]
    );
    let untrained = spec(&plan, &plan.analyses[0]).against.as_ref().unwrap();
    assert_eq!(untrained.weights, Weights::Scratch);
    let fine_tuned = spec(&plan, &plan.analyses[2]);
    let start = fine_tuned.against.as_ref().unwrap();
    assert!(matches!(start.weights, Weights::Task { head: Head::Keep, .. }));
    assert_eq!((start.model.classes, fine_tuned.model.classes), (10, 26));
    assert_eq!((fine_tuned.dataset.examples, plan.analyses[2].examples), (200, 200));
    assert_eq!(fine_tuned.method, AnalysisMethod::Similarity { threshold: 0.98 });
    let inputs = &plan.tasks.iter().find(|task| task.id == plan.analyses[2].task).unwrap().inputs;
    assert_eq!(inputs.len(), 2, "it waits for the fine-tuned and for the pre-trained model");
}

#[test]
fn a_run_is_compared_with_the_run_that_differs_in_what_is_named_and_never_with_itself() {
    let other_seed = plan("[[analysis]]\nname = \"null\"\nmethod = \"similarity\"\nagainst = { seed = 1 }\n");
    let found: Vec<(u64, &str)> = other_seed.analyses.iter().map(|cell| (cell.seed, cell.against.as_str())).collect();
    assert_eq!(found, [(0, "scratch · standard · seed 1"), (0, "pretrained · standard · seed 1")]);
    let twin = plan(
        "[[analysis]]\nname = \"twin\"\nmethod = \"similarity\"\nthreshold = 0.9\nagainst = { init = \"scratch\" }\n\
        runs = { init = \"pretrained\", seed = [1] }\n",
    );
    assert_eq!(twin.analyses.len(), 1);
    assert_eq!(twin.analyses[0].against, "scratch · standard · seed 1");
    assert_eq!(spec(&twin, &twin.analyses[0]).method, AnalysisMethod::Similarity { threshold: 0.9 });
}

#[test]
fn analyses_are_part_of_a_sweeps_identity_and_shared_between_sweeps_by_theirs() {
    let (without, with) = (plan(""), plan(TO_THE_START));
    assert_ne!(without.sweep_id, with.sweep_id);
    assert_eq!(without.cells, with.cells);
    let renamed = plan(&TO_THE_START.replace("to-the-start", "another-name"));
    assert_ne!(renamed.sweep_id, with.sweep_id);
    let tasks = |plan: &Plan| plan.analyses.iter().map(|cell| cell.task).collect::<Vec<_>>();
    assert_eq!(tasks(&renamed), tasks(&with));
    let more = plan(&TO_THE_START.replace("200", "300"));
    assert!(tasks(&more).iter().all(|task| !tasks(&with).contains(task)));
}

#[test]
fn frequencies_are_asked_of_every_run_alone_and_each_radius_once() {
    let plan = plan("[[analysis]]\nname = \"bands\"\nmethod = \"frequency\"\nradii = [4, 16]\n");
    let specs: Vec<&AnalysisSpec> = plan.analyses.iter().map(|cell| spec(&plan, cell)).collect();
    assert_eq!(specs.len(), 4);
    assert!(specs.iter().all(|spec| spec.against.is_none()));
    assert_eq!(specs[0].method, AnalysisMethod::Frequency { radii: vec![4.0, 16.0] });
}

#[test]
fn a_heat_map_has_usual_waves_unless_the_file_says_others() {
    let method = |text: &str| {
        let plan = plan(&format!("[[analysis]]\nname = \"map\"\nmethod = \"heat-map\"\n{text}"));
        spec(&plan, &plan.analyses[0]).method.clone()
    };
    assert_eq!(method(""), AnalysisMethod::HeatMap { norm: 4.0, reach: 4 });
    assert_eq!(method("norm = 2\nreach = 8\n"), AnalysisMethod::HeatMap { norm: 2.0, reach: 8 });
}

#[test]
fn corruptions_are_all_of_the_benchmark_at_every_severity_unless_the_section_says_which() {
    let plan = plan(
        "[[analysis]]\nname = \"all\"\nmethod = \"corruptions\"\nruns = { init = \"scratch\", seed = 0 }\n\
        [[analysis]]\nname = \"few\"\nmethod = \"corruptions\"\nruns = { init = \"scratch\", seed = 0 }\n\
        kinds = [\"fog\", \"jpeg_compression\"]\nseverities = 5\n",
    );
    let methods: Vec<&AnalysisMethod> = plan.analyses.iter().map(|cell| &spec(&plan, cell).method).collect();
    let all = AnalysisMethod::Corruptions { kinds: Corruption::ALL.to_vec(), severities: vec![1, 2, 3, 4, 5] };
    let few = [Corruption::Fog, Corruption::JpegCompression].to_vec();
    assert_eq!(methods, [&all, &AnalysisMethod::Corruptions { kinds: few, severities: vec![5] }]);
}

#[test]
fn what_is_transferred_to_the_start_goes_by_its_predictions_and_to_another_run_by_the_labels() {
    let asked = |against: &str| {
        let text = "[[analysis]]\nname = \"shared\"\nmethod = \"transfer\"\nepsilons = [\"4/255\", 0.5]\nsteps = 5\nnorm = \"l2\"\n";
        let plan = plan(&format!("{text}against = {against}\n"));
        spec(&plan, &plan.analyses[0]).clone()
    };
    let by = Ascents { norm: Norm::L2, epsilons: vec![4.0 / 255.0, 0.5], steps: 5, step_of_eps: 0.3 };
    for (against, other_classes) in
        [("\"start\"", OtherClasses::Own), ("{ init = \"pretrained\" }", OtherClasses::Same)]
    {
        let found = asked(against);
        assert_eq!(found.method, AnalysisMethod::Transfer { by: by.clone(), other_classes }, "{against}");
        assert!(found.against.is_some());
    }
}

#[test]
fn a_universal_perturbation_is_crafted_as_an_attacks_and_needs_examples_beside_those_it_is_crafted_on() {
    let uap = |more: &str| {
        let text = "[[analysis]]\nname = \"one-for-all\"\nmethod = \"uap\"\nagainst = \"start\"\neps = \"10/255\"\n";
        sweep(&format!("{text}examples = 200\n{more}"))
    };
    let method = |more: &str| {
        let plan = planned(&uap(more), &pinned_facts());
        spec(&plan, &plan.analyses[0]).method.clone()
    };
    let (norm, eps) = (Norm::Linf, 10.0 / 255.0);
    let by = UapMethod::DeepFool { steps: 10, overshoot: 0.02, candidates: 10 };
    let default = AnalysisMethod::Uap { norm, eps, by, passes: 10, fooling_rate: 0.8, craft_examples: None };
    assert_eq!(method(""), default);
    let by = UapMethod::Gradient { step_size: 0.1 * eps, batch_size: 128 };
    let norm = Norm::L2;
    let gradient = AnalysisMethod::Uap { norm, eps, by, passes: 2, fooling_rate: 1.0, craft_examples: Some(150) };
    let keys = "norm = \"l2\"\nby = \"gradient\"\npasses = 2\nfooling_rate = 1\ncraft_examples = 150\n";
    assert_eq!(method(keys), gradient);
    let said = plan_mistakes(&uap("craft_examples = 200\n"), &pinned_facts());
    assert!(said.contains("would craft on 200 of 200 examples of `glyphs`"), "{said}");
}

#[test]
fn maps_of_the_start_are_those_of_its_predictions_and_of_another_run_those_of_the_labels() {
    let asked = |more: &str| {
        let plan = plan(&format!("[[analysis]]\nname = \"maps\"\nmethod = \"saliency\"\n{more}"));
        spec(&plan, &plan.analyses[0]).method.clone()
    };
    let start = asked("against = \"start\"\n");
    assert_eq!(start, AnalysisMethod::Saliency { steps: 32, other_classes: OtherClasses::Own });
    let twin = asked("against = { seed = 1 }\nsteps = 8\n");
    assert_eq!(twin, AnalysisMethod::Saliency { steps: 8, other_classes: OtherClasses::Same });
}

#[test]
fn confidence_is_asked_of_every_run_alone_by_the_attack_of_the_study() {
    let plan = plan("[[analysis]]\nname = \"sure\"\nmethod = \"confidence\"\nepsilons = \"0.5/255\"\n");
    assert_eq!(plan.analyses.len(), 4);
    let by = Ascents { norm: Norm::Linf, epsilons: vec![0.5 / 255.0], steps: 10, step_of_eps: 0.15 };
    let asked = spec(&plan, &plan.analyses[0]);
    assert_eq!((&asked.method, &asked.against), (&AnalysisMethod::Confidence { by }, &None));
}

#[test]
fn a_spectrum_is_asked_by_the_attack_of_the_study_and_costs_what_crafting_costs() {
    let plan = plan(
        "[[analysis]]\nname = \"where\"\nmethod = \"spectrum\"\nepsilons = [\"4/255\", \"8/255\"]\n\
        [[analysis]]\nname = \"sure\"\nmethod = \"confidence\"\nepsilons = [\"4/255\", \"8/255\"]\n",
    );
    assert_eq!(plan.analyses.len(), 8);
    let by = Ascents { norm: Norm::Linf, epsilons: vec![4.0 / 255.0, 8.0 / 255.0], steps: 10, step_of_eps: 0.15 };
    let asked = spec(&plan, &plan.analyses[0]);
    assert_eq!((&asked.method, &asked.against), (&AnalysisMethod::Spectrum { by }, &None));
    let cost = |cell: usize| plan.tasks.iter().find(|task| task.id == plan.analyses[cell].task).unwrap().cost;
    assert!(cost(0) > 0.9 * cost(1) && cost(0) < cost(1), "{} {}", cost(0), cost(1));
}

#[test]
fn distances_are_lengths_as_radii_are_and_have_a_default() {
    let asked = |more: &str| {
        let plan = plan(&format!("[[analysis]]\nname = \"around\"\nmethod = \"landscape\"\n{more}"));
        spec(&plan, &plan.analyses[0]).clone()
    };
    let default = asked("");
    assert_eq!(
        default.method,
        AnalysisMethod::Landscape { distances: [1.0, 2.0, 4.0, 8.0].map(|d| d / 255.0).to_vec() }
    );
    assert!(default.against.is_none());
    let own = asked("distances = [\"16/255\", 0.25]\n");
    assert_eq!(own.method, AnalysisMethod::Landscape { distances: vec![16.0 / 255.0, 0.25] });
}

#[test]
fn attacks_of_analyses_that_cannot_be_meant_are_refused() {
    let files = [
        "method = \"transfer\"\nepsilons = \"4/255\"\n",
        "method = \"transfer\"\nagainst = \"start\"\n",
        "method = \"transfer\"\nagainst = \"start\"\nepsilons = [\"4/255\", 8, \"0/255\"]\n",
        "method = \"transfer\"\nagainst = \"start\"\nepsilons = [\"4/255\", \"8/510\"]\nnorm = \"l2\"\n",
        "method = \"transfer\"\nagainst = \"start\"\nepsilons = 0.1\nnorm = \"l1\"\nsteps = 0\nradii = 4\n",
        "method = \"uap\"\nagainst = \"start\"\n",
        "method = \"uap\"\nagainst = \"start\"\neps = [0.1, 0.2]\nby = \"gradient\"\nsteps = 3\nepsilons = 0.1\n",
        "method = \"landscape\"\ndistances = [\"1/255\", 2]\nagainst = \"start\"\n",
        "method = \"saliency\"\nsteps = 0\n",
        "method = \"confidence\"\nagainst = \"start\"\nepsilons = []\n",
        "method = \"confidence\"\nagainst = \"start\"\nepsilons = \"1/255\"\n",
        "method = \"spectrum\"\nnorm = \"l1\"\n",
    ];
    let said = files.map(|file| parse_mistakes(&sweep(&format!("[[analysis]]\nname = \"a\"\n{file}"))));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn analyses_that_cannot_be_asked_are_refused() {
    let files = [
        "[[analysis]]\nname = \"a\"\nmethod = \"heat-map\"\nnorm = 0\nreach = 0\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"similar\"\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"similarity\"\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"similarity\"\nagainst = \"end\"\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"similarity\"\nagainst = {}\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"similarity\"\nagainst = { init = \"robust\" }\nthreshold = 0\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"similarity\"\nagainst = \"start\"\nruns = { attack = \"fgsm\" }\neps = 1\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"similarity\"\nagainst = { seed = 0 }\nruns = { seed = 0 }\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"similarity\"\nagainst = { seed = 1 }\n[[exclude]]\nseed = 1\ninit = \"pretrained\"\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"frequency\"\nradii = [4, -1]\nagainst = \"start\"\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"frequency\"\nradii = [4, 8, 4]\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"corruptions\"\nkinds = [\"fog\", \"rain\"]\nseverities = [1, 6]\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"corruptions\"\nkinds = [\"fog\", \"snow\", \"fog\"]\nseverities = []\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"corruptions\"\nseverities = [3, 3]\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"corruptions\"\nagainst = \"start\"\n",
        "[[analysis]]\nname = \"a\"\nmethod = \"similarity\"\nagainst = \"start\"\n\
        [[analysis]]\nname = \"a\"\nmethod = \"similarity\"\nagainst = { seed = 1 }\n",
    ];
    let said: Vec<String> = files.iter().map(|file| parse_mistakes(&sweep(file))).collect();
    insta::assert_snapshot!(said.join("\n"));
}
