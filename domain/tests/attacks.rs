//! What `[[attack]]` sections come to, and what is said of those that cannot be meant.

mod common;

use common::{STUDY, images, parse_mistakes, parsed, plan_mistakes, planned, with_file};
use gauntlet_domain::catalogue::pinned_facts;
use gauntlet_domain::experiment::{
    ApgdLoss, AttackConfig, AttackMethod, AttackSpec, DatasetSource, Norm, Split, TargetClass, TaskSpec, UapMethod,
    Weights,
};
use gauntlet_domain::plan::{Plan, TaskKind};

/// One run from scratch on letters, and one from a pre-training, each under this attack.
fn sweep(attack: &str) -> String {
    format!(
        r#"
name = "s"
[[dataset]]
name = "glyphs"
[[model]]
backbone = "resnet18-w16"
[[init]]
name = "scratch"
[[init]]
name = "pretrained"
pretrain = {{ dataset = "fashion-mnist", recipe = "standard" }}
[[recipe]]
name = "standard"
method = "standard"
epochs = 1
[[attack]]
name = "it"
{attack}
"#
    )
}

fn specs(plan: &Plan) -> Vec<&AttackSpec> {
    let attack = |task: &'_ gauntlet_domain::plan::PlannedTask| match &task.spec {
        TaskSpec::Attack(_) => true,
        TaskSpec::Train(_) | TaskSpec::Analyze(_) => false,
    };
    let specs = plan.tasks.iter().filter(|task| attack(task)).map(|task| match &task.spec {
        TaskSpec::Attack(spec) => spec,
        TaskSpec::Train(_) | TaskSpec::Analyze(_) => unreachable!("filtered out"),
    });
    specs.collect()
}

/// The attack on the run from scratch.
fn first(attack: &str) -> AttackConfig {
    specs(&planned(&sweep(attack), &pinned_facts()))[0].attack.clone()
}

#[test]
fn one_evaluation_of_a_minimum_norm_attack_answers_every_radius() {
    let plan = planned(&sweep("method = \"deepfool\"\neps = [0.1, 0.5, 1]"), &pinned_facts());
    assert_eq!((specs(&plan).len(), plan.cells.len()), (2, 6), "two runs, three radii");
    assert!(specs(&plan).iter().all(|spec| spec.attack.eps.is_none()));
    let cells = &plan.cells[..3];
    assert!(cells.iter().all(|cell| cell.attack_task == cells[0].attack_task));
    let radii: Vec<f64> = cells.iter().map(|cell| cell.eps.as_ref().unwrap().value()).collect();
    assert_eq!(radii, [0.1, 0.5, 1.0]);
    let label = &plan.tasks.iter().find(|task| task.kind == TaskKind::Attack).unwrap().label;
    assert_eq!(label, "glyphs · resnet18-w16 · scratch · standard · seed 0 · it");
}

#[test]
fn a_minimum_norm_attack_without_radii_has_one_row_and_the_same_evaluation() {
    let with = planned(&sweep("method = \"cw\"\neps = [0.1, 0.5]"), &pinned_facts());
    let without = planned(&sweep("method = \"cw\""), &pinned_facts());
    assert_eq!(without.cells.len(), 2);
    assert!(without.cells.iter().all(|cell| cell.eps.is_none()));
    assert_eq!(without.cells[0].attack_task, with.cells[0].attack_task);
    assert_ne!(without.sweep_id, with.sweep_id);
}

#[test]
fn steps_follow_the_radius_and_targets_are_part_of_the_attack() {
    let attack = first("method = \"mi-fgsm\"\neps = \"8/255\"\ntarget = \"least-likely\"");
    assert_eq!(attack.method, AttackMethod::MiFgsm { steps: 10, step_size: 0.1 * (8.0 / 255.0), decay: 1.0 });
    assert_eq!(attack.target, Some(TargetClass::LeastLikely));
    assert_eq!(first("method = \"cw\"").norm, Norm::L2);
    assert_eq!(first("method = \"deepfool\"").norm, Norm::L2);
    assert_eq!(first("method = \"fab\"").norm, Norm::Linf);
}

#[test]
fn defaults_do_not_ask_for_more_classes_than_there_are() {
    let few = |attack: &str| {
        let source = sweep(attack)
            .replace("name = \"glyphs\"", "name = \"own\"\nformat = \"safetensors\"\ntrain = \"f\"\ntest = \"f\"");
        specs(&planned(&source, &with_file(pinned_facts(), "f", images(100, 1, 32, 4))))[0].attack.method.clone()
    };
    let AttackMethod::DeepFool { candidates, .. } = few("method = \"deepfool\"") else { panic!("not DeepFool") };
    assert_eq!(candidates, 5);
    let AttackMethod::Apgd { loss, target_classes, .. } = few("method = \"apgd\"\neps = 0.1\nloss = \"dlr-targeted\"")
    else {
        panic!("not APGD")
    };
    assert_eq!((loss, target_classes), (ApgdLoss::DlrTargeted, 4));
}

#[test]
fn a_universal_perturbation_is_crafted_on_the_first_examples_of_the_train_split() {
    let attack = first("method = \"uap\"\neps = \"8/255\"\ncraft_examples = 70\nby = \"gradient\"\nbatch_size = 35");
    let AttackMethod::Uap { crafted_on, by, .. } = attack.method else { panic!("not a universal perturbation") };
    assert_eq!((crafted_on.examples, crafted_on.classes), (70, 26));
    let DatasetSource::Glyphs(glyphs) = &crafted_on.source else { panic!("not glyphs") };
    assert_eq!(glyphs.split, Split::Train);
    assert_eq!(by, UapMethod::Gradient { step_size: 0.1 * (8.0 / 255.0), batch_size: 35 });
    // Of files, those of the train split are among what the task reads.
    let imported = sweep("method = \"uap\"\neps = 0.1").replace("name = \"glyphs\"", "name = \"fashion-mnist\"");
    let plan = planned(&imported, &pinned_facts());
    let attack = plan.tasks.iter().find(|task| task.kind == TaskKind::Attack).unwrap();
    assert_eq!(attack.spec.files().len(), 4, "images and labels of both splits");
}

#[test]
fn a_transferred_attack_waits_for_the_model_it_is_crafted_on() {
    let source = sweep("method = \"transfer\"\neps = 0.1\nsource = { init = \"pretrained\", recipe = \"standard\" }");
    let plan = planned(&source, &pinned_facts());
    let trainings: Vec<_> = plan.tasks.iter().filter(|task| task.kind == TaskKind::Train).collect();
    let attacks: Vec<_> = plan.tasks.iter().filter(|task| task.kind == TaskKind::Attack).collect();
    let [scratch, pretrained] = [0, 1].map(|run: usize| plan.cells[run].train_task.unwrap());
    assert_eq!((trainings.len(), attacks.len()), (2, 2));
    assert_eq!(
        attacks[0].inputs,
        [scratch, pretrained],
        "the attacked model and the source, which is trained later in the file"
    );
    assert_eq!(attacks[1].inputs, [pretrained], "on the source itself there is one input");
    let AttackMethod::Transfer { source, by } = &specs(&plan)[0].attack.method else { panic!("not a transfer") };
    assert!(matches!(source.weights, Weights::Task { task, .. } if task == pretrained));
    assert_eq!(**by, AttackMethod::Pgd { steps: 20, step_size: 0.025, random_start: true, restarts: 1 });
}

#[test]
fn a_source_can_be_another_model_or_seed() {
    let source = sweep(
        "method = \"transfer\"\neps = 0.1\nsource = { init = \"scratch\", recipe = \"standard\", backbone = \"other\", seed = 7 }\nby = { method = \"fgsm\" }",
    )
    .replace("name = \"s\"", "name = \"s\"\nseeds = [0, 7]")
    .replace("[[init]]\nname = \"scratch\"", "[[model]]\nname = \"other\"\nbackbone = \"resnet18-w16\"\nnormalize = { mean = 0.2, std = 0.3 }\n[[init]]\nname = \"scratch\"");
    let plan = planned(&source, &pinned_facts());
    let wanted = plan.cells.iter().find(|cell| cell.backbone == "other" && cell.init == "scratch" && cell.seed == 7);
    let wanted = wanted.unwrap().train_task.unwrap();
    for spec in specs(&plan) {
        let AttackMethod::Transfer { source, .. } = &spec.attack.method else { panic!("not a transfer") };
        assert!(matches!(source.weights, Weights::Task { task, .. } if task == wanted));
        assert_eq!(source.model.normalize.mean, [0.2]);
    }
}

#[derive(Default)]
struct Cases(String);

impl Cases {
    fn attack(&mut self, attack: &str) -> &mut Self {
        self.0.push_str(&format!("# {}\n{}\n", attack.replace('\n', " ⏎ "), parse_mistakes(&sweep(attack))));
        self
    }

    fn planned(&mut self, title: &str, source: &str, labels: u32) -> &mut Self {
        let facts = with_file(pinned_facts(), "f", images(100, 1, 32, labels - 1));
        self.0.push_str(&format!("# {title}\n{}\n", plan_mistakes(source, &facts)));
        self
    }
}

#[test]
fn keys_norms_and_targets_that_a_method_does_not_take_are_refused() {
    let mut cases = Cases::default();
    cases.attack("method = \"cw\"\nnorm = \"linf\"");
    cases.attack("method = \"square\"\nnorm = \"l1\"\neps = 0.1");
    cases.attack("method = \"mi-fgsm\"\nnorm = \"l3\"\neps = 0.1");
    cases.attack("method = \"deepfool\"\nearly_stop = false");
    cases.attack("method = \"square\"\neps = 0.1\ntarget = \"random\"");
    cases.attack("method = \"pgd\"\neps = 0.1\ntarget = \"next\"");
    cases.attack("method = \"pgd\"\neps = 0.1\ndecay = 1\noversoot = 2");
    cases.attack("method = \"fab\"\neps = []\ntarget_classes = 3");
    cases.attack("method = \"apgd\"\neps = 0.1\nloss = \"cw\"\nrho = 1.5");
    cases.attack("method = \"apgd\"\neps = 0.1\nloss = \"dlr\"\ntarget_classes = 3");
    cases.attack("method = \"autoattack\"");
    cases.attack("method = \"autoattack\"\neps = 0.1\nversion = \"custom\"");
    cases.attack("method = \"uap\"\neps = 0.1\nstep_size = 0.1\npasses = 0\nfooling_rate = 0");
    cases.attack("method = \"uap\"\neps = 0.1\nby = \"gradient\"\ncandidates = 3");
    cases.attack("method = \"uap\"\neps = 0.1\nby = { method = \"pgd\" }");
    insta::assert_snapshot!(cases.0);
}

#[test]
fn an_interval_to_stop_at_is_part_of_the_attack_where_it_is_given_and_nowhere_else() {
    let without = first("method = \"pgd\"\neps = 0.1");
    assert_eq!(without.stop_at_interval, None);
    assert!(!serde_json::to_string(&without).unwrap().contains("stop_at_interval"), "its identity stays what it was");
    let stops = first("method = \"pgd\"\neps = 0.1\nstop_at_interval = 0.05");
    assert_eq!(stops, AttackConfig { stop_at_interval: Some(0.05), ..without });
    assert!(serde_json::to_string(&stops).unwrap().ends_with(r#""early_stop":true,"stop_at_interval":0.05}"#));
    for method in ["uap", "feature", "autoattack", "noise"] {
        let attack = first(&format!("method = \"{method}\"\neps = 0.1\nstop_at_interval = 0.02"));
        assert_eq!((attack.stop_at_interval, attack.can_be_split()), (Some(0.02), false), "{method}");
    }
}

#[test]
fn intervals_that_cannot_be_meant_are_refused() {
    let mut cases = Cases::default();
    for method in ["cw", "deepfool", "fab"] {
        cases.attack(&format!("method = \"{method}\"\nstop_at_interval = 0.05"));
    }
    for width in ["0", "1", "5", "-0.1", "\"0.05\""] {
        cases.attack(&format!("method = \"pgd\"\neps = 0.1\nstop_at_interval = {width}"));
    }
    cases.attack("method = \"pgd\"\neps = 0.1\nstop_at_intervall = 0.05");
    let inside = "by = { method = \"pgd\", stop_at_interval = 0.05 }";
    cases.attack(&format!(
        "method = \"transfer\"\neps = 0.1\nsource = {{ init = \"scratch\", recipe = \"standard\" }}\n{inside}"
    ));
    insta::assert_snapshot!(cases.0);
}

#[test]
fn a_transfer_names_a_run_and_an_attack_that_can_be_transferred() {
    let mut cases = Cases::default();
    let transfer = |source: &str, more: &str| format!("method = \"transfer\"\neps = 0.1\nsource = {source}\n{more}");
    cases.attack("method = \"transfer\"\neps = 0.1");
    cases.attack(&transfer("\"scratch\"", ""));
    cases.attack(&transfer("{ init = \"scratch\" }", ""));
    cases.attack(&transfer("{ init = \"scrach\", recipe = \"standard\", backbone = \"x\", seed = 3, sed = 3 }", ""));
    let good = "{ init = \"scratch\", recipe = \"standard\" }";
    cases.attack(&transfer(good, "by = \"pgd\""));
    cases.attack(&transfer(good, "by = { method = \"cw\" }"));
    cases.attack(&transfer(good, "by = { method = \"transfer\" }"));
    cases.attack(&transfer(good, "by = { method = \"pgd\", eps = 0.1, early_stop = true, draws = 3, stesp = 4 }"));
    cases.attack(&format!("{}\n[[exclude]]\ninit = \"scratch\"", transfer(good, "")));
    insta::assert_snapshot!(cases.0);
}

#[test]
fn attacks_that_do_not_fit_the_data_are_named() {
    let own = |files: &str, attack: &str| {
        sweep(attack).replace("name = \"glyphs\"", &format!("name = \"own\"\nformat = \"safetensors\"\n{files}"))
    };
    let both = "train = \"f\"\ntest = \"f\"";
    let mut cases = Cases::default();
    cases.planned("DLR, two classes", &own(both, "method = \"apgd\"\neps = 0.1\nloss = \"dlr\""), 2);
    cases.planned("targeted DLR, three", &own(both, "method = \"apgd\"\neps = 0.1\nloss = \"dlr-targeted\""), 3);
    cases.planned("AutoAttack, three", &own(both, "method = \"autoattack\"\neps = 0.1"), 3);
    cases.planned("rand, three", &own(both, "method = \"autoattack\"\neps = 0.1\nversion = \"rand\""), 3);
    cases.planned("too many targets", &own(both, "method = \"fab\"\ntargeted = true\ntarget_classes = 5"), 5);
    cases.planned("too many candidates", &own(both, "method = \"deepfool\"\ncandidates = 6"), 5);
    cases.planned("too few to craft on", &own(both, "method = \"uap\"\neps = 0.1\ncraft_examples = 101"), 5);
    let as_is = |attack: &str| {
        own("test = \"f\"", attack)
            .replace("method = \"standard\"\nepochs = 1", "method = \"none\"")
            .replace("pretrain = { dataset = \"fashion-mnist\", recipe = \"standard\" }", "checkpoint = \"c.pth\"")
    };
    cases.0.push_str(&format!("# nothing to craft on\n{}\n", parse_mistakes(&as_is("method = \"uap\"\neps = 0.1"))));
    let pretrained = own("test = \"f\"", "method = \"fgsm\"\neps = 0.1")
        .replace("method = \"standard\"\nepochs = 1", "method = \"none\"")
        .replace(
            "dataset = \"fashion-mnist\", recipe = \"standard\"",
            "dataset = \"own\", recipe = { method = \"standard\" }",
        );
    cases.0.push_str(&format!("# nothing to pre-train on\n{}\n", parse_mistakes(&pretrained)));
    let untrained = as_is("method = \"transfer\"\neps = 0.1\nsource = { init = \"scratch\", recipe = \"standard\" }")
        + "[[init]]\nname = \"third\"\nscratch = true\n[[exclude]]\ninit = \"pretrained\"\n";
    cases.planned("an untrained source", &untrained, 5);
    insta::assert_snapshot!(cases.0);
}

#[test]
fn every_attack_in_one_sweep_is_planned_within_the_study() {
    let methods =
        ["fgsm", "mi-fgsm", "di-fgsm", "cw", "deepfool", "apgd", "fab", "square", "autoattack", "feature", "uap"];
    let more: String = methods
        .iter()
        .map(|method| format!("[[attack]]\nname = \"{method}\"\nmethod = \"{method}\"\neps = [0.1, 0.2]\n"))
        .collect();
    let before = planned(STUDY, &pinned_facts());
    let source = format!("{STUDY}\n{more}");
    let after = planned(&source, &pinned_facts());
    // Ten runs; eight methods with a task per radius, three with one task for both.
    assert_eq!(after.tasks.len() - before.tasks.len(), 10 * (8 * 2 + 3));
    assert_eq!(after.cells.len() - before.cells.len(), 10 * 11 * 2);
    assert!(after.tasks.iter().all(|task| task.cost.is_finite() && task.cost > 0.0));
    assert_eq!(parsed(&source).attacks.len(), 13);
}
