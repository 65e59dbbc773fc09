//! From sweep files to graphs.

mod common;

use std::collections::BTreeSet;

use common::{EXAMPLE, STUDY, example_facts, parsed, planned, resnet18, with_file};
use gauntlet_domain::TaskId;
use gauntlet_domain::catalogue::pinned_facts;
use gauntlet_domain::experiment::{
    AttackMethod, Backbone, Epsilon, Head, Objective, ParameterShape, Stem, TaskSpec, Weights,
};
use gauntlet_domain::plan::{Plan, TaskKind};
use gauntlet_domain::sweep::{FileContent, FilePlace, FileRole};

fn ids(plan: &Plan) -> BTreeSet<TaskId> {
    plan.tasks.iter().map(|task| task.id).collect()
}

fn counts(plan: &Plan) -> [usize; 3] {
    let summary = plan.summary();
    [0, 1, 2].map(|kind| summary.kinds[kind].tasks)
}

/// Radii of the cells as the results show them.
fn radii(plan: &Plan) -> Vec<&str> {
    plan.cells.iter().map(|cell| cell.eps.as_ref().map_or("", Epsilon::text)).collect()
}

#[test]
fn a_plan_tells_what_was_taken_off_the_names_of_a_checkpoint() {
    assert!(planned(EXAMPLE, &example_facts(10, 10)).notes.is_empty());
    let wrapped = |tensor: ParameterShape| ParameterShape { name: format!("module.{}", tensor.name), ..tensor };
    let tensors = resnet18(10).into_iter().map(wrapped).collect();
    let content = FileContent::Checkpoint { tensors, moments: vec![] };
    let plan = planned(EXAMPLE, &with_file(example_facts(10, 10), "cases/resnet18.safetensors", content));
    assert_eq!(plan.notes, ["`cases/resnet18.safetensors` as resnet18: its 102 tensors below `module.` are taken"]);
    assert_eq!(counts(&plan), [0, 0, 2]);
}

#[test]
fn weights_of_the_catalogue_can_be_planned_without_opening_a_file() {
    let source = STUDY
        .replace("backbone = \"resnet18-w16\"", "backbone = \"efficientnet_lite0\"")
        .replace("train_examples = 500", "train_examples = 500\nchannels = 3")
        .replace("image_size = 32, fit", "image_size = 32, channels = 3, fit")
        .replace("dataset = \"fashion-mnist\"", "dataset = { name = \"fashion-mnist\", channels = 3, image_size = 32 }")
        .replace(
            "name = \"scratch\"\n",
            "name = \"scratch\"\ncheckpoint = { catalogue = \"efficientnet-lite0-imagenet\" }\n",
        );
    let plan = planned(&source, &pinned_facts());
    let imported = plan.tasks.iter().filter_map(|task| match &task.spec {
        TaskSpec::Train(spec) => Some(&spec.weights),
        TaskSpec::Attack(_) | TaskSpec::Analyze(_) => None,
    });
    let replaced = |weights: &&Weights| matches!(weights, Weights::Imported { head: Head::Replace, .. });
    assert!(imported.filter(replaced).count() > 0, "{:?}", plan.tasks[0].spec);
}

#[test]
fn the_example_of_the_design_plans_one_evaluation_per_radius_of_the_imported_weights() {
    let plan = planned(EXAMPLE, &example_facts(10, 10));
    assert_eq!(counts(&plan), [0, 0, 2]);
    assert_eq!(plan.cells.len(), 2);
    assert!(plan.cells.iter().all(|cell| cell.train_task.is_none()));
    assert_eq!(radii(&plan), ["2/255", "8/255"]);
    assert_eq!(plan.tasks[1].label, "cases · resnet18 · imported · as-is · seed 0 · pgd20 8/255");
    let TaskSpec::Attack(spec) = &plan.tasks[0].spec else { panic!("not an attack") };
    assert!(matches!(spec.weights, Weights::Imported { head: Head::Keep, .. }), "{:?}", spec.weights);
    assert_eq!(
        spec.attack.method,
        AttackMethod::Pgd { steps: 20, step_size: 2.0 / 255.0, random_start: true, restarts: 1 }
    );
    assert!(plan.sweep_id.as_str().starts_with("imported-checkpoint-"), "{}", plan.sweep_id);
}

#[test]
fn the_files_of_the_example_are_those_it_names() {
    let files = parsed(EXAMPLE).files();
    let named: Vec<_> = files.iter().map(|file| (file.place.to_string(), file.at.field.as_str())).collect();
    let expected =
        [("cases/images.safetensors", "dataset[0].test"), ("cases/resnet18.safetensors", "init[0].checkpoint")];
    assert_eq!(named, expected.map(|(place, field)| (place.to_owned(), field)));
}

#[test]
fn labels_alone_tell_only_that_there_are_at_least_so_many_classes() {
    let plan = planned(EXAMPLE, &example_facts(10, 1000));
    let TaskSpec::Attack(spec) = &plan.tasks[0].spec else { panic!("not an attack") };
    assert_eq!((spec.model.classes, spec.dataset.classes), (1000, 1000));
}

#[test]
fn a_pytorch_state_dict_gets_another_head_where_the_recipe_trains() {
    let source = EXAMPLE
        .replace("method = \"none\"", "method = \"standard\"")
        .replace("test   =", "train = \"cases/images.safetensors\"\ntest   =");
    for (classes, head) in [(10, Head::Keep), (1000, Head::Replace)] {
        let plan = planned(&source, &example_facts(10, classes));
        let TaskSpec::Train(spec) = &plan.tasks[0].spec else { panic!("not a training") };
        assert!(matches!(spec.weights, Weights::Imported { head: found, .. } if found == head), "{:?}", spec.weights);
        assert_eq!(spec.model.classes, 10);
    }
}

#[test]
fn runs_share_their_pre_training_and_attacks_share_their_run() {
    let plan = planned(STUDY, &pinned_facts());
    // Two inits × two seeds; five runs of the grid × two seeds; each under three attacks.
    assert_eq!(counts(&plan), [4, 10, 30]);
    assert_eq!(plan.cells.len(), 30);
    let pretrained = plan.tasks.iter().find(|task| task.kind == TaskKind::Pretrain).unwrap();
    assert_eq!(pretrained.label, "init pretrained: fashion-mnist · resnet18-w16 · standard · seed 0");
    let children = plan.tasks.iter().filter(|task| task.inputs == [pretrained.id]).count();
    assert_eq!(children, 2);
}

#[test]
fn fine_tuning_takes_a_new_head_and_evaluation_keeps_it() {
    let plan = planned(STUDY, &pinned_facts());
    for task in &plan.tasks {
        match (task.kind, task.spec.weights()) {
            (TaskKind::Train, Weights::Task { head, .. }) => assert_eq!(*head, Head::Replace),
            (TaskKind::Attack, Weights::Task { head, .. }) => assert_eq!(*head, Head::Keep),
            (TaskKind::Pretrain | TaskKind::Train, Weights::Scratch) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_pre_trained_model_can_be_evaluated_on_its_own_source() {
    let source = r#"
        name = "source"
        [[dataset]]
        name = "fashion-mnist"
        [[model]]
        backbone = "resnet18-w16"
        [[init]]
        name = "pretrained"
        pretrain = { dataset = "fashion-mnist", recipe = { method = "standard", epochs = 1 } }
        [[recipe]]
        name = "as-is"
        method = "none"
        [[attack]]
        name = "fgsm"
        method = "fgsm"
        eps = "8/255"
    "#;
    let plan = planned(source, &pinned_facts());
    assert_eq!(counts(&plan), [1, 0, 1]);
    assert_eq!(plan.cells[0].train_task, None);
    assert_eq!(plan.tasks[1].inputs, [plan.tasks[0].id]);
}

#[test]
fn a_pre_training_that_is_also_a_run_is_one_task_called_a_training() {
    let source = r#"
        name = "both"
        [[dataset]]
        name = "fashion-mnist"
        [[model]]
        backbone = "resnet18-w16"
        [[init]]
        name = "twice"
        pretrain = { dataset = "fashion-mnist", recipe = "standard" }
        [[init]]
        name = "scratch"
        [[recipe]]
        name = "standard"
        method = "standard"
        epochs = 1
        [[attack]]
        name = "fgsm"
        method = "fgsm"
        eps = "8/255"
    "#;
    let plan = planned(source, &pinned_facts());
    assert_eq!(counts(&plan), [0, 2, 2]);
    assert_eq!(plan.tasks[0].label, "fashion-mnist · resnet18-w16 · scratch · standard · seed 0");
}

#[test]
fn a_chain_of_pre_trainings_is_planned_from_its_end() {
    let source = STUDY.replace(
        "recipe = { method = \"pgd-at\", epochs = 3, inner = { eps = \"0.1\" } }",
        "recipe = \"standard\"\ninit = \"pretrained\"\nseed = 7",
    );
    let plan = planned(&source, &pinned_facts());
    let chained: Vec<_> =
        plan.tasks.iter().filter(|task| task.kind == TaskKind::Pretrain && !task.inputs.is_empty()).collect();
    // The seed is fixed along the chain, so that both seeds of the grid share it.
    assert_eq!(chained.len(), 1);
    assert!(matches!(chained[0].spec.weights(), Weights::Task { head: Head::Replace, .. }));
    assert_eq!(chained[0].label, "init robust: fashion-mnist · resnet18-w16 · standard · seed 7");
}

#[test]
fn dm_takes_beta_over_the_batch_or_the_coefficient_itself() {
    let coefficient = |source: &str| {
        let plan = planned(source, &pinned_facts());
        plan.tasks.iter().find_map(|task| match &task.spec {
            TaskSpec::Train(spec) => match &spec.recipe.objective {
                Objective::Dm { coefficient, .. } => Some(*coefficient),
                _ => None,
            },
            TaskSpec::Attack(_) | TaskSpec::Analyze(_) => None,
        })
    };
    assert_eq!(coefficient(STUDY), Some(500.0 / 128.0));
    let iterations = "iterations = 100";
    assert_eq!(coefficient(&STUDY.replace(iterations, "iterations = 100\nbeta = 64\nbatch_size = 32")), Some(2.0));
    assert_eq!(coefficient(&STUDY.replace(iterations, "iterations = 100\ncoefficient = 10")), Some(10.0));
}

#[test]
fn a_catalogue_data_set_can_stand_twice_under_other_names() {
    let source = STUDY.replace(
        "[[dataset]]\nname = \"glyphs\"\ntrain_examples = 500",
        "[[dataset]]\nname = \"few\"\nformat = \"fashion-mnist\"\ntrain_examples = 500\n[[dataset]]\nname = \"many\"\nformat = \"fashion-mnist\"",
    );
    let plan = planned(&source, &pinned_facts());
    // All of Fashion-MNIST trained from scratch is what `pretrained` starts from: the two tasks are called trainings.
    assert_eq!(counts(&plan), [2, 20, 60]);
}

#[test]
fn files_are_asked_for_once_and_only_if_the_grid_uses_them() {
    let sweep = parsed(STUDY);
    let files: Vec<_> = sweep.files().into_iter().map(|file| (file.place, file.role)).collect();
    let data = |name: &str| FilePlace::Data(format!("fashion-mnist/{name}-ubyte.gz"));
    let expected = [(data("train-images-idx3"), FileRole::IdxImages), (data("train-labels-idx1"), FileRole::IdxLabels)];
    assert_eq!(files, expected);
    let without = format!("{STUDY}\n[[include]]\ninit = \"scratch\"\n")
        .replace("[[exclude]]\ninit = \"scratch\"\nrecipe = \"dm\"", "");
    assert_eq!(parsed(&without).files(), []);
}

#[test]
fn the_quickstart_plans() {
    let source = include_str!("../../sweeps/quickstart.toml");
    let plan = planned(source, &pinned_facts());
    // For each of three seeds two pre-trainings and five runs; for each run one attack at three radii and noise at one.
    assert_eq!(counts(&plan), [6, 15, 60]);
    assert!(plan.summary().cost > 0.0);
}

#[test]
fn an_attack_that_is_added_is_all_that_is_new() {
    let before = planned(STUDY, &pinned_facts());
    let more = format!("{STUDY}\n[[attack]]\nname = \"fgsm\"\nmethod = \"fgsm\"\neps = \"8/255\"\n");
    let after = planned(&more, &pinned_facts());
    assert!(ids(&before).is_subset(&ids(&after)));
    let new: Vec<_> = after.tasks.iter().filter(|task| !ids(&before).contains(&task.id)).collect();
    assert_eq!(new.len(), 10);
    assert!(new.iter().all(|task| task.kind == TaskKind::Attack));
    assert_ne!(before.sweep_id, after.sweep_id);
}

#[test]
fn names_and_texts_are_no_part_of_a_task() {
    let plan = planned(STUDY, &pinned_facts());
    let renamed =
        STUDY.replace("\"pgd10\"", "\"other\"").replace("\"robust\"", "\"adversarial\"").replace("2/255", "2.0/255.0");
    assert_eq!(ids(&plan), ids(&planned(&renamed, &pinned_facts())));
}

#[test]
fn a_hundred_thousand_cells_are_planned_in_linear_time() {
    let seeds: Vec<String> = (0..1000).map(|seed| seed.to_string()).collect();
    let radii: Vec<String> = (1..=100).map(|above| format!("\"{above}/2550\"")).collect();
    let source = format!(
        "name = \"large\"\nseeds = [{}]\n[[dataset]]\nname = \"glyphs\"\n[[model]]\nbackbone = \"resnet18-w16\"\n\
         [[recipe]]\nname = \"standard\"\nmethod = \"standard\"\n[[attack]]\nname = \"pgd\"\nmethod = \"pgd\"\neps = [{}]\n",
        seeds.join(", "),
        radii.join(", "),
    );
    let start = std::time::Instant::now();
    let plan = planned(&source, &pinned_facts());
    assert_eq!((plan.cells.len(), plan.tasks.len()), (100_000, 101_000));
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("100,000 cells planned in {seconds:.2} s");
    assert!(seconds < if cfg!(debug_assertions) { 60.0 } else { 2.0 }, "{seconds} s");
}

fn planned_model(model: &str, image_size: u32) -> Plan {
    let source = format!(
        "name = \"x\"\n[[dataset]]\nname = \"glyphs\"\nchannels = 3\nimage_size = {image_size}\n[[model]]\n{model}\n\
         [[recipe]]\nname = \"r\"\nmethod = \"standard\"\n[[attack]]\nname = \"a\"\nmethod = \"fgsm\"\neps = 0.1\n"
    );
    planned(&source, &pinned_facts())
}

#[test]
fn every_backbone_is_trained_and_attacked_on_its_smallest_images() {
    for backbone in Backbone::ALL {
        let plan =
            planned_model(&format!("backbone = \"{backbone}\""), backbone.min_image_size(Stem::Standard).max(16));
        assert_eq!(counts(&plan), [0, 1, 1], "{backbone}");
        let TaskSpec::Train(spec) = &plan.tasks[0].spec else { panic!("not a training") };
        assert_eq!((spec.model.backbone, spec.model.stem), (backbone, Stem::Standard));
        assert!(plan.tasks.iter().all(|task| task.cost > 0.0), "{backbone}");
    }
}

#[test]
fn a_stem_for_cifar_is_another_model_that_takes_smaller_images_and_costs_more() {
    let standard = planned_model("backbone = \"resnet18\"", 32);
    let cifar = planned_model("backbone = \"resnet18\"\nstem = \"cifar\"", 32);
    assert!(ids(&standard).is_disjoint(&ids(&cifar)));
    assert!(cifar.tasks[0].cost > 10.0 * standard.tasks[0].cost);
    let small = planned_model("backbone = \"resnet18\"\nstem = \"cifar\"", 16);
    let TaskSpec::Train(spec) = &small.tasks[0].spec else { panic!("not a training") };
    assert_eq!(spec.model.stem, Stem::Cifar);
}

#[test]
fn what_a_checkpoint_is_declared_to_be_is_part_of_no_identity() {
    let plans = ["", "robust = true", "robust = false"].map(|declared| {
        let line = "checkpoint = \"cases/resnet18.safetensors\"";
        assert!(EXAMPLE.contains(line));
        planned(&EXAMPLE.replace(line, &format!("{line}\n{declared}\n#")), &example_facts(10, 10))
    });
    assert_eq!(plans[0], plans[1]);
    assert_eq!(plans[0], plans[2]);
}

#[test]
fn a_width_is_another_model_of_its_own_name_that_costs_as_the_square_of_it() {
    let of_width = |width: u32| planned_model(&format!("backbone = \"resnet50\"\nwidth = {width}"), 64);
    let (narrow, wide) = (of_width(32), of_width(128));
    assert!(ids(&narrow).is_disjoint(&ids(&wide)));
    assert_eq!(
        (narrow.cells[0].backbone.as_str(), wide.cells[0].backbone.as_str()),
        ("resnet50-width32", "resnet50-width128")
    );
    for (wide, narrow) in wide.tasks.iter().zip(&narrow.tasks) {
        assert!(
            (14.0..16.0).contains(&(wide.cost / narrow.cost)),
            "{}: {} against {}",
            wide.label,
            wide.cost,
            narrow.cost
        );
    }
    let TaskSpec::Train(spec) = &narrow.tasks[0].spec else { panic!("not a training") };
    assert_eq!(spec.model.width, Some(32));
    let named = planned_model("backbone = \"resnet18\"\nwidth = 32\nname = \"half\"", 64);
    assert_eq!(named.cells[0].backbone, "half");
}

#[test]
fn the_published_width_written_out_is_the_same_work_under_the_name_that_tells_it() {
    let [silent, written] =
        ["", "\nwidth = 64"].map(|width| planned_model(&format!("backbone = \"resnet18\"{width}"), 64));
    assert_eq!(ids(&silent), ids(&written));
    assert_eq!(
        (silent.cells[0].backbone.as_str(), written.cells[0].backbone.as_str()),
        ("resnet18", "resnet18-width64")
    );
    let TaskSpec::Train(spec) = &silent.tasks[0].spec else { panic!("not a training") };
    assert!(!serde_json::to_string(&spec.model).unwrap().contains("width"));
}

#[test]
fn widths_of_one_backbone_stand_in_one_grid_and_rules_name_them() {
    let model = "[[model]]\nbackbone = \"resnet18-w16\"";
    let widths = [8, 32].map(|width| format!("{model}\nwidth = {width}\n")).concat();
    let source = format!("{}\n{widths}[[exclude]]\nbackbone = \"resnet18-w16-width8\"\nattack = \"noise\"\n", STUDY);
    let plan = planned(&source, &pinned_facts());
    let rows = |name: &str, attack: &str| {
        plan.cells.iter().filter(|cell| cell.backbone == name && cell.attack == attack).count()
    };
    assert!(rows("resnet18-w16-width32", "noise") > 0 && rows("resnet18-w16-width8", "pgd10") > 0);
    assert_eq!(rows("resnet18-w16-width8", "noise"), 0);
    let models: Vec<String> = plan
        .tasks
        .iter()
        .filter(|task| task.kind == TaskKind::Pretrain)
        .filter_map(|task| match &task.spec {
            TaskSpec::Train(spec) => Some(spec.model.network_name()),
            _ => None,
        })
        .collect();
    assert!(models.contains(&"resnet18-w16-width8".to_owned()), "a run is pre-trained in its own width: {models:?}");
}
